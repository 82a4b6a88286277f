"""The streamed divergences against scipy in float64, and against themselves in other pieces."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from mathtransfer.drift import divergence
from mathtransfer.drift.divergence import divergences
from mathtransfer.models.readout import Readout, check_readout, logits, readout

ROWS = 40
DIVERGENCES = ("kl", "kl_reverse", "js")


def read(values: torch.Tensor, bias: torch.Tensor | None = None) -> Readout:
    """What gives these logits, plus the bias: hidden states that the output projection leaves alone."""
    return Readout(values, torch.eye(values.shape[1]), bias)


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    a.copy_(b + 1e-3 * torch.randn_like(b))


def ties(a: torch.Tensor, b: torch.Tensor) -> None:
    a.round_()
    b.round_()


def far(a: torch.Tensor, b: torch.Tensor) -> None:
    """Either model is sure of a token that the other holds for impossible: 150 nats, far below float32's least."""
    a[:, 0] += 150
    b[:, -1] += 150


def wide(a: torch.Tensor, b: torch.Tensor) -> None:
    a.mul_(30)
    b.mul_(30)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("kind", [None, close, ties, far, wide])
@pytest.mark.parametrize("vocabulary", [3, 64, 320, 321, 1000])
def test_everything_by_scipy_in_float64(monkeypatch, vocabulary, kind, biased):
    """Vocabularies smaller than `top`, than the groups that are looked through, and no multiple of group or block."""
    monkeypatch.setattr(divergence, "BLOCK", 96)
    torch.manual_seed(vocabulary)
    a, b, bias = 3 * torch.randn(ROWS, vocabulary), 3 * torch.randn(ROWS, vocabulary), torch.randn(vocabulary)
    if kind:
        kind(a, b)
    bias = bias if biased else torch.zeros(vocabulary)
    observed = torch.randint(vocabulary, (ROWS,))
    found = divergences(read(a, bias if biased else None), read(b, bias if biased else None), observed)
    found = {name: values.numpy() for name, values in found.items()}
    a, b = (a + bias).double().numpy(), (b + bias).double().numpy()
    log_p, log_q = log_softmax(a, axis=1), log_softmax(b, axis=1)
    p, q, rows = np.exp(log_p), np.exp(log_q), np.arange(ROWS)
    expected = {
        "kl": stats.entropy(p, q, axis=1),
        "kl_reverse": stats.entropy(q, p, axis=1),
        "js": jensenshannon(p, q, axis=1) ** 2,
        "entropy_tuned": stats.entropy(p, axis=1),
        "entropy_base": stats.entropy(q, axis=1),
        "logp_tuned": log_p[rows, observed],
        "logp_base": log_q[rows, observed],
        "top_tuned_p": -np.sort(-p, axis=1)[:, :5],
        "top_base_p": -np.sort(-q, axis=1)[:, :5],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-6, err_msg=name)
    for name, own, probabilities in (("tuned", a, p), ("base", b, q)):
        ranks = stats.rankdata(-own, "min", axis=1)[rows, observed] - 1
        np.testing.assert_array_equal(found[f"rank_{name}"], ranks)
        top = found[f"top_{name}"]
        assert all(len(set(row)) == min(5, vocabulary) for row in top)
        np.testing.assert_allclose(probabilities[rows[:, None], top], found[f"top_{name}_p"], rtol=1e-6, atol=1e-6)
        if kind is not ties:
            np.testing.assert_array_equal(top, np.argsort(-own, axis=1)[:, :5])
    if kind is far and vocabulary > 3:
        assert expected["kl"].min() > 80


def test_a_small_divergence_between_large_logits():
    """Log probabilities that are all off by a common 1e-6 would make a divergence of 1e-6 meaningless, or negative."""
    torch.manual_seed(0)
    b = 8 * torch.randn(200, 100) + 500
    a = b + 1e-3 * torch.randn_like(b)
    found = divergences(read(a), read(b), torch.zeros(200, dtype=torch.long))
    p, q = (np.exp(log_softmax(values.double().numpy(), axis=1)) for values in (a, b))
    np.testing.assert_allclose(found["kl"], stats.entropy(p, q, axis=1), rtol=0, atol=5e-7)
    np.testing.assert_allclose(found["js"], jensenshannon(p, q, axis=1) ** 2, rtol=0, atol=5e-7)


@settings(max_examples=150, deadline=None)
@given(both=arrays(np.float32, st.tuples(st.just(2), st.integers(1, 3), st.integers(1, 90)),
                   elements=st.floats(-200, 200, width=32)))  # fmt: skip
def test_bounds_and_symmetries(both):
    a, b = read(torch.from_numpy(both[0])), read(torch.from_numpy(both[1]))
    observed = torch.zeros(both.shape[1], dtype=torch.long)
    there, back = divergences(a, b, observed), divergences(b, a, observed)
    assert there["js"].min() >= 0 and there["js"].max() <= np.float32(math.log(2))
    assert min(there["kl"].min(), there["kl_reverse"].min()) >= -1e-6
    torch.testing.assert_close(there["js"], back["js"], rtol=0, atol=1e-7)
    assert torch.equal(there["kl_reverse"], back["kl"])
    # The divergence is convex: js is at most a quarter of both together.
    assert (there["js"] <= (there["kl"] + there["kl_reverse"]) / 4 + 1e-5).all()


