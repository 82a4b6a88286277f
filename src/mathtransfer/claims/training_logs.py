"""A3, A5, A12 and A16 on the recorded study: what the logs of training say of response lengths and gradient norms."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd

from mathtransfer.claims import ablation
from mathtransfer.claims.by_base import ByBase
from mathtransfer.claims.intervals import Estimate, ratio, without_interval
from mathtransfer.claims.ledger import Evidence, from_table
from mathtransfer.study.record import Record

_RL, _ON_POLICY_SFT = "on-policy RL", "on-policy SFT"
_SFT = ["off-policy SFT, foreign style", "off-policy SFT, own style"]  # two as in Table 7
_ABOUT = ["base", "seed"]


def indicators(record: Record) -> pd.DataFrame:
    """What the log of every run says, but for runs with other values than the protocol's own: a row a run.

    The paper gives no formulas for Table 7, so these are ours. Early and late are the first and the last quarter of the
    updates.

    Returns:
        `kind, setting, base, seed`; `late_over_early_length`, the mean response length late over early; and Table 7's
        indicators of the gradient norm: `early_slope`, that of a straight line through the early norms, per update;
        `total_grad`, the sum; `late_avg` and `late_var`, mean and variance of the late norms; `decay_rate`, the late
        mean minus the early one, relative to this; `oscillation`, the mean size of a change between updates.
    """
    logs = _usual_logs(record).groupby(["kind", "setting", *_ABOUT])
    return pd.DataFrame({run: _of_log(log) for run, log in logs}).T.rename_axis(logs.keys).reset_index()


def over_updates(record: Record, measure: str, settings: list[str]) -> pd.DataFrame:
    """A column of the logs, update by update: `kind, setting, step, value, low, high`, median and range over runs.

    Runs are those of `indicators`; a setting that the record does not have is left out.
    """
    logs = _usual_logs(record)
    by_step = logs[logs["setting"].isin(settings)].groupby(["kind", "setting", "step"])[measure]
    return by_step.agg(value="median", low="min", high="max").reset_index()


def _usual_logs(record: Record) -> pd.DataFrame:
    usual = record.runs.loc[record.runs["changes"] == "", ["run", "kind", "setting", *_ABOUT]]
    return record.training.astype({"run": str}).merge(usual, on="run").sort_values("step")


def _of_log(log: pd.DataFrame) -> pd.Series:
    quarter = max(2, len(log) // 4)
    norm, length = log["gradient_norm"].to_numpy(), log["response_length"].to_numpy()
    early, late = norm[:quarter], norm[-quarter:]
    return pd.Series(
        {
            "late_over_early_length": length[-quarter:].mean() / length[:quarter].mean(),
            "early_slope": np.polyfit(np.arange(quarter), early, 1)[0],
            "total_grad": norm.sum(),
            "late_avg": late.mean(),
            "late_var": late.var(ddof=1),
            "decay_rate": late.mean() / early.mean() - 1,
            "oscillation": np.abs(np.diff(norm)).mean(),
        }
    )


def evidence(record: Record, kind: str) -> list[Evidence]:
    """A3, A5, A12 and A16 over the bases of a kind; RL and SFT are compared seed by seed.

    Of settings that the record does not have nothing is said.
    """
    table = indicators(record).query("kind == @kind").set_index(_ABOUT)
    there = {setting: own.drop(columns=["kind", "setting"]) for setting, own in table.groupby("setting")}
    if _RL not in there:
        return []
    lengths = [there[name]["late_over_early_length"] if name in there else None for name in (_RL, _ON_POLICY_SFT)]
    found = from_table("response lengths", ablation.lengthening(*(_ratio(own, kind) for own in lengths)))
    if not (pairs := {name: there[_RL].align(there[name], join="inner", axis=0) for name in _SFT if name in there}):
        return found
    for name, (rl, sft) in pairs.items():
        ratios = [_ratio(rl[of] / sft[of], kind) for of in ("total_grad", "late_var", "oscillation")]
        found += from_table(f"RL over {name}", ablation.gradient_norms(*ratios))
    steadier = pd.concat([ablation.steadier(rl, sft).mean(axis=1) for rl, sft in pairs.values()])
    share = _by_base(100 * steadier.groupby(_ABOUT).mean()).over_bases(kind)
    less = [_by_base(rl["late_avg"] - sft["late_avg"]).over_bases(kind) for rl, sft in pairs.values()]
    where = f"RL beside {' and '.join(pairs)}"
    return [*found, *from_table(where, ablation.steadiness(share)), *from_table(where, ablation.late_norms(less))]


def _by_base(quantity: pd.Series) -> ByBase:
    """A quantity of runs by base and seed; no questions are drawn."""
    return ByBase({base: own.to_numpy()[None] for base, own in quantity.groupby("base")})


def _ratio(quantity: pd.Series | None, kind: str) -> Estimate:
    """Its geometric mean over seeds and bases, or nothing if there are no runs."""
    if quantity is None:
        return partial(without_interval, math.nan)
    return partial(ratio, _by_base(np.log(quantity)).over_bases(kind))
