"""Mathematics: MATH-500, AIME and OlympiadBench, whose answers are compared by value."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from mathtransfer.benchmarks.grades import CORRECT, NO_ANSWER, WRONG, Benchmark, Grade, all_or_nothing
from mathtransfer.models.thinking import split_thinking


def olympiad_row(row: dict) -> dict:
    """A row of OlympiadBench with its one final answer."""
    return {"question": row["question"], "answer": row["final_answer"][0]}


def _last_boxed(text: str) -> str | None:
    """What stands in the last complete \\boxed{...} or \\fbox{...}, or None."""
    for start in reversed([match.end() for match in re.finditer(r"\\f?box(?:ed)?\s*\{", text)]):
        depth = 1
        for end in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                return text[start:end]
    return None


def _grade_math(response: str, gold: str, thinks: bool, reading: str) -> Grade:
    """One response to a mathematics problem; the gold answer is LaTeX.

    Strict wants the answer in the last box; lenient takes the last one anywhere, from the thinking if nothing follows.
    """
    if reading == "harness":
        return _harness_math(response, gold, _same_text)
    answer = split_thinking(response, thinks)[1]
    if reading == "lenient" and not answer.strip():
        answer = response
    boxed = _last_boxed(answer)
    if boxed is None and reading == "strict":
        return all_or_nothing(NO_ANSWER)
    text = answer if boxed is None else f"\\boxed{{{boxed}}}"
    return all_or_nothing(_verify(text, gold), boxed)


def _grade_olympiad(response: str, gold: str, thinks: bool, reading: str) -> Grade:
    """One response to a problem of OlympiadBench, whose gold answers stand between dollars and may be lists."""
    if reading == "harness":
        return _harness_math(response, gold, _same_olympiad_text)
    return _grade_math(response, gold.replace("$", ""), thinks, reading)


def _verify(text: str, gold: str) -> str:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    found = parse(text, [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()], parsing_timeout=None)
    if not found:
        return NO_ANSWER
    return CORRECT if verify(_parsed_gold(gold), found, timeout_seconds=None) else WRONG


@cache
def _parsed_gold(gold: str) -> list:
    from math_verify import parse

    return parse(f"\\boxed{{{gold}}}", parsing_timeout=None)


def _harness_math(response: str, gold: str, same: Callable[[str, str], bool]) -> Grade:
    """As evalchemy's MATH500: the last \\boxed of the whole output, compared as normalised text."""
    from lm_eval.tasks.hendrycks_math.utils import last_boxed_only_string, remove_boxed

    try:
        answer = remove_boxed(last_boxed_only_string(response))
    except (AssertionError, TypeError):  # what evalchemy catches: nothing boxed, or boxed without braces
        return all_or_nothing(NO_ANSWER)
    return all_or_nothing(CORRECT if same(gold, answer) else WRONG, answer)


def _same_text(gold: str, answer: str) -> bool:
    from lm_eval.tasks.hendrycks_math.utils import is_equiv

    return is_equiv(gold, answer)


def _same_olympiad_text(gold: str, answer: str) -> bool:
    """The authors' task drops leading zeros and a fraction of zeros first."""
    return _same_text(*(re.sub(r"^([^.]*)\.0*$", r"\1", text.lstrip("0")) for text in (gold, answer)))


_EXAMPLE = ("\\boxed{0.5}", "\\frac{1}{2}")  # builds the parser's tables
BENCHMARKS = {
    "math500": Benchmark(_grade_math, example=_EXAMPLE),
    "aime24": Benchmark(_grade_math, example=_EXAMPLE),
    "aime25": Benchmark(_grade_math, example=_EXAMPLE),
    "olympiadbench": Benchmark(_grade_olympiad, example=_EXAMPLE),
}
