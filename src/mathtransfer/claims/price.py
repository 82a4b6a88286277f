"""At what price: what a gain on mathematics costs elsewhere, over learning rates and over lengths of training.

A setting that is trained harder, at a higher rate or for more updates, runs along a path that begins at its base. Two
settings are compared where their paths have come equally far: to the same gain on mathematics, the same divergence from
the base, or the same number of tokens that they were trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mathtransfer import GROUPS
from mathtransfer.claims.by_base import Scores
from mathtransfer.claims.intervals import (
    Array,
    Interval,
    boundless,
    normal_interval,
    pooled_variance,
    two_part_interval,
)
from mathtransfer.study.record import Record

_UNCLEAR = "no clear change"
_RARE = 0.025  # a share of resamples that an interval of 95% may ignore
_FEWEST = 2  # degrees of freedom that a setting's own spread between seeds must have


@dataclass(frozen=True)
class _Path:
    """One setting on one base, by growing learning rate or number of updates; the base itself comes first.

    at: the learning rates or numbers of updates, `(points,)`, zero for the base
    gains: group -> the mean over seeds, percentage points, `(1 + draws, points)`, what was observed first
    variance: group -> that of these means between training seeds, `(points,)`, nothing for the base
    freedom: degrees of freedom of the spread between seeds; zero if it is not known, and then the variance is zero too
    kl: divergence from the base on mathematics, nats per token, `(points,)`
    tokens: of all responses that were trained on, `(points,)`
    """

    at: Array
    gains: dict[str, Array]
    variance: dict[str, Array]
    freedom: int
    kl: Array
    tokens: Array

    def until(self, end: float) -> _Path:
        """The path as far as a rate or number of updates."""
        kept = self.at <= end
        gains = {group: own[:, kept] for group, own in self.gains.items()}
        variance = {group: own[kept] for group, own in self.variance.items()}
        return _Path(self.at[kept], gains, variance, self.freedom, self.kl[kept], self.tokens[kept])

    def progress(self, measure: str) -> Array:
        """How far each point is, `(1 + draws, points)`: by its gain on `math`, its `kl` or its `tokens`."""
        draws = len(self.gains["math"])
        return self.gains["math"] if measure == "math" else np.tile(getattr(self, measure), (draws, 1))

    def mean(self, group: str, weights: Array) -> tuple[Array, float]:
        """A weighted mean over points, `(1 + draws,)`, weights as `(1 + draws, points)`, and its variance by seeds."""
        return (weights * self.gains[group]).sum(-1), float((weights[0] ** 2 * self.variance[group]).sum())


def paths(record: Record, scores: Scores, base: str, along: str) -> dict[str, _Path]:
    """Setting -> its path on a base.

    The spread between seeds is taken as the same at every point of a path. If no three runs of the setting on this base
    tell it, it is that of all settings and bases of the record together.

    Args:
        scores: of the record, natural or at equal format.
        along: `learning_rate` or `steps`, the parameter that grows; cells in which anything else is changed are left
            out.
    """
    divergence = record.shifts[(record.shifts["group"] == "math") & (record.shifts["metric"] == "kl")]
    runs = record.runs.assign(kl=record.runs["run"].map(divergence.groupby("run", observed=True)["value"].mean()))
    row_of = {run: row for row, run in scores.models["run"].items()}
    of_groups = {group: scores.values[..., scores.columns(group)].mean(-1) for group in GROUPS}  # (1 + draws, models)

    def by_seed(part: pd.DataFrame) -> dict[str, Array]:
        """Group -> scores of some runs, `(1 + draws, seeds)`."""
        rows = [row_of[run] for run in part["run"]]
        return {group: values[:, rows] for group, values in of_groups.items()}

    trained = runs[runs["seed"] >= 0]
    everywhere = [by_seed(part) for _, part in trained.groupby(["base", "setting", "changes"])]
    start = by_seed(runs[runs["run"] == base])
    walked = trained[(trained["base"] == base) & trained["changes"].str.fullmatch(f"({along}=[^;]*)?")]
    found = {}
    for setting, own in walked.groupby("setting", sort=False):
        points = [by_seed(part) for _, part in own.groupby(along)]
        means = own.groupby(along)[["kl", "response_tokens"]].mean()
        spreads = {group: _spread([p[group][0] for p in points], [p[group][0] for p in everywhere]) for group in GROUPS}
        counts = np.array([np.inf, *own.groupby(along).size()])  # a base has no seed
        found[setting] = _Path(
            at=np.array([0.0, *means.index]),
            gains={
                group: np.stack([start[group].mean(-1), *(p[group].mean(-1) for p in points)], axis=-1) - start[group]
                for group in GROUPS
            },
            variance={group: variance / counts for group, (variance, _) in spreads.items()},
            freedom=spreads["math"][1],
            kl=np.array([0.0, *means["kl"]]),
            tokens=np.array([0.0, *means["response_tokens"]]),
        )
    return found


def _spread(own: list[Array], everywhere: list[Array]) -> tuple[float, int]:
    """The variance between seeds and its degrees of freedom, from one `(seeds,)` a point: the setting's, or of all."""
    variance, freedom = pooled_variance(own)
    if freedom < _FEWEST:
        variance, freedom = pooled_variance(everywhere)
    return (variance, freedom) if freedom else (0.0, 0)


