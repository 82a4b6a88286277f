"""Every statistic of the ledger, each defined once, under the literal name that `claims.yaml` gives it.

A function takes what a claim is about, on whatever layer it was measured, and returns statistic -> value. If many
models are compared, the value is an interval. If not, it has one entry for each training seed, benchmark or resample,
and the layer makes the interval. For example, RL less SFT on mathematics is defined once: the paper's tables give it
for every choice of benchmarks, the miniature study for every seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mathtransfer.claims import transfer
from mathtransfer.claims.intervals import (
    Array,
    BySeed,
    Interval,
    absolute_interval,
    difference_interval,
    larger,
    normal_interval,
    permutation_interval,
    quantile_interval,
    share_interval,
    superiority_interval,
)

_ByGroup = dict[str, Array]
_DRAWS = 2000  # resamples of the models


# --- P1 to P5: the survey of models


def failures(gains: pd.DataFrame) -> dict[str, Interval]:
    """P1: the share of models whose mean gain in a group is not above zero.

    Args:
        gains: mean gains of the models that gain on mathematics, one row a model, one column a group.
    """
    failed, n = (gains <= 0).sum(), len(gains)
    return {
        "share_failing_other": share_interval(int(failed["other"]), n),
        "share_failing_non": share_interval(int(failed["non"]), n),
    }


def transfer_by_method(rl: _ByGroup, sft: _ByGroup) -> dict[str, Interval]:
    """P2 and P3: the indices of RL models against those of SFT models, group -> `(models,)` in percent."""
    return {
        "rl_less_sft_ti_other": permutation_interval(rl["other"], sft["other"]),
        "rl_beats_sft_ti_other": superiority_interval(rl["other"], sft["other"]),
        "rl_less_sft_ti_non": permutation_interval(rl["non"], sft["non"]),
        "rl_beats_sft_ti_non": superiority_interval(rl["non"], sft["non"]),
    }


def negative_transfer(sft: _ByGroup) -> dict[str, Interval]:
    """P3: the share of SFT models with a negative index."""
    return {"sft_negative_ti_non": share_interval(int((sft["non"] < 0).sum()), len(sft["non"]))}


def prediction(errors: dict[str, pd.DataFrame]) -> dict[str, Interval]:
    """P4: variance explained by the paradigm less that by the best other predictor, with a bootstrap over models.

    Args:
        errors: group -> squared errors, one row a model, columns `nothing, paradigm` and the other predictors.
    """
    return {
        "paradigm_over_rivals_other": _margin_interval(errors["other"]),
        "paradigm_over_rivals_non": _margin_interval(errors["non"]),
    }


def explained(total: pd.Series | pd.DataFrame) -> pd.Series | pd.DataFrame:
    """The share of variance that each predictor explains out of sample, percent; below 0 it is worse than nothing.

    Args:
        total: the sum of squared errors over models, one row a predictor, perhaps one column a resample.
    """
    return 100 * (1 - total.drop("nothing") / total.loc["nothing"])


def _margin_interval(errors: pd.DataFrame) -> Interval:
    drawn = np.random.default_rng(0).integers(len(errors), size=(_DRAWS, len(errors)))
    resampled = np.take(errors.to_numpy().T, drawn, axis=1).sum(-1)  # (predictors, draws)
    (value,) = _margins(errors.sum().to_frame())
    return quantile_interval(value, _margins(pd.DataFrame(resampled, index=errors.columns)))


def _margins(totals: pd.DataFrame) -> pd.Series:
    """The paradigm's share less the best rival's, for every resample."""
    shares = explained(totals)
    return shares.loc["paradigm"] - shares.drop("paradigm").max()


def broad_data(rl: dict[str, Interval], sft: dict[str, Interval]) -> dict[str, Interval]:
    """P5: the indices of two models that were trained on broader data, group -> index with its interval, percent."""
    return {
        "broad_rl_less_sft_ti_other": difference_interval(rl["other"], sft["other"]),
        "broad_rl_less_sft_ti_non": difference_interval(rl["non"], sft["non"]),
    }


# --- S1 to S4: the controlled study


@dataclass(frozen=True)
class Tuned:
    """A tuned model beside its base, by group: one model, or as many as there are seeds or resamples."""

    gains: _ByGroup  # model less base, percentage points, (..., benchmarks)
    base: _ByGroup  # the base's scores, percent, (..., benchmarks)
    spreads: _ByGroup  # sigma of Section 2.1, percentage points, (...)

    def gain(self, group: str) -> Array:
        """The mean over a group's benchmarks, `(...)` in percentage points."""
        return self.gains[group].mean(-1)

    def index(self, group: str) -> Array:
        """TI of Section 2.1, `(...)` in percent; nan without a gain on mathematics, when the index says nothing."""
        domain = {g: transfer.domain_index(self.gains[g], self.base[g], self.spreads[g]) for g in (group, "math")}
        return transfer.transferability_index(domain[group], np.where(domain["math"] > 0, domain["math"], np.nan))


def rl_study(rl: Tuned) -> dict[str, Array]:
    """S3 and S4 for RL alone, `(...)`."""
    return {
        "rl_gain_non": rl.gain("non"),
        "rl_ti_other": rl.index("other"),
        "rl_ti_non": rl.index("non"),
    }


def sft_study(rl: Tuned, sft: Tuned) -> dict[str, Array]:
    """S1 to S4 for SFT, alone or beside RL, `(...)`."""
    return {
        "rl_less_sft_math": (rl.gains["math"] - sft.gains["math"]).mean(-1),
        "rl_less_sft_other": (rl.gains["other"] - sft.gains["other"]).mean(-1),
        "sft_gain_non": sft.gain("non"),
        "sft_ti_non": sft.index("non"),
    }


