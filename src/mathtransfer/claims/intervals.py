"""Intervals and exact tests for few models, few benchmarks and few seeds.

Every method takes its level, so that one estimate can be looked at alone (95%) and as one of several. What a method
covers at the sample sizes in use is shown by simulation, see `calibration.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations, permutations
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

Array = NDArray[np.float64]
Interval = tuple[float, float, float]  # value, low end, high end
Estimate = Callable[..., Interval]  # of a level; without one, 95%
LEVEL = 0.95
_Numbers = TypeVar("_Numbers", float, pd.Series)


# --- one quantity


def exact(value: float, level: float = LEVEL) -> Interval:
    """What is counted rather than estimated, such as the number of models in a table: no width at any level."""
    return float(value), float(value), float(value)


def without_interval(value: float, level: float = LEVEL) -> Interval:
    """One number whose error is not known; its ends are nan, and it decides nothing."""
    return float(value), math.nan, math.nan


def boundless(value: float, level: float = LEVEL) -> Interval:
    """One value of a quantity whose spread one value cannot tell: no ends, and it decides nothing."""
    return float(value), -math.inf, math.inf


def normal_interval(value: _Numbers, stderr: _Numbers, level: float = LEVEL) -> tuple[_Numbers, _Numbers, _Numbers]:
    """A value, or each of many, with as many standard errors to either side as the level asks."""
    half = special.ndtri(0.5 + level / 2) * stderr
    return value, value - half, value + half


def t_interval(values: ArrayLike, level: float = LEVEL) -> Interval:
    """The mean of a few values, two or more, with Student's t."""
    return seed_interval(values, 0.0, level)


def geometric_interval(ratios: ArrayLike, level: float = LEVEL) -> Interval:
    """The geometric mean of positive ratios, two or more, with Student's t on their logarithms."""
    return _exponentials(t_interval(np.log(np.asarray(ratios, dtype=float)), level))


def ratio(logarithm: Estimate, level: float = LEVEL) -> Interval:
    """A ratio, from an estimate of its logarithm."""
    return _exponentials(logarithm(level=level))


def _exponentials(logs: Interval) -> Interval:
    """An interval of logarithms as one of ratios; an end that is too large for a number is infinite."""
    with np.errstate(over="ignore"):
        return tuple(float(np.exp(end)) for end in logs)


def share_interval(hits: int, n: int, level: float = LEVEL) -> Interval:
    """A share in percent with the exact binomial interval of Clopper and Pearson, which covers more than it says."""
    from scipy.stats import binomtest  # here, because scipy.stats takes longer to import than all else in this room

    ends = binomtest(hits, n).proportion_ci(level, method="exact")
    return 100.0 * hits / n, 100.0 * ends.low, 100.0 * ends.high


def correlation_interval(x: ArrayLike, y: ArrayLike, given: int = 0, level: float = LEVEL) -> Interval:
    """Pearson's correlation with Fisher's z.

    Args:
        given: how many variables were taken out of both beforehand, by which the sample counts as smaller.

    Raises:
        ValueError: there are fewer than four values more than variables taken out.
    """
    if (freedom := len(np.asarray(x)) - given - 3) < 1:
        raise ValueError(f"a correlation of {len(np.asarray(x))} values has no interval")
    r = float(np.corrcoef(x, y)[0, 1])
    ends = normal_interval(math.atanh(r), 1 / math.sqrt(freedom), level)
    return r, math.tanh(ends[1]), math.tanh(ends[2])


