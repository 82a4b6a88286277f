"""A1 to A16, what makes RL transfer: statistics, and what Tables 4 and 7 say."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from mathtransfer import GROUPS
from mathtransfer.claims.intervals import (
    Estimate,
    exact,
    largest,
    least,
    mean_ratio_interval,
    normal_interval,
)
from mathtransfer.claims.ledger import Evidence, from_table
from mathtransfer.claims.transfer import OUTSIDE
from mathtransfer.paper import reported

_BASE, _OFF_SFT, _ON_SFT = "Qwen3-8B-Base", "Off-policy SFT", "On-policy SFT"
_OFF_RL, _ON_RL, _ON_RL_KL = "Off-policy RL", "On-policy RL (no KL)", "On-policy RL"
# Table 7's indicators, with the side on which its caption finds a run steadier.
STEADIER = {
    "early_slope": "closer to zero",
    "total_grad": "lower",
    "late_avg": "higher",
    "late_var": "lower",
    "decay_rate": "closer to zero",
    "oscillation": "lower",
}

# --- statistics
# A change is what one choice does to a group's average: group -> estimate in percentage points.

Change = Mapping[str, Estimate]


def on_policy(change: Change) -> dict[str, Estimate]:
    """A1: the policy's own answers instead of the teacher's."""
    return {"on_less_off_policy_other": change["other"], "on_less_off_policy_non": change["non"]}


def credit(change: Change) -> dict[str, Estimate]:
    """A2: answers weighted by their advantage, the wrong ones negatively, instead of alike."""
    return {"credit_other": change["other"], "credit_non": change["non"]}


def lengthening(rl: Estimate, on_policy_sft: Estimate) -> dict[str, Estimate]:
    """A3: mean response length of the last quarter of training over that of the first."""
    return {"rl_late_over_early_length": rl, "on_policy_sft_late_over_early_length": on_policy_sft}


def kl_penalty(change: Change) -> dict[str, Estimate]:
    """A4: a KL penalty."""
    return {"kl_penalty_other": change["other"], "kl_penalty_non": change["non"]}


def gradient_norms(total: Estimate, late_variance: Estimate, oscillation: Estimate) -> dict[str, Estimate]:
    """A5: RL's indicators of the gradient norm over SFT's."""
    return {
        "rl_over_sft_total_grad": total,
        "rl_over_sft_late_var": late_variance,
        "rl_over_sft_oscillation": oscillation,
    }


def mechanism(change: Change) -> dict[str, Estimate]:
    """A6: SFT on the policy's own answers instead of RL on the teacher's."""
    return {"on_sft_less_off_rl_other": change["other"], "on_sft_less_off_rl_non": change["non"]}


def objective(off_policy: Change, on_policy: Change) -> dict[str, Estimate]:
    """A10: RL instead of SFT, with the sampling held fixed."""
    return {
        "off_rl_less_sft_other": off_policy["other"],
        "off_rl_less_sft_non": off_policy["non"],
        "on_rl_less_sft_math": on_policy["math"],
        "on_rl_less_sft_other": on_policy["other"],
        "on_rl_less_sft_non": on_policy["non"],
    }


def levers(*leads: Change) -> dict[str, Estimate]:
    """A11: the effect of the sampling minus that of each other lever; the smallest lead counts."""
    return {
        "sampling_lead_other": partial(least, [lead["other"] for lead in leads]),
        "sampling_lead_non": partial(least, [lead["non"] for lead in leads]),
    }


def steadiness(share: Estimate) -> dict[str, Estimate]:
    """A12: in how many comparisons of Table 7's indicators RL is the steadier one, percent; see `steadier`."""
    return {"rl_steadier_indicators": share}


def steadier(rl: pd.DataFrame | pd.Series, sft: pd.DataFrame) -> pd.DataFrame:
    """Whether RL is the steadier one by each of Table 7's indicators: a column an indicator, a row a run of SFT.

    Args:
        rl: one run, or one for each of SFT's.
    """
    return pd.DataFrame({name: _is_steadier(rl[name], sft[name], side) for name, side in STEADIER.items()})


def _is_steadier(rl: float | pd.Series, sft: pd.Series, side: str) -> pd.Series:
    return {"closer to zero": abs(rl) < abs(sft), "lower": rl < sft, "higher": rl > sft}[side]


def positive_advantage(change: Change) -> dict[str, Estimate]:
    """A7: correct answers weighted by their advantage instead of alike, and no wrong ones."""
    return {"positive_advantage_other": change["other"], "positive_advantage_non": change["non"]}


def negatives(change: Change) -> dict[str, Estimate]:
    """A8: wrong answers too, which count against the policy."""
    return {"negatives_other": change["other"], "negatives_non": change["non"]}


def like_rl(change: Change) -> dict[str, Estimate]:
    """A13: on-policy SFT instead of on-policy RL."""
    return {"on_sft_less_on_rl_other": change["other"], "on_sft_less_on_rl_non": change["non"]}


def poor_transfer(gain: Change, behind: Change) -> dict[str, Estimate]:
    """A14: off-policy RL's gain over the base on non-reasoning, and how far it is behind on-policy RL elsewhere."""
    return {"off_rl_gain_non": gain["non"], "off_rl_less_on_rl_other": behind["other"]}


def late_norms(differences: list[Estimate]) -> dict[str, Estimate]:
    """A16: RL's late average of the gradient norm minus that of each SFT; the largest counts."""
    return {"rl_less_sft_late_norm": partial(largest, differences)}


