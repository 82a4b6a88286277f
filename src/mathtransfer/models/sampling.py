"""Token by token from a transformers model, with rows that leave the batch once they have ended.

transformers' own `generate` computes every row until the longest has ended: with a mean length of 12 tokens and a
longest of 72, five sixths of its work is padding. Left out: beam search, repetition penalties and everything else that
no benchmark or recipe of the book asks for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_LIKELIEST = 32  # tokens among which top-p nearly always finds all it wants, so that it need not sort the vocabulary


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    prompts: list[list[int]],
    limits: list[int],
    ends: Collection[int],
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    stopped: Callable[[list[list[int]]], list[bool]] | None = None,
) -> tuple[list[list[int]], list[list[float]]]:
    """One completion a prompt, in one batch; torch's global generator draws the tokens.

    Args:
        prompts: token ids, not empty.
        limits: the most tokens of each completion.
        ends: tokens that end a completion, and are its last.
        temperature: 0 takes the likeliest token.
        top_p: tokens are drawn from the likeliest that together have this probability.
        stopped: whether completions, given as token ids, have ended for another reason.

    Returns:
        Tokens, and their log-probabilities in nats under the model's own distribution (temperature 1, nothing cut off).
    """
    tokens: list[list[int]] = [[] for _ in prompts]
    logprobs: list[list[float]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))  # those that have not ended, in the order of the batch
    different = {prompt: number for number, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
    read = torch.tensor([different[tuple(prompt)] for prompt in prompts], device=model.device)
    ids, mask = _left_padded(list(different), model.device)  # a prompt that comes again is read once
    places = (mask.cumsum(1) - 1).clamp(min=0)
    takes = _forward_parameters(model)
    last_only = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
    cache = None
    with _shared_keys(model):
        while rows:
            placed = {"position_ids": places} if "position_ids" in takes else {}
            output = model(
                input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **placed, **last_only
            )
            scores = output.logits[:, -1].float()  # (rows, vocab)
            if cache is None:
                cache = output.past_key_values
                cache.batch_select_indices(read)
                scores, mask, places = scores[read], mask[read], places[read]
            chosen = _choose(scores, temperature, top_p)
            likely = scores.log_softmax(-1).gather(1, chosen[:, None])[:, 0]
            for row, token, logprob in zip(rows, chosen.tolist(), likely.tolist(), strict=True):
                tokens[row].append(token)
                logprobs[row].append(logprob)
            done = stopped([tokens[row] for row in rows]) if stopped else [False] * len(rows)
            on = [
                number
                for number, (row, over) in enumerate(zip(rows, done, strict=True))
                if not over and tokens[row][-1] not in ends and len(tokens[row]) < limits[row]
            ]
            if len(on) < len(rows):
                kept = torch.tensor(on, device=model.device, dtype=torch.long)
                rows = [rows[number] for number in on]
                chosen, mask, places = chosen[kept], mask[kept], places[kept]
                cache.batch_select_indices(kept)
            ids, places = chosen[:, None], places[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
    return tokens, logprobs


_SHARED = "sdpa_with_shared_keys"


@contextmanager
def _shared_keys(model: PreTrainedModel) -> Iterator[None]:
    """On a processor, heads that share keys and values read them where they are.

    transformers copies them for every head if there is a mask, because that is faster on a GPU; on a processor it takes
    half the time of a step.
    """
    if model.device.type != "cpu" or model.config._attn_implementation != "sdpa":
        yield
        return
    model.set_attn_implementation(_SHARED)
    try:
        yield
    finally:
        model.set_attn_implementation("sdpa")


def _attend(module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **others):
    """As `sdpa_attention_forward`; `(batch, time, heads, dimensions)` and no weights."""
    if attention_mask is None or others.get("position_bias") is not None or others.get("dropout"):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **others)
    attended = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=others.get("scaling"), enable_gqa=True
    )
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(_SHARED, _attend)
AttentionMaskInterface.register(_SHARED, sdpa_mask)


def _forward_parameters(model: PreTrainedModel) -> Collection[str]:
    """The names that a model's forward pass takes; PEFT's wrapper hides those of the model in it."""
    wrapped = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inspect.signature(wrapped.forward).parameters


def _left_padded(prompts: list[tuple[int, ...]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, `(batch, time)`; what stands for padding is masked, so any token will do."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    return ids, mask


def _choose(scores: Tensor, temperature: float, top_p: float) -> Tensor:
    """One token a row of `(rows, vocab)`."""
    if not temperature:
        return scores.argmax(-1)
    probabilities = (scores / temperature).softmax(-1)
    if top_p == 1.0:
        return _draw(probabilities)
    likeliest, order = probabilities.topk(min(_LIKELIEST, probabilities.size(-1)))
    if (likeliest.sum(-1) < top_p).any():
        likeliest, order = probabilities.sort(-1, descending=True)
    likeliest[likeliest.cumsum(-1) - likeliest >= top_p] = 0.0  # the token that crosses the line stays
    return order.gather(-1, _draw(likeliest)[:, None])[:, 0]


def _draw(weights: Tensor) -> Tensor:
    """One column a row of `(rows, n)`, by its weight: where one random number falls among their running sums.

    `torch.multinomial` takes a random number for every weight, which is more than ten times as slow.
    """
    sums = weights.cumsum(-1, dtype=torch.float64)
    falls = torch.rand(len(weights), 1, dtype=torch.float64, device=weights.device) * sums[:, -1:]
    return torch.searchsorted(sums, falls, right=True)[:, 0].clamp(max=weights.size(-1) - 1)
