"""Latent drift against transformers' own hidden states, scikit-learn, scipy, brute force and closed forms."""

import copy
import itertools
import warnings
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from mathtransfer.drift import hidden_states, latent

TEXTS = ["what is 3 + 4 - 5 + 6 ?", "say red blue twice", "x = 3 ; y = x + 4 ; z = y - 1 ; print z", "red", "find x"]
PC1, PC2, DISTANCE, SHIFT, CKA = range(5)


# --- hidden states


@pytest.fixture(params=["miniature", "Qwen3", "Llama", "GPT2", "GPT2 in bfloat16"])
def model(request, base):
    """The miniature base, and random models of three families with states of order 1, so that 1e-5 is small."""
    torch.manual_seed(0)
    size = {"vocab_size": len(base[1]), "initializer_range": 0.3}
    wide = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4}
    name, _, dtype = request.param.partition(" in ")
    made = {
        "miniature": lambda: base[0],
        "Qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**size, **wide, num_key_value_heads=2, head_dim=8)),
        "Llama": lambda: LlamaForCausalLM(LlamaConfig(**size, **wide, num_key_value_heads=2)),
        "GPT2": lambda: GPT2LMHeadModel(GPT2Config(**size, n_embd=24, n_layer=3, n_head=4)),  # its layers are in `.h`
    }[name]()
    return made.to(getattr(torch, dtype or "float32")).eval()


def encoded(tokenizer, texts: list[str]) -> list[list[int]]:
    return [tokenizer(text).input_ids for text in texts]


def check_close(found, expected, model):
    """`(..., layers, texts, hidden)`, to 1e-5 of a layer's largest: sums in a wider batch have another order."""
    size = np.abs(expected).max((*range(expected.ndim - 3), -2, -1), keepdims=True)
    exact = {"rtol": 1e-4, "atol": 1e-5} if model.dtype == torch.float32 else {"atol": 0.02}
    np.testing.assert_allclose(found / size, expected / size, **exact)


@torch.no_grad()
def test_pooled_states_are_those_of_one_text_at_a_time(model, base):
    """Every layer from the embedding to the final norm, whatever texts are padded together."""
    expected = np.empty((2, model.config.num_hidden_layers + 1, len(TEXTS), model.config.hidden_size))
    for number, text in enumerate(TEXTS):
        states = model(torch.tensor([base[1](text).input_ids]), output_hidden_states=True).hidden_states
        for layer, state in enumerate(states):
            expected[0, layer, number] = state[0].double().mean(0)
            expected[1, layer, number] = state[0, -1].double()
    for batch_size in (1, 2, 32):
        pooled = hidden_states.pooled_states(model, encoded(base[1], TEXTS), batch_size)
        assert pooled.dtype == np.float32
        check_close(pooled, expected, model)
    backwards = hidden_states.pooled_states(model, encoded(base[1], TEXTS[::-1]), 2)
    check_close(backwards[:, :, ::-1], expected, model)


@torch.no_grad()
def test_published_states_are_the_authors_procedure(model, base):
    """All texts in one batch, a pass for each layer, the mean over padding too; one text is cut at 128 tokens."""
    tokenizer = base[1]
    texts = [*TEXTS, " ".join(["red"] * 150)]
    inputs = tokenizer(
        texts, padding=True, truncation=True, max_length=128, padding_side="left", return_tensors="pt"
    ).to(model.device)
    assert inputs["attention_mask"].shape == (6, 128) and inputs["attention_mask"][0, 0] == 0
    layers = range(model.config.num_hidden_layers + 1)
    expected = np.stack(
        [model(**inputs, output_hidden_states=True).hidden_states[n].float().mean(dim=1).numpy() for n in layers]
    )
    for batch_size in (1, 4, 32):
        check_close(hidden_states.published_states(model, tokenizer, texts, batch_size), expected, model)
    own = hidden_states.pooled_states(model, encoded(tokenizer, texts))[0]
    assert np.abs(own - expected).max() > 0.1 * np.abs(expected).max()  # padding does change these


