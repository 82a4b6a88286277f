"""A3 and A5 in miniature: what the logs of training say of response lengths and gradient norms."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd

from mathtransfer.claims import ablation
from mathtransfer.claims.intervals import geometric_interval, without_interval
from mathtransfer.claims.ledger import Evidence, from_table
from mathtransfer.claims.miniature import SETTINGS

_SFT, _RL = SETTINGS


def _gradient_indicators(log: pd.DataFrame) -> pd.Series:
    """What Table 7 tells of one run's gradient norms; the paper gives no formulas, so these are ours.

    Args:
        log: one row a step, `gradient_norm`.

    Returns:
        `total_grad`, the sum over steps; `late_var`, the variance over the last quarter; `oscillation`, the mean
        absolute change from step to step.
    """
    norm = log["gradient_norm"]
    late = norm.iloc[-len(norm) // 4 :]
    return pd.Series({"total_grad": norm.sum(), "late_var": late.var(), "oscillation": norm.diff().abs().mean()})


def evidence(logs: pd.DataFrame, where: str) -> list[Evidence]:
    """A3 and A5 with intervals over training seeds, seed by seed.

    The two settings take different numbers of updates, so indicators are over the steps that both have.

    Args:
        logs: `setting, seed, step, gradient_norm, response_length` of every run.
        where: what the logs are from.
    """
    steps = int(logs.groupby("setting")["step"].max().min())
    both = logs[logs["step"] <= steps].sort_values("step").groupby(["setting", "seed"])
    indicators = both[["gradient_norm"]].apply(_gradient_indicators)
    ratios = indicators.loc[_RL] / indicators.loc[_SFT]
    lengths = logs[logs["setting"] == _RL].sort_values("step").groupby("seed")["response_length"]
    longer = lengths.agg(
        lambda column: column.iloc[-len(column) // 4 :].mean() / column.iloc[: len(column) // 4].mean()
    )
    over = {name: partial(geometric_interval, ratios[name]) for name in ratios}
    return from_table(
        where,
        ablation.lengthening(partial(geometric_interval, longer), partial(without_interval, math.nan))
        | ablation.gradient_norms(over["total_grad"], over["late_var"], over["oscillation"]),
    )