def random_readout(rows: int, vocabulary: int, width: int, dtype: torch.dtype = torch.float32) -> Readout:
    return Readout(*(torch.randn(size).to(dtype) for size in ((rows, width), (vocabulary, width), (vocabulary,))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_does_not_differ_from_itself(dtype):
    torch.manual_seed(0)
    own = random_readout(30, 9001, 16, dtype)  # more than one block
    found = divergences(own, Readout(own.hidden.clone(), own.weight.clone(), own.bias.clone()), torch.arange(30))
    for name in DIVERGENCES:
        assert found[name].abs().max() == 0
    assert torch.equal(found["rank_tuned"], found["rank_base"])


@pytest.mark.parametrize(
    "pieces",
    [
        {"_CHUNK_LOGITS": 1},
        {"_CHUNK_LOGITS": 7 * 700},
        {"_ROWS": 1},
        {"_ROWS": 5},
        {"BLOCK": 37},
        {"_MAXIMA": 7},
        {"_MAXIMA": 10**6},
    ],
    ids=str,
)
def test_pieces_change_nothing(monkeypatch, pieces):
    torch.manual_seed(1)
    tuned, base, observed = random_readout(23, 700, 8), random_readout(23, 700, 8), torch.randint(700, (23,))
    whole = divergences(tuned, base, observed)
    for name, value in pieces.items():
        monkeypatch.setattr(divergence, name, value)
    for name, values in divergences(tuned, base, observed).items():
        torch.testing.assert_close(values, whole[name], rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_products_of_half_precision_numbers_are_not_rounded(monkeypatch, dtype):
    monkeypatch.setattr(divergence, "BLOCK", 64)
    torch.manual_seed(2)
    own = random_readout(9, 200, 32, dtype)
    exact = own.hidden.double() @ own.weight.double().T + own.bias.double()
    found = logits(own, slice(2, 7))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact[2:7], rtol=1e-6, atol=1e-5)  # rounding would err by 1e-2


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation gives."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_of_a_chunk_at_most_are_held(monkeypatch, dtype):
    tokens, vocabulary, chunk = 60, 3000, 5
    monkeypatch.setattr(divergence, "_CHUNK_LOGITS", chunk * vocabulary + 1)
    tuned, base = (random_readout(tokens, vocabulary, 4, dtype) for _ in range(2))
    with Largest() as largest:
        divergences(tuned, base, torch.arange(tokens))
    assert largest.elements == chunk * vocabulary  # not tokens * vocabulary


SIZES = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0, "initializer_range": 1.0}
GPT2 = {"vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 1.0}
MODELS = {
    "Qwen3": lambda tied: Qwen3ForCausalLM(Qwen3Config(**SIZES, tie_word_embeddings=tied)),
    "Llama": lambda tied: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=tied)),
    "Phi": lambda tied: PhiForCausalLM(PhiConfig(**SIZES | {"num_key_value_heads": 2}, tie_word_embeddings=tied)),
    "GPT2": lambda tied: GPT2LMHeadModel(GPT2Config(**GPT2, tie_word_embeddings=tied)),
}
SEQUENCES = [([5, 6, 7], [8, 9]), ([10], [11, 12, 13, 14, 15]), ([16, 17], [18])]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", MODELS)
def test_a_batch_is_read_as_each_sequence_alone(architecture, tied):
    """Padding does not reach the states, and each is that of the token before the one that it predicts."""
    torch.manual_seed(3)
    model = MODELS[architecture](tied).eval()
    if architecture == "Phi":  # its output projection has a bias
        torch.nn.init.normal_(model.lm_head.bias)
    check_readout(model, SEQUENCES[0])
    with torch.no_grad():
        found = logits(readout(model, SEQUENCES), slice(None))
        alone = [
            model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
            for prompt, completion in SEQUENCES
        ]
    torch.testing.assert_close(found, torch.cat(alone), rtol=1e-5, atol=1e-4)


def gemma(capped: float | None) -> Gemma2ForCausalLM:
    return Gemma2ForCausalLM(Gemma2Config(**SIZES, final_logit_softcapping=capped, sliding_window=32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_capped_and_scaled_logits_are_refused(dtype):
    torch.manual_seed(4)
    check_readout(gemma(None).to(dtype).eval(), SEQUENCES[0])
    scaled = {name: value for name, value in SIZES.items() if name != "head_dim"}
    for model in (gemma(2.0), CohereForCausalLM(CohereConfig(**scaled, logit_scale=0.5))):
        with pytest.raises(ValueError, match=f"{type(model).__name__} does not make its logits by its output proj"):
            check_readout(model.to(dtype).eval(), SEQUENCES[0])


@pytest.mark.parametrize("completion", [[1], [1, 2, 3]])
def test_an_empty_prompt_is_refused(completion):
    model = MODELS["Qwen3"](True)
    with pytest.raises(ValueError, match="a prompt without a token"):
        readout(model, [([1], [2]), ([], completion)])
    with pytest.raises(ValueError, match="a prompt without a token"):
        check_readout(model, ([], completion))


def test_what_cannot_be_compared_is_refused():
    own, observed = random_readout(3, 10, 4), torch.zeros(3, dtype=torch.long)
    with pytest.raises(ValueError, match="have 10 and 11 outputs: give checkpoints of one vocabulary"):
        divergences(own, random_readout(3, 11, 4), observed)
    with pytest.raises(ValueError, match="3 and 2 hidden states for 3 tokens"):
        divergences(own, random_readout(2, 10, 4), observed)
    with pytest.raises(ValueError, match="3 and 3 hidden states for 2 tokens"):
        divergences(own, own, observed[:2])
