"""The quiz: every question has a right answer and reasons, and answers open by keyboard without a network."""

import nbformat
import pytest
import yaml
from conftest import ROOT

from mathtransfer.pages import quiz

FILES = sorted((ROOT / "src" / "mathtransfer" / "pages" / "quizzes").glob("*.yaml"))
ONE = {
    "one": [
        {"question": "Is {n} < 3?", "options": [["yes & no", "It is {n}."], ["no", "<b>"]], "right": "{right}"},
        {"question": "And?", "options": [["a", "b"], ["c", "d"]], "right": 1},
    ]
}


@pytest.fixture
def part(tmp_path, monkeypatch):
    monkeypatch.setattr(quiz, "_FOLDER", tmp_path)
    (tmp_path / "part.yaml").write_text(yaml.safe_dump(ONE))
    return "part"


def test_answers_open_by_keyboard_one_at_a_time(part, show):
    page = show(quiz.quiz_html(part, {"one": "Title"}, {"n": 2, "right": 2}))
    answers, opened = page.locator("details"), page.locator("details[open]")
    assert answers.count() == 4 and opened.count() == 0 and page.locator("h3").inner_text() == "Title"
    answers.nth(0).locator("summary").focus()
    page.keyboard.press("Enter")
    assert opened.inner_text().split("\n\n") == ["yes & no", "No. It is 2."]
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert opened.count() == 1 and opened.locator("p").inner_text() == "Right. <b>"
    answers.nth(2).locator("summary").click()
    assert opened.count() == 2  # another question leaves it open


def test_an_answer_that_is_none_of_the_options_is_refused(part):
    with pytest.raises(ValueError, match=r"the right answer to 'Is 2 < 3\?' is 3, and there are 2"):
        quiz.quiz_html(part, {"one": "Title"}, {"n": 2, "right": 3})
    with pytest.raises(KeyError, match="right"):
        quiz.quiz_html(part, {"one": "Title"}, {"n": 2})


def test_every_chapter_of_the_first_parts_has_its_questions():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"][:5]
    asked = [yaml.safe_load(path.read_text()) for path in FILES]
    for part_of_book in parts:
        chapters = [entry["file"].rpartition("/")[2] for entry in part_of_book["chapters"]]
        (own,) = [found for found in asked if set(found) == set(chapters)]
        assert list(own) == chapters and all(len(questions) >= 3 for questions in own.values())
        for question in (question for questions in own.values() for question in questions):
            assert len(question["options"]) > 1 and all(len(option) == 2 for option in question["options"])
    shown = "".join(cell.source for cell in nbformat.read(ROOT / "notebooks/exercises/quiz.ipynb", 4).cells)
    assert all(f'"{path.stem}"' in shown for path in FILES)
