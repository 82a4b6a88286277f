"""Latent drift: how far post-training moves a model's hidden states (Sections 3.1 and 3.2), and measures without flaws.

All measures compare two models' pooled states of the same texts, layer by layer. States are pooled inside the forward
pass, so that only one number a text, layer and dimension is ever kept.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import eigh
from sklearn.decomposition import PCA

Array = NDArray[np.float64]
SUBSPACE = 5  # leading principal directions whose subspaces are compared
LEAST_TEXTS = 8  # for measures with intervals
MEASURES = ("pc1", "pc2", "distance", "centroid_shift", "cka", "angle")
BOOTSTRAP = 100  # resamples of the texts


# --- hidden states


# --- measures


def pca_shift(base: Array, tuned: Array) -> pd.DataFrame:
    """How the mean hidden state of each layer moves along the base's first two principal components.

    The components are fitted on the base's states of the same texts, each layer for itself.

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
        with np.errstate(invalid="ignore"):  # no variance at all
            components = PCA(n_components=2, svd_solver="full").fit(before).components_  # (2, hidden)
        pc1, pc2 = components @ (after.mean(0) - before.mean(0))
        rows.append({"layer": layer, "pc1": pc1, "pc2": pc2, "distance": float(np.hypot(pc1, pc2))})
    return pd.DataFrame(rows)


def _check_states(base: Array, tuned: Array, texts: int, hidden: int) -> None:
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

    The largest is exact; the least is over random signs, which for few layers are all there are.
    """
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(draws, len(shift), 2))
    distances = np.linalg.norm((signs * shift[["pc1", "pc2"]].to_numpy()).mean(1), axis=1)
    return float(distances.min()), centroid_distance(shift.abs())


def measures(base: Array, tuned: Array, draws: int = BOOTSTRAP, seed: int = 0) -> tuple[Array, Array]:
    """All measures of each layer, and the same when the texts are drawn again with replacement.

    In the order of `MEASURES`:

    - `pc1`, `pc2`, `distance`: as in `pca_shift`; the signs of resampled components follow the observed ones;
    - `centroid_shift`: how far the mean state moves along the base's first two principal components, in units of the
      base's standard deviation along each (the norm of the two). No sign enters, and no layer counts more because its
      states are large;
    - `cka`: linear centred kernel alignment from unbiased estimates of HSIC (Song and others, 2012), 1 for the same
      representation up to rotation and scale; it can come out slightly below 0;
    - `angle`: the mean principal angle between the two models' five leading principal directions, in degrees.

    A direction along which states do not vary (as when all texts end in the same token) is arbitrary, and what needs it
    is nan: the first four where the base varies in fewer than two directions, `cka` where either model varies in none,
    `angle` where either varies in fewer than five, so also in a resample of fewer than six different texts.

    Args:
        base, tuned: `(layers, texts, hidden)`, the same texts in the same order.

    Returns:
        `(layers, measures)` and `(draws, layers, measures)`.

    Raises:
        ValueError: the shapes differ, or there are fewer than eight texts or six hidden dimensions.
    """
    _check_states(base, tuned, LEAST_TEXTS, SUBSPACE + 1)
    drawn = np.random.default_rng(seed).integers(base.shape[1], size=(draws, base.shape[1]))
    everything = np.arange(base.shape[1])[None]
    observed, resampled = [], []
    for before, after in zip(base, tuned, strict=True):
        before, after = _in_their_span(np.asarray(before, float), np.asarray(after, float))
        grams = [_gram(before), _gram(after)]
        values, components = _layer_measures(before, after, grams, everything, None)
        observed.append(values[0])
        resampled.append(_layer_measures(before, after, grams, drawn, components[0])[0])
    found, again = np.stack(observed), np.stack(resampled, axis=1)
    signs = np.where(found[:, :2] * pca_shift(base, tuned)[["pc1", "pc2"]] < 0, -1.0, 1.0)
    found[:, :2] *= signs
    again[..., :2] *= signs
    return found, again


def _in_their_span(before: Array, after: Array) -> tuple[Array, Array]:
    """The same states in coordinates of the space that both span: fewer numbers, same angles and distances."""
    texts, hidden = before.shape
    if hidden <= 2 * texts:
        return before, after
    basis = np.linalg.qr(np.concatenate([before, after]).T)[0]  # (hidden, 2 * texts)
    return before @ basis, after @ basis


def _gram(states: Array) -> Array:
    """Inner products of centred states without those of a text with itself, `(texts, texts)`."""
    centred = states - states.mean(0)
    gram = centred @ centred.T
    np.fill_diagonal(gram, 0.0)
    return gram


def _layer_measures(
    before: Array, after: Array, grams: list[Array], drawn: NDArray[np.int64], like: Array | None
) -> tuple[Array, Array]:
    """`(draws, measures)` and the base's components, `(draws, hidden, 2)`, with signs as in `like`."""
    base, tuned = before[drawn], after[drawn]  # (draws, texts, hidden)
    variances, directions = _principal(base)
    components = directions[..., :2]
    if like is not None:
        components = components * np.where((components * like).sum(1, keepdims=True) < 0, -1.0, 1.0)
    move = ((tuned.mean(1) - base.mean(1))[:, None] @ components)[:, 0]  # (draws, 2)
    move[np.isnan(variances[:, 1])] = np.nan
    shift = np.linalg.norm(move / np.sqrt(variances[:, :2]), axis=1)
    tuned_variances, tuned_directions = _principal(tuned)
    either = variances + tuned_variances  # nan where that of either is
    cka = debiased_cka(*(gram[drawn[:, :, None], drawn[:, None]] for gram in grams))
    cka[np.isnan(either[:, 0])] = np.nan
    overlap = np.linalg.svd(directions.swapaxes(1, 2) @ tuned_directions, compute_uv=False)
    angle = np.degrees(np.arccos(overlap.clip(-1, 1))).mean(1)
    angle[np.isnan(either[:, -1])] = np.nan
    return np.stack([move[:, 0], move[:, 1], np.hypot(*move.T), shift, cka, angle], axis=1), components


