"""The book's extension shows the executed copy that the Snakefile names, and says if there is none or it is stale."""

import importlib.util
import json
from types import SimpleNamespace

import pytest
from conftest import ROOT

PAGE = "notebooks/runs/train"


@pytest.fixture
def extension(monkeypatch):
    spec = importlib.util.spec_from_file_location("executed", ROOT / "book" / "_ext" / "executed.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.warnings = []
    monkeypatch.setattr(module.LOGGER, "warning", lambda text, *values: module.warnings.append(text % values))
    return module


def written(path, source: str, output: str = "") -> str:
    cell = {"cell_type": "code", "metadata": {}, "source": source, "outputs": [output]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": [cell]}))
    return path.read_text()


@pytest.mark.parametrize(
    ("source", "named", "warning"),
    [
        ("1 + 1", {PAGE: "a--1.ipynb"}, ""),
        ("1 + 2", {PAGE: "a--1.ipynb"}, f"the executed copy of {PAGE} is stale"),
        ("1 + 1", {}, f"no executed copy of {PAGE}: expected a rule of the Snakefile"),
    ],
)
def test_a_page_shows_the_copy_that_is_named(extension, tmp_path, monkeypatch, source, named, warning):
    """And not a later one, which a run of another name has left beside it."""
    content = [written(tmp_path / f"{PAGE}.ipynb", source)]
    for run in (1, 2):
        written(tmp_path / f"a--{run}.ipynb", "1 + 1", f"of run {run}")
    monkeypatch.setenv("BOOK_EXECUTED", json.dumps(named))
    environment = SimpleNamespace(note_dependency=lambda path: None)
    extension.show_executed_copy(SimpleNamespace(srcdir=tmp_path, env=environment), PAGE, content)
    assert ("of run 1" in content[0]) == (PAGE in named) and "of run 2" not in content[0]
    assert [said[: len(warning)] for said in extension.warnings] == ([warning] if warning else [])


def test_a_page_of_prose_is_left_alone(extension, tmp_path):
    content = ["# Prose"]
    extension.show_executed_copy(SimpleNamespace(srcdir=tmp_path), "book/run_it", content)
    assert content == ["# Prose"] and not extension.warnings
