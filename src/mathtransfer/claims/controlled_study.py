"""S1 to S9, RL against SFT on the same problems: statistics, and what Tables 9 to 11 say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from mathtransfer.claims import recomputed
from mathtransfer.claims.intervals import Array, Estimate, largest, least, normal_interval, t_interval
from mathtransfer.claims.ledger import Evidence, from_table
from mathtransfer.paper import reported

RL_14B, *SFT_14B = reported.CONTROLLED_STUDY
_ByGroup = dict[str, Array]


# --- statistics


@dataclass(frozen=True)
class Tuned:
    """A tuned model beside its base, by group: one model, or as many as there are seeds or resamples."""

    gains: _ByGroup  # model less base, percentage points, (..., benchmarks)
    base: _ByGroup  # the base's scores, percent, (..., benchmarks)
    spreads: _ByGroup  # sigma of Section 2.1, percentage points, (...)

    def parts(self, group: str) -> Array:
        """What each benchmark adds to the domain index, times their number, `(..., benchmarks)`: DI is their mean."""
        headroom = 100.0 - self.base[group]
        delta = self.gains[group] / np.asarray(self.spreads[group])[..., None]
        return headroom.shape[-1] * headroom * np.sign(delta) * np.abs(delta) ** 0.5 / headroom.sum(-1, keepdims=True)


def rl_study(rl: Tuned) -> dict[str, Array]:
    """S3 and S4 for RL alone, by benchmark, `(..., benchmarks)`; the statistic is the mean over benchmarks.

    The sign of an index of transferability is that of its two domain indices, which have a value without a gain on
    mathematics too.
    """
    return {
        "rl_gain_non": rl.gains["non"],
        "rl_di_math": rl.parts("math"),
        "rl_di_other": rl.parts("other"),
        "rl_di_non": rl.parts("non"),
    }


def sft_study(rl: Tuned, sft: Tuned) -> dict[str, Array]:
    """S1 to S4 for SFT, alone or beside RL, as in `rl_study`."""
    return {
        "rl_less_sft_math": rl.gains["math"] - sft.gains["math"],
        "rl_less_sft_other": rl.gains["other"] - sft.gains["other"],
        "rl_less_sft_non": rl.gains["non"] - sft.gains["non"],
        "sft_gain_non": sft.gains["non"],
        "sft_di_math": sft.parts("math"),
        "sft_di_non": sft.parts("non"),
    }


def nearly_all(gains: list[Estimate]) -> dict[str, Estimate]:
    """S5: RL's gain on each non-reasoning benchmark; nearly all is read as all but one."""
    return {"rl_second_least_gain_non": partial(least, gains, rank=1)}


def balance(leads: list[Estimate]) -> dict[str, Estimate]:
    """S6: RL minus each other model, the mean gain over all benchmarks, percentage points: the smallest lead counts."""
    return {"rl_balance_lead_least": partial(least, leads)}


def every_base(other: list[Estimate], non: list[Estimate]) -> dict[str, Estimate]:
    """S7: RL minus SFT in either group on each of several bases, percentage points: the smallest counts."""
    return {
        "rl_less_sft_other_every_base": partial(least, other),
        "rl_less_sft_non_every_base": partial(least, non),
    }


def further(contrast: Estimate) -> dict[str, Estimate]:
    """S8: RL minus SFT on benchmarks that have nothing in common with what was trained, percentage points."""
    return {"rl_less_sft_far": contrast}


def unevenness(gains: list[Estimate]) -> dict[str, Estimate]:
    """S9: uneven progress is read as a loss on some benchmark of other reasoning and a gain on another."""
    return {
        "sft_least_gain_other": partial(least, gains),
        "sft_largest_gain_other": partial(largest, gains),
    }


# --- the paper's tables


def published() -> list[Evidence]:
    """S1 to S6 and S9 from Tables 9 to 11."""
    return [*from_gains(reported.gains(), "Tables 9 to 11"), *_by_benchmark(), *_against_sft()]


def from_gains(gains: pd.DataFrame, where: str) -> list[Evidence]:
    """S1 to S4 on Section 2.2's models: Student's t over a group's four benchmarks.

    Statistics of SFT occur once for each of the two SFT models.

    Args:
        gains: all twelve of the RL model and of one or both SFT models, see `reported.gains`. The spread of the index
            is always that of the paper's gains.
        where: what the gains are from.
    """
    measured = set(gains["model"])
    rl = _tuned(gains, RL_14B)
    found = _over_benchmarks(f"{where}, {kind(RL_14B)}", rl_study(rl))
    for model in SFT_14B:
        if model in measured:
            found += _over_benchmarks(f"{where}, {kind(model)}", sft_study(rl, _tuned(gains, model)))
    return found


def kind(model: str) -> str:
    """One of Section 2.2's models in short: `(RL)`, `think (SFT)`, `no-think (SFT)`."""
    return model.removeprefix("UniReason-Qwen3-14B").strip(" -")


def _tuned(gains: pd.DataFrame, model: str) -> Tuned:
    own = {group: part for group, part in gains[gains["model"] == model].groupby("group")}
    return Tuned(
        gains={group: part["gain"].to_numpy() for group, part in own.items()},
        base={group: part["base_score"].to_numpy() for group, part in own.items()},
        spreads={group: sigma.item() for group, sigma in recomputed.pooled_spreads().items()},
    )


def _over_benchmarks(where: str, found: dict[str, Array]) -> list[Evidence]:
    return from_table(where, {name: partial(t_interval, values) for name, values in found.items()})


def _by_benchmark() -> list[Evidence]:
    """S5 and S9: gains on single benchmarks, which only the items leave uncertain."""
    found = from_table("Table 11", nearly_all(_item_gains(RL_14B, "non")))
    for model in SFT_14B:
        found += from_table(f"Table 10, {kind(model)}", unevenness(_item_gains(model, "other")))
    return found


def _item_gains(model: str, group: str) -> list[Estimate]:
    scores = reported.scores().query("group == @group").set_index(["model", "benchmark"])
    own, base = scores.loc[model], scores.loc[reported.bases()[model]]
    stderr = np.hypot(own["stderr"], base["stderr"])
    gain = own["value"] - base["value"]
    return [partial(normal_interval, value, error) for value, error in zip(gain, stderr, strict=True)]


def _against_sft() -> list[Evidence]:
    """S6: against the two SFT models of Table 1."""
    gains = reported.gains().pivot(index=["group", "benchmark"], columns="model", values="gain")
    leads = [partial(t_interval, (gains[RL_14B] - gains[model]).to_numpy()) for model in SFT_14B]
    return from_table("Table 1's models", balance(leads))