def _principal(states: Array) -> tuple[Array, Array]:
    """Variances along the five leading principal directions, largest first, `(draws, 5)`; these, `(draws, hidden, 5)`.

    A variance that is only rounding error is nan.
    """
    centred = states - states.mean(1, keepdims=True)
    covariances = centred.swapaxes(1, 2) @ centred / (states.shape[1] - 1)
    size = covariances.shape[1]
    leading = [eigh(matrix, subset_by_index=[size - SUBSPACE, size - 1]) for matrix in covariances]
    variances = np.stack([values[::-1] for values, _ in leading])
    level = (states**2).sum(-1).mean(1, keepdims=True)
    varies = variances > 1e-12 * level
    return np.where(varies, variances, np.nan), np.stack([vectors[:, ::-1] for _, vectors in leading])


def debiased_cka(first: Array, second: Array) -> Array:
    """Linear CKA from Gram matrices by the unbiased estimate of HSIC (Song and others, 2012), `(..., n, n)` -> `(...)`.

    The diagonals must be 0. Where a text was drawn twice, so must be its product with itself, or it would count as an
    agreement of two texts. nan where either is 0 throughout.
    """
    scale = np.sqrt(np.abs(_unbiased_hsic(first, first) * _unbiased_hsic(second, second)))
    return _unbiased_hsic(first, second) / np.where(scale > 0, scale, np.nan)


def _unbiased_hsic(first: Array, second: Array) -> Array:
    n = first.shape[-1]
    rows, columns = first.sum(-1), second.sum(-1)
    trace = (first * second).sum((-2, -1))
    total = rows.sum(-1) * columns.sum(-1) / ((n - 1) * (n - 2))
    return (trace + total - 2 * (rows * columns).sum(-1) / (n - 2)) / (n * (n - 3))


def over_layers(observed: Array, resampled: Array) -> pd.DataFrame:
    """One number a measure: the paper's d from the signed shifts, and the means over layers of the others.

    A layer without a measure (nan) is left out, as are resamples in which another layer is without it.

    Args:
        observed, resampled: from `measures`.

    Returns:
        `metric` (`centroid_distance`, `centroid_shift`, `cka`, `angle`), `value`, `stderr` (standard deviation over the
        resamples), `low`, `high` (their central 95%).
    """
    together = np.concatenate([observed[None], resampled])  # (1 + draws, layers, measures)
    mean = {}
    for i, name in enumerate(MEASURES):
        known = together[:, ~np.isnan(observed[:, i]), i]
        mean[name] = pd.DataFrame(known).mean(axis=1, skipna=False)
    numbers = {"centroid_distance": np.hypot(mean["pc1"], mean["pc2"])}
    numbers |= {name: mean[name] for name in ("centroid_shift", "cka", "angle")}
    rows = [
        (name, values[0], values[1:].std(), *values[1:].quantile([0.025, 0.975]))  # pandas leaves nan out
        for name, values in numbers.items()
    ]
    return pd.DataFrame(rows, columns=["metric", "value", "stderr", "low", "high"])


def by_layer(observed: Array, resampled: Array) -> pd.DataFrame:
    """`layer, metric, value, low, high` of all measures, from `measures`; resamples without a measure are left out."""
    flat = pd.DataFrame(resampled.reshape(len(resampled), -1))
    low, high = flat.quantile([0.025, 0.975]).to_numpy().reshape(2, *observed.shape)
    rows = [
        (layer, name, observed[layer, i], low[layer, i], high[layer, i])
        for i, name in enumerate(MEASURES)
        for layer in range(len(observed))
    ]
    return pd.DataFrame(rows, columns=["layer", "metric", "value", "low", "high"])