@pytest.mark.parametrize("ours", [True, False], ids=["pooled", "published"])
def test_one_pass_a_batch_and_one_layer_at_a_time(base, ours):
    """No state is kept once the next layer has it, and no hook stays; transformers itself holds the embedding."""
    model = base[0]
    calls, seen, alive = [], [], []

    def watch(_, args):
        alive.append(sum(ref() is not None for ref in seen))
        seen.append(weakref.ref(args[0]))

    hooks = [model.model.register_forward_hook(lambda *_: calls.append(1))]
    hooks += [layer.register_forward_pre_hook(watch) for layer in list(model.model.layers)[1:]]
    try:
        if ours:
            hidden_states.pooled_states(model, encoded(base[1], TEXTS), batch_size=2)
        else:
            hidden_states.published_states(*base, TEXTS, batch_size=2)
    finally:
        for hook in hooks:
            hook.remove()
    assert len(calls) == 3 and len(seen) == 3 * (model.config.num_hidden_layers - 1)
    assert alive == [0] * len(seen)
    assert not any(layer._forward_pre_hooks for layer in model.model.layers)


def test_texts_without_tokens_are_refused(base):
    for texts in ([], ["red", ""]):
        with pytest.raises(ValueError, match="at least one token"):
            hidden_states.pooled_states(base[0], encoded(base[1], texts))
    for texts in ([], [""]):
        with pytest.raises(ValueError, match="no text has a token"):
            hidden_states.published_states(*base, texts)


def test_a_tokenizer_without_a_padding_token(base):
    """Our states need none; the published ones average it, and are refused."""
    model, tokenizer = base
    bare = copy.deepcopy(tokenizer)
    bare.pad_token = None
    assert bare.pad_token_id is None
    with pytest.raises(ValueError, match="does not have a padding token"):
        hidden_states.published_states(model, bare, TEXTS)


def test_a_model_whose_layers_are_elsewhere_is_refused(base):
    config = OPTConfig(
        vocab_size=len(base[1]), hidden_size=8, ffn_dim=8, num_hidden_layers=1, num_attention_heads=1
    )  # its list of layers is one level deeper
    with pytest.raises(ValueError, match="OPTForCausalLM keeps its layers where they are not looked for"):
        hidden_states.pooled_states(OPTForCausalLM(config), encoded(base[1], TEXTS))


# --- measures


def two_models(layers=3, texts=40, hidden=9, seed=0):
    """Base states whose variance differs by direction, and tuned ones: these moved, mixed and disturbed."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(layers, texts, hidden)) * np.geomspace(5, 0.5, hidden) + 3 * rng.normal(size=hidden)
    tuned = base + 0.5 * base @ rng.normal(size=(hidden, hidden)) / hidden + rng.normal(size=(layers, 1, hidden))
    return base, tuned + 0.3 * rng.normal(size=base.shape)


def rotation(size, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def drawn(texts, draws, seed):
    return np.random.default_rng(seed).integers(texts, size=(draws, texts))


def by_sklearn(before, after):
    """Distance and centroid shift, written with scikit-learn's projections."""
    pca = PCA(2).fit(before)
    move = pca.transform(after).mean(0) - pca.transform(before).mean(0)
    return np.linalg.norm(move), np.linalg.norm(move / np.sqrt(pca.explained_variance_))


def test_shift_by_eigenvectors_of_the_covariance():
    base, tuned = two_models()
    shift = latent.pca_shift(base, tuned)
    for layer in range(3):
        _, vectors = np.linalg.eigh(np.cov(base[layer].T))
        by_hand = (tuned[layer].mean(0) - base[layer].mean(0)) @ vectors[:, [-1, -2]]
        np.testing.assert_allclose(shift.loc[layer, ["pc1", "pc2"]].abs().astype(float), np.abs(by_hand))
        assert shift.loc[layer, "distance"] == pytest.approx(np.linalg.norm(by_hand))


