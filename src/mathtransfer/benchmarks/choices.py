"""Answers that are one of a few choices: GPQA, ACPBench, HEAD-QA, MC-TACO and HaluEval."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

from mathtransfer.benchmarks.grades import CORRECT, NO_ANSWER, WRONG, Benchmark, Grade, all_or_nothing
from mathtransfer.models.thinking import split_thinking

_BOX = r"\\f?box(?:ed)?\s*\{\s*(?:\\(?:text|textbf|mathrm|mathbf)\s*\{)?\s*\(?"
_BOXED_LETTER = re.compile(rf"{_BOX}([A-D])\b")
_FINAL_LETTER = re.compile(rf"(?:{_BOX}|(?i:answer)\W{{0,8}}(?i:is\W{{0,8}})?)([A-D])\b")
_YES_NO = re.compile(r"\b(?:yes|no)\b")


# --- rows


def gpqa_row(row: dict) -> dict:
    """A row of GPQA with its choices in evalchemy's order, which is the same for every question."""
    choices = [row["Correct Answer"], *(row[f"Incorrect Answer {i}"] for i in (1, 2, 3))]
    order = [0, 1, 2, 3]
    random.Random(42).shuffle(order)
    options = ", ".join(f"{letter}) {choices[i]}" for letter, i in zip("ABCD", order, strict=True))
    return {"Question": row["Question"], "options": options, "answer": "ABCD"[order.index(0)]}


def mc_taco_row(row: dict) -> dict:
    """A row of MC-TACO with its label as a number, as the hub has it: 0 for no, 1 for yes."""
    return row | {"label": {"no": 0, "yes": 1, 0: 0, 1: 1}[row["label"]]}


# --- grading


def _grade_gpqa(response: str, gold: str, thinks: bool, reading: str) -> Grade:
    """One response to GPQA, which asks for a letter in a box.

    Lenient takes the last letter in a box or after "answer", from the thinking if nothing follows. The harness reading
    is evalchemy's: the last capital A, B, C or D that stands alone, in the text made capital, so that the article "a"
    counts.
    """
    if reading == "harness":
        return _letter(re.findall(r"\b(A|B|C|D)\b", response.upper()), gold)
    answer = split_thinking(response, thinks)[1]
    if reading == "lenient":
        return _letter(_FINAL_LETTER.findall(answer if answer.strip() else response), gold)
    return _letter(_BOXED_LETTER.findall(answer), gold)


def _grade_acpbench(response: str, gold: str, thinks: bool, reading: str) -> Grade:
    """One response to ACPBench, whose two examples end in "**Final Answer**: D."; a letter in a box counts too.

    The harness reading is lm-evaluation-harness's: its pattern's last match, which is mostly the last capital A to D
    anywhere, case and punctuation aside. (If nothing matches, it looks for a choice's text; not done here.)
    """
    if reading == "harness":
        matches = [next(filter(None, match), "") for match in _acpbench_pattern().findall(response)]
        return _letter([re.sub(r"\W", "", match).upper() for match in matches], gold)
    answer = split_thinking(response, thinks)[1]
    return _letter(_FINAL_LETTER.findall(answer) or re.findall(r"^\W*([A-D])\W*$", answer), gold)


def _letter(letters: list[str], gold: str) -> Grade:
    if not letters or letters[-1] not in set("ABCD"):
        return all_or_nothing(NO_ANSWER)
    return all_or_nothing(CORRECT if letters[-1] == gold else WRONG, letters[-1])


@cache
def _acpbench_pattern() -> re.Pattern:
    """What lm-evaluation-harness looks for in an ACPBench response, from its own task file."""
    import lm_eval.tasks
    import yaml

    file = Path(lm_eval.tasks.__file__).parent / "acpbench/mcq_cot_2shot/_mcq_cot_2shot_yaml"
    return re.compile(yaml.safe_load(file.read_text())["filter_list"][0]["filter"][0]["regex_pattern"])


def _grade_halueval(response: str, gold: str, thinks: bool, reading: str) -> Grade:
    """One response to HaluEval, which asks for "Yes" or "No".

    Strict: the one of both words, in any case, that the first line of the answer has, or else the whole answer; no
    answer if both or neither stand there. The harness reading is the authors': the first line of the whole output,
    and "Yes" or "No" as written there, even inside another word.
    """
    if reading == "harness":
        line = response.strip().split("\n")[0]
        found = [word.lower() for word in ("Yes", "No") if word in line]
        return _word(found, gold)
    answer = split_thinking(response, thinks)[1].strip()
    first = set(_YES_NO.findall(answer.split("\n")[0].lower()))
    return _word(list(first if len(first) == 1 else set(_YES_NO.findall(answer.lower()))), gold)


def _word(found: list[str], gold: str) -> Grade:
    if len(found) != 1:
        return all_or_nothing(NO_ANSWER)
    return all_or_nothing(CORRECT if found[0] == gold else WRONG, found[0])


def _grade_likeliest(response: str, gold: str, thinks: bool, reading: str) -> Grade:
    """A choice that was taken by its likelihood, and not written: no format can fail."""
    return all_or_nothing(CORRECT if response == gold else WRONG, response)


BENCHMARKS = {
    "gpqa_diamond": Benchmark(_grade_gpqa),
    "acpbench_mcq": Benchmark(_grade_acpbench, example=("D", "D")),  # reads the harness's pattern
    "headqa": Benchmark(_grade_likeliest, seconds=None),
    "mc_taco": Benchmark(_grade_likeliest, seconds=None),
    "halueval": Benchmark(_grade_halueval),
}
