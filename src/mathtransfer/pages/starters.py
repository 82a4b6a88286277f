"""Starter notebooks: the exercises with an empty cell where a solution was."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import nbformat
from nbformat import NotebookNode

_SOLUTION = "solution"  # the tag of a solution's cells


def write(source: str | Path, starter: str | Path) -> None:
    """Write the starter notebook of an exercise notebook."""
    nbformat.write(_without_solutions(nbformat.read(source, 4)), starter)


def _without_solutions(notebook: NotebookNode) -> NotebookNode:
    """A notebook in which one empty code cell stands for each solution, whose cells follow each other."""
    cells = []
    for is_solution, own in groupby(notebook.cells, lambda cell: _SOLUTION in cell.metadata.get("tags", [])):
        cells += [nbformat.v4.new_code_cell(id=f"answer-{len(cells):02}")] if is_solution else own
    return nbformat.from_dict(notebook | {"cells": cells})
