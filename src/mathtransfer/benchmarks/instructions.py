"""IFEval: instructions that a program can check, by lm-evaluation-harness's own checkers."""

from __future__ import annotations

import random
import re
from pathlib import Path

from mathtransfer.benchmarks.grades import CORRECT, NO_ANSWER, WRONG, Benchmark, Grade
from mathtransfer.models.thinking import split_thinking


def offline_checkers():
    """lm-evaluation-harness's IFEval checkers, imported so that nothing is downloaded.

    They ask NLTK for its sentence splitter. If its trained parameters (`punkt_tab`) are not installed, ours stand in:
    the same algorithm with a short list of English abbreviations.
    """
    import langdetect
    import nltk

    ours = str(Path(__file__).parent / "nltk_data")
    if ours not in nltk.data.path:
        nltk.data.path.append(ours)
    langdetect.DetectorFactory.seed = 0
    from lm_eval.tasks.ifeval import utils

    return utils


def _grade_ifeval(response: str, gold: dict, thinks: bool, reading: str) -> Grade:
    """One response to an IFEval prompt: correct if all instructions are followed.

    Strict and lenient are the checkers' own strict and loose versions, with thinking left out; the harness reading is
    the strict one on the whole output. The checkers draw an argument at random if a record's own is missing or not what
    they expect (one asks how often the letter "#" stands in the text), so the draw is seeded by the record's key.
    """
    checkers = offline_checkers()
    random.seed(gold["key"])
    text = response if reading == "harness" else split_thinking(response, thinks)[1]
    loose, strict = checkers.test_instruction_following_loose, checkers.test_instruction_following_strict
    check = loose if reading == "lenient" else strict
    given = checkers.InputExample(gold["key"], gold["instruction_id_list"], gold["prompt"], gold["kwargs"])
    followed = check(given, text).follow_instruction_list
    status = NO_ANSWER if not re.search(r"\w", text) else CORRECT if all(followed) else WRONG
    return Grade(status, sum(followed))


_EXAMPLE = ("", {"key": 0, "prompt": "", "instruction_id_list": [], "kwargs": []})  # imports the checkers
BENCHMARKS = {"ifeval": Benchmark(_grade_ifeval, example=_EXAMPLE)}
