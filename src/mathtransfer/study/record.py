"""The record of a study: a few small tables of its finished runs, the same bytes for the same runs.

A record grows: what it has is not run again, so that a study can be stopped and go on on another machine.

runs.csv          a row a run: what it is, what was asked, what it took, which code and which versions made it. A base's
                  evaluation is a run too, with the base's name, the setting `base` and the seed -1. Of a run that was
                  stopped, what it took is what it took after it went on
answers.parquet   a row a question as answered naturally: `begins`, the class of the answer's first word; `right`
formats.parquet   a row a question and format, the format's first words given: `right`
shifts.parquet    a row a run, benchmark and metric of either drift; metrics that begin with `begun_` are of answers
                  whose first words were given, and `training` (its prompts) and `weights` stand in for a benchmark
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

from mathtransfer import runs, shipped
from mathtransfer.miniature.formats import FORMATS, format_of
from mathtransfer.study.grid import MEASURED, Cell, Tier, base_folder

FILES = ["runs.csv", "answers.parquet", "formats.parquet", "shifts.parquet", "scores.csv", "training.parquet"]
_PARTS = ("train", *MEASURED)  # the kinds of run behind a row of runs.csv
_NOTEBOOKS = runs.PACKAGE.parents[1] / "notebooks" / "runs"
_SUITE = runs.PACKAGE / "benchmarks" / "suites" / "miniature"
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
    paths = [shipped.find(Path(folder, name)) for name in FILES]
    if missing := [path for path in paths if not path.is_file()]:
        raise FileNotFoundError(f"no record: {missing[0]} is missing; `make study` or `make book` writes it")
    first = pd.read_csv(paths[0], dtype=dict.fromkeys(_TEXT, str))
    others = [pd.read_csv(path) if path.suffix == ".csv" else _read_parquet(path) for path in paths[1:]]
    return Record(first.fillna({name: "" for name in _TEXT if name in first}), *others)


def _read_parquet(path: Path) -> pd.DataFrame:
    """A table with plain texts: before version 3, pandas makes groups of categories that no row is of."""
    table = pd.read_parquet(path)
    return table.astype({name: str for name in table if isinstance(table[name].dtype, pd.CategoricalDtype)})


def recorded(tier: Tier) -> set[str]:
    """The runs of a tier that its record has, as they are asked for now; none if it is not whole or not there."""
    if not all(Path(tier.record, name).is_file() for name in FILES):
        return set()
    found = read_record(tier.record).runs.set_index("run")["asked"]
    return {name for name in tier.runs["evaluate"] if found.get(name) == _asked(tier, name)}


def write_record(tier: Tier, root: str | Path) -> list[str]:
    """Write a tier's finished runs to the record that the tier names, beside those that it has already.

    Args:
        root: where the runs are, with `runs/` and, in `timings/`, Snakemake's measurement of each.

    Returns:
        The runs of the tier that the record lacks still.
    """
    kept = recorded(tier)
    parts = {name: [part for part in _PARTS if name in tier.runs[part]] for name in sorted(tier.runs["evaluate"])}
    fresh = [name for name, own in parts.items() if all(_ended(root, part, name) for part in own)]
    trained = [name for name in fresh if name in tier.cells]
    hashes = {f"{part}_code": _code_hash(_code_of(part)) for part in _PARTS}

    def gathered(names: list[str], part: str, file: str, prepare: Callable[[pd.DataFrame], pd.DataFrame]):
        read = pd.read_csv if file.endswith(".csv") else partial(pd.read_parquet, columns=_READ[file])
        tables = {name: prepare(read(_manifest(root, part, name).with_name(file))) for name in names}
        return pd.concat(tables, names=["run"]).reset_index("run").reset_index(drop=True) if names else pd.DataFrame()

    drifts = [gathered(trained, part, "shifts.csv", _measurements) for part in ("latent_drift", "token_drift")]
    tables = {
        "runs.csv": pd.DataFrame([_run_row(tier, name, Path(root)) | hashes for name in fresh]),
        "answers.parquet": gathered(fresh, "evaluate", "samples.parquet", _answers),
        "formats.parquet": gathered(fresh, "evaluate", "formats.parquet", _in_formats),
        "shifts.parquet": pd.concat(drifts),
        "scores.csv": gathered(fresh, "evaluate", "scores.csv", _measurements),
        "training.parquet": gathered(trained, "train", "log.csv", lambda log: log.drop(columns=["setting", "seed"])),
    }
    if stays := kept - set(fresh):
        before = vars(read_record(tier.record)).values()
        tables = {
            name: pd.concat([old[old["run"].astype(str).isin(stays)], new])
            for (name, new), old in zip(tables.items(), before, strict=True)
        }
    if fresh:
        _write(tables, Path(tier.record))
    return sorted(parts.keys() - kept - set(fresh))


def _manifest(root: str | Path, part: str, name: str) -> Path:
    return Path(root, "runs", part, name, "manifest.json")


def _timing(root: str | Path, part: str, name: str) -> Path:
    return Path(root, "timings", f"{part}--{name}.tsv")


def _ended(root: str | Path, part: str, name: str) -> bool:
    """Whether a run is whole and timed: Snakemake writes its seconds after that, and may have been killed between."""
    return _manifest(root, part, name).is_file() and _timing(root, part, name).is_file()


def _asked(tier: Tier, name: str) -> str:
    """A hash of all that is asked of a run (first 16 hex digits): its base, its parameters, and how it is measured."""
    cell = tier.cells.get(name)
    base, parameters, measured = (cell.base, cell.parameters, MEASURED) if cell else (name, {}, ("evaluate",))
    weights = base_folder(base) / "model.safetensors"  # which may not be pre-trained yet
    made = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else ""
    asked = [name, made, parameters, [tier.sizes[part] for part in measured]]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def _run_row(tier: Tier, name: str, root: Path) -> dict[str, object]:
    """A run's row of runs.csv but for the code; `name` is a cell's or a base's."""
    cell = tier.cells.get(name) or Cell("base", name, -1, {}, {})
    parts = [part for part in _PARTS if name in tier.runs[part]]
    manifests = {part: runs.read_manifest(root / "runs" / part / name, part) for part in parts}
    timings = {part: pd.read_csv(_timing(root, part, name), sep="\t").loc[0, "s"] for part in parts}
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
    row["asked"] = _asked(tier, name)
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


