"""S1 to S9 in miniature: what our own models from scratch say of RL against SFT, from the record of the study."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from mathtransfer import GROUPS
from mathtransfer.claims import controlled_study, transfer
from mathtransfer.claims.by_base import ByBase, Scores
from mathtransfer.claims.controlled_study import Tuned
from mathtransfer.claims.intervals import Array, Estimate, Interval, quotient_interval
from mathtransfer.claims.ledger import Evidence, from_table
from mathtransfer.claims.transfer import OUTSIDE

SETTINGS = _SFT, _RL = "off-policy SFT, foreign style", "on-policy RL"
_SFT_MODELS = [_SFT, "off-policy SFT, own style"]
_ByName = dict[str, Array]  # a statistic or a group -> what each benchmark adds to it, (..., benchmarks)


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
