"""The miniature's families as benchmarks: their rows, and how a completion is graded, in training and after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mathtransfer.benchmarks.grades import CORRECT, NO_ANSWER, WRONG, Benchmark, Grade, all_or_nothing
from mathtransfer.miniature.families import distinct_problems

if TYPE_CHECKING:
    from datasets import DatasetDict


def dataset(family: str, split: str = "evaluation", n: int | None = 200, seed: int = 0, **_) -> DatasetDict:
    """`n` different problems of a family. lm-evaluation-harness passes its own metadata too, which is not used here.

    Raises:
        ValueError: the family or the split does not exist or has fewer problems, or `n` is None, which asks for all.
    """
    from datasets import Dataset, DatasetDict

    rows = [{"question": p.question, "answer": p.answer} for p in distinct_problems(family, split, n, seed)]
    return DatasetDict({"test": Dataset.from_list(rows)})


def _grade_miniature(response: str, gold: str, thinks: bool, reading: str) -> Grade:
    """The words after the last `answer`, compared word for word; all readings are the same."""
    found = response.rpartition("answer ")[2].strip() if "answer " in response else ""
    return all_or_nothing(CORRECT if found == gold else WRONG if found else NO_ANSWER, found)


BENCHMARKS = {"miniature": Benchmark(_grade_miniature, seconds=None)}
