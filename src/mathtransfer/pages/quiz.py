"""Questions with answers to choose from: each answer unfolds and says whether it is right, and why.

Plain HTML: it needs neither a script nor a network, and the browser itself opens answers by keyboard.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from mathtransfer.pages.templating import fill

_FOLDER = Path(__file__).parent / "quizzes"


def quiz_html(part: str, chapters: Mapping[str, str], computed: Mapping[str, str | int]) -> str:
    """The questions of a part of the book, chapter by chapter.

    Args:
        part: the name of a file of `quizzes/`: chapter -> questions, each with `question`, `options` (answer and
            reason), and `right`, the number of the right one from 1. `{name}` stands for what was computed.
        chapters: chapter -> its title.
        computed: what the placeholders stand for.

    Raises:
        ValueError: a question's right answer is none of its options.
        KeyError: a placeholder's value was not computed, or a chapter has no title.
    """
    written = yaml.safe_load((_FOLDER / f"{part}.yaml").read_text())
    asked = [
        {"name": name, "title": chapters[name], "questions": [_filled(own, computed) for own in questions]}
        for name, questions in written.items()
    ]
    return fill("quiz.html", part=part, chapters=asked)


def _filled(question: dict, computed: Mapping[str, str | int]) -> dict:
    """A question with its placeholders filled; `options` as `(answer, reason, whether it is right)`."""
    text, right = (str(question[name]).format_map(computed) for name in ("question", "right"))
    options = [tuple(str(part).format_map(computed) for part in option) for option in question["options"]]
    if not 1 <= int(right) <= len(options):
        raise ValueError(f"the right answer to {text!r} is {right}, and there are {len(options)}")
    return {
        "question": text,
        "options": [(*option, number == int(right)) for number, option in enumerate(options, 1)],
    }