def test_a_move_across_the_first_component_is_found_whole():
    rng = np.random.default_rng(1)
    base = rng.normal(size=(1, 500, 4)) * [10, 5, 0.1, 0.1]
    moved = base + np.array([3.0, 4.0, 0, 0])
    assert latent.pca_shift(base, moved).loc[0, "distance"] == pytest.approx(5.0, rel=1e-3)
    assert latent.pca_shift(base, base).loc[0, "distance"] == 0.0


@pytest.mark.parametrize("hidden", [9, 90])  # as they are, and in coordinates of their span
def test_measures_have_the_components_and_signs_of_pca_shift(hidden):
    """With other signs the paper's d would be another number, see below."""
    base, tuned = two_models(layers=8, texts=20, hidden=hidden)
    observed, resampled = latent._measures(base, tuned)
    shift = latent.pca_shift(base, tuned)
    np.testing.assert_allclose(observed[:, :3], shift[["pc1", "pc2", "distance"]], rtol=1e-8)
    whole = latent._over_layers(observed, resampled).set_index("metric")["value"]
    assert whole["centroid_distance"] == pytest.approx(latent.centroid_distance(shift))


def test_distance_and_centroid_shift_by_sklearn():
    base, tuned = two_models()
    observed, _ = latent._measures(base, tuned, draws=1)
    for layer in range(3):
        found = observed[layer, [DISTANCE, SHIFT]]
        np.testing.assert_allclose(found, by_sklearn(base[layer], tuned[layer]), rtol=1e-6)


def test_a_large_layer_does_not_count_more():
    """As layers grow with depth in a transformer; the paper's distance grows with them."""
    base, tuned = two_models()
    scale = np.array([1.0, 1000.0, 1e-8])[:, None, None]
    before, after = (latent._measures(*pair, draws=1)[0] for pair in ((base, tuned), (base * scale, tuned * scale)))
    np.testing.assert_allclose(after[:, [SHIFT, CKA]], before[:, [SHIFT, CKA]], rtol=1e-8)
    np.testing.assert_allclose(after[:, DISTANCE], before[:, DISTANCE] * scale[:, 0, 0], rtol=1e-8)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_papers_distance_depends_on_arbitrary_signs(seed):
    """All 2^(2L) signs of the components, each as good a PCA as the other, against `sign_range`."""
    shift = latent.pca_shift(*two_models(layers=4, seed=seed))
    moves = shift[["pc1", "pc2"]].to_numpy()
    every = []
    for signs in itertools.product([-1, 1], repeat=8):
        flipped = moves * np.reshape(signs, (4, 2))
        every.append(latent.centroid_distance(pd.DataFrame(flipped, columns=["pc1", "pc2"])))
    low, high = latent.sign_range(shift)
    assert (low, high) == (pytest.approx(min(every)), pytest.approx(max(every)))
    assert low <= latent.centroid_distance(shift) <= high and high > 5 * low


def test_the_largest_distance_is_found_where_random_signs_would_not():
    """Among 2^80 signs the worst are not drawn; there all layers pull the same way."""
    shift = latent.pca_shift(*two_models(layers=40))
    high = latent.sign_range(shift, draws=100)[1]
    assert high == pytest.approx(latent.centroid_distance(shift.abs()))


def test_opposite_layers_cancel_by_the_papers_definition_only():
    shift = pd.DataFrame({"pc1": [3.0, -3.0], "pc2": [0.0, 0.0]})
    assert latent.centroid_distance(shift) == 0.0
    assert latent.sign_range(shift) == (0.0, 3.0)


def test_other_axes_of_the_hidden_space_change_signs_at_most():
    """A rotation of both models' states, by which scikit-learn and LAPACK choose other signs."""
    base, tuned = two_models()
    turn = rotation(9)
    straight, turned = latent._measures(base, tuned, draws=20), latent._measures(base @ turn, tuned @ turn, draws=20)
    for one, other in zip(straight, turned, strict=True):
        np.testing.assert_allclose(other[..., DISTANCE:], one[..., DISTANCE:], rtol=1e-6)
        np.testing.assert_allclose(np.abs(other[..., :2]), np.abs(one[..., :2]), rtol=1e-6)
    assert (np.sign(straight[0][:, :2]) != np.sign(turned[0][:, :2])).any()