# --- the paper's tables


def published() -> list[Evidence]:
    """A1, A2, A4, A6, A10, A11, A13 and A14 from Table 4; A5, A12 and A16 from Table 7."""
    return [*_table_4(), *_table_7()]


def gains() -> pd.DataFrame:
    """Table 4: gains over Qwen3-8B-Base by setting, percentage points, and the printed indices."""
    table = reported.table("ablation_reported").set_index("setting")
    return (_averages() - _averages().loc[_BASE]).drop(_BASE).join(table[["ti_other", "ti_non"]])


def _contrast(weights: Mapping[str, float]) -> dict[str, Estimate]:
    """A weighted sum of Table 4's settings in each group, such as one setting less another, percentage points.

    Its error is that of averages over four benchmarks, taking the average for the accuracy on each, by the items alone
    and as if each setting had seen its own: one training run a setting says nothing of the spread between runs.
    """
    averages = _averages().loc[list(weights)]
    weight = np.array(list(weights.values()))
    return {
        group: partial(
            normal_interval,
            float(weight @ averages[group]),
            float(np.sqrt((weight**2) @ averages[group].map(partial(_average_error, group)) ** 2)),
        )
        for group in GROUPS
    }


def differences() -> pd.DataFrame:
    """What one change of the objective does to a group average: `claim, change, group, value, low, high, ti`.

    `ti` is the printed indices' difference.
    """
    table = reported.table("ablation_reported").set_index("setting")
    rows = []
    for claim, change, one, other in _CHANGES:
        for group, estimate in _contrast({one: 1, other: -1}).items():
            ti = table.loc[one, f"ti_{group}"] - table.loc[other, f"ti_{group}"] if group in OUTSIDE else np.nan
            rows.append((claim, change, group, *estimate(), ti))
    return pd.DataFrame(rows, columns=["claim", "change", "group", "value", "low", "high", "ti"])


# Claim, what changes, the setting with it and the setting without it; the recorded study's changes have the same names.
_CHANGES = [
    ("A1", "SFT: on-policy minus off-policy", _ON_SFT, _OFF_SFT),
    ("A1", "RL: on-policy minus off-policy", _ON_RL, _OFF_RL),
    ("A2", "off-policy: RL minus SFT", _OFF_RL, _OFF_SFT),
    ("A2", "on-policy: RL minus SFT", _ON_RL, _ON_SFT),
    ("A4", "on-policy RL: with KL minus without", _ON_RL_KL, _ON_RL),
]


def _averages() -> pd.DataFrame:
    """Table 4's averages: a row a setting, a column a group, percent."""
    table = reported.table("ablation_reported").set_index("setting")
    return table[[f"{group}_avg" for group in GROUPS]].set_axis(GROUPS, axis=1)


def _average_error(group: str, average: float) -> float:
    items = reported.scores().drop_duplicates("benchmark").query("group == @group")["n"]
    errors = reported.standard_error(pd.Series(average, index=items.index), items, pd.Series(1, index=items.index))
    return float(np.sqrt((errors**2).sum()) / len(errors))


def _table_4() -> list[Evidence]:
    kinds = {"A1": on_policy, "A2": credit, "A4": kl_penalty}
    found = []
    for claim, change, one, other in _CHANGES:
        found += from_table(f"Table 4, {change}", kinds[claim](_contrast({one: 1, other: -1})))
    mechanism_change = _contrast({_ON_SFT: 1, _OFF_RL: -1})
    off, on = _contrast({_OFF_RL: 1, _OFF_SFT: -1}), _contrast({_ON_RL: 1, _ON_SFT: -1})
    # The sampling's mean effect for SFT and RL, less the KL penalty's; less the weight's mean effect, the same two
    # settings remain as for the mechanism.
    over_penalty = _contrast({_ON_SFT: 0.5, _OFF_SFT: -0.5, _ON_RL: 1.5, _OFF_RL: -0.5, _ON_RL_KL: -1})
    return [
        *found,
        *from_table("Table 4", mechanism(mechanism_change)),
        *from_table("Table 4", objective(off, on)),
        *from_table("Table 4", levers(mechanism_change, over_penalty)),
        *from_table("Table 4", like_rl(_contrast({_ON_SFT: 1, _ON_RL: -1}))),
        *from_table("Table 4", poor_transfer(_contrast({_OFF_RL: 1, _BASE: -1}), _contrast({_OFF_RL: 1, _ON_RL: -1}))),
    ]


def _table_7() -> list[Evidence]:
    norms = reported.table("gradient_norm_reported")
    rl, sft = norms[norms["method"] == "RL"].iloc[0], norms[norms["method"] == "SFT"]
    # One run against two: nothing tells how much another run of RL would differ, and the intervals have no ends.
    indicators = ("total_grad", "late_var", "oscillation")
    ratios = [partial(mean_ratio_interval, [rl[name]], sft[name]) for name in indicators]
    compared = steadier(rl, sft).to_numpy()
    lates = [partial(exact, rl["late_avg"] - late) for late in sft["late_avg"]]
    return [
        *from_table(f"Table 7, 1 RL run, {len(sft)} SFT runs", gradient_norms(*ratios)),
        *from_table(f"Table 7, {compared.size} comparisons", steadiness(partial(exact, 100 * compared.mean()))),
        *from_table("Table 7", late_norms(lates)),
    ]
