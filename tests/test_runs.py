"""Run folders are whole or not there; what cannot be compared is refused."""

import itertools
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import ROOT

from mathtransfer import runs

BASE = "a" * 16
FORK = multiprocessing.get_context("fork")


def finish(path, notebook="train", base=BASE, **parameters):
    with runs.run_folder(str(path), notebook, parameters, base_fingerprint=base) as folder:
        pd.DataFrame({"x": [1]}).to_csv(folder / "table.csv", index=False)
    return path


def test_a_folder_appears_only_when_it_is_whole(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(RuntimeError), runs.run_folder(str(out), "train", {}) as folder:
        (folder / "half.csv").write_text("x")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="no finished run"):
        runs.read_manifest(out)


STEPS = 3


def work(out, seed, log):
    """A run of a few steps that goes on after the last one that it finished; `log` counts what was computed."""
    with runs.run_folder(str(out), "train", {"seed": seed}) as folder:
        (folder / runs.RESUME).mkdir(exist_ok=True)
        for step in range(STEPS):
            finished = folder / runs.RESUME / f"{seed}-{step}"
            if not finished.exists():
                with log.open("a") as file:
                    file.write(f"{seed}\n")
                finished.touch()
        (folder / "table.csv").write_text(f"seed\n{seed}\n")


def seed_of(run):
    """Which run a folder holds; None if none or not a whole one."""
    manifest = run / "manifest.json"
    return json.loads(manifest.read_text())["parameters"]["seed"] if manifest.exists() else None


def killed_at(count, out, log):
    """`work` in a process that kills itself with -9 before its `count`-th change to the file system; whether it did."""

    def counting(change):
        def counted(*args, **kwargs):
            if next(changes) == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*args, **kwargs)

        return counted

    changes = itertools.count(1)

    def run():
        for name in ("rename", "mkdir", "rmdir", "unlink", "fsync"):
            setattr(os, name, counting(getattr(os, name)))
        work(out, 1, log)

    process = FORK.Process(target=run)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.slow
