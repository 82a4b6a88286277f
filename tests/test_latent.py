"""The PCA shift against plain linear algebra."""

import numpy as np
import pytest
import torch

from mathtransfer import latent


def test_shift_by_eigenvectors_of_the_covariance():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(3, 40, 6)) * [5, 3, 1, 1, 1, 1]
    tuned = base + rng.normal(size=(3, 40, 6))
    shift = latent.pca_shift(base, tuned)
    for layer in range(3):
        _, vectors = np.linalg.eigh(np.cov(base[layer].T))
        plane = vectors[:, -2:]
        expected = np.linalg.norm((tuned[layer].mean(0) - base[layer].mean(0)) @ plane)
        assert shift.loc[layer, "distance"] == pytest.approx(expected)


def test_a_move_across_the_first_component_is_found_whole():
    rng = np.random.default_rng(1)
    base = rng.normal(size=(1, 500, 4)) * [10, 5, 0.1, 0.1]
    moved = base + np.array([3.0, 4.0, 0, 0])
    assert latent.pca_shift(base, moved).loc[0, "distance"] == pytest.approx(5.0, rel=1e-3)
    assert latent.pca_shift(base, base).loc[0, "distance"] == 0.0


def test_opposite_layers_cancel_by_the_papers_definition_only():
    import pandas as pd

    shift = pd.DataFrame({"pc1": [3.0, -3.0], "pc2": [0.0, 0.0], "distance": [3.0, 3.0]})
    assert latent.centroid_distance(shift) == 0.0
    assert latent.mean_distance(shift) == 3.0


def test_padding_does_not_count(base):
    model, tokenizer = base
    texts = ["what is 3 + 4 - 5 + 6 ?", "say red blue twice"]
    together = latent.mean_hidden_states(model, tokenizer, texts)
    alone = np.concatenate([latent.mean_hidden_states(model, tokenizer, [text]) for text in texts], axis=1)
    assert together.shape == (model.config.num_hidden_layers + 1, 2, model.config.hidden_size)
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-4)  # float32 sums in another order
    ids = tokenizer(texts[1], return_tensors="pt").input_ids
    embedded = model.get_input_embeddings()(ids).mean(1).detach().numpy()
    np.testing.assert_allclose(together[0, 1], embedded[0], atol=1e-6)
    assert torch.is_tensor(ids)


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        latent.pca_shift(np.zeros((1, 4, 3)), np.zeros((1, 5, 3)))
    with pytest.raises(ValueError, match="at least three texts"):
        latent.pca_shift(np.zeros((1, 2, 3)), np.zeros((1, 2, 3)))