# --- CKA


def gram(states):
    centred = states - states.mean(0)
    return centred @ centred.T


def hollow(matrix):
    return matrix - np.diag(np.diag(matrix))


def hsic_by_tuples(first, second):
    """The U-statistic of HSIC: the mean over all ordered choices of four different texts."""
    terms = [
        first[i, j] * (second[i, j] + second[q, r] - 2 * second[i, q])
        for i, j, q, r in itertools.permutations(range(len(first)), 4)
    ]
    return np.mean(terms)


@pytest.mark.parametrize("n", [4, 5, 7])
def test_debiased_cka_is_the_u_statistic(n):
    rng = np.random.default_rng(n)
    one = rng.normal(size=(n, 3))
    other = one + rng.normal(size=(n, 3))
    k, m = gram(one), gram(other)
    expected = hsic_by_tuples(k, m) / np.sqrt(hsic_by_tuples(k, k) * hsic_by_tuples(m, m))
    once = np.ones((1, n), int)
    assert latent._debiased_cka(hollow(k), hollow(m), once) == pytest.approx(expected)
    assert latent._debiased_cka(hollow(k), hollow(k), once) == pytest.approx(1)
    assert np.isnan(latent._debiased_cka(hollow(k), np.zeros((n, n)), once))


def test_independent_noise_is_not_alike():
    """If there are more dimensions than texts, CKA without correction finds noise alike; so would repeated texts."""
    rng = np.random.default_rng(0)
    base, tuned = rng.normal(size=(2, 4, 30, 60))
    observed, resampled = latent._measures(base, tuned)
    k, m = gram(base[0]), gram(tuned[0])
    naive = (k * m).sum() / np.sqrt((k**2).sum() * (m**2).sum())
    assert naive > 0.6
    assert np.abs(observed[:, CKA]).max() < 0.1
    assert np.abs(resampled[..., CKA].mean(0)).max() < 0.1
    rows = drawn(30, 1, 0)[0]
    copies = hollow(gram(base[0, rows])), hollow(gram(tuned[0, rows]))
    repeated = latent._debiased_cka(*copies, np.ones((1, 30), int))
    assert repeated > 0.3  # what the resamples would say if a text's copies were compared


def test_a_rotated_and_scaled_copy_is_the_same_representation():
    base, _ = two_models()
    observed, resampled = latent._measures(base, 7 * base @ rotation(9) + 2, draws=5)
    np.testing.assert_allclose(observed[:, CKA], 1)
    np.testing.assert_allclose(resampled[..., CKA], 1)


# --- resamples


@pytest.mark.parametrize("hidden", [9, 100])
def test_a_model_has_no_drift_from_itself(hidden):
    base, _ = two_models(hidden=hidden)
    for found in latent._measures(base, base.copy()):
        assert (found[..., [PC1, PC2, DISTANCE, SHIFT]] == 0).all()
        np.testing.assert_allclose(found[..., CKA], 1)


@pytest.mark.parametrize("hidden", [9, 90])  # fewer and more dimensions than texts
def test_a_resample_is_measured_like_new_texts(hidden):
    """By scikit-learn on repeated rows, to 1e-6; the components follow the observed ones."""
    base, tuned = two_models(hidden=hidden)
    _, resampled = latent._measures(base, tuned, draws=4, seed=3)
    assert resampled.shape == (4, 3, 5)
    for draw, rows in enumerate(drawn(40, 4, seed=3)):
        for layer in range(3):
            before, after = base[layer, rows], tuned[layer, rows]
            found = resampled[draw, layer]
            np.testing.assert_allclose(found[[DISTANCE, SHIFT]], by_sklearn(before, after), rtol=1e-6)
            ours, again = PCA(2).fit(base[layer]).components_, PCA(2).fit(before).components_
            again *= np.sign((ours * again).sum(1, keepdims=True))
            np.testing.assert_allclose(found[:2], again @ (after.mean(0) - before.mean(0)), rtol=1e-8)