def _code_of(part: str) -> list[Path]:
    """The files behind a kind of run: its notebook and what that imports, and of an evaluation the task files too."""
    notebook = _NOTEBOOKS / f"{part}.ipynb"
    tasks = [*_SUITE.glob("*.yaml"), *_SUITE.parents[1].glob("*.py")] if part == "evaluate" else []
    return [notebook, *runs.sources(notebook), *tasks]


def _code_hash(files: list[Path]) -> str:
    """A hash of the code in some files (first 16 hex digits): of notebooks their code cells.

    What draws pages is left out, and the first cell, which installs: they change no table.
    """
    digest = hashlib.sha256()
    for path in sorted(set(files)):
        if (runs.PACKAGE / "pages") in path.parents:
            continue
        if path.suffix == ".ipynb":
            cells = json.loads(path.read_text())["cells"]
            code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
            digest.update(json.dumps(code[1:]).encode())
        else:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _write(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    """All tables, and then all of them get their names: a kill leaves the record that was there."""
    folder.mkdir(parents=True, exist_ok=True)
    named = {}
    for name, table in tables.items():
        keys = [key for key in ("run", "benchmark", "metric", "format", "question", "step") if key in table]
        texts = {key: str for key in keys if key not in ("question", "step")}  # categories have an order of their own
        ordered = table.astype(texts).sort_values(keys, kind="stable", ignore_index=True)
        named[folder / f"{name}.partial"] = folder / name
        _write_table(ordered, folder / f"{name}.partial", name.endswith(".csv"))
    for partly, path in named.items():
        partly.replace(path)


def _write_table(table: pd.DataFrame, path: Path, as_text: bool) -> None:
    if as_text:
        table.to_csv(path, index=False, lineterminator="\n")
    else:
        names = [name for name in table if pd.api.types.is_string_dtype(table[name])]
        small = {"question": "int32"} if "question" in table else {}
        table = table.astype(dict.fromkeys(names, "category") | small)
        table.to_parquet(path, index=False, compression="zstd", compression_level=9)
