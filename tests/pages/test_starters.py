"""Starter notebooks have every question, an empty cell for each solution, and nothing of the solutions."""

import nbformat
import pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mathtransfer.pages import starters

EXERCISES = sorted((ROOT / "notebooks" / "exercises").glob("*.ipynb"))


def test_a_solution_of_several_cells_becomes_one_empty_cell(tmp_path):
    solution = {"tags": ["solution"]}
    cells = [
        new_markdown_cell("one"),
        new_markdown_cell("words", metadata=solution),
        new_code_cell("1 + 1", metadata=solution),
        new_markdown_cell("two"),
        new_code_cell("2 + 2", metadata=solution),
        new_code_cell("given", metadata={"tags": ["hide-input"]}),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "whole.ipynb")
    starters.write(tmp_path / "whole.ipynb", tmp_path / "starter.ipynb")
    left = nbformat.read(tmp_path / "starter.ipynb", 4).cells
    assert [(cell.cell_type, cell.source) for cell in left] == [
        ("markdown", "one"),
        ("code", ""),
        ("markdown", "two"),
        ("code", ""),
        ("code", "given"),
    ]


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_a_starter_has_all_questions_and_no_solution(path, tmp_path):
    starters.write(path, tmp_path / "starter.ipynb")
    whole, starter = nbformat.read(path, 4), nbformat.read(tmp_path / "starter.ipynb", 4)
    nbformat.validate(starter)
    kept = [cell.source for cell in whole.cells if "solution" not in cell.metadata.get("tags", [])]
    assert [cell.source for cell in starter.cells if cell.source] == kept
    assert "assert " not in "".join(cell.source for cell in starter.cells if cell.cell_type == "code")
