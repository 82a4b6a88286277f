"""Latent drift: how far post-training moves a model's hidden states (Sections 3.1 and 3.2)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from transformers import PreTrainedModel, PreTrainedTokenizerBase


@torch.no_grad()
def mean_hidden_states(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], batch_size: int = 64
) -> NDArray[np.float64]:
    """Hidden states averaged over each text's own tokens; padding does not count.

    Returns:
        `(layers + 1, texts, hidden)`: the embedding's output first, then every layer's.
    """
    pooled = []
    for start in range(0, len(texts), batch_size):
        batch = tokenizer(texts[start : start + batch_size], return_tensors="pt", padding=True).to(model.device)
        states = model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True
        ).hidden_states
        mask = batch.attention_mask[:, :, None]  # (batch, time, 1)
        pooled.append(torch.stack([(s.float() * mask).sum(1) / mask.sum(1) for s in states]).cpu())
    return torch.cat(pooled, dim=1).double().numpy()


def pca_shift(base: NDArray[np.float64], tuned: NDArray[np.float64]) -> pd.DataFrame:
    """How the mean hidden state of each layer moves along the base's first two principal components.

    The components are fitted on the base's states of the same texts, each layer for itself.

    Args:
        base, tuned: `(layers, texts, hidden)` from `mean_hidden_states`, the same texts in the same order.

    Returns:
        `layer`, `pc1`, `pc2` (tuned less base, in units of the hidden state) and `distance`, the norm of the two.

    Raises:
        ValueError: the shapes differ, or there are fewer than three texts.
    """
    if base.shape != tuned.shape:
        raise ValueError(f"base and tuned states have different shapes, {base.shape} and {tuned.shape}")
    if base.shape[1] < 3:
        raise ValueError(f"two principal components need at least three texts, found {base.shape[1]}")
    rows = []
    for layer, (before, after) in enumerate(zip(base, tuned, strict=True)):
        components = PCA(n_components=2, svd_solver="full").fit(before).components_  # (2, hidden)
        pc1, pc2 = components @ (after.mean(0) - before.mean(0))
        rows.append({"layer": layer, "pc1": pc1, "pc2": pc2, "distance": float(np.hypot(pc1, pc2))})
    return pd.DataFrame(rows)


def centroid_distance(shift: pd.DataFrame) -> float:
    """The paper's d (Section 3.2): the distance of the two models' centroids over all layers.

    The signed shifts are averaged over layers before the norm is taken, although the sign of a principal component is
    arbitrary: two layers that move alike can cancel. `mean_distance` does not have that defect.
    """
    return float(np.hypot(shift["pc1"].mean(), shift["pc2"].mean()))


def mean_distance(shift: pd.DataFrame) -> float:
    """The mean over layers of each layer's distance: no sign enters. Ours."""
    return float(shift["distance"].mean())