def spread_ratio_interval(a: ArrayLike, b: ArrayLike, level: float = LEVEL) -> Interval:
    """The standard deviation of `a` over that of `b` with the F distribution, exact for normal values."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    ratio = a.var(ddof=1) / b.var(ddof=1)
    far = special.fdtri(len(a) - 1, len(b) - 1, [0.5 + level / 2, 0.5 - level / 2])
    low, high = np.sqrt(ratio / far)
    return math.sqrt(ratio), float(low), float(high)


def quantile_interval(value: float, resampled: ArrayLike, level: float = LEVEL) -> Interval:
    """A value with the central part of what resampling gave.

    A resample that gave no number (nan) might lie anywhere, so it counts as the lowest for the low end and as the
    highest for the high end.
    """
    draws = np.asarray(resampled, dtype=float).ravel()
    low = np.quantile(np.nan_to_num(draws, nan=-np.inf), 0.5 - level / 2, method="inverted_cdf")
    high = np.quantile(np.nan_to_num(draws, nan=np.inf), 0.5 + level / 2, method="inverted_cdf")
    return float(value), float(low), float(high)


# --- training seeds and evaluation questions


@dataclass(frozen=True)
class BySeed:
    """A quantity with one value a training seed, each with its variance over evaluation questions, both `(seeds,)`.

    Bases stand in for seeds where these are averaged.
    """

    values: Array
    variance: Array

    def __sub__(self, other: BySeed) -> BySeed:
        """The difference seed by seed; the variances add, as those of independent quantities do."""
        return BySeed(self.values - other.values, self.variance + other.variance)

    def log(self) -> BySeed:
        """Its logarithm; the variance to first order."""
        return BySeed(np.log(self.values), self.variance / self.values**2)


def by_seed_interval(quantity: BySeed, level: float = LEVEL) -> Interval:
    """The mean over seeds, see `seed_interval`; one value shows no spread, and the ends are infinite."""
    if len(quantity.values) == 1:
        return boundless(quantity.values[0])
    return seed_interval(quantity.values, float(quantity.variance.mean()), level)


def ratio_by_seed(a: BySeed, b: BySeed, level: float = LEVEL) -> Interval:
    """`a` over `b`, the geometric mean over seeds, with an interval over seeds and questions on the logarithm."""
    return _exponentials(by_seed_interval(a.log() - b.log(), level))


def seed_interval(by_seed: ArrayLike, question_variance: float, level: float = LEVEL) -> Interval:
    """Mean over training seeds with an interval that covers seeds and evaluation questions.

    Each part has a half width of its own, Student's t for the seeds and the normal for the questions, whose variance
    resampling tells exactly enough; the whole is the root of their squares (MOVER, Zou and Donner, Statistics in
    Medicine 27, 2008). The questions are the same for all seeds, so their part does not shrink with more seeds. One t
    with Welch and Satterthwaite's degrees of freedom would be narrower and cover 92% with three seeds, 87% with two,
    if the questions matter little: a spread of so few seeds is often far too small. This covers 95 to 98%.

    Args:
        by_seed: the statistic, one value a seed, `(seeds,)`.
        question_variance: the variance of its mean over seeds when questions are resampled.

    Raises:
        ValueError: there are fewer than two seeds, which leave no interval.
    """
    if (k := len(np.asarray(by_seed))) < 2:
        raise ValueError(f"an interval over training seeds needs at least two, found {k}")
    return pooled_seed_interval([by_seed], 0, question_variance, level)


def pooled_seed_interval(
    pool: Sequence[ArrayLike], which: int, question_variance: float, level: float = LEVEL
) -> Interval:
    """One of several means over seeds, see `seed_interval`, whose spread between seeds is that of all together.

    Args:
        pool: the values of each, `(seeds,)`, which differ in their means alone.
        which: the one that is meant.
        question_variance: that of its mean; if no sample has two seeds, there are no ends.
    """
    samples = [np.asarray(values, dtype=float) for values in pool]
    own, (variance, freedom) = samples[which], pooled_variance(samples)
    if freedom == 0:
        return boundless(own.mean())
    return two_part_interval(float(own.mean()), variance / len(own), freedom, question_variance, level)


def pooled_variance(samples: Sequence[ArrayLike]) -> tuple[float, int]:
    """The variance within several samples that differ in their means alone, and its degrees of freedom."""
    arrays = [np.asarray(values, dtype=float) for values in samples]
    freedom = sum(len(values) - 1 for values in arrays)
    squares = sum(((values - values.mean()) ** 2).sum() for values in arrays)
    return (float(squares) / freedom if freedom else math.nan), freedom


def two_part_interval(
    value: float, seed_variance: float, freedom: int, question_variance: float, level: float = LEVEL
) -> Interval:
    """A value with the variance that seeds give it, estimated with some degrees of freedom, and that of questions."""
    of_seeds = special.stdtrit(freedom, 0.5 + level / 2) * math.sqrt(seed_variance)
    of_questions = special.ndtri(0.5 + level / 2) * math.sqrt(question_variance)
    half = math.hypot(of_seeds, of_questions)
    return value, value - half, value + half


def quotient_interval(a: ArrayLike, b: ArrayLike, question_covariance: Array, level: float = LEVEL) -> Interval:
    """The mean of `a` over that of `b`, pairs of values of a few bases, with an interval over bases and questions.

    It holds every quotient t for which the mean of a - t b is not different from zero by `seed_interval` (Fieller,
    Journal of the Royal Statistical Society B 16, 1954). If the mean of `b` may be zero, it has no ends.

    Args:
        a, b: `(bases,)`.
        question_covariance: of both means when questions are resampled, `(2, 2)`.
    """
    pairs = np.stack([np.asarray(a, dtype=float), np.asarray(b, dtype=float)])
    (mean_a, mean_b), k = pairs.mean(1), pairs.shape[1]
    if k < 2:
        return boundless(mean_a / mean_b)
    of_bases = special.stdtrit(k - 1, 0.5 + level / 2) ** 2 * np.cov(pairs) / k
    half = of_bases + special.ndtri(0.5 + level / 2) ** 2 * np.asarray(question_covariance)
    # (mean_a - t mean_b)^2 is at most the half width of a - t b squared: a quadratic inequality in t.
    x, y, z = (mean_a**2 - half[0, 0], mean_a * mean_b - half[0, 1], mean_b**2 - half[1, 1])
    if z <= 0:
        return boundless(mean_a / mean_b)
    root = math.sqrt(max(y**2 - x * z, 0.0))
    return float(mean_a / mean_b), float((y - root) / z), float((y + root) / z)


def resample_questions(accuracies: list[Array], draws: int, seed: int) -> Array:
    """Scores when evaluation questions are drawn again with replacement, the same ones for all models.

    Args:
        accuracies: one `(models, questions)` a benchmark.

    Returns:
        `(draws, models, benchmarks)`.
    """
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(table.shape[1], size=(draws, table.shape[1])) for table in accuracies]
    return np.stack([table[:, d].mean(-1).T for table, d in zip(accuracies, drawn, strict=True)], axis=-1)


# --- several quantities


def least(estimates: Sequence[Estimate], level: float = LEVEL, rank: int = 0) -> Interval:
    """The smallest of several quantities, or the next by rank, for claims about *every* one of them.

    The intervals of all are simultaneous: each has the level `level ** (1 / n)` (Sidak), at which independent ones all
    cover at once as often as the level says, and dependent ones more often. If all cover, the smallest value lies
    between the smallest low end and the smallest high end; so for each rank.
    """
    ends = np.array([estimate(level=level ** (1 / len(estimates))) for estimate in estimates])
    return tuple(float(end) for end in np.sort(ends, axis=0)[rank])


def least_ratio(logs: Sequence[BySeed], level: float = LEVEL) -> Interval:
    """The smallest of several ratios that were all found on the same few seeds or bases, from their logarithms.

    Intervals of their own, each with a spread from so few values and a level for many, would say nothing. Here no
    ratio's spread is taken for smaller than the root mean square of all; and the ends are as far out as ratios need
    that vary together (t with one spread's degrees of freedom) and those that vary each by itself (t with all degrees
    of freedom at Sidak's level), whichever is farther. One value of each shows no spread, and the ends are infinite.
    """
    values = np.stack([own.values for own in logs])  # (ratios, values)
    n, k = values.shape
    means = values.mean(1)
    if k == 1:
        return _exponentials(boundless(means.min()))
    spread = values.std(1, ddof=1)
    spread = np.maximum(spread, np.sqrt((spread**2).mean()))
    each = 0.5 + level ** (1 / n) / 2
    reach = max(special.stdtrit(k - 1, 0.5 + level / 2), special.stdtrit(n * (k - 1), each))
    of_questions = special.ndtri(each) * np.sqrt([own.variance.mean() for own in logs])
    half = np.hypot(reach * spread / math.sqrt(k), of_questions)
    return _exponentials((float(means.min()), float((means - half).min()), float((means + half).min())))


def _negative(estimate: Estimate, level: float = LEVEL) -> Interval:
    """The quantity with the other sign: `_negative` of the `least` of the negatives is the largest."""
    value, low, high = estimate(level=level)
    return -value, -high, -low


def largest(estimates: Sequence[Estimate], level: float = LEVEL) -> Interval:
    """The largest of several quantities, see `least`."""
    return _negative(partial(least, [partial(_negative, estimate) for estimate in estimates]), level)


# --- two groups of models


def superiority(a: ArrayLike, b: ArrayLike) -> Array:
    """The probability that a random value of `a`, `(..., n)`, is above one of `b`, `(..., m)`; a tie counts half."""
    difference = np.asarray(a, dtype=float)[..., :, None] - np.asarray(b, dtype=float)[..., None, :]
    return ((difference > 0) + 0.5 * (difference == 0)).mean((-2, -1))


def superiority_interval(a: ArrayLike, b: ArrayLike, level: float = LEVEL) -> Interval:
    """`superiority` in percent with Newcombe's score interval (Statistics in Medicine 25, 2006, method 5).

    The variance is that at the end itself, so that the interval has a width even if the two sides do not overlap. With
    Student's t of the smaller side instead of the normal, because sides of unequal spread need it (`calibration.py`).
    """
    from scipy.optimize import brentq  # here for the same reason as in `share_interval`

    n, m = len(np.asarray(a)), len(np.asarray(b))
    observed, z = float(superiority(a, b)), special.stdtrit(min(n, m) - 1, 0.5 + level / 2)
    middle = (n + m) / 2 - 1

    def excess(p: float) -> float:
        """How much more than z standard errors the observed share lies from p, squared."""
        variance = p * (1 - p) * (1 + middle * ((1 - p) / (2 - p) + p / (1 + p))) / (n * m)
        return (observed - p) ** 2 - z**2 * variance

    near = 1e-9  # at 0 and at 1 the variance itself is zero
    low = brentq(excess, 0, observed - near) if observed > 0 else 0.0
    high = brentq(excess, observed + near, 1) if observed < 1 else 1.0
    return 100 * observed, 100 * low, 100 * high


def mean_difference_interval(a: ArrayLike, b: ArrayLike, level: float = LEVEL) -> Interval:
    """The mean of `a` less that of `b` with Welch's t, which does not need equal spreads.

    A side of one value shows no spread, and the ends are infinite.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    difference = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return difference, -math.inf, math.inf
    of_a, of_b = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if of_a + of_b == 0:
        return difference, difference, difference
    freedom = (of_a + of_b) ** 2 / (of_a**2 / (len(a) - 1) + of_b**2 / (len(b) - 1))
    half = float(special.stdtrit(freedom, 0.5 + level / 2) * np.sqrt(of_a + of_b))
    return difference, difference - half, difference + half


def mean_ratio_interval(a: ArrayLike, b: ArrayLike, level: float = LEVEL) -> Interval:
    """The geometric mean of positive `a` over that of `b`, see `mean_difference_interval` for their logarithms."""
    return _exponentials(mean_difference_interval(np.log(np.asarray(a, float)), np.log(np.asarray(b, float)), level))


@cache
def _deals(n: int, m: int) -> NDArray[np.bool_]:
    """Every way to give n of n + m values the first label: `(ways, n + m)`."""
    chosen = np.array(list(combinations(range(n + m), n)))
    table = np.zeros((len(chosen), n + m), dtype=bool)
    np.put_along_axis(table, chosen, True, axis=1)
    return table


def permutation_p(a: ArrayLike, b: ArrayLike) -> float:
    """Two-sided p of the exact permutation test for a difference of means: every way to deal the labels is tried."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    values, n, m = np.concatenate([a, b]), len(a), len(b)
    first = _deals(n, m) @ values
    differences = np.abs(first / n - (values.sum() - first) / m)
    return float((differences >= abs(a.mean() - b.mean()) - 1e-9).mean())


def correlation_p(x: ArrayLike, y: ArrayLike, draws: int = 20_000) -> float:
    """Two-sided p of the permutation test for a correlation: exact up to eight values, else by seeded shuffles."""
    x, y = (np.asarray(side, dtype=float) - np.mean(side) for side in (x, y))
    if len(x) <= 8:
        orders = np.array(list(permutations(range(len(x)))))
    else:
        rng = np.random.default_rng(0)
        orders = np.stack([np.arange(len(x)), *(rng.permutation(len(x)) for _ in range(draws))])
    products = np.abs(y[orders] @ x)
    return float((products >= products[0] - 1e-9).mean())


# --- prediction


def leave_one_out(outcome: ArrayLike, predictor: ArrayLike) -> Array:
    """What a predictor says of each value when it has seen only the others, `(n,)`.

    A number predicts by a straight line. A category predicts by the mean of the others in it, or of all others if it
    has one member.
    """
    outcome, predictor = np.asarray(outcome, dtype=float), np.asarray(predictor)
    numeric = np.issubdtype(predictor.dtype, np.number)
    predicted = np.empty(len(outcome))
    for i in range(len(outcome)):
        others = np.arange(len(outcome)) != i
        if numeric:
            slope, start = np.polyfit(predictor[others], outcome[others], 1)
            predicted[i] = start + slope * predictor[i]
        else:
            same = others & (predictor == predictor[i])
            predicted[i] = outcome[same if same.any() else others].mean()
    return predicted
