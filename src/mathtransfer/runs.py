"""Run folders: tables, a checkpoint and a manifest, written under another name and renamed when whole."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pandas as pd

PACKAGE = Path(__file__).parent
LIBRARIES = ("torch", "transformers", "trl", "lm_eval", "scikit-learn", "pandas")
# The columns of every tidy table, in this order.
TIDY = ["model", "base", "setting", "seed", "tier", "suite", "group", "benchmark", "metric", "value", "stderr", "n"]


def read_parameters(namespace: dict, names: str) -> dict:
    """The values of a notebook's parameters, and no others: papermill itself lets a misspelt name pass.

    Args:
        namespace: the notebook's `globals()`. Papermill puts the values it is given into a cell headed `# Parameters`,
            which is found among the executed cells (`In`).
        names: the parameters' names.

    Raises:
        ValueError: papermill was given a value that is no parameter of the notebook, or a parameter has no value.
    """
    known = names.split()
    injected = [cell for cell in namespace.get("In", []) if cell.startswith("# Parameters\n")]
    assigned = [node for cell in injected for node in ast.parse(cell).body if isinstance(node, ast.Assign)]
    given = {target.id for node in assigned for target in node.targets}
    if unknown := sorted(given - set(known)):
        raise ValueError(f"unknown parameter {', '.join(unknown)}: this notebook takes {', '.join(known)}")
    if missing := [name for name in known if name not in namespace]:
        raise ValueError(f"no value for {', '.join(missing)}: the parameters cell must set {', '.join(known)}")
    return {name: namespace[name] for name in known}


def sources(notebook: Path) -> list[Path]:
    """The files of this package that a notebook imports, directly or not: its output is stale when one changes."""
    cells = nbformat.read(notebook, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    without_magics = re.sub(r"^(\s*)[%!].*$", r"\1pass", code, flags=re.MULTILINE)
    found: set[Path] = set()
    _follow(ast.parse(without_magics), found)
    return sorted(found)


def _follow(tree: ast.AST, found: set[Path]) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "mathtransfer":
                _add_module(name, found)


def _add_module(name: str, found: set[Path]) -> None:
    place = PACKAGE.joinpath(*name.split(".")[1:])
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file() and path not in found:
            found.add(path)
            _follow(ast.parse(path.read_text()), found)


def source_hash() -> str:
    """A hash of all of the package's code (first 16 hex digits)."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def run_folder(out: str, notebook: str, parameters: dict, **facts) -> Iterator[Path]:
    """A folder to write a run's results to; it appears as `out` only when the run is complete.

    Until then it is `out` with `.partial` behind it. A partial folder that an interrupted run of the same notebook,
    parameters and code left is handed back with what is in it, so that training can resume; any other is cleared.

    Args:
        out: where the run folder shall be.
        notebook: the name of the run notebook.
        parameters: all its parameters.
        facts: what else the manifest should say, such as the base model's fingerprint.
    """
    final = Path(out)  # without a slash at its end
    partial = Path(f"{final}.partial")
    settings = {name: value for name, value in parameters.items() if name != "out"}  # a run folder may be moved
    identity = {"notebook": notebook, "parameters": settings, "source": source_hash(), **facts}
    identity_file = partial / "identity.json"
    if not (identity_file.is_file() and identity_file.read_text() == json.dumps(identity, sort_keys=True)):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        identity_file.write_text(json.dumps(identity, sort_keys=True))
    started = time.monotonic()
    yield partial
    manifest = {
        **identity,
        "seconds": round(time.monotonic() - started, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "hardware": {"machine": platform.machine(), "cores": os.cpu_count(), "gpu": _gpu_name()},
        "versions": {"python": platform.python_version()} | {n: importlib.metadata.version(n) for n in LIBRARIES},
    }
    identity_file.unlink()
    (partial / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)


def _gpu_name() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def read_manifest(run: str | Path, notebook: str | None = None) -> dict:
    """The manifest of a whole run.

    Raises:
        FileNotFoundError: there is no such run, or it was never finished.
        ValueError: the run was made by another notebook than `notebook`.
    """
    path = Path(run) / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(f"{run} is no finished run: it has no manifest.json; run its notebook first")
    manifest = json.loads(path.read_text())
    if notebook and manifest["notebook"] != notebook:
        raise ValueError(f"{run} was made by the notebook {manifest['notebook']!r}, expected {notebook!r}")
    return manifest


def provenance(model: str, base: str, base_fingerprint: str) -> dict[str, str | int]:
    """Which model this is: the columns `model, base, setting, seed` of a tidy table.

    A checkpoint inside a training run is known by the run's manifest; the base itself has the setting `base`; anything
    else is `tuned`, a model that was trained elsewhere. Models that were not trained here have no seed: -1.

    Raises:
        ValueError: the checkpoint was trained from another base than the one it is to be compared with.
    """
    folder = Path(model).parent
    if (folder / "manifest.json").is_file():
        manifest = read_manifest(folder, "train")
        check_base(folder, base_fingerprint)
        return {"model": folder.name, "base": base, **{k: manifest["parameters"][k] for k in ("setting", "seed")}}
    return {"model": model, "base": base, "setting": "base" if model == base else "tuned", "seed": -1}


def check_base(run: str | Path, fingerprint: str) -> None:
    """Refuse a run that comes from another base model than the one with this fingerprint.

    Raises:
        FileNotFoundError: there is no such run, or it was never finished.
        ValueError: it comes from another base.
    """
    found = read_manifest(run)["base_fingerprint"]
    if found != fingerprint:
        raise ValueError(
            f"{run} comes from the base {found}, not from {fingerprint}: runs of different bases cannot be compared"
        )


def tidy(rows: list[dict] | pd.DataFrame) -> pd.DataFrame:
    """A table with the tidy columns, in their order.

    Raises:
        ValueError: a column is missing or there is one too many.
    """
    table = pd.DataFrame(rows)
    if set(table.columns) != set(TIDY):
        raise ValueError(f"a tidy table has the columns {', '.join(TIDY)}; found {', '.join(table.columns)}")
    return table[TIDY]


def read_tables(root: str | Path, pattern: str, name: str) -> pd.DataFrame:
    """One CSV table of every finished run below `root` whose folder matches `pattern`, stacked, in the runs' order.

    Raises:
        FileNotFoundError: no finished run matches.
        ValueError: the runs come from different bases.
    """
    folders = sorted(path.parent for path in Path(root).glob(f"{pattern}/manifest.json"))
    folders = [folder for folder in folders if folder.suffix != ".partial"]
    if not folders:
        raise FileNotFoundError(f"no finished run {pattern!r} in {root}: run `make book` first")
    for folder in folders:
        check_base(folder, read_manifest(folders[0])["base_fingerprint"])
    return pd.concat([pd.read_csv(folder / name) for folder in folders], ignore_index=True)
