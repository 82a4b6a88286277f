"""Run folders are whole or not there; what cannot be compared is refused."""

import json
import re
import shutil

import pandas as pd
import pytest
from conftest import ROOT

from mathtransfer import runs
from mathtransfer.models import checkpoints

BASE = "a" * 16


def finish(path, notebook="train", base=BASE, **parameters):
    with runs.run_folder(str(path), notebook, parameters, base_fingerprint=base) as folder:
        pd.DataFrame({"x": [1]}).to_csv(folder / "table.csv", index=False)
    return path


def test_a_folder_appears_only_when_it_is_whole(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(RuntimeError), runs.run_folder(str(out), "train", {}) as folder:
        (folder / "half.csv").write_text("x")
        raise RuntimeError
    assert not out.exists()
    with pytest.raises(FileNotFoundError, match="no finished run"):
        runs.read_manifest(out)


def test_an_interrupted_run_finds_its_files_again_but_no_other_run_does(tmp_path):
    out = str(tmp_path / "run")

    def interrupted(seed):
        with pytest.raises(RuntimeError), runs.run_folder(out, "train", {"seed": seed}) as folder:
            (folder / runs.RESUME).mkdir()
            (folder / runs.RESUME / "step").write_text("x")
            raise RuntimeError

    interrupted(0)
    with runs.run_folder(out, "train", {"seed": 0}) as folder:
        assert (folder / runs.RESUME / "step").is_file()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["identity.json", "manifest.json"]
    interrupted(0)
    with runs.run_folder(out, "train", {"seed": 1}) as folder:
        assert not (folder / runs.RESUME).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


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
    finish(tmp_path / "run2", base="b" * 16)
    with pytest.raises(ValueError, match="different bases"):
        runs.read_tables(tmp_path, "*", "table.csv")


def test_tables_of_half_written_runs_are_not_read(tmp_path):
    finish(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b.partial")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "table.csv").write_text("x\n2\n")
    assert list(runs.read_tables(tmp_path, "*", "table.csv")["x"]) == [1]
    with pytest.raises(FileNotFoundError, match="run `make book` first"):
        runs.read_tables(tmp_path, "z*", "table.csv")


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
    assert not templates & set(runs.sources(chapters / "controlled_study.ipynb"))


@pytest.fixture
def copied_base(tmp_path):
    return shutil.copytree(checkpoints.resolve("miniature"), tmp_path / "model")


def test_model_folders_are_checked(copied_base):
    checkpoints.load_model(str(copied_base))
    (copied_base / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="has no weights"):
        checkpoints.load_model(str(copied_base))
    (copied_base / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        checkpoints.load_model(str(copied_base))
    with pytest.raises(FileNotFoundError, match="no model folder"):
        checkpoints.load_model(str(copied_base / "elsewhere"))


def test_fingerprint_is_of_the_weights(copied_base, monkeypatch):
    assert checkpoints.fingerprint(str(copied_base)) == checkpoints.fingerprint("miniature")
    weights = copied_base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert checkpoints.fingerprint(str(copied_base)) != checkpoints.fingerprint("miniature")
    monkeypatch.setattr(checkpoints.hub, "resolve_commit", lambda repo, revision: f"commit of {revision}")
    assert checkpoints.fingerprint("owner/name", "abc") == "owner/name@commit of abc"


def test_a_slash_at_the_end_of_a_folder_changes_nothing(tmp_path):
    """With the slash, the partial folder would lie inside the one that it replaces."""
    out = f"{tmp_path}/run/"
    for _ in range(2):
        with runs.run_folder(out, "x", {}) as folder:
            (folder / "table.csv").write_text("a\n")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["identity.json", "manifest.json", "table.csv"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
