"""What a grade says, the readings that may give different ones, and how a benchmark is graded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

# `strict` wants the answer where it was asked for, after thinking has ended. `harness` does what the paper's harness
# does (evalchemy or lm-evaluation-harness, as the benchmark's task file says). `lenient`, which only mathematics, GPQA,
# CoQA and IFEval know, takes the last answer anywhere.
READINGS = ("strict", "lenient", "harness")
CORRECT, WRONG, NO_ANSWER, NOT_GRADED = "correct", "wrong answer", "no answer in the expected format", "not graded"


class Grade(NamedTuple):
    """The grade of one response by one reading.

    `followed` says how much of what was asked was done: 1 for a correct answer, the number of instructions for IFEval,
    a share for CoQA. `extracted` is the answer that was found.
    """

    status: str
    followed: float = 0
    extracted: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """How the responses of a benchmark are graded.

    Attributes:
        grade: (response, gold answer, whether the model thinks before it answers, reading) -> grade.
        seconds: the time limit of one response; None if no text can hang or crash the grader, which then needs no
            process of its own.
        example: a response and a gold answer that are graded before all others. Whatever the grader imports is loaded
            then, outside the time limit of any response.
    """

    grade: Callable[[str, Any, bool, str], Grade]
    seconds: float | None = 5.0
    example: tuple[str, object] | None = None


def all_or_nothing(status: str, extracted: str | None = None) -> Grade:
    """The grade of a response that is either correct or not."""
    return Grade(status, int(status == CORRECT), extracted)
