"""Sampling with rows that leave the batch, against transformers' own `generate`."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from scipy import stats
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from mathtransfer.models import sampling
from mathtransfer.models.sampling import sample

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15], [16], [17, 18, 19, 20, 21]]
LIMITS = [12, 3, 20, 7]
SIZES = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
MODELS = {
    "Llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, **HEADS)),
    "Qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, **HEADS, head_dim=8)),
    # A window that completions outgrow, and positions that are learnt.
    "Mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, **HEADS, sliding_window=6)),
    "GPT-2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3)),
}


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(1)
    return MODELS[request.param]().eval()


def generated(model, prompt: list[int], limit: int, end: int | None) -> list[int]:
    """The likeliest tokens after one prompt alone."""
    ids = model.generate(
        torch.tensor([prompt]), do_sample=False, max_new_tokens=limit, eos_token_id=end, pad_token_id=0
    )
    return ids[0, len(prompt) :].tolist()


def test_rows_that_leave_change_nothing_for_those_that_stay(model):
    whole = [generated(model, prompt, limit, None) for prompt, limit in zip(PROMPTS, LIMITS, strict=True)]
    end = whole[2][10]  # one that some rows meet before their limit
    tokens, _ = sample(model, PROMPTS, LIMITS, [end], temperature=0.0)
    expected = [generated(model, prompt, limit, end) for prompt, limit in zip(PROMPTS, LIMITS, strict=True)]
    assert tokens == expected
    assert len({len(row) for row in tokens}) > 2, "rows were to end at different times"


def test_log_probabilities_are_the_models_own(model):
    torch.manual_seed(0)
    tokens, logprobs = sample(model, PROMPTS, LIMITS, [0], temperature=0.7, top_p=0.9)
    for prompt, chosen, found in zip(PROMPTS, tokens, logprobs, strict=True):
        with torch.no_grad():
            expected = model(torch.tensor([prompt + chosen])).logits[0].double().log_softmax(-1)
        rows = range(len(prompt) - 1, len(prompt) + len(chosen) - 1)
        assert found == pytest.approx(expected[rows, chosen].tolist(), abs=1e-4)


def test_a_prompt_that_comes_again_is_read_once(model):
    whole = sample(model, PROMPTS, LIMITS, [], temperature=0.0)
    sizes = []
    model.register_forward_pre_hook(lambda _, args, given: sizes.append(len(given["input_ids"])), with_kwargs=True)
    again = sample(model, PROMPTS + PROMPTS[::-1], LIMITS + LIMITS[::-1], [], temperature=0.0)
    assert sizes[:2] == [4, 8]
    assert again[0] == whole[0] + whole[0][::-1]
    for found, expected in zip(again[1], whole[1] + whole[1][::-1], strict=True):
        assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("top_p", "looked_at"), [(0.7, 32), (0.7, 2), (1.0, 32)])
def test_a_top_p_leaves_the_likeliest_tokens_and_their_ratios(top_p, looked_at, monkeypatch):
    """Also if they are more than those that are looked at first."""
    monkeypatch.setattr(sampling, "_LIKELIEST", looked_at)
    torch.manual_seed(1)
    model, n = MODELS["Qwen3"]().eval(), 4000
    with torch.no_grad():
        likely = model(torch.tensor([PROMPTS[0]])).logits[0, -1].double().div(2.0).softmax(-1)
    order = likely.argsort(descending=True)
    kept = order[: int((likely[order].cumsum(0) < top_p - 1e-9).sum()) + 1]  # up to the token that crosses it
    tokens, _ = sample(model, [PROMPTS[0]] * n, [1] * n, [], temperature=2.0, top_p=top_p)
    counts = torch.bincount(torch.tensor(tokens)[:, 0], minlength=60)
    assert (counts.sum() == counts[kept].sum() == n and 32 > len(kept) > 2) or top_p == 1.0
    expected = n * likely[kept] / likely[kept].sum()
    assert stats.chisquare(counts[kept].numpy(), expected.numpy()).pvalue > 1e-3


def test_adapters_hide_nothing_from_the_forward_pass():
    """With low-rank adapters too, logits are made of each row's last token alone."""
    torch.manual_seed(1)
    model = MODELS["Qwen3"]().eval()
    expected, _ = sample(model, PROMPTS, LIMITS, [], temperature=0.0)
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])).eval()
    lengths = []
    head = adapted.get_base_model().get_output_embeddings()
    head.register_forward_hook(lambda _, args, logits: lengths.append(logits.shape[1]))
    assert sample(adapted, PROMPTS, LIMITS, [], temperature=0.0)[0] == expected
    assert set(lengths) == {1}


def test_what_has_stopped_leaves_as_what_has_ended_does(model):
    whole, _ = sample(model, PROMPTS, LIMITS, [], temperature=0.0)
    end = whole[2][10]
    asked = []

    def stopped(rows: list[list[int]]) -> list[bool]:
        asked.append(len(rows))
        return [row[-1] == end for row in rows]

    found = sample(model, PROMPTS, LIMITS, [], temperature=0.0, stopped=stopped)
    assert found[0] == sample(model, PROMPTS, LIMITS, [end], temperature=0.0)[0] != whole
    assert asked == [sum(len(row) >= step for row in found[0]) for step in range(1, len(asked) + 1)]
