"""Latent drift: how far post-training moves a model's hidden states (Sections 3.1 and 3.2).

Beside the paper's measures are some that depend neither on signs nor on a layer's scale.

All measures compare two models' pooled states of the same texts, layer by layer. Principal components are a singular
value decomposition of a few lines here: scikit-learn's PCA gives the same numbers (the tests compare them) and takes
most of a second to import, which every chapter that reads a table would wait for.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import eigh

_Array = NDArray[np.float64]
States = dict[tuple, _Array]  # group of texts -> their pooled states, `(layers, texts, hidden)`
LEAST_TEXTS = 8  # for measures with intervals
_MEASURES = ("pc1", "pc2", "distance", "centroid_shift", "cka")
_BOOTSTRAP = 100  # resamples of the texts
_ROUNDING = 1e-12  # a variance below this share of the mean squared norm is rounding error


def pca_shift(base: _Array, tuned: _Array) -> pd.DataFrame:
    """How the mean hidden state of each layer moves along the base's first two principal components.

    The components are fitted on the base's states of the same texts, each layer for itself. The sign of a component is
    arbitrary; as in scikit-learn, its largest entry is positive.

    Args:
        base, tuned: `(layers, texts, hidden)`, the same texts in the same order.

    Returns:
        `layer`, `pc1`, `pc2` (tuned less base, in units of the hidden state) and `distance`, the norm of the two.

    Raises:
        ValueError: the shapes differ, or there are fewer than three texts or two hidden dimensions.
    """
    _check_states(base, tuned, 3, 2)
    rows = []
    for layer, (before, after) in enumerate(zip(base, tuned, strict=True)):
        components = np.linalg.svd(before - before.mean(0), full_matrices=False)[2][:2]  # (2, hidden)
        largest = np.abs(components).argmax(1)
        components = components * np.sign(components[[0, 1], largest])[:, None]
        pc1, pc2 = components @ (after.mean(0) - before.mean(0))
        rows.append({"layer": layer, "pc1": pc1, "pc2": pc2, "distance": float(np.hypot(pc1, pc2))})
    return pd.DataFrame(rows)


def _check_states(base: _Array, tuned: _Array, texts: int, hidden: int) -> None:
    if base.shape != tuned.shape:
        raise ValueError(f"base and tuned states have different shapes, {base.shape} and {tuned.shape}")
    if base.shape[1] < texts:
        raise ValueError(f"these measures need at least {texts} texts, found {base.shape[1]}")
    if base.shape[2] < hidden:
        raise ValueError(f"these measures need at least {hidden} hidden dimensions, found {base.shape[2]}")


def centroid_distance(shift: pd.DataFrame) -> float:
    """The paper's d (Section 3.2): the distance of the two models' centroids over all layers.

    The signed shifts are averaged over layers before the norm is taken, although the sign of a principal component is
    arbitrary: two layers that move alike can cancel, see `sign_range`.
    """
    return float(np.hypot(shift["pc1"].mean(), shift["pc2"].mean()))


def sign_range(shift: pd.DataFrame, draws: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """The least and the largest `centroid_distance` that other signs of the same components give.

    The largest is exact. The least is over random signs; with few layers they are all that there are.
    """
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(draws, len(shift), 2))
    distances = np.linalg.norm((signs * shift[["pc1", "pc2"]].to_numpy()).mean(1), axis=1)
    return float(distances.min()), centroid_distance(shift.abs())


def by_group(base: States, tuned: States, by: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two models' states of the same texts, measured group by group.

    Args:
        base, tuned: for every group of texts, such as `("math", "sums", "mean")`, the pooled states.
        by: the columns that a group's name fills, such as `["group", "benchmark", "pool"]`.

    Returns:
        One number a measure, `metric, value, stderr, low, high, *by, n` (texts): the paper's d as `centroid_distance`,
        and the means over layers of `centroid_shift` and `cka`. And all measures of every layer, `layer, metric, value,
        low, high, *by`. See `_measures` for what they are; intervals are 95%, over texts.

    Raises:
        ValueError: a group has fewer than eight texts, or the models' states differ in shape or have fewer than two
            dimensions.
    """
    whole, layers = [], []
    for group, before in base.items():
        found, named = _measures(before, tuned[group]), dict(zip(by, group, strict=True))
        whole.append(_over_layers(*found).assign(**named, n=before.shape[1]))
        layers.append(_by_layer(*found).assign(**named))
    return pd.concat(whole, ignore_index=True), pd.concat(layers, ignore_index=True)


