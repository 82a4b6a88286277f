"""What the task files of the suite `paper` call: their rows, from the hub or a folder, as the prompts need them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import datasets
from datasets import Dataset, DatasetDict

from mathtransfer.json_lines import read_lines
from mathtransfer.models import hub as model_hub


def dataset(
    hub: str,
    revision: str,
    hub_split: str,
    file: str,
    fields: dict[str, list[str]],
    config: str | None = None,
    data_files: list[str] | None = None,
    only: dict[str, str] | None = None,
    prepare: Callable[[dict], dict] | None = None,
    data_root: str = "",
    n: int | None = None,
    **_,
) -> DatasetDict:
    """The first `n` rows of a benchmark. lm-evaluation-harness passes its own metadata too, which is not used here.

    Args:
        hub, config, revision, hub_split: where they are on the hub; `data_files` names them if its loader cannot.
        data_root, file: where they are instead, if `data_root` is given: `benchmarks/<file>` in it, JSON lines.
        fields: the name of each field that the benchmark needs, and the names it goes by in the sources.
        only: values that a row must have to belong here.
        prepare: makes of a row what the prompt needs.

    Raises:
        FileNotFoundError: the folder has no such file.
        ValueError: a row lacks a field, or is malformed.
        PermissionError, ConnectionError: see `hub.resolve_commit`.
    """
    rows = (
        _read(Path(data_root, "benchmarks", file))
        if data_root
        else _download(hub, config, revision, data_files, hub_split)
    )
    chosen = []
    for number, row in enumerate(rows):
        if only and any(row.get(field) != value for field, value in only.items()):
            continue
        if len(chosen) == n:
            break
        chosen.append(_prepared(row, fields, prepare, f"row {number} of {file if data_root else hub}"))
    return DatasetDict({"test": Dataset.from_list(chosen)})


def record(row: dict) -> dict:
    """What a grader needs if that is the whole row."""
    return row


def _read(path: Path) -> Iterable[dict]:
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no {path}: give a data_root with benchmarks/{path.name}, or none for the hub"
        )
    return read_lines(path)


def _download(hub: str, config: str | None, revision: str, data_files: list[str] | None, split: str) -> Iterable[dict]:
    commit = model_hub.resolve_commit(hub, revision, "dataset")
    if data_files:
        return datasets.load_dataset(
            "json", data_files=[f"hf://datasets/{hub}@{commit}/{file}" for file in data_files], split=split
        )
    return datasets.load_dataset(hub, config, revision=commit, split=split)


def _prepared(row: dict, fields: dict[str, list[str]], prepare: Callable[[dict], dict] | None, where: str) -> dict:
    renamed = dict(row)
    for field, names in fields.items():
        if (found := next((name for name in names if row.get(name) is not None), None)) is None:
            raise ValueError(f"{where} lacks the field {' or '.join(names)}; it has {', '.join(row)}")
        renamed[field] = row[found]
    try:
        return prepare(renamed) if prepare else renamed
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{where} is malformed: {type(error).__name__}: {error}") from error
