"""A1 to A14 on the recorded study: what each lever of the objective does to the scores of its models.

Every effect is a weighted sum of settings, trained on the same base with the same seed and asked the same questions.
What the logs of training say of the other claims is in `training_logs`.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from mathtransfer import GROUPS
from mathtransfer.claims import ablation
from mathtransfer.claims.ablation import Change
from mathtransfer.claims.by_base import KINDS, Scores, kind_of
from mathtransfer.claims.intervals import pooled_seed_interval
from mathtransfer.claims.ledger import Evidence, from_table
from mathtransfer.study.record import Record

_STYLES = ("foreign", "own")  # of the teacher
_Weights = Mapping[str, float]  # setting -> how often it counts

_RL, _RL_KL, _RL_POSITIVE = "on-policy RL", "on-policy RL with KL", "on-policy RL without negatives"
_ON_SFT, _OFF_RL = "on-policy SFT", "off-policy RL"
_FOREIGN, _OWN = "off-policy SFT, foreign style", "off-policy SFT, own style"
# SFT on the correct responses of the erring teacher from which off-policy RL learns. With these two, on-policy SFT and
# on-policy RL, sampling and weights are crossed: each changes alone.
_REJECTION = "off-policy SFT, rejection"
_ON_SFT_FOREIGN = "on-policy SFT, foreign style"
_BASES_SAMPLES, _RLS_SAMPLES = "SFT on the base's samples", "SFT on RL's samples"

_SFT_SAMPLING, _SFT_SAMPLING_OWN = "SFT: on-policy minus off-policy", "SFT: on-policy minus off-policy, own style"
_RL_SAMPLING = "RL: on-policy minus off-policy"
_OFF_WEIGHTS, _ON_WEIGHTS = "off-policy: RL minus SFT", "on-policy: RL minus SFT"
_KL, _MECHANISM = "on-policy RL: with KL minus without", "on-policy SFT minus off-policy RL"
_POSITIVE, _NEGATIVES = "on-policy: RL without negatives minus SFT", "on-policy RL: with negatives minus without"
# What is compared; those that Table 4 has too are called as in `ablation.differences`.
_CHANGES: dict[str, _Weights] = {
    _SFT_SAMPLING: {_ON_SFT: 1, _FOREIGN: -1},
    _SFT_SAMPLING_OWN: {_ON_SFT: 1, _OWN: -1},
    _RL_SAMPLING: {_RL: 1, _OFF_RL: -1},
    _OFF_WEIGHTS: {_OFF_RL: 1, _REJECTION: -1},
    _ON_WEIGHTS: {_RL: 1, _ON_SFT: -1},
    _POSITIVE: {_RL_POSITIVE: 1, _ON_SFT: -1},
    _NEGATIVES: {_RL: 1, _RL_POSITIVE: -1},
    _KL: {_RL_KL: 1, _RL: -1},
    _MECHANISM: {_ON_SFT: 1, _OFF_RL: -1},
    "SFT: on-policy minus the base's samples": {_ON_SFT: 1, _BASES_SAMPLES: -1},
    "on RL's samples: SFT minus RL itself": {_RLS_SAMPLES: 1, _RL: -1},
    "on-policy SFT: foreign style minus own": {_ON_SFT_FOREIGN: 1, _ON_SFT: -1},
}
# The sampling's mean effect for SFT and RL, minus that of another lever; minus the weights' mean effect off-policy and
# on-policy, the two settings of `_MECHANISM` remain.
_OVER_KL: _Weights = {_ON_SFT: 0.5, _REJECTION: -0.5, _RL: 1.5, _OFF_RL: -0.5, _RL_KL: -1}
_OVER_NEGATIVES: _Weights = {_ON_SFT: 0.5, _REJECTION: -0.5, _RL: -0.5, _OFF_RL: -0.5, _RL_POSITIVE: 1}

_STATISTICS = [
    *((ablation.on_policy, name, [_CHANGES[name]]) for name in (_SFT_SAMPLING, _SFT_SAMPLING_OWN, _RL_SAMPLING)),
    *((ablation.credit, name, [_CHANGES[name]]) for name in (_OFF_WEIGHTS, _ON_WEIGHTS)),
    (ablation.kl_penalty, _KL, [_CHANGES[_KL]]),
    (ablation.mechanism, _MECHANISM, [_CHANGES[_MECHANISM]]),
    (ablation.positive_advantage, _POSITIVE, [_CHANGES[_POSITIVE]]),
    (ablation.negatives, _NEGATIVES, [_CHANGES[_NEGATIVES]]),
    (ablation.objective, "RL minus SFT", [_CHANGES[_OFF_WEIGHTS], _CHANGES[_ON_WEIGHTS]]),
    (ablation.levers, "sampling, weights, KL, negatives", [_CHANGES[_MECHANISM], _OVER_KL, _OVER_NEGATIVES]),
    (ablation.like_rl, "on-policy SFT minus on-policy RL", [{_ON_SFT: 1, _RL: -1}]),
    (ablation.poor_transfer, "off-policy RL", [{_OFF_RL: 1, "base": -1}, {_OFF_RL: 1, _RL: -1}]),
]


def evidence(scores: Scores, kind: str) -> list[Evidence]:
    """A1, A2, A4, A6 to A8, A10, A11, A13 and A14 over the bases of a kind.

    A statistic is left out if one of its settings was not trained on such a base.
    """
    return [
        found
        for statistic, where, changes in _STATISTICS
        if _are_there(scores, kind, changes)
        for found in from_table(where, statistic(*(_change(scores, weights, kind) for weights in changes)))
    ]


def effects(scores: Scores, where: str) -> pd.DataFrame:
    """What each change does to a group's mean score: `change, group, value, low, high`, percentage points.

    Args:
        where: a kind of base, whose bases the interval is over; or one base, whose training seeds it is over. A change
            of which a setting was not trained there is left out.
    """
    rows = [
        (name, group, *estimate())
        for name, weights in _CHANGES.items()
        if _are_there(scores, where, [weights])
        for group, estimate in _change(scores, weights, where).items()
    ]
    return pd.DataFrame(rows, columns=["change", "group", "value", "low", "high"])


def with_an_erring_teacher(record: Record, scores: Scores, base: str) -> pd.DataFrame:
    """What each weight makes of a teacher that errs: the gain over one base, with an interval over seeds and questions.

    Most of these settings have two seeds, whose own spread would say next to nothing; it is pooled over all of them.

    Args:
        scores: of the same record.

    Returns:
        `setting, style, errs, seeds, group, value, low, high`: the objective's setting, the teacher's style, how many
        percent of its responses are wrong, the number of seeds, and percentage points.
    """
    runs = record.runs[(record.runs["base"] == base) & record.runs["teacher"].isin(_STYLES)]
    runs = runs[runs["changes"].str.fullmatch("(teacher(_errs)?=[^;]+;?)*")]  # of the protocol's own length
    key = ["objective", "teacher", "teacher_errs"]
    settings = {about: own.iloc[0][["setting", "changes"]] for about, own in runs.groupby(key)}
    gains = {about: scores.gain(*asked) for about, asked in settings.items()}
    rows = []
    for group in GROUPS:
        values = [scores.group_mean(gain, group).values[base] for gain in gains.values()]  # each (1 + draws, seeds)
        observed = [own[0] for own in values]
        for i, (setting, style, errs) in enumerate(gains):
            interval = pooled_seed_interval(observed, i, values[i][1:].mean(-1).var(ddof=1))
            rows.append((setting, style, 100 * errs, len(observed[i]), group, *interval))
    columns = ["setting", "style", "errs", "seeds", "group", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _are_there(scores: Scores, where: str, changes: list[_Weights]) -> bool:
    there = scores.models[(scores.models["base"] == where) | (scores.models["base"].map(kind_of) == where)]
    return {setting for weights in changes for setting in weights} <= set(there["setting"])


def _change(scores: Scores, weights: _Weights, where: str) -> Change:
    """What a weighted sum of settings is in each group, with an interval over the bases of a kind or on one base."""
    total = scores.contrast(weights)
    by_group = {group: scores.group_mean(total, group) for group in GROUPS}
    if where in KINDS:
        return {group: quantity.over_bases(where) for group, quantity in by_group.items()}
    return {group: quantity.over_seeds(where) for group, quantity in by_group.items()}
