"""The record of a study: a few small tables of all its runs, the same bytes for the same runs.

runs.csv          a row a run: what it is, what it took, which code and which versions made it. A base's evaluation is a
                  run too, with the base's name, the setting `base` and the seed -1. Of a run that was stopped, what it
                  took is what it took after it went on
answers.parquet   a row a question as answered naturally: `begins`, the class of the answer's first word; `right`
formats.parquet   a row a question and format, the format's first words given: `right`
shifts.parquet    a row a run, benchmark and metric of either drift
scores.csv        the same of the evaluation
training.parquet  a row a step of training

Every table has the column `run`, which names a row of runs.csv.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from mathtransfer import runs
from mathtransfer.miniature.formats import FORMATS, format_of
from mathtransfer.study.grid import MEASURED, Cell, Tier

FILES = ["runs.csv", "answers.parquet", "formats.parquet", "shifts.parquet", "scores.csv", "training.parquet"]
_PARTS = ("train", *MEASURED)  # the kinds of run behind a row of runs.csv
# Columns of runs.csv that another time, place or edit of the code may change without changing any other table.
TOOK = [f"{part}_{measure}" for part in _PARTS for measure in ("seconds", "memory_mb")]
CODE = [f"{part}_code" for part in _PARTS]
_READ = {  # of tables whose every text and token would take long to read
    "samples.parquet": ["benchmark", "question", "sample", "completion", "score"],
    "formats.parquet": ["benchmark", "question", "begins", "score"],
}
_TEXT = ["changes", "teacher", "gpu"]  # columns of runs.csv that may be empty


@dataclass(frozen=True)
class Record:
    """The tables of a record, see above."""

    runs: pd.DataFrame
    answers: pd.DataFrame
    formats: pd.DataFrame
    shifts: pd.DataFrame
    scores: pd.DataFrame
    training: pd.DataFrame


def read_record(folder: str | Path) -> Record:
    """A record that `write_record` wrote.

    Raises:
        FileNotFoundError: there is none, or a table is missing.
    """
    paths = [Path(folder, name) for name in FILES]
    if missing := [path for path in paths if not path.is_file()]:
        raise FileNotFoundError(f"no record: {missing[0]} is missing; `make study` or `make book` writes it")
    first = pd.read_csv(paths[0], dtype=dict.fromkeys(_TEXT, str))
    others = [pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path) for path in paths[1:]]
    return Record(first.fillna({name: "" for name in _TEXT if name in first}), *others)


def write_record(tier: Tier, root: str | Path, code: dict[str, list[str]]) -> None:
    """Write the record of a tier's finished runs to the folder that the tier names.

    Args:
        root: where the runs are, with `runs/` and, in `timings/`, Snakemake's measurement of each.
        code: kind of run -> its notebook and all files of code behind it.

    Raises:
        FileNotFoundError: a run is missing.
    """
    folders = {part: Path(root, "runs", part) for part in _PARTS}
    trained, evaluated = sorted(tier.cells), sorted(tier.runs["evaluate"])
    hashes = {f"{part}_code": _code_hash(code[part]) for part in _PARTS}

    def gathered(names: list[str], part: str, file: str, prepare: Callable[[pd.DataFrame], pd.DataFrame]):
        read = pd.read_csv if file.endswith(".csv") else partial(pd.read_parquet, columns=_READ[file])
        tables = {name: prepare(read(folders[part] / name / file)) for name in names}
        return pd.concat(tables, names=["run"]).reset_index("run").reset_index(drop=True)

    drifts = [gathered(trained, part, "shifts.csv", _measurements) for part in ("latent_drift", "token_drift")]
    tables = {
        "runs.csv": pd.DataFrame([_run_row(tier, name, Path(root)) | hashes for name in evaluated]),
        "answers.parquet": gathered(evaluated, "evaluate", "samples.parquet", _answers),
        "formats.parquet": gathered(evaluated, "evaluate", "formats.parquet", _in_formats),
        "shifts.parquet": pd.concat(drifts),
        "scores.csv": gathered(evaluated, "evaluate", "scores.csv", _measurements),
        "training.parquet": gathered(trained, "train", "log.csv", lambda log: log.drop(columns=["setting", "seed"])),
    }
    out = Path(tier.record)
    out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        keys = [key for key in ("run", "benchmark", "metric", "format", "question", "step") if key in table]
        _write(table.sort_values(keys, kind="stable", ignore_index=True), out / name)


def _run_row(tier: Tier, name: str, root: Path) -> dict[str, object]:
    """A run's row of runs.csv but for the code; `name` is a cell's or a base's."""
    cell = tier.cells.get(name) or Cell("base", name, -1, {}, {})
    parts = [part for part in _PARTS if name in tier.runs[part]]
    manifests = {part: runs.read_manifest(root / "runs" / part / name, part) for part in parts}
    timings = {part: pd.read_csv(root / "timings" / f"{part}--{name}.tsv", sep="\t").loc[0, "s"] for part in parts}
    row = {
        "run": name,
        "base": cell.base,
        "kind": cell.base.partition("-")[0],
        "setting": cell.setting,
        "seed": cell.seed,
        "changes": ";".join(f"{key}={value}" for key, value in cell.changes.items()),
    }
    asked = manifests.get("train", {}).get("parameters", {}) | {"teacher": cell.parameters.get("teacher", "")}
    row |= {{"setting": "objective"}.get(key, key): asked.get(key) for key in tier.varying}
    row |= dict.fromkeys(("updates", "responses", "response_tokens"))
    if name in tier.cells:
        log = pd.read_csv(root / "runs" / "train" / name / "log.csv")
        row |= {"updates": asked["steps"], "responses": asked["steps"] * asked["batch_size"]}
        row["response_tokens"] = round(log["response_length"].sum() * asked["batch_size"])
    row |= {f"{part}_seconds": timings.get(part) for part in _PARTS}
    row |= {f"{part}_memory_mb": manifests.get(part, {}).get("peak_memory_mb") for part in _PARTS}
    row["base_fingerprint"] = manifests["evaluate"]["base_fingerprint"]
    row |= {f"version_{key}": _all(manifests, "versions", key) for key in manifests["evaluate"]["versions"]}
    return row | {key: _all(manifests, "hardware", key) for key in ("machine", "cores", "gpu")}