@pytest.mark.parametrize("deleted_manifest", [False, True], ids=["", "Snakemake deletes the manifest"])
@pytest.mark.parametrize("left", ["nothing", "an older run", "another killed run"])
def test_a_run_that_is_killed_anywhere_is_finished_and_an_older_one_kept_until_then(tmp_path, left, deleted_manifest):
    for count in itertools.count(1):
        folder = tmp_path / str(count)
        out, log = folder / "run", folder / "log"
        folder.mkdir()
        if left == "an older run":
            work(out, 0, log)
        elif left == "another killed run":
            with pytest.raises(RuntimeError), runs.run_folder(str(out), "train", {"seed": 2}) as partial:
                (partial / runs.RESUME).mkdir()
                raise RuntimeError
        if not killed_at(count, out, log):
            break
        whole = seed_of(out)
        if left == "an older run":
            assert whole in (0, 1) or seed_of(Path(f"{out}.replaced")) == 0
        ended = whole == 1 and not (out / runs.RESUME).exists()
        if deleted_manifest:
            (out / "manifest.json").unlink(missing_ok=True)
        work(out, 1, log)
        assert (out / "table.csv").read_text() == "seed\n1\n"
        assert runs.read_manifest(out)["files"] == ["identity.json", "table.csv"]
        assert {path.name for path in out.iterdir()} == {"identity.json", "manifest.json", "table.csv"}
        assert {path.name for path in folder.iterdir()} == {"run", "log"}
        assert log.read_text().count("1") == (2 * STEPS if ended else STEPS)
    assert count > 10


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk):
    with pytest.raises(OSError, match="No space"), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_run_that_meets_a_full_disk_at_its_end_is_finished_when_there_is_space(small_disk, tmp_path, monkeypatch):
    out, log = small_disk / "run", tmp_path / "log"
    work(out, 0, log)
    before = (out / "manifest.json").read_text()
    write_whole = runs._write_whole

    def write_on_a_full_disk(path, content):
        if path.name == "manifest.json":
            fill(small_disk)
        write_whole(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(runs, "_write_whole", write_on_a_full_disk)
        with pytest.raises(OSError, match="No space"):
            work(out, 1, log)
    assert (out / "manifest.json").read_text() == before
    with pytest.raises(OSError, match="No space"):
        work(out, 1, log)  # still full
    (small_disk / "filler").unlink()
    work(out, 1, log)
    assert seed_of(out) == 1 and log.read_text().count("1") == STEPS
    assert [path.name for path in small_disk.iterdir()] == ["run"]


def test_a_full_disk_at_the_start_leaves_nothing_in_the_way(small_disk, tmp_path):
    fill(small_disk)
    with pytest.raises(OSError, match="No space"):
        work(small_disk / "run", 1, tmp_path / "log")
    (small_disk / "filler").unlink()
    work(small_disk / "run", 1, tmp_path / "log")
    assert [path.name for path in small_disk.iterdir()] == ["run"]


def test_a_second_process_waits_its_turn_and_a_kill_releases_the_folder(tmp_path):
    out, (pid, pids) = str(tmp_path / "run"), FORK.Pipe()

    def hold():
        with runs.run_folder(out, "train", {"seed": 1}) as folder:
            (folder / "table.csv").write_text("x\n")
            worker = FORK.Process(target=time.sleep, args=(600,))  # outlives the kill
            worker.start()
            pids.send(worker.pid)
            time.sleep(600)

    process = FORK.Process(target=hold)
    process.start()
    worker = pid.recv()
    try:
        with pytest.raises(BlockingIOError, match=r"another process is writing .*/run: wait for it"):
            work(out, 1, tmp_path / "log")
        assert (tmp_path / "run.partial" / "table.csv").read_text() == "x\n"
        process.kill()
        process.join()
        work(out, 1, tmp_path / "log")
    finally:
        os.kill(worker, signal.SIGKILL)
        process.kill()
    assert {path.name for path in tmp_path.iterdir()} == {"run", "log"}


def test_a_lock_whose_file_was_removed_is_none(tmp_path, monkeypatch):
    """Another run ends after this one has opened the file and before it locks it: a third would make a new file."""
    lockf = runs.fcntl.lockf

    def late(file, operation):
        (tmp_path / "run.running").unlink()
        lockf(file, operation)

    monkeypatch.setattr(runs.fcntl, "lockf", late)
    with pytest.raises(BlockingIOError, match=r"another process is writing .*/run: wait for it"):
        finish(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("mine", "mine holds thesis.tex, which no run wrote there"),
        ("mine/thesis.tex", "is a file: name a folder as out"),
        ("empty", "empty.partial is a file: name a folder as out"),
        (".", "is the folder that you are in, or holds it"),
        ("..", "is the folder that you are in, or holds it"),
        ("manifest", "manifest holds manifest.json, which no run wrote there"),  # of another program
        ("identity", "identity holds identity.json, which no run wrote there"),
        ("resume", "resume holds resume, which no run wrote there"),
        ("run", "run holds notes.txt, which no run wrote there"),
        ("taken", "taken.replaced holds notes.txt"),
        ("locked", "locked.running is not empty, so no run wrote it"),
    ],
)
def test_what_no_run_wrote_is_never_replaced(tmp_path, monkeypatch, out, message):
    files = ["mine/thesis.tex", "resume/resume/me.pdf", "here/deep/x", "taken.replaced/notes.txt"]
    files += ["manifest/manifest.json", "identity/identity.json", "empty.partial", "locked.running"]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text('{"files": ["x"]}')
    finish(tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    monkeypatch.chdir(tmp_path / "here" / "deep")
    before = snapshot(tmp_path)
    place = out if out.startswith(".") else str(tmp_path / out)
    with pytest.raises(FileExistsError, match=message), runs.run_folder(place, "train", {}):
        raise AssertionError("nothing may be computed")
    assert snapshot(tmp_path) == before


def test_an_empty_folder_and_a_run_are_replaced(tmp_path):
    (tmp_path / "run").mkdir()
    for seed in range(2):
        assert runs.read_manifest(finish(tmp_path / "run", seed=seed))["parameters"] == {"seed": seed}


def test_the_number_of_threads_is_recorded_and_another_one_begins_anew(tmp_path):
    """The last bits of PyTorch's sums depend on it."""
    log, before = tmp_path / "log", torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with pytest.raises(RuntimeError), runs.run_folder(str(tmp_path / "run"), "train", {"seed": 1}) as folder:
                (folder / runs.RESUME).mkdir()
                raise RuntimeError
        work(tmp_path / "run", 1, log)
    finally:
        torch.set_num_threads(before)
    assert runs.read_manifest(tmp_path / "run")["threads"] == 2


def test_the_manifest_says_what_was_run(tmp_path):
    manifest = runs.read_manifest(finish(tmp_path / "run", seed=3))
    assert manifest["notebook"] == "train" and manifest["parameters"] == {"seed": 3}
    assert re.fullmatch("[0-9a-f]{16}", manifest["source"])
    assert manifest["versions"]["torch"] and manifest["hardware"]["cores"]
    assert manifest["peak_memory_mb"] > 10 and manifest["seconds"] >= 0
    with pytest.raises(ValueError, match="made by the notebook 'train', expected 'evaluate'"):
        runs.read_manifest(tmp_path / "run", "evaluate")


def test_unknown_parameters_are_refused():
    cells = ["", "import x", "seed = 0\nout = 'x'  # a folder"]
    namespace = {"seed": 1, "out": "x", "In": [*cells, "# Parameters\nseed = 1\nsede = 2\n"]}
    with pytest.raises(ValueError, match="unknown parameter sede: this notebook takes seed, out"):
        runs.read_parameters(namespace)
    with pytest.raises(ValueError, match="run the parameters cell first"):
        runs.read_parameters({"seed": 1, "In": ["", "import x"]})
    # Run again by hand: what later cells set the first time is no parameter.
    again = {"seed": 1, "out": "x", "rows": [], "In": [*cells, "rows = []", "seed = 1\nout = 'x'"]}
    assert runs.read_parameters(again) == {"seed": 1, "out": "x"}


def test_a_run_of_another_base_is_refused(tmp_path):
    run = finish(tmp_path / "run", setting="on-policy RL", seed=4)
    with pytest.raises(ValueError, match="runs of different bases cannot be compared"):
        runs.check_base(run, "b" * 16)
    with pytest.raises(ValueError, match="different bases"):
        runs.provenance(str(run / "checkpoint"), "miniature", "b" * 16)
    found = runs.provenance(str(run / "checkpoint"), "miniature", BASE)
    assert found == {"model": "run", "base": "miniature", "setting": "on-policy RL", "seed": 4}
    (tmp_path / "manifest.json").write_text('{"name": "web app"}')
    assert runs.provenance(str(tmp_path / "model"), "miniature", BASE)["setting"] == "tuned"


def test_half_written_runs_are_not_finished(tmp_path):
    finish(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b.partial")
    shutil.copytree(tmp_path / "a", tmp_path / "a.replaced")
    for name in ("c", "d"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "table.csv").write_text("x\n2\n")
    (tmp_path / "d" / "manifest.json").write_text('{"name": "web app"}')
    assert runs.finished(tmp_path) == [tmp_path / "a"]
    assert runs.finished(tmp_path / "nowhere") == []


def test_tidy_tables_have_the_tidy_columns():
    row = dict.fromkeys(reversed(runs.TIDY), 1)
    assert list(runs.tidy([row]).columns) == runs.TIDY
    with pytest.raises(ValueError, match="a tidy table has the columns"):
        runs.tidy([{**row, "extra": 1}])


def test_sources_follow_imports(tmp_path):
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None}
    cell["source"] = "if True:\n    %pip install x\nfrom mathtransfer.drift import divergence"
    notebook = tmp_path / "n.ipynb"
    notebook.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    names = {path.name for path in runs.sources(notebook)}
    assert {"divergence.py", "readout.py", "__init__.py"} <= names  # divergence imports readout
    assert not {"objective.py", "token_strip.js"} & names


def test_templates_are_sources_of_what_fills_them():
    chapters = ROOT / "notebooks" / "chapters"
    templates = set((runs.PACKAGE / "pages" / "templates").glob("*.*"))
    assert templates and templates <= set(runs.sources(chapters / "token_drift.ipynb"))
    assert not templates & set(runs.sources(chapters / "price.ipynb"))


def test_a_slash_at_the_end_of_a_folder_changes_nothing(tmp_path):
    """With the slash, the partial folder would lie inside the one that it replaces."""
    out = f"{tmp_path}/run/"
    for _ in range(2):
        with runs.run_folder(out, "x", {}) as folder:
            (folder / "table.csv").write_text("a\n")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["identity.json", "manifest.json", "table.csv"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
