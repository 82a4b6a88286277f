"""Policy or style: is it that a model learns from its own responses, or that they are in a style which it has already?

A stronger teacher's responses differ from a model's own in both. In the miniature the two can be crossed, since the
teacher can write in the base's style, and the model can be made to begin in the teacher's.
"""

from __future__ import annotations

import pandas as pd

from mathtransfer import GROUPS
from mathtransfer.claims.by_base import Scores

_CROSSED = {  # (policy, style) -> the setting
    ("on-policy", "own style"): "on-policy SFT",
    ("on-policy", "foreign style"): "on-policy SFT, foreign style",
    ("off-policy", "own style"): "off-policy SFT, own style",
    ("off-policy", "foreign style"): "off-policy SFT, foreign style",
}
_COUNTS = {  # effect -> what each of the four counts
    "policy: on minus off": (0.5, 0.5, -0.5, -0.5),
    "style: own minus foreign": (0.5, -0.5, 0.5, -0.5),
    "interaction": (1.0, -1.0, -1.0, 1.0),
}
# Effect -> setting -> its weight in the effect.
EFFECTS = {effect: dict(zip(_CROSSED.values(), counts, strict=True)) for effect, counts in _COUNTS.items()}


def crossed(scores: Scores, where: str) -> pd.DataFrame:
    """What each of the four settings gains over the base: `policy, style, group, value, low, high`, percentage points.

    Args:
        where: a kind of base, for intervals over bases, or a base, for intervals over its seeds.
    """
    rows = [
        (policy, style, group, *scores.group_mean(scores.gain(setting), group).over(where)())
        for (policy, style), setting in _CROSSED.items()
        if setting in scores.settings(where)
        for group in GROUPS
    ]
    return pd.DataFrame(rows, columns=["policy", "style", "group", "value", "low", "high"])


def effects(scores: Scores, where: str) -> pd.DataFrame:
    """The two main effects and their interaction: `effect, group, value, low, high`, percentage points.

    A main effect is the mean of the difference over both values of the other factor; the interaction is how much larger
    the difference between the policies is in the own style. Seed by seed; none unless all four settings were trained.

    Args:
        where: as in `crossed`.
    """
    if not set(_CROSSED.values()) <= set(scores.settings(where)):
        return pd.DataFrame(columns=["effect", "group", "value", "low", "high"])
    rows = []
    for effect, weights in EFFECTS.items():
        contrast = scores.contrast(weights)
        rows += [(effect, group, *scores.group_mean(contrast, group).over(where)()) for group in GROUPS]
    return pd.DataFrame(rows, columns=["effect", "group", "value", "low", "high"])
