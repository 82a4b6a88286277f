"""Run folders: tables, a checkpoint and a manifest, written under another name and renamed when whole."""

from __future__ import annotations

import ast
import fcntl
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
from functools import cache
from pathlib import Path
from typing import IO

import pandas as pd

PACKAGE = Path(__file__).parent
# The files that mark a run folder: what the run is, and that it is whole.
_IDENTITY, _MANIFEST = "identity.json", "manifest.json"
# What is behind a run folder's name while it is written, and behind an older run's while the new one takes its name.
_PARTIAL, _REPLACED = ".partial", ".replaced"
# The folder of what is needed to resume a run, and its name while it is deleted.
RESUME, _RESUMED = "resume", "resumed"
_LIBRARIES = ("torch", "transformers", "trl", "lm_eval", "scipy", "pandas")
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
    import nbformat  # here, because it takes most of a second and only the pipeline asks for sources

    cells = nbformat.read(notebook, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    without_magics = re.sub(r"^(\s*)[%!].*$", r"\1pass", code, flags=re.MULTILINE)
    found: set[Path] = set()
    waiting = set(_imported(without_magics))
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting |= _imported(path.read_text())
    if PACKAGE / "pages" / "templating.py" in found:
        found.update((PACKAGE / "pages" / "templates").iterdir())
    return sorted(found)


@cache  # most notebooks import most files
def _imported(code: str) -> frozenset[Path]:
    """The files of this package that some code names in its imports."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for place in (PACKAGE.joinpath(*name.split(".")[1:]) for name in names if name.split(".")[0] == PACKAGE.name):
            found.update(path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file())
    return frozenset(found)


def _source_hash() -> str:
    """A hash of all of the package's code (first 16 hex digits)."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def partial_folder(out: str) -> Path:
    """Where a run is written until it is whole: `out` with `.partial` behind it."""
    return Path(f"{Path(out).resolve()}{_PARTIAL}")


@contextmanager
def run_folder(out: str, notebook: str, parameters: dict, **facts) -> Iterator[Path]:
    """A folder to write a run's results to; it appears as `out` only when the run is complete.

    Nothing that is finished is lost. What a run needs to go on after a kill or on a full disk belongs in the folder's
    `resume`, which is removed last of all, when the run has its name; a run of the same notebook, parameters, code and
    number of threads finds it again. An older run stays until the new one is whole.

    Args:
        out: where the run folder shall be: a new folder, an empty one, or one of these run folders.
        notebook: the name of the run notebook.
        parameters: all its parameters.
        facts: what else the manifest should say, such as the base model's fingerprint.

    Raises:
        FileExistsError: `out` is a file, holds what no run wrote, or holds the folder that one is in.
        BlockingIOError: another process is writing the same run folder.
    """
    final, partial = Path(out).resolve(), partial_folder(out)
    replaced = Path(f"{final}{_REPLACED}")
    for folder in (final, partial, replaced):
        _check_replaceable(folder)
    settings = {name: value for name, value in parameters.items() if name != "out"}  # a run folder may be moved
    identity = {"notebook": notebook, "parameters": settings, "source": _source_hash(), "threads": _threads(), **facts}
    with _locked(final):
        _recover(final, partial, replaced)
        _open_partial(final, partial, identity)
        started = time.monotonic()
        try:
            yield partial
        except BaseException:
            if not (partial / RESUME).exists():
                _remove(partial)
            raise
        _write_whole(partial / _MANIFEST, identity | _measured(partial, time.monotonic() - started))
        _take_the_name(final, partial, replaced)
        if (final / RESUME).exists():
            (final / RESUME).rename(final / _RESUMED)  # half of it, which a kill may leave, is of no use to anyone
            shutil.rmtree(final / _RESUMED)


def _measured(folder: Path, seconds: float) -> dict:
    """What a manifest says beside the run's identity: what was written, what it took, and where it ran."""
    return {
        "files": sorted({path.name for path in folder.iterdir()} - {RESUME}),
        "seconds": round(seconds, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "hardware": {"machine": _machine(), "cores": os.cpu_count(), "gpu": _gpu_name()},
        "versions": {"python": platform.python_version()} | {n: importlib.metadata.version(n) for n in _LIBRARIES},
    }


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
    if manifest := _read_mark(folder / _MANIFEST):
        return {_IDENTITY, _MANIFEST, RESUME, _RESUMED, *manifest.get("files", [])}
    if _read_mark(folder / _IDENTITY):
        return {path.name for path in folder.iterdir()}
    return {_unfinished(folder / _IDENTITY).name}


def _read_mark(path: Path) -> dict | None:
    """An identity or a manifest that a run wrote; None if there is none, or another program's file of that name."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) and {"notebook", "parameters", "source"} <= found.keys() else None


@contextmanager
def _locked(final: Path) -> Iterator[None]:
    """Keep other processes out of a run folder while it is written; a kill releases the lock."""
    path = Path(f"{final}.running")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if file.tell():
            raise FileExistsError(f"{path} is not empty, so no run wrote it: name another folder as out")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, no worker that is forked holds it too
            if not _is_at(path, file):
                raise BlockingIOError("the process that held the lock removed its file after it was opened here")
        except (BlockingIOError, PermissionError) as error:  # which of the two depends on the system
            raise BlockingIOError(f"another process is writing {final}: wait for it, or name another out") from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _is_at(path: Path, file: IO) -> bool:
    """Whether an open file is still the one at a path; another process may lock a new file there otherwise."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _recover(final: Path, partial: Path, replaced: Path) -> None:
    """Finish what a kill at the very end of a run left: a whole run gets its name, an older one goes or comes back."""
    if (partial / _MANIFEST).is_file():
        _take_the_name(final, partial, replaced)
    elif replaced.exists() and not final.exists():
        replaced.rename(final)
    _remove(replaced)


def _open_partial(final: Path, partial: Path, identity: dict) -> None:
    """Make the partial folder of a run, or go on with the one that an earlier run with this identity left."""
    if not _is_of(partial, identity):
        _remove(partial)
        partial.mkdir()
        _write_whole(partial / _IDENTITY, identity)
    _unfinished(partial / _MANIFEST).unlink(missing_ok=True)
    if _is_of(final, identity) and (final / RESUME).exists():
        (final / RESUME).rename(partial / RESUME)  # the kill came after the run had its name


def _is_of(folder: Path, identity: dict) -> bool:
    return _read_mark(folder / _IDENTITY) == json.loads(json.dumps(identity))  # as a file has it: tuples are lists


def _take_the_name(final: Path, partial: Path, replaced: Path) -> None:
    if final.exists():
        _remove(replaced)
        final.rename(replaced)
    partial.rename(final)
    _remove(replaced)


def _remove(folder: Path) -> None:
    """Delete a run folder, its marks last: after a kill in the middle the rest is still known as a run's."""
    for path in sorted(folder.glob("*"), key=lambda path: path.name in (_IDENTITY, _MANIFEST)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if folder.exists():
        folder.rmdir()


def _write_whole(path: Path, content: dict) -> None:
    """Write a small file so that it is there whole or not at all."""
    with _unfinished(path).open("w") as file:
        json.dump(content, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    _unfinished(path).rename(path)


def _unfinished(path: Path) -> Path:
    return path.with_suffix(".unfinished")


def _threads() -> int:
    """The threads that PyTorch computes with, on which the last bits of its sums depend."""
    import torch

    return torch.get_num_threads()


def _machine() -> str:
    """The processor and the widest instructions that torch uses, on which the rounding of sums depends."""
    import torch

    described = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.*)$", described.read_text() if described.is_file() else "", re.MULTILINE)
    parts = (platform.machine(), named[1] if named else "", torch.backends.cpu.get_cpu_capability())
    return ", ".join(filter(None, parts))


def _gpu_name() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def finished(folder: str | Path) -> list[Path]:
    """The folders of all finished runs below a folder, sorted.

    Left out are the copies that `run_folder` keeps while it works, and folders with another program's manifest. A
    folder that does not exist has no runs.
    """
    found = sorted(path.parent for path in Path(folder).rglob(_MANIFEST) if _read_mark(path))
    return [run for run in found if run.suffix not in (_PARTIAL, _REPLACED)]


def read_manifest(run: str | Path, notebook: str | None = None) -> dict:
    """The manifest of a whole run.

    Raises:
        FileNotFoundError: there is no such run, or it was never finished.
        ValueError: the run was made by another notebook than `notebook`.
    """
    path = Path(run) / _MANIFEST
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
    if _read_mark(folder / _MANIFEST):
        manifest = read_manifest(folder, "train")
        check_base(folder, base_fingerprint)
        asked = manifest["parameters"]
        setting = asked.get("label") or asked["setting"]
        return {"model": folder.name, "base": base, "setting": setting, "seed": asked["seed"]}
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
