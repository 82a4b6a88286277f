"""The Transferability Index in its three definitions, and intervals for what is computed from scores."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]


def spread(gains: ArrayLike) -> float:
    """sigma_g of Section 2.1: the standard deviation of a group's gains, in percentage points.

    The paper writes it over one model's benchmarks: give `(benchmarks,)`. Pooled over models, as its Table 5 needs:
    give `(models, benchmarks)`.
    """
    return float(np.std(np.asarray(gains, dtype=float), ddof=1))


def domain_index(gains: ArrayLike, base: ArrayLike, sigma: ArrayLike) -> Array:
    """DI_g of Section 2.1: the weighted mean of the signed roots of a group's standardised gains.

    Args:
        gains: model less base, percentage points, `(..., benchmarks)`.
        base: the base's scores, percent, same shape; a benchmark weighs 100 - base.
        sigma: the group's spread, see `spread`; `(...)` or one number.

    Returns:
        `(...)`, without unit. nan where the spread is 0.
    """
    gains, headroom = np.asarray(gains, dtype=float), 100.0 - np.asarray(base, dtype=float)
    sigma = np.asarray(sigma, dtype=float)[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        standardised = gains / sigma
    signed_root = np.sign(standardised) * np.sqrt(np.abs(standardised))
    return (headroom * signed_root).sum(-1) / headroom.sum(-1)


def transferability_index(group_index: ArrayLike, math_index: ArrayLike) -> Array:
    """TI_g = 100 DI_g / DI_math in percent (Section 2.1); nan where mathematics did not gain."""
    group_index, math_index = np.asarray(group_index, dtype=float), np.asarray(math_index, dtype=float)
    return np.where(math_index > 0, 100.0 * group_index / np.where(math_index > 0, math_index, 1.0), np.nan)


def relative_gain_index(gains: ArrayLike, base: ArrayLike, math_gains: ArrayLike, math_base: ArrayLike) -> float:
    """TI_g of the paper's first version: the group's mean relative gain over that of mathematics, in percent.

    Raises:
        ZeroDivisionError: a base score is 0, where a relative gain has no value.
    """
    if np.any(np.asarray(base) == 0) or np.any(np.asarray(math_base) == 0):
        raise ZeroDivisionError("a relative gain over a base score of 0 has no value: use the index of version 2")
    return float(100.0 * np.mean(np.divide(gains, base)) / np.mean(np.divide(math_gains, math_base)))


def seed_interval(by_seed: ArrayLike, question_variance: float, level: float = 0.95) -> tuple[float, float, float]:
    """Mean over training seeds with an interval that covers seeds and evaluation questions.

    The variance is s^2 / k over k seeds plus the variance that resampling the questions gives (the questions are the
    same for all seeds, so it does not shrink with k). Student's t with Welch and Satterthwaite's degrees of freedom,
    where the questions' part counts as known exactly.

    Args:
        by_seed: the statistic, one value a seed, `(seeds,)`.
        question_variance: the variance of its mean over seeds when questions are resampled.

    Raises:
        ValueError: fewer than two seeds, from which no interval can be had.
    """
    values = np.asarray(by_seed, dtype=float)
    k = len(values)
    if k < 2:
        raise ValueError(f"an interval over training seeds needs at least two, found {k}")
    seed_variance = values.var(ddof=1) / k
    total = seed_variance + question_variance
    freedom = (k - 1) * (total / seed_variance) ** 2 if seed_variance > 0 else math.inf
    half = stats.t.ppf(0.5 + level / 2, freedom) * math.sqrt(total)
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

    A published table has one run a model, so the only spread to be had is over a group's benchmarks. With four of
    them all 256 resamples can be enumerated: an exact bootstrap. It says how much hangs on the choice of benchmarks.
    """
    return np.stack(np.meshgrid(*[range(benchmarks)] * benchmarks), -1).reshape(-1, benchmarks)


def quantile_interval(value: float, resampled: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """A value with the central part of what resampling gave.

    A resample that gave no number (nan) might lie anywhere, so it counts as the lowest for the low end and as the
    highest for the high end.
    """
    draws = np.asarray(resampled, dtype=float).ravel()
    low = np.quantile(np.nan_to_num(draws, nan=-np.inf), 0.5 - level / 2, method="inverted_cdf")
    high = np.quantile(np.nan_to_num(draws, nan=np.inf), 0.5 + level / 2, method="inverted_cdf")
    return float(value), float(low), float(high)