def _interval(values: Array, seed_variance: float, freedom: int) -> Interval:
    """Of what was observed, from `(1 + draws,)`; without degrees of freedom it covers questions alone.

    Where too many resamples have no value, it has no ends.
    """
    value, drawn = float(values[0]), values[1:]
    if np.isnan(value) or np.isnan(drawn).mean() > _RARE:
        return boundless(value)
    of_questions = float(np.nanvar(drawn, ddof=1))
    if freedom == 0:
        return normal_interval(value, of_questions**0.5)
    return two_part_interval(value, seed_variance, freedom, of_questions)


def frontier(of_settings: dict[str, _Path]) -> pd.DataFrame:
    """Every point of every path: `setting, at, kl, tokens, group`, and the gain as `value, low, high`."""
    rows = []
    for setting, path in of_settings.items():
        for point, spent in enumerate(zip(path.at, path.kl, path.tokens, strict=True)):
            only = np.eye(len(path.at))[point][None]
            rows += [
                (setting, *spent, group, *_interval(*path.mean(group, only), path.freedom)) for group in path.gains
            ]
    return pd.DataFrame(rows, columns=["setting", "at", "kl", "tokens", "group", "value", "low", "high"])


def at_equal(of_settings: dict[str, _Path], reference: str, measure: str) -> pd.DataFrame:
    """The reference minus each other setting where both have come equally far, as far as the one that came less far.

    Between two points a path is a straight line; if it reaches a place more than once, the first time counts.

    Args:
        measure: of how far: `math`, the gain on mathematics, `kl` or `tokens`.

    Returns:
        `setting, far` (how far both have come, in the measure's unit), `group, value, low, high` in percentage points,
        with a 95% interval over questions and, if any point has two seeds, seeds. Divergence and tokens are taken as
        known. Where one of the two never comes as far as the other, as when only one of them gains, the value is nan;
        where it is so in some resamples of the questions, the interval has no ends.
    """
    rows, ours = [], of_settings[reference]
    for setting, theirs in of_settings.items():
        if setting == reference:
            continue
        sides = [path.progress(measure) for path in (ours, theirs)]
        far = np.minimum(sides[0][:, -1], sides[1][:, -1])
        (a, b), freedom = (_weights(side, far) for side in sides), min(ours.freedom, theirs.freedom)
        for group in ours.gains:
            (of_ours, variance), (of_theirs, more) = ours.mean(group, a), theirs.mean(group, b)
            rows.append((setting, far[0], group, *_interval(of_ours - of_theirs, variance + more, freedom)))
    return pd.DataFrame(rows, columns=["setting", "far", "group", "value", "low", "high"])


def _weights(progress: Array, far: Array) -> Array:
    """The weight of each point, `(1 + draws, points)`, where a path first is as far as that, `(1 + draws,)`."""
    before, after = progress[:, :-1], progress[:, 1:]
    inside = (np.minimum(before, after) <= far[:, None]) & (far[:, None] <= np.maximum(before, after))
    draws, first = np.arange(len(far)), inside.argmax(1)
    start, length = before[draws, first], (after - before)[draws, first]
    share = np.divide(far - start, length, out=np.zeros_like(far), where=length != 0)
    weights = np.zeros(progress.shape)
    weights[draws, first], weights[draws, first + 1] = 1 - share, share
    weights[~inside.any(1)] = np.nan
    return weights


def dip_and_recovery(path: _Path) -> pd.DataFrame:
    """Whether a setting first loses and then recovers (arXiv 2604.06628), over lengths of training.

    Returns:
        By group `first`, the gain after the shortest training, and `later`, the gain after the longest minus that, each
        with its 95% interval in percentage points (columns by `value, low, high`), and `verdict` in words.
    """
    shortest, longest = np.eye(len(path.at))[[1, -1]]
    found = {}
    for group in path.gains:
        first, later = (
            _interval(*path.mean(group, weights[None]), path.freedom) for weights in (shortest, longest - shortest)
        )
        ends = {("first", name): end for name, end in zip(("value", "low", "high"), first, strict=True)}
        ends |= {("later", name): end for name, end in zip(("value", "low", "high"), later, strict=True)}
        found[group] = ends | {("verdict", ""): _in_words(first, later)}
    return pd.DataFrame.from_dict(found, orient="index")


def _in_words(first: Interval, later: Interval) -> str:
    start = "a dip" if first[2] < 0 else "a gain" if first[1] > 0 else _UNCLEAR
    rest = "a rise" if later[1] > 0 else "a fall" if later[2] < 0 else _UNCLEAR
    return start if start == rest else f"{start}, then {rest}"
