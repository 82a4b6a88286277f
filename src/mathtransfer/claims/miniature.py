"""The miniature layer: what our own models from scratch say about the paper's claims."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from mathtransfer import GROUPS
from mathtransfer.claims import controlled_study, transfer
from mathtransfer.claims import latent_drift as latent
from mathtransfer.claims import token_drift as tokens
from mathtransfer.claims.by_base import ByBase, Scores
from mathtransfer.claims.controlled_study import Tuned
from mathtransfer.claims.intervals import (
    Array,
    BySeed,
    Estimate,
    Interval,
    by_seed_interval,
    quotient_interval,
    ratio_by_seed,
)
from mathtransfer.claims.ledger import Evidence, from_table
from mathtransfer.claims.transfer import OUTSIDE

SETTINGS = _SFT, _RL = "off-policy SFT, foreign style", "on-policy RL"
_SFT_MODELS = [_SFT, "off-policy SFT, own style"]
_ByName = dict[str, Array]  # a statistic or a group -> what each benchmark adds to it, (..., benchmarks)


# --- S1 to S9: the controlled study


def study(scores: Scores, kind: str) -> list[Evidence]:
    """S1 to S9 over the bases of a kind, as far as their settings were trained there.

    Table 1's SFT model that thinks is SFT in the foreign style here, the one that does not is SFT in the base's own.
    """
    trained = scores.settings(kind)
    sft = [setting for setting in _SFT_MODELS if setting in trained]
    if _RL not in trained:
        return []
    rl = scores.gain(_RL)
    found = from_table(_RL, _over_bases(scores, kind, controlled_study.rl_study, rl))
    found += from_table(_RL, controlled_study.nearly_all(_by_benchmark(scores, kind, rl, "non")))
    for setting in sft:
        gain, lead = scores.gain(setting), scores.contrast({_RL: 1, setting: -1})
        both = rl.combine(gain, _first), gain.combine(rl, _first)
        other, non, far = (scores.group_mean(lead, group) for group in ("other", "non", "far"))
        found += from_table(
            setting,
            _over_bases(scores, kind, controlled_study.sft_study, *both)
            | controlled_study.unevenness(_by_benchmark(scores, kind, gain, "other"))
            | controlled_study.further(far.over_bases(kind)),
        )
        if len(lead.bases(kind)) > 1:  # one base says nothing of others
            each = controlled_study.every_base(other.on_each_base(kind), non.on_each_base(kind))
            found += from_table(setting, each)
    if sft == _SFT_MODELS:
        leads = [scores.contrast({_RL: 1, setting: -1}).map(_mean).over_bases(kind) for setting in sft]
        found += from_table("both SFT models", controlled_study.balance(leads))
    return found


def gains(scores: Scores, where: str) -> pd.DataFrame:
    """What each setting gains over the base, with 95% intervals.

    Args:
        where: a kind of base, for intervals over bases, or a base, for intervals over its seeds.

    Returns:
        `setting, group, value, low, high` in percentage points; a group, or the families of other reasoning that are
        `near` mathematics or `far` from it.
    """
    by_setting = {setting: scores.gain(setting) for setting in scores.settings(where)}
    rows = [
        (setting, group, *scores.group_mean(gain, group).over(where)())
        for setting, gain in by_setting.items()
        for group in (*GROUPS, "near", "far")
    ]
    return pd.DataFrame(rows, columns=["setting", "group", "value", "low", "high"])


def indices(scores: Scores, kind: str) -> pd.DataFrame:
    """The Transferability Index of each setting, with 95% intervals over the bases of a kind.

    The index of several bases is the quotient of the means of their domain indices, so that a base that hardly gains in
    mathematics does not decide it. It has no ends if the gain in mathematics may be zero.

    Returns:
        `setting, group, value, low, high` in percent of the domain index of mathematics.
    """
    rows = []
    for setting in scores.settings(kind):
        by_base = _by_base(scores, kind, _domain_indices, scores.gain(setting))
        for group in OUTSIDE:
            rows.append((setting, group, *_percent_of(by_base[group], by_base["math"], kind)))
    return pd.DataFrame(rows, columns=["setting", "group", "value", "low", "high"])


def _percent_of(own: ByBase, whole: ByBase, kind: str) -> Interval:
    means = [np.stack([part.values[base].mean(-1) for base in part.bases(kind)], axis=-1) for part in (own, whole)]
    a, b = (100.0 * means[0], means[1])  # (1 + draws, bases)
    return quotient_interval(a[0], b[0], np.cov(a[1:].mean(-1), b[1:].mean(-1)))


def _domain_indices(tuned: Tuned) -> dict[str, Array]:
    return {group: tuned.parts(group) for group in tuned.gains}


def _over_bases(scores: Scores, kind: str, statistics: Callable[..., _ByName], *gains: ByBase) -> dict[str, Estimate]:
    return {name: own.over_bases(kind) for name, own in _by_base(scores, kind, statistics, *gains).items()}


def _by_base(scores: Scores, kind: str, statistics: Callable[..., _ByName], *gains: ByBase) -> dict[str, ByBase]:
    """Statistic -> its mean over benchmarks on each base, from the gains of one model or of two, seed by seed."""
    found: dict[str, dict[str, Array]] = {}
    for base in gains[0].bases(kind):
        for name, values in statistics(*(_tuned(scores, base, gain.values[base]) for gain in gains)).items():
            found.setdefault(name, {})[base] = _mean(values)
    return {name: ByBase(values) for name, values in found.items()}


def _tuned(scores: Scores, base: str, gain: Array) -> Tuned:
    """A setting's models on one base, gains `(1 + draws, seeds, benchmarks)`, with the spread of all tuned there."""
    own = scores.models[(scores.models["base"] == base) & (scores.models["changes"] == "")]
    start = scores.of("base").values[base]
    pool = scores.values[:, own.index[own["setting"] != "base"]] - start
    return Tuned(
        gains={group: gain[..., scores.columns(group)] for group in GROUPS},
        base={group: start[..., scores.columns(group)] for group in GROUPS},
        spreads=transfer.spreads(pool, list(scores.benchmarks["group"]), "pooled"),
    )


