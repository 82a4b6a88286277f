"""Intervals and exact tests for few models, few benchmarks and few seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

Array = NDArray[np.float64]
Interval = tuple[float, float, float]  # value, low end, high end
_Numbers = TypeVar("_Numbers", float, pd.Series)


def normal_interval(value: _Numbers, stderr: _Numbers) -> tuple[_Numbers, _Numbers, _Numbers]:
    """A value, or each of many, with 1.96 standard errors to either side."""
    return value, value - 1.96 * stderr, value + 1.96 * stderr


def absolute_interval(value: float, stderr: float, draws: int = 2000, seed: int = 0) -> Interval:
    """The size of a normal estimate, whatever its sign, with the central part of what draws of it give."""
    drawn = np.random.default_rng(seed).normal(value, stderr, size=draws)
    return quantile_interval(abs(value), np.abs(drawn))


def difference_interval(a: Interval, b: Interval) -> Interval:
    """`a` less `b`, the two independent: distances to their ends put together as roots of squares (Newcombe's way)."""
    (value_a, low_a, high_a), (value_b, low_b, high_b) = a, b
    value = value_a - value_b
    low = value - np.hypot(value_a - low_a, high_b - value_b)
    high = value + np.hypot(high_a - value_a, value_b - low_b)
    return float(value), float(low), float(high)


@dataclass(frozen=True)
class BySeed:
    """A quantity with one value a training seed, each with its variance over evaluation questions, both `(seeds,)`."""

    values: Array
    variance: Array

    def __sub__(self, other: BySeed) -> BySeed:
        """The difference seed by seed; the variances add, as those of independent quantities do."""
        return BySeed(self.values - other.values, self.variance + other.variance)

    def interval(self) -> Interval:
        """The mean over seeds, see `seed_interval`."""
        return seed_interval(self.values, float(self.variance.mean()))


def larger(a: BySeed, b: BySeed) -> BySeed:
    """The larger of two quantities seed by seed, with the variance of the one that is larger on average."""
    return BySeed(np.maximum(a.values, b.values), max(a, b, key=lambda quantity: quantity.values.mean()).variance)


def seed_interval(by_seed: ArrayLike, question_variance: float, level: float = 0.95) -> Interval:
    """Mean over training seeds with an interval that covers seeds and evaluation questions.

    The variance is s^2 / k over k seeds plus the variance that resampling the questions gives (the questions are the
    same for all seeds, so it does not shrink with k). Student's t with Welch and Satterthwaite's degrees of freedom;
    the questions' part counts as known exactly.

    Args:
        by_seed: the statistic, one value a seed, `(seeds,)`.
        question_variance: the variance of its mean over seeds when questions are resampled.

    Raises:
        ValueError: there are fewer than two seeds, which leave no interval.
    """
    values = np.asarray(by_seed, dtype=float)
    k = len(values)
    if k < 2:
        raise ValueError(f"an interval over training seeds needs at least two, found {k}")
    seed_variance = values.var(ddof=1) / k
    total = seed_variance + question_variance
    freedom = (k - 1) * (total / seed_variance) ** 2 if seed_variance > 0 else math.inf
    half = special.stdtrit(freedom, 0.5 + level / 2) * math.sqrt(total)
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


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


def benchmark_resamples(benchmarks: int = 4) -> NDArray[np.int64]:
    """Every way to draw a group's benchmarks with replacement: positions, `(benchmarks ** benchmarks, benchmarks)`.

    A published table has one run a model, so the only spread that it shows is over a group's benchmarks. With four of
    them all 256 resamples can be enumerated: an exact bootstrap. It says how much hangs on the choice of benchmarks.
    """
    return np.stack(np.meshgrid(*[range(benchmarks)] * benchmarks), -1).reshape(-1, benchmarks)


def quantile_interval(value: float, resampled: ArrayLike, level: float = 0.95) -> Interval:
    """A value with the central part of what resampling gave.

    A resample that gave no number (nan) might lie anywhere, so it counts as the lowest for the low end and as the
    highest for the high end.
    """
    draws = np.asarray(resampled, dtype=float).ravel()
    low = np.quantile(np.nan_to_num(draws, nan=-np.inf), 0.5 - level / 2, method="inverted_cdf")
    high = np.quantile(np.nan_to_num(draws, nan=np.inf), 0.5 + level / 2, method="inverted_cdf")
    return float(value), float(low), float(high)


def geometric_interval(ratios: ArrayLike) -> Interval:
    """The geometric mean of positive ratios, two or more, with Student's t on their logarithms."""
    return tuple(math.exp(end) for end in seed_interval(np.log(np.asarray(ratios, dtype=float)), 0.0))


def share_interval(hits: int, n: int, level: float = 0.95) -> Interval:
    """A share in percent with the exact binomial interval of Clopper and Pearson."""
    from scipy.stats import binomtest  # here, because scipy.stats takes longer to import than all else in this room

    exact = binomtest(hits, n).proportion_ci(level, method="exact")
    return 100.0 * hits / n, 100.0 * exact.low, 100.0 * exact.high


def superiority(a: ArrayLike, b: ArrayLike) -> Array:
    """The probability that a random value of `a`, `(..., n)`, is above one of `b`, `(..., m)`; a tie counts half."""
    difference = np.asarray(a, dtype=float)[..., :, None] - np.asarray(b, dtype=float)[..., None, :]
    return ((difference > 0) + 0.5 * (difference == 0)).mean((-2, -1))


def superiority_interval(a: ArrayLike, b: ArrayLike, draws: int = 5000, seed: int = 0) -> Interval:
    """`superiority` in percent with a bootstrap over either side's values; without width if none of them overlap."""
    rng = np.random.default_rng(seed)
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    drawn = [side[rng.integers(len(side), size=(draws, len(side)))] for side in (a, b)]
    return tuple(100 * end for end in quantile_interval(float(superiority(a, b)), superiority(*drawn)))


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


def permutation_interval(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Interval:
    """The mean of `a` less that of `b` with all shifts that the exact permutation test does not reject.

    With too few values no shift can be rejected and the ends are infinite: one value against five gives no p below 1/6.

    Args:
        a, b: `(n,)` and `(m,)`, about ten values each at most.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    difference = float(a.mean() - b.mean())
    far = 10.0 * (np.ptp(np.concatenate([a, b])) + 1.0)

    def end(outside: float) -> float:
        if permutation_p(a - outside, b) > 1 - level:
            return math.copysign(math.inf, outside - difference)
        inside = difference
        for _ in range(40):  # bisection between a shift that is not rejected and one that is
            middle = (inside + outside) / 2
            kept = permutation_p(a - middle, b) > 1 - level
            inside, outside = (middle, outside) if kept else (inside, middle)
        return inside

    return difference, end(difference - far), end(difference + far)


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
