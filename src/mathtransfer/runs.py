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
# The files that mark a run folder: what the run is, and that it is whole. The folder of what is needed to resume it.
IDENTITY, MANIFEST, RESUME = "identity.json", "manifest.json", "resume"
LIBRARIES = ("torch", "transformers", "trl", "lm_eval", "scikit-learn", "pandas")
# The columns of every tidy table, in this order.
TIDY = ["model", "base", "setting", "seed", "tier", "suite", "group", "benchmark", "metric", "value", "stderr", "n"]


def read_parameters(namespace: dict) -> dict:
    """The values of a notebook's parameters, and no others: papermill itself lets a misspelt name pass.

    Args:
        namespace: the notebook's `globals()`. Among the executed cells (`In`) the parameters' own is the first that
            assigns plain values and does nothing else; papermill puts the values it is given into one headed
            `# Parameters`.

    Raises:
        ValueError: papermill was given a value that is no parameter of the notebook, or its cell of parameters has not
            run.
    """
    cells = namespace.get("In", [])
    injected = [cell for cell in cells if cell.startswith("# Parameters\n")]
    known = next((names for cell in cells if cell not in injected and (names := _plain_values(cell))), [])
    if not known:
        raise ValueError("no parameters: run the parameters cell first")
    given = {name for cell in injected for name in _plain_values(cell)}
    if unknown := sorted(given - set(known)):
        raise ValueError(f"unknown parameter {', '.join(unknown)}: this notebook takes {', '.join(known)}")
    return {name: namespace[name] for name in known}


def _plain_values(cell: str) -> list[str]:
    """The names that a cell assigns plain values to; none if it does anything else."""
    try:
        statements = ast.parse(cell).body
        for statement in statements:
            ast.literal_eval(statement.value)
        return [target.id for statement in statements for target in statement.targets]
    except (AttributeError, SyntaxError, ValueError):
        return []


def sources(notebook: Path) -> list[Path]:
    """The files of this package that a notebook imports, directly or not: its output is stale when one changes.

    If it imports what fills templates, all templates are among them.
    """
    cells = nbformat.read(notebook, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    without_magics = re.sub(r"^(\s*)[%!].*$", r"\1pass", code, flags=re.MULTILINE)
    found: set[Path] = set()
    _follow(ast.parse(without_magics), found)
    if PACKAGE / "pages" / "templating.py" in found:
        found.update((PACKAGE / "pages" / "templates").iterdir())
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


def partial_folder(out: str) -> Path:
    """Where a run is written until it is whole: `out` with `.partial` behind it."""
    return Path(f"{Path(out).resolve()}.partial")


@contextmanager
def run_folder(out: str, notebook: str, parameters: dict, **facts) -> Iterator[Path]:
    """A folder to write a run's results to; it appears as `out` only when the run is complete.

    Nothing that is finished is lost. What a run needs to go on after a kill or on a full disk belongs into the folder's
    `resume`, which is removed last of all, when the run has its name; a run of the same notebook, parameters, code and
    number of threads finds it again. An older run stays until the new one is whole.

    Args:
        out: where the run folder shall be: a new folder, an empty one, or one of these run folders.
        notebook: the name of the run notebook.
        parameters: all its parameters.
        facts: what else the manifest should say, such as the base model's fingerprint.

    Raises:
        FileExistsError: `out` is a file, holds what no run wrote, or holds the folder that one is in.
    """
    final, partial = Path(out).resolve(), partial_folder(out)
    replaced = Path(f"{final}.replaced")  # the older run, while the new one takes its name
    for folder in (final, partial, replaced):
        _check_replaceable(folder)
    settings = {name: value for name, value in parameters.items() if name != "out"}  # a run folder may be moved
    identity = {"notebook": notebook, "parameters": settings, "source": source_hash(), "threads": _threads(), **facts}
    _recover(final, partial, replaced)
    if _identity(partial) != json.dumps(identity, sort_keys=True):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        if _identity(final) == json.dumps(identity, sort_keys=True) and (final / RESUME).is_dir():
            (final / RESUME).rename(partial / RESUME)  # the kill came after the run had its name
        _write_whole(partial / IDENTITY, json.dumps(identity, sort_keys=True))
    started = time.monotonic()
    try:
        yield partial
    except BaseException:
        if not (partial / RESUME).exists():
            shutil.rmtree(partial, ignore_errors=True)
        raise
    manifest = {
        **identity,
        "files": sorted({path.name for path in partial.iterdir()} - {RESUME}),
        "seconds": round(time.monotonic() - started, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "hardware": {"machine": platform.machine(), "cores": os.cpu_count(), "gpu": _gpu_name()},
        "versions": {"python": platform.python_version()} | {n: importlib.metadata.version(n) for n in LIBRARIES},
    }
    _write_whole(partial / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))
    _take_the_name(final, partial, replaced)
    shutil.rmtree(final / RESUME, ignore_errors=True)


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace anything but a run folder with nothing else in it."""
    if folder.is_file():
        raise FileExistsError(f"{folder} is a file: name a folder as out")
    if folder == Path.cwd() or folder in Path.cwd().parents:
        raise FileExistsError(f"{folder} is the folder that you are in, or holds it: name another folder as out")
    others = sorted({path.name for path in folder.iterdir()} - _own_files(folder)) if folder.is_dir() else []
    if others:
        raise FileExistsError(f"{folder} holds {others[0]}, which no run wrote there: name another folder as out")


def _own_files(folder: Path) -> set[str]:
    """The names in a folder that a run wrote: those that its manifest lists, or all if only its identity is there.

    Snakemake deletes the manifest before it starts a run again.
    """
    if (folder / MANIFEST).is_file():
        return {IDENTITY, MANIFEST, RESUME, *json.loads((folder / MANIFEST).read_text()).get("files", [])}
    return {path.name for path in folder.iterdir()} if (folder / IDENTITY).is_file() else set()


def _recover(final: Path, partial: Path, replaced: Path) -> None:
    """Finish what a kill at the very end of a run left: a whole run gets its name, an older one goes or comes back."""
    if (partial / MANIFEST).is_file():
        _take_the_name(final, partial, replaced)
    elif replaced.exists() and not final.exists():
        replaced.rename(final)
    shutil.rmtree(replaced, ignore_errors=True)


def _take_the_name(final: Path, partial: Path, replaced: Path) -> None:
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        final.rename(replaced)
    partial.rename(final)
    shutil.rmtree(replaced, ignore_errors=True)


def _identity(folder: Path) -> str | None:
    return (folder / IDENTITY).read_text() if (folder / IDENTITY).is_file() else None


def _write_whole(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def _threads() -> int:
    """The threads that PyTorch computes with, on which the last bits of its sums depend."""
    import torch

    return torch.get_num_threads()


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