def _all(manifests: dict[str, dict], field: str, key: str) -> str:
    """What the parts of a run say, which is one thing unless machine or versions changed between them."""
    return "/".join(sorted({str(manifest[field][key] or "") for manifest in manifests.values()}))


def _answers(samples: pd.DataFrame) -> pd.DataFrame:
    first = samples[samples["sample"] == 0]
    begins = first["completion"].map(format_of)
    return first[["benchmark", "question"]].assign(begins=begins, right=first["score"] == 1)


def _in_formats(given: pd.DataFrame) -> pd.DataFrame:
    return given[["benchmark", "question"]].assign(
        format=given["begins"].map({words: name for name, words in FORMATS.items()}), right=given["score"] == 1
    )


def _measurements(tidy: pd.DataFrame) -> pd.DataFrame:
    """Without the columns of a tidy table that the run's row of runs.csv has."""
    return tidy[["group", "benchmark", "metric", "value", "stderr", "n"]]


def _code_hash(files: list[str]) -> str:
    """A hash of the code in some files (first 16 hex digits): of notebooks their code cells.

    What draws pages is left out: it changes no table.
    """
    digest = hashlib.sha256()
    for path in map(Path, sorted(files)):
        if (runs.PACKAGE / "pages") in path.resolve().parents:
            continue
        if path.suffix == ".ipynb":
            cells = json.loads(path.read_text())["cells"]
            digest.update(json.dumps([cell["source"] for cell in cells if cell["cell_type"] == "code"]).encode())
        else:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _write(table: pd.DataFrame, path: Path) -> None:
    if path.suffix == ".csv":
        table.to_csv(path, index=False, lineterminator="\n")
    else:
        names = [name for name in table if pd.api.types.is_string_dtype(table[name])]
        small = {"question": "int32"} if "question" in table else {}
        table = table.astype(dict.fromkeys(names, "category") | small)
        table.to_parquet(path, index=False, compression="zstd", compression_level=9)