def _by_benchmark(scores: Scores, kind: str, gain: ByBase, group: str) -> list[Estimate]:
    return [gain.map(lambda own, i=i: own[..., i]).over_bases(kind) for i in scores.columns(group)]


def _first(own: Array, other: Array) -> Array:
    return own


def _mean(values: Array) -> Array:
    return values.mean(-1)


# --- L1, L5, T1 to T4: drift


def over_seeds(shifts: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A measure of drift by setting and benchmark: `setting, benchmark, value, low, high`.

    Args:
        shifts: tidy, from the runs of `latent_drift` or `token_drift`.
    """
    rows = [
        (setting, benchmark, *by_seed_interval(quantity))
        for setting, measured in zip(SETTINGS, _by(shifts, metric, "benchmark"), strict=True)
        for benchmark, quantity in measured.items()
    ]
    return pd.DataFrame(rows, columns=["setting", "benchmark", "value", "low", "high"])


def latent_drift(shifts: pd.DataFrame, where: str, metric: str = "centroid_distance") -> list[Evidence]:
    """L1 and L5 with intervals over training seeds and evaluation questions.

    Args:
        shifts: tidy, from the runs of `latent_drift`.
        where: what the shifts are from.
        metric: the measure of a shift; by default d of Section 3.2.
    """
    sft, rl = _by(shifts, metric, "group")
    return from_table(where, latent.shifts(sft, rl) | latent.shift_on_non(sft))


def token_drift(shifts: pd.DataFrame, where: str) -> list[Evidence]:
    """T1 to T5 with intervals over training seeds and evaluation questions.

    Args:
        shifts: tidy, from the runs of `token_drift`.
        where: what the shifts are from.
    """
    sft_ranks, rl_ranks = _overall(shifts, "rank_shift")
    evenness = shifts[(shifts["metric"] == "shift_evenness") & (shifts["n"] > 1)]
    in_runs = evenness.groupby("benchmark")["value"].transform("count")
    runs = shifts.groupby(["setting", "seed"]).ngroups
    evenness = evenness[in_runs == runs]  # benchmarks whose responses are long enough in every run
    by_group, _ = _by(shifts, "kl", "group")
    found = (
        tokens.least_kl_ratio(*_by(shifts, "kl", "benchmark"))
        | tokens.kl_on_non([partial(ratio_by_seed, by_group["non"], by_group[other]) for other in ("math", "other")])
        | tokens.rank_shift_ratio(partial(ratio_by_seed, rl_ranks, sft_ranks))
        | tokens.shifted_share_ratio(*_overall(shifts, "shifted"))
    )
    if len(evenness):
        found |= tokens.shift_evenness(*_overall(evenness, "shift_evenness"))
    return from_table(where, found)


def _by(shifts: pd.DataFrame, metric: str, column: str) -> list[dict[str, BySeed]]:
    """A measure of SFT's and of RL's runs, by group or benchmark."""
    mean, variance = (part.unstack() for part in _mean_and_variance(shifts, metric, column))
    return [
        {key: BySeed(mean.loc[setting, key].to_numpy(), variance.loc[setting, key].to_numpy()) for key in mean}
        for setting in SETTINGS
    ]


def _overall(shifts: pd.DataFrame, metric: str) -> list[BySeed]:
    """A measure of SFT's and of RL's runs, the mean over all benchmarks."""
    mean, variance = _mean_and_variance(shifts, metric)
    return [BySeed(mean.loc[setting].to_numpy(), variance.loc[setting].to_numpy()) for setting in SETTINGS]


def _mean_and_variance(shifts: pd.DataFrame, metric: str, *columns: str) -> tuple[pd.Series, pd.Series]:
    """The mean over benchmarks in every run, and its variance: each benchmark has questions of its own."""
    of_benchmarks = shifts["group"].isin(GROUPS)  # and not of the weights or on training prompts
    runs = shifts[of_benchmarks & (shifts["metric"] == metric)].groupby(["setting", "seed", *columns])
    return runs["value"].mean(), runs["stderr"].agg(lambda errors: (errors**2).sum(skipna=False) / len(errors) ** 2)
