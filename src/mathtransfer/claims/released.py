"""The released layer: what the authors' own generations and results say."""

from __future__ import annotations

import pandas as pd

from mathtransfer.benchmarks.grades import CORRECT
from mathtransfer.claims.intervals import Interval, quantile_interval, resample_questions
from mathtransfer.claims.ledger import Evidence, from_table
from mathtransfer.claims.token_drift import kl_ratio
from mathtransfer.paper import reported

_RL, _THINK, _ = reported.CONTROLLED_STUDY
_DRAWS = 2000


def paired_difference(graded: pd.DataFrame, reading: str) -> tuple[int, float, float, Interval]:
    """RL against SFT by one reading of the responses to the same problems.

    Args:
        graded: `model, question`, and a status in the column `reading`. Problems that one model has no row for are left
            out.

    Returns:
        The number of problems, the percentages that RL and SFT solved, and RL less SFT with a bootstrap over problems.
    """
    graded = graded.assign(hit=100.0 * (graded[reading] == CORRECT))
    hits = graded.pivot(index="model", columns="question", values="hit").dropna(axis=1)
    accuracy = hits.loc[[_RL, _THINK]].to_numpy()
    drawn = resample_questions([accuracy], _DRAWS, seed=0)[..., 0]
    rl, sft = accuracy.mean(1)
    return accuracy.shape[1], rl, sft, quantile_interval(rl - sft, drawn[:, 0] - drawn[:, 1])


def evidence() -> list[Evidence]:
    """T1 on the divergences in the authors' files: one prompt set, so one ratio, which leaves no interval."""
    kl = reported.table("kl_reported")
    kl = kl[kl["where"].str.startswith("released")].set_index("model")["kl"]
    return from_table("released KL on IFEval, think (SFT)", kl_ratio(kl[[_THINK]].to_numpy(), kl[[_RL]].to_numpy()))