def test_cka_of_a_resample_by_tuples():
    """Over all ordered choices of four of the texts drawn; a text and its copy count as nothing."""
    base, tuned = two_models(texts=8)
    _, resampled = latent._measures(base, tuned, draws=5, seed=2)
    for draw, rows in enumerate(drawn(8, 5, seed=2)):
        for layer in range(3):
            k, m = (gram(states[layer])[np.ix_(rows, rows)] * (rows[:, None] != rows) for states in (base, tuned))
            expected = hsic_by_tuples(k, m) / np.sqrt(np.abs(hsic_by_tuples(k, k) * hsic_by_tuples(m, m)))
            assert resampled[draw, layer, CKA] == pytest.approx(expected, rel=1e-9)


def test_a_resample_of_few_texts(monkeypatch):
    """Three texts vary in two directions, two in one, and one in none."""
    base, tuned = two_models(texts=8)
    rows = np.array([[0, 0, 3, 3, 3, 5, 5, 5], [0, 0, 3, 3, 3, 3, 3, 3], [4] * 8])
    monkeypatch.setattr(np.random, "default_rng", lambda _: type("", (), {"integers": lambda *_, **__: rows}))
    _, (three, two, one) = latent._measures(base, tuned, draws=3)
    np.testing.assert_allclose(three[0, [DISTANCE, SHIFT]], by_sklearn(base[0, rows[0]], tuned[0, rows[0]]), rtol=1e-8)
    assert np.isfinite(three).all()
    assert np.isnan(two[:, :CKA]).all() and np.isfinite(two[:, CKA]).all()
    assert np.isnan(one).all()


