"""The exercises: enough for every chapter, each with its time and its needs, and a solution that stands alone."""

import ast
import builtins
import re

import nbformat
import pytest
import yaml
from conftest import ROOT

NOTEBOOKS = {
    path.stem: nbformat.read(path, 4)
    for path in sorted((ROOT / "notebooks" / "exercises").glob("*.ipynb"))
    if path.stem not in ("quiz", "instructors")
}
TIME = r"\*(?:(?:\d+|One|Two) (?:minutes|hours?)|Half a day) · [^*]*(?:paper and pencil|laptop|GPU)[^*]*\*"


def exercises(notebook) -> list[tuple[str, str, list]]:
    """Chapter, question, and the cells of its solution."""
    found, chapter = [], ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (heading := re.search(r"^## (.*)$", cell.source, flags=re.MULTILINE)):
            chapter = heading[1]
        if cell.cell_type == "markdown" and re.search(r"^### ", cell.source, flags=re.MULTILINE):
            found.append((chapter, cell.source, []))
        elif found:
            found[-1][2].append(cell)
    return found


ALL = [(name, *one) for name, notebook in NOTEBOOKS.items() for one in exercises(notebook)]


def test_every_chapter_has_three_and_leads_to_them():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    parts = [part for part in parts if part["caption"] != "Background"][:4]
    for entry in (entry for part in parts for entry in part["chapters"]):
        cells = nbformat.read(ROOT / f"{entry['file']}.ipynb", 4).cells
        title = re.match(r"# (.*)", cells[0].source)[1]
        own = {name for name, chapter, *_ in ALL if chapter == title}
        assert len([chapter for _, chapter, *_ in ALL if chapter == title]) >= 3, title
        (name,) = own  # all in one notebook, to which the chapter's last line leads
        assert re.fullmatch(
            rf"Exercises: \[.*\]\(\.\./exercises/{name}\.ipynb\), and the \[quiz\]\(.*\)\.", cells[-1].source
        )
    assert len(ALL) >= 42


@pytest.mark.parametrize(
    ("name", "chapter", "question", "solution"), ALL, ids=lambda value: str(value)[:40].strip("# \n")
)
def test_an_exercise_says_what_it_takes_asks_first_and_is_solved(name, chapter, question, solution):
    assert re.search(rf"^### .*\n\n{TIME}$", question, flags=re.MULTILINE), question[:80]
    assert solution and all("solution" in cell.metadata.get("tags", []) for cell in solution)
    for cell in solution:
        if cell.cell_type == "code":
            assert "hide-cell" in cell.metadata["tags"] and cell.metadata["mystnb"]["code_prompt_show"]
        else:
            assert cell.source.startswith('<details class="solution"><summary>Solution</summary>\n\n')
            assert cell.source.endswith("\n\n</details>")
            assert not re.search(r"\d\.\d+ ?(%|percent|points)", cell.source), "a result is computed"
    code = "\n".join(cell.source for cell in solution if cell.cell_type == "code")
    assert not code or re.search(r"^\s*assert ", code, flags=re.MULTILINE), "checked in an independent way"


def test_most_exercises_ask_for_a_prediction_and_some_for_paper_alone():
    asked = [question for _, _, question, _ in ALL]
    assert sum("**Predict" in question for question in asked) > 0.85 * len(asked)
    assert sum("paper and pencil" in question for question in asked) >= 10
    assert sum("Half a day" in question for question in asked) >= 3


def defined(tree: ast.AST) -> set[str]:
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.arg):
            names.add(node.arg)
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return names


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_solution_needs_nothing_of_another_one(name):
    """Only what the notebook gives everyone, so that each can be read and run by itself."""
    given = {*dir(builtins), "display"}
    code = [cell for cell in NOTEBOOKS[name].cells if cell.cell_type == "code"][1:]  # the first one installs
    for cell in code:
        if "solution" not in cell.metadata.get("tags", []):
            given |= defined(ast.parse(cell.source))
    for *_, question, solution in (one for one in ALL if one[0] == name):
        own = ast.parse("\n".join(cell.source for cell in solution if cell.cell_type == "code"))
        used = {node.id for node in ast.walk(own) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        assert not used - given - defined(own), question[:60]