def _measures(base: _Array, tuned: _Array, draws: int = _BOOTSTRAP, seed: int = 0) -> tuple[_Array, _Array]:
    """All measures of each layer, and the same when the texts are drawn again with replacement.

    In this order:

    - `pc1`, `pc2`, `distance`: as in `pca_shift`; the signs of resampled components follow the observed ones;
    - `centroid_shift`: how far the mean state moves along the base's first two principal components, in units of the
      base's standard deviation along each (the norm of the two). No sign enters, and no layer counts more because its
      states are large;
    - `cka`: linear centred kernel alignment from unbiased estimates of HSIC (Song and others, 2012), 1 for the same
      representation up to rotation and scale; it can come out slightly below 0.

    A direction along which states do not vary (as when all texts end in the same token) is arbitrary, and a measure
    that needs it is nan: the first four if the base varies in fewer than two directions, `cka` if either model varies
    in none.

    Args:
        base, tuned: `(layers, texts, hidden)`, the same texts in the same order.

    Returns:
        `(layers, measures)` and `(draws, layers, measures)`.
    """
    _check_states(base, tuned, LEAST_TEXTS, 2)
    texts = base.shape[1]
    drawn = np.random.default_rng(seed).integers(texts, size=(draws, texts))
    again = [np.bincount(rows, minlength=texts) for rows in drawn]
    counts = np.array([np.ones(texts, int), *again])  # (1 + draws, texts): how often each text is there
    layers = [
        _layer_measures(np.asarray(b, float), np.asarray(t, float), counts) for b, t in zip(base, tuned, strict=True)
    ]
    found = np.stack(layers, axis=1)  # (1 + draws, layers, measures)
    found[..., :2] *= np.where(found[0, :, :2] * pca_shift(base, tuned)[["pc1", "pc2"]] < 0, -1.0, 1.0)
    return found[0], found[1:]


def _layer_measures(base: _Array, tuned: _Array, counts: NDArray[np.int64]) -> _Array:
    """`(draws, measures)` of one layer's states, `(texts, hidden)`; signs of components are those of the first draw.

    Only inner products of states enter. A resample weights the texts by how often each was drawn, so that products are
    taken once for all resamples, and a principal direction is known by its coefficients: the sum of the centred states
    with these as factors. The coefficients of a direction add up to 0, so that it does not matter whose mean is
    subtracted when a state is projected onto it.
    """
    # 1. Inner products of states, less the mean of all texts.
    before, after = base - base.mean(0), tuned - tuned.mean(0)
    within_base, within_tuned = before @ before.T, after @ after.T  # (texts, texts)
    # 2. The base's principal components in every resample.
    variances, components = _principal(within_base, counts, (base**2).sum(1))
    # 3. How far the mean moves along them.
    moves = counts @ (tuned - base) @ before.T / counts.shape[1]  # (draws, texts)
    along = (components * (within_base @ components[0])).sum(1)  # cosines with those of the first draw
    move = (components * moves[..., None]).sum(1) * np.where(along < 0, -1.0, 1.0)  # (draws, 2)
    move[np.isnan(variances[:, 1])] = np.nan
    shift = np.linalg.norm(move / np.sqrt(variances), axis=1)
    # 4. How alike the two models arrange the texts.
    cka = _debiased_cka(_hollow(within_base), _hollow(within_tuned), counts)
    cka[~(_varies(within_base, counts, base) & _varies(within_tuned, counts, tuned))] = np.nan
    return np.stack([move[:, 0], move[:, 1], np.hypot(*move.T), shift, cka], axis=1)


def _principal(products: _Array, counts: NDArray[np.int64], squares: _Array) -> tuple[_Array, _Array]:
    """The first two principal components of every resample, the larger first.

    The covariance of a resample and the matrix of its weighted inner products have the same eigenvalues, and as only
    about 63% of the texts are in a resample, the second is small whatever the hidden size.

    Args:
        products: inner products of the states less their mean, `(texts, texts)`.
        counts: `(draws, texts)`.
        squares: squared norms of the states themselves, `(texts,)`; a variance that is their rounding error is nan.

    Returns:
        Variances `(draws, 2)`; coefficients of unit directions `(draws, texts, 2)`, 0 for those that do not vary.
    """
    draws, texts = counts.shape
    variances, coefficients = np.empty((draws, 2)), np.zeros((draws, texts, 2))
    means = counts @ products / texts
    for draw, (times, mean) in enumerate(zip(counts, means, strict=True)):
        there = np.argsort(-times)[: max(2, np.count_nonzero(times))]  # all that were drawn, and two at least
        root = np.sqrt(times[there])
        centred = products[np.ix_(there, there)] - mean[there] - mean[there, None] + times @ mean / texts
        values, vectors = eigh(centred * root * root[:, None], subset_by_index=[len(there) - 2, len(there) - 1])
        values = values[::-1] / (texts - 1)
        varies = values > _ROUNDING * (times @ squares) / texts
        variances[draw] = np.where(varies, values, np.nan)
        scale = np.sqrt(np.where(varies, values * (texts - 1), np.inf))
        coefficients[draw, there] = root[:, None] * vectors[:, ::-1] / scale
    return variances, coefficients