def test_resamples_repeat_by_seed():
    base, tuned = two_models()
    first, again, other = (latent._measures(base, tuned, draws=5, seed=seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


@pytest.mark.slow
def test_intervals_hold_a_known_shift():
    """A move of 3 along the first direction (deviation 5) and 2 along the second (deviation 2.5), 80 times over."""
    truth = {"centroid_distance": np.hypot(3, 2), "centroid_shift": np.hypot(3 / 5, 2 / 2.5)}
    rng = np.random.default_rng(0)
    held = dict.fromkeys(truth, 0)
    for seed in range(80):
        base = rng.normal(size=(1, 60, 6)) * [5, 2.5, 0.5, 0.5, 0.5, 0.5]
        tuned = base + np.array([3, 2, 0, 0, 0, 0]) + rng.normal(size=base.shape)
        table = latent._over_layers(*latent._measures(base, tuned, seed=seed)).set_index("metric")
        for metric, value in truth.items():
            held[metric] += table.loc[metric, "low"] <= value <= table.loc[metric, "high"]
    assert all(0.85 * 80 <= count < 80 for count in held.values()), held


# --- tables


def test_over_layers_by_hand():
    base, tuned = two_models()
    observed, resampled = latent._measures(base, tuned, draws=50)
    table = latent._over_layers(observed, resampled).set_index("metric")
    assert list(table.index) == ["centroid_distance", "centroid_shift", "cka"]
    assert list(table.columns) == ["value", "stderr", "low", "high"]

    def by_hand(layers):  # (layers, measures)
        d = sum(layers[:, PC1]) / 3, sum(layers[:, PC2]) / 3
        return [(d[0] ** 2 + d[1] ** 2) ** 0.5, *(sum(layers[:, i]) / 3 for i in (SHIFT, CKA))]

    draws = np.array([by_hand(draw) for draw in resampled])
    np.testing.assert_allclose(table["value"], by_hand(observed))
    np.testing.assert_allclose(table["stderr"], draws.std(0, ddof=1))
    np.testing.assert_allclose(table[["low", "high"]].T, np.quantile(draws, [0.025, 0.975], axis=0))


def test_every_resample_is_a_mean_over_the_same_layers():
    """Layer 0 has no measure at all, layer 1 none in one resample, which then says nothing about the mean."""
    rng = np.random.default_rng(0)
    observed, resampled = rng.normal(size=(3, 5)), rng.normal(size=(30, 3, 5))
    observed[0] = resampled[:10, 0] = resampled[7, 1] = np.nan
    found = latent._over_layers(observed, resampled)
    expected = latent._over_layers(observed[1:], np.delete(resampled[:, 1:], 7, axis=0))
    pd.testing.assert_frame_equal(found, expected)


def test_by_layer_has_every_layer_and_measure_once():
    observed, resampled = latent._measures(*two_models(), draws=50)
    table = latent._by_layer(observed, resampled)
    assert list(table.columns) == ["layer", "metric", "value", "low", "high"]
    assert len(table) == len(table.drop_duplicates(["layer", "metric"])) == 3 * 5
    for row in table.itertuples():
        measure = latent._MEASURES.index(row.metric)
        assert row.value == observed[row.layer, measure]
        draws = resampled[:, row.layer, measure]
        np.testing.assert_allclose([row.low, row.high], np.quantile(draws, [0.025, 0.975]))


# --- what cannot be measured


def test_texts_that_end_alike_have_no_first_layer(base):
    """The last token's embedding is then one vector: its directions are rounding error, and no number is made of it."""
    model, tokenizer = base
    tuned = copy.deepcopy(model)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(0.1 * parameter.std() * torch.randn_like(parameter))
    texts = [f"what is {a} + {b} ?" for a in range(2, 6) for b in range(2, 7)]
    before, after = (hidden_states.pooled_states(one, encoded(tokenizer, texts))[1] for one in (model, tuned))
    assert (before[0] == before[0, 0]).all() and (before[0] != after[0]).any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        observed, resampled = latent._measures(before, after, draws=20)
        table, layers = latent._over_layers(observed, resampled), latent._by_layer(observed, resampled)
    assert np.isnan(observed[0]).all() and np.isnan(resampled[:, 0]).all()
    assert np.isfinite(observed[1:]).all() and np.isfinite(resampled[:, 1:]).all()
    pd.testing.assert_frame_equal(table, latent._over_layers(observed[1:], resampled[:, 1:]))
    assert layers.query("layer == 0")[["value", "low", "high"]].isna().all(axis=None)


@pytest.mark.parametrize("constant", [0.0, 1.7])
def test_which_measure_needs_which_model_to_vary(constant):
    base, tuned = two_models()
    still = np.full_like(base, constant)
    one_way = base - base.mean(1, keepdims=True)
    one_way[..., 1:] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        missing = {
            name: [measure for measure, value in zip(latent._MEASURES, found[0], strict=True) if np.isnan(value)]
            for name, (found, _) in {
                "base": latent._measures(still, tuned, draws=2),
                "tuned": latent._measures(base, still, draws=2),
                "base in one direction": latent._measures(one_way, tuned, draws=2),
                "tuned in one direction": latent._measures(base, one_way, draws=2),
            }.items()
        }
        nothing = latent._over_layers(*latent._measures(still, tuned, draws=3))
    assert missing == {
        "base": list(latent._MEASURES),
        "tuned": ["cka"],
        "base in one direction": ["pc1", "pc2", "distance", "centroid_shift"],
        "tuned in one direction": [],
    }
    assert nothing[["value", "stderr", "low", "high"]].isna().all(axis=None)


def test_what_is_too_little_is_refused():
    for measure in (latent.pca_shift, latent._measures):
        with pytest.raises(ValueError, match="different shapes"):
            measure(np.zeros((1, 9, 7)), np.zeros((1, 10, 7)))
    for measure, texts, hidden in ((latent.pca_shift, 3, 2), (latent._measures, 8, 2)):
        states = np.random.default_rng(0).normal(size=(1, texts, hidden))
        measure(states, states + 1)
        with pytest.raises(ValueError, match=f"at least {texts} texts, found {texts - 1}"):
            measure(states[:, 1:], states[:, 1:])
        with pytest.raises(ValueError, match=f"at least {hidden} hidden dimensions, found {hidden - 1}"):
            measure(states[..., 1:], states[..., 1:])