# --- L1 to L5: latent drift


def shifts(sft: dict[str, BySeed], rl: dict[str, BySeed]) -> dict[str, BySeed]:
    """L1 and L5: PCA shifts of the training runs, group -> shift."""
    return {
        "sft_less_rl_shift_math": sft["math"] - rl["math"],
        "sft_less_rl_shift_other": sft["other"] - rl["other"],
        "sft_less_rl_shift_non": sft["non"] - rl["non"],
        "sft_shift_non_less_rest": sft["non"] - larger(sft["math"], sft["other"]),
    }


def shift_ratio(sft: Array, rl: Array) -> dict[str, Array]:
    """L1: PCA shifts by benchmark, `(benchmarks,)`."""
    return {"sft_over_rl_shift": sft / rl}


def log_shifts_by_method(rl: pd.DataFrame, sft: pd.DataFrame) -> dict[str, Interval]:
    """L2: log10 PCA shifts, one row a model, one column a group; so in the next two functions."""
    return {
        "rl_less_sft_log_shift_math": permutation_interval(rl["math"], sft["math"]),
        "rl_less_sft_log_shift_other": permutation_interval(rl["other"], sft["other"]),
        "rl_less_sft_log_shift_non": permutation_interval(rl["non"], sft["non"]),
    }


def log_shifts_by_size(large: pd.DataFrame, small: pd.DataFrame) -> dict[str, Interval]:
    """L3."""
    return {
        "large_less_small_log_shift_math": permutation_interval(large["math"], small["math"]),
        "large_less_small_log_shift_other": permutation_interval(large["other"], small["other"]),
        "large_less_small_log_shift_non": permutation_interval(large["non"], small["non"]),
    }


def log_shifts_by_family(llama: pd.DataFrame, qwen: pd.DataFrame) -> dict[str, Interval]:
    """L4, for RL models."""
    return {
        "llama_less_qwen_log_shift_other": permutation_interval(llama["other"], qwen["other"]),
        "llama_less_qwen_log_shift_non": permutation_interval(llama["non"], qwen["non"]),
    }


def largest_shifts(sft: pd.DataFrame) -> dict[str, Interval]:
    """L5: the group in which each SFT model shifts most; one row a model, one column a group."""
    largest = sft.idxmax(axis=1) == "non"
    return {"sft_share_largest_on_non": share_interval(int(largest.sum()), len(largest))}


# --- T1 to T4: token drift


def least_kl_difference(sft: dict[str, BySeed], rl: dict[str, BySeed]) -> dict[str, BySeed]:
    """T1: benchmark -> KL divergence from the base (nats a token), for the benchmark on which SFT exceeds RL least."""
    differences = [sft[benchmark] - rl[benchmark] for benchmark in sft]
    return {"sft_less_rl_kl": min(differences, key=lambda difference: difference.values.mean())}


def kl_ratio(sft: Array, rl: Array) -> dict[str, Array]:
    """T1: KL divergences from the base by benchmark, `(benchmarks,)`."""
    return {"sft_over_rl_kl": sft / rl}


def rank_shift_ratio(rl: Array, sft: Array) -> dict[str, Array]:
    """T2: mean absolute rank shifts by benchmark or by seed."""
    return {"rl_over_sft_rank_shift": rl / sft}


def shifted_tokens_ratio(sft: Array, rl: Array) -> dict[str, Array]:
    """T3: numbers of shifted tokens by query, `(queries,)`."""
    return {"sft_over_rl_shifted_tokens": sft / rl}


def shifted_share_ratio(sft: Array, rl: Array) -> dict[str, Array]:
    """T3: shares of tokens whose rank differs, by seed."""
    return {"sft_over_rl_shifted_share": sft / rl}


def shift_coverage(sft: BySeed, rl: BySeed) -> dict[str, BySeed]:
    """T4: percent of a response's tenths that hold a token whose rank differs."""
    return {"sft_shift_coverage": sft, "rl_shift_coverage": rl}


# --- A1 to A5: the ablation of the objective
# A change is what one choice does to a group's average: group -> (percentage points, standard error).

_Change = dict[str, tuple[float, float]]


def on_policy(change: _Change) -> dict[str, Interval]:
    """A1: the policy's own answers instead of the teacher's."""
    return {
        "on_less_off_policy_other": normal_interval(*change["other"]),
        "on_less_off_policy_non": normal_interval(*change["non"]),
    }


def credit(change: _Change) -> dict[str, Interval]:
    """A2: answers weighted by their advantage instead of alike."""
    return {
        "credit_other": normal_interval(*change["other"]),
        "credit_non": normal_interval(*change["non"]),
    }


def kl_penalty(change: _Change) -> dict[str, Interval]:
    """A4: a KL penalty, by the size of its effect."""
    return {
        "kl_penalty_other": absolute_interval(*change["other"]),
        "kl_penalty_non": absolute_interval(*change["non"]),
    }


def gradient_norms(rl: pd.DataFrame, sft: pd.DataFrame) -> dict[str, Array]:
    """A5: one RL run against every SFT run, `(SFT runs,)`, from Table 7's columns."""
    (run,) = rl.to_dict("records")
    return {
        "rl_over_sft_total_grad": run["total_grad"] / sft["total_grad"].to_numpy(),
        "rl_over_sft_late_var": run["late_var"] / sft["late_var"].to_numpy(),
        "rl_over_sft_oscillation": run["oscillation"] / sft["oscillation"].to_numpy(),
    }
