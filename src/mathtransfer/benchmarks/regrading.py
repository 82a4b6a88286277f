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
        One row a response: `model, benchmark, question`, the columns of `describe`, `asked` (instructions; 1 for
        mathematics), and for each reading its status and `<reading>_followed` (instructions; 1 for correct).
    """
    key = ["model", "benchmark"]
    thinks = responses.groupby(key)["response"].transform(lambda own: own.str.contains(THINK_CLOSES, regex=False).any())
    described = [describe(*pair) for pair in zip(responses["response"], thinks, strict=True)]
    graded = pool.grade(responses.assign(thinks=thinks), READINGS)
    for reading in READINGS:
        print(f"{reading}: {len(graded)} responses graded, {sum(graded[reading] == NOT_GRADED)} not", flush=True)
    table = responses[[*key, "question"]].join(pd.DataFrame(described, index=responses.index))
    return table.join(graded.drop(columns=[f"{reading}_extracted" for reading in READINGS]))
