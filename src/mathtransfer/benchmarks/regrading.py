"""The authors' released generations, graded again by all three readings."""

from __future__ import annotations

import pandas as pd

from mathtransfer.benchmarks import pool
from mathtransfer.benchmarks.grades import NOT_GRADED, READINGS
from mathtransfer.models.thinking import THINK_CLOSES
from mathtransfer.paper.endings import describe


def regrade(responses: pd.DataFrame) -> pd.DataFrame:
    """Every response by every reading, and how it ends.

    Args:
        responses: `model, benchmark, question, response, gold`, see `released.responses`.

    Returns:
        One row a response: `model, benchmark, question`, the columns of `describe`, `asked` (instructions; 1 for all
        but IFEval), and for each reading its status and `<reading>_followed`, see `Grade`. `asked` and what the
        readings say are missing for responses without a gold answer.
    """
    thinks = responses.groupby(["model", "benchmark"])["response"].transform(_thinks)
    columns = [responses["response"], thinks, responses["benchmark"]]
    described = [describe(*row) for row in zip(*columns, strict=True)]
    graded = pool.grade(responses.assign(thinks=thinks)[responses["gold"].notna()], READINGS)
    for reading in READINGS:
        print(f"{reading}: {len(graded)} responses graded, {sum(graded[reading] == NOT_GRADED)} not", flush=True)
    table = responses[["model", "benchmark", "question"]].join(pd.DataFrame(described, index=responses.index))
    table = table.join(graded.drop(columns=[f"{reading}_extracted" for reading in READINGS]))
    return table.astype({"asked": "Int64"})


def _thinks(responses: pd.Series) -> pd.Series:
    """Which of one model's responses begin in thought.

    The prompt shows an empty think block, so no opening tag says it. A response does if it closes a block, or begins
    with the same word as most of those that close one ("Okay,"): on CoQA some of SFT's think and some do not.
    """
    closes = responses.str.contains(THINK_CLOSES, regex=False)
    first = responses.str.split(n=1).str[0]
    return closes | first.isin(first[closes].mode())