def _varies(products: _Array, counts: NDArray[np.int64], states: _Array) -> NDArray[np.bool_]:
    """Whether the states, `(texts, hidden)`, differ by more than rounding in every resample: `(draws,)`."""
    texts = counts.shape[1]
    total = counts @ np.diag(products) - (counts @ products * counts).sum(1) / texts  # of the squared distances
    return total / (texts - 1) > _ROUNDING * (counts @ (states**2).sum(1)) / texts


def _hollow(products: _Array) -> _Array:
    """The products without those of a text with itself."""
    return products - np.diag(np.diag(products))


def _debiased_cka(first: _Array, second: _Array, counts: NDArray[np.int64]) -> _Array:
    """Linear CKA by the unbiased estimate of HSIC (Song and others, 2012), of every resample: `(draws,)`.

    The diagonals of the inner products, `(texts, texts)`, must be 0. If a text was drawn twice, its product with itself
    counts as 0 too, or it would pass for an agreement of two texts. nan if either model's products are 0 throughout.
    """
    scale = np.sqrt(np.abs(_unbiased_hsic(first, first, counts) * _unbiased_hsic(second, second, counts)))
    return _unbiased_hsic(first, second, counts) / np.where(scale > 0, scale, np.nan)


def _unbiased_hsic(first: _Array, second: _Array, counts: NDArray[np.int64]) -> _Array:
    n = counts.shape[1]
    rows, columns = counts @ first, counts @ second  # (draws, texts)
    trace = (counts @ (first * second) * counts).sum(1)
    total = (rows * counts).sum(1) * (columns * counts).sum(1) / ((n - 1) * (n - 2))
    return (trace + total - 2 * (rows * columns * counts).sum(1) / (n - 2)) / (n * (n - 3))


def _over_layers(observed: _Array, resampled: _Array) -> pd.DataFrame:
    """One number a measure: the paper's d from the signed shifts, and the means over layers of the others.

    A layer without a measure (nan) is left out, as are resamples in which another layer is without it.

    Args:
        observed, resampled: from `_measures`.

    Returns:
        `metric` (`centroid_distance`, `centroid_shift`, `cka`), `value`, `stderr` (standard deviation over the
        resamples), `low`, `high` (their central 95%).
    """
    together = np.concatenate([observed[None], resampled])  # (1 + draws, layers, measures)
    mean = {}
    for i, name in enumerate(_MEASURES):
        known = together[:, ~np.isnan(observed[:, i]), i]
        mean[name] = pd.DataFrame(known).mean(axis=1, skipna=False)
    numbers = {"centroid_distance": np.hypot(mean["pc1"], mean["pc2"])}
    numbers |= {name: mean[name] for name in ("centroid_shift", "cka")}
    rows = [
        (name, values[0], values[1:].std(), *values[1:].quantile([0.025, 0.975]))  # pandas leaves nan out
        for name, values in numbers.items()
    ]
    return pd.DataFrame(rows, columns=["metric", "value", "stderr", "low", "high"])


def _by_layer(observed: _Array, resampled: _Array) -> pd.DataFrame:
    """`layer, metric, value, low, high` of all measures, from `_measures`; resamples without a measure are left out."""
    flat = pd.DataFrame(resampled.reshape(len(resampled), -1))
    low, high = flat.quantile([0.025, 0.975]).to_numpy().reshape(2, *observed.shape)
    rows = [
        (layer, name, observed[layer, i], low[layer, i], high[layer, i])
        for i, name in enumerate(_MEASURES)
        for layer in range(len(observed))
    ]
    return pd.DataFrame(rows, columns=["layer", "metric", "value", "low", "high"])
