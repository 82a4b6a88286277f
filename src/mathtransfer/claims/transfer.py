"""The Transferability Index in its three definitions, with intervals, and with a reason if it has no value.

For a group g of benchmarks b with gains over the base (arXiv 2507.00432v2, Section 2.1):

    delta_b = gain_b / sigma_g    s_b = sign(delta_b) |delta_b|^(1/2)    w_b = 100 - base_b, normalised in the group
    DI_g = sum_b w_b s_b          TI_g = 100 DI_g / DI_math,  g in {other, non}

`per_model` takes sigma_g over one model's benchmarks, as Section 2.1 writes it; `pooled` takes one sigma_g a group
over all tuned models, which comes closest to the paper's Table 5; `relative` is the paper's first version, whose DI_g
is the mean of gain_b / base_b.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mathtransfer import GROUPS
from mathtransfer.claims.intervals import Array, quantile_interval, resample_questions

DEFINITIONS = ("relative", "per_model", "pooled")
OUTSIDE = ("other", "non")  # the groups that mathematics may transfer to
_ZERO = 1e-12  # what rounding leaves of a spread or an index that is zero
_COLUMNS = ["model", "base", "definition", "group", "metric", "value", "low", "high", "reason", "unstable"]


def spreads(gains: Array, groups: list[str], definition: str) -> dict[str, Array]:
    """sigma_g of every group, the sample standard deviation of gains in percentage points (Section 2.1).

    Args:
        gains: `(..., models, benchmarks)`.
        groups: the group of each benchmark.

    Returns:
        Group -> `(..., models)` by each model's own benchmarks (`per_model`), `(..., 1)` over all models (`pooled`).
        nan if the spread is zero.
    """
    found = {}
    for group in dict.fromkeys(groups):
        part = gains[..., [name == group for name in groups]]
        if definition == "pooled":
            part = part.reshape(*part.shape[:-2], 1, -1)
        count = (~np.isnan(part)).sum(-1)
        squares = np.nansum((part - np.nansum(part, -1, keepdims=True) / count[..., None]) ** 2, -1)
        with np.errstate(divide="ignore", invalid="ignore"):
            sigma = np.sqrt(squares / (count - 1))
        found[group] = np.where(sigma > _ZERO, sigma, np.nan)
    return found


def domain_index(
    gains: ArrayLike, base: ArrayLike, sigma: ArrayLike, exponent: float = 0.5, weights: str = "headroom"
) -> Array:
    """DI_g of Section 2.1: the weighted mean of the signed powers of a group's standardised gains.

    Args:
        gains: model less base, percentage points, `(..., benchmarks)`.
        base: the base's scores, percent, same shape.
        sigma: the group's spread, see `spreads`; `(...)` or one number.
        exponent: the paper's is a half.
        weights: `headroom` for the paper's 100 - base, `equal` for the same weight on every benchmark.

    Returns:
        `(...)`, without unit. nan if a gain or the spread is missing.
    """
    standardised = np.asarray(gains, dtype=float) / np.asarray(sigma, dtype=float)[..., None]
    base = np.asarray(base, dtype=float)
    weight = {"headroom": 100.0 - base, "equal": np.ones_like(base)}[weights]
    return (weight * np.sign(standardised) * np.abs(standardised) ** exponent).sum(-1) / weight.sum(-1)


def _domain_indices(
    gains: Array, base: Array, groups: list[str], definition: str, sigma: dict[str, Array] | None = None
) -> dict[str, Array]:
    """DI of every model in every group.

    Args:
        gains: model less base, percentage points, `(..., models, benchmarks)`.
        base: the scores of each model's base, percent, same shape.
        groups: the group of each benchmark.
        sigma: spreads from elsewhere, such as another pool of models; by default those of these models.

    Returns:
        Group -> `(..., models)`; nan if the index is not defined.
    """
    if sigma is None and definition != "relative":
        sigma = spreads(gains, groups, definition)
    found = {}
    for group in dict.fromkeys(groups):
        mask = [name == group for name in groups]
        change, start = gains[..., mask], base[..., mask]
        if definition == "relative":
            found[group] = (change / np.where(start == 0, np.nan, start)).mean(-1)
        else:
            found[group] = domain_index(change, start, sigma[group])
    return found


def _transferability_index(group_index: ArrayLike, math_index: ArrayLike) -> Array:
    """TI_g = 100 DI_g / DI_math in percent (Section 2.1); nan if the index of mathematics is zero."""
    group_index, math_index = np.asarray(group_index, dtype=float), np.asarray(math_index, dtype=float)
    zero = np.abs(math_index) <= _ZERO
    return 100.0 * group_index / np.where(zero, np.nan, math_index)


def transferability(
    scores: pd.DataFrame,
    bases: Mapping[str, str],
    definition: str = "pooled",
    draws: int = 1000,
    over_models: bool = False,
    seed: int = 0,
    sigma: dict[str, Array] | None = None,
) -> pd.DataFrame:
    """The Transferability Index of every tuned model, with its parts and 95% intervals.

    Args:
        scores: tidy: `model, group, benchmark, value` in percent. With a column `question` (one row an item) intervals
            come from a bootstrap over the evaluation items, the same draw for all models; with a column `stderr`, from
            a parametric bootstrap of each score; with neither there are no intervals.
        bases: tuned model -> base. The pooled spread is over these models.
        definition: `relative`, `per_model` or `pooled`.
        draws: resamples behind an interval.
        over_models: whether the models behind the pooled spread are drawn again as well.
        sigma: spreads from elsewhere, such as another pool of models; they count as known exactly.

    Returns:
        `model, base, definition, group, metric, value, low, high, reason, unstable`. `metric` is `gain` (the group's
        mean, percentage points), `domain index`, and outside mathematics `transferability index` (percent). A value
        that is not defined is missing, and `reason` says why. An index is `unstable` if the domain index of
        mathematics, its denominator, is not above zero with its whole interval (without intervals: if it is not
        above zero); in an index's interval, a draw in which mathematics did not gain counts as no value (see
        `quantile_interval`).

    Raises:
        ValueError: an unknown definition or group, a base without scores, a score that occurs twice, no mathematics.
    """
    _check(scores, bases, definition)
    cells = scores.groupby(["group", "benchmark", "model"], sort=False)["value"].mean().unstack()
    cells = cells.loc[sorted(cells.index, key=lambda key: GROUPS.index(key[0]))]
    groups = [group for group, _ in cells.index]
    tuned = list(bases)
    rows = [list(cells.columns).index(name) for name in tuned]
    base_rows = [list(cells.columns).index(bases[name]) for name in tuned]

    def measure(values: Array, pool: NDArray[np.int64] | None = None) -> dict[tuple[str, str], Array]:
        """(group, metric) -> (..., models) from scores `(..., all models, benchmarks)`."""
        base = values[..., base_rows, :]
        gains = values[..., rows, :] - base
        drawn = sigma if pool is None else spreads(np.take_along_axis(gains, pool[..., None], -2), groups, definition)
        index = _domain_indices(gains, base, groups, definition, drawn)
        found = {(group, "domain index"): index[group] for group in index}
        for group in index:
            found[group, "gain"] = gains[..., [name == group for name in groups]].mean(-1)
            if group != "math":
                found[group, "transferability index"] = _transferability_index(index[group], index["math"])
        return found

    observed = measure(cells.to_numpy().T)
    resampled = None
    if (drawn := _draw(scores, cells, draws, seed)) is not None:
        choice = np.random.default_rng([seed, 1]).integers(len(tuned), size=(draws, len(tuned)))
        resampled = measure(drawn, choice if over_models and definition == "pooled" else None)
    return _tidy(cells, bases, definition, observed, resampled)


def _check(scores: pd.DataFrame, bases: Mapping[str, str], definition: str) -> None:
    if definition not in DEFINITIONS:
        raise ValueError(f"unknown definition {definition!r}: expected one of {', '.join(DEFINITIONS)}")
    if unknown := sorted(set(scores["group"]) - set(GROUPS)):
        raise ValueError(f"unknown group {', '.join(unknown)}: expected {', '.join(GROUPS)}")
    if "math" not in set(scores["group"]):
        raise ValueError("no scores on mathematics, which the index is relative to")
    if missing := sorted({*bases, *bases.values()} - set(scores["model"])):
        raise ValueError(f"no scores of {', '.join(missing)}: a model and its base must both be in the table")
    key = [name for name in ("model", "benchmark", "question") if name in scores]
    if scores.duplicated(key).any():
        twice = scores.loc[scores.duplicated(key), key].iloc[0]
        raise ValueError(f"a score occurs twice: {', '.join(map(str, twice))}")


def _draw(scores: pd.DataFrame, cells: pd.DataFrame, draws: int, seed: int) -> Array | None:
    """Resampled scores `(draws, models, benchmarks)` in the order of `cells`, or None if nothing says how."""
    if "question" in scores:
        answers = scores.pivot(index="model", columns=["group", "benchmark", "question"], values="value")
        answers = answers.loc[cells.columns].sort_index(axis=1)
        return resample_questions([answers[key].to_numpy() for key in cells.index], draws, seed)
    if "stderr" in scores:
        stderr = scores.pivot(index="model", columns=["group", "benchmark"], values="stderr")
        stderr = stderr.loc[cells.columns, cells.index].to_numpy()
        noise = np.random.default_rng(seed).normal(size=(draws, *stderr.shape))
        return np.clip(cells.to_numpy().T + noise * stderr, 0.0, 100.0)
    return None


def _undefined(cells: pd.DataFrame, model: str, base: str, group: str, definition: str, index: float) -> str:
    """Why the domain index of a model in a group has no value; empty if it has one."""
    scores, start = cells.loc[group, model], cells.loc[group, base]
    if absent := list(scores.index[scores.isna() | start.isna()]):
        return f"no score on {', '.join(absent)}"
    if definition == "relative" and (zero := list(start.index[start == 0])):
        return f"the base scores 0 on {', '.join(zero)}"
    return f"the spread of the gains on {group} is zero" if np.isnan(index) else ""


def _tidy(
    cells: pd.DataFrame,
    bases: Mapping[str, str],
    definition: str,
    observed: dict[tuple[str, str], Array],
    resampled: dict[tuple[str, str], Array] | None,
) -> pd.DataFrame:
    table = []
    for i, (model, base) in enumerate(bases.items()):
        index = {group: observed[group, "domain index"][i] for group, _ in observed}
        why = {group: _undefined(cells, model, base, group, definition, index[group]) for group in index}
        math_low, gained = index["math"], None
        if resampled:
            draws = resampled["math", "domain index"][:, i]
            math_low, gained = quantile_interval(index["math"], draws)[1], draws > _ZERO
        for (group, metric), values in observed.items():
            reason, unstable = why[group], False
            if metric == "gain":
                reason = why[group] if np.isnan(values[i]) else ""
            elif metric == "transferability index":
                flat = "the index of mathematics is zero" if abs(index["math"]) <= _ZERO else ""
                reason = why[group] or why["math"] or flat
                unstable = not reason and not math_low > _ZERO
            low = high = np.nan
            if resampled and not reason:
                draws = resampled[group, metric][:, i]
                draws = np.where(gained, draws, np.nan) if metric == "transferability index" else draws
                _, low, high = quantile_interval(values[i], draws)
            value = np.nan if reason else float(values[i])
            table.append((model, base, definition, group, metric, value, low, high, reason, unstable))
    return pd.DataFrame(table, columns=_COLUMNS)
