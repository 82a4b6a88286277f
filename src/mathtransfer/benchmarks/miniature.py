"""What the task files of the miniature suite call: their data, and how a completion is scored."""

from __future__ import annotations

from datasets import Dataset, DatasetDict

from mathtransfer.miniature.families import distinct_problems


def dataset(family: str, split: str = "evaluation", n: int = 200, seed: int = 0, **_) -> DatasetDict:
    """`n` different problems of a family. lm-evaluation-harness passes its own metadata too, which is not used here."""
    rows = [{"question": p.question, "answer": p.answer} for p in distinct_problems(family, split, n, seed)]
    return DatasetDict({"test": Dataset.from_list(rows)})


def extract(completion: str) -> str:
    """The words after the last `answer`; nothing if there is none."""
    return completion.rpartition("answer ")[2].strip() if "answer " in completion else ""


def correct(completion: str, answer: str) -> bool:
    """Whether a completion gives the answer, word for word."""
    return extract(completion) == answer
