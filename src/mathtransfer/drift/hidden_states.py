"""Hidden states of all layers, pooled over each text inside the forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

POOLS = ("mean", "last")  # over a text's own tokens, and its last token's
_PUBLISHED_LENGTH = 128  # tokens at which the authors' script cuts a text


@contextmanager
def _every_state(model: PreTrainedModel, receive) -> Iterator[None]:
    """Inside this context, every layer's input, `(batch, time, hidden)`, is passed to `receive(layer, states)`."""
    layers = next((child for child in model.base_model.children() if isinstance(child, nn.ModuleList)), None)
    if layers is None:
        raise ValueError(f"{type(model).__name__} keeps its layers where they are not looked for")

    def hook(number: int):
        return lambda _, args, kwargs: receive(number, args[0] if args else kwargs["hidden_states"])

    with ExitStack() as hooks:
        for number, layer in enumerate(layers):
            hooks.callback(layer.register_forward_pre_hook(hook(number), with_kwargs=True).remove)
        yield


def _batches(ids: list[list[int]], batch_size: int) -> list[tuple[list[int], Tensor, Tensor]]:
    """Texts of similar length together: their numbers, token ids and attention mask, `(batch, time)`, padded right.

    No state that is kept sees the padding, so that it needs no token of its own.
    """
    if not ids or not all(ids):
        raise ValueError("every text needs at least one token, and there must be at least one text")
    order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
    made = []
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        rows = [torch.tensor(ids[number]) for number in batch]
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        made.append((batch, pad_sequence(rows, batch_first=True), mask))
    return made


@torch.no_grad()
def pooled_states(model: PreTrainedModel, ids: list[list[int]], batch_size: int = 32) -> NDArray[np.float32]:
    """Hidden states of all layers, pooled over each text's own tokens, from one forward pass a batch.

    Args:
        ids: each text's token ids, such as `prompting.encode` gives.

    Returns:
        `(2, layers + 1, texts, hidden)`: mean and last token; the first layer's input, then every layer's output, the
        last one after the final norm, as transformers counts hidden states.

    Raises:
        ValueError: there is no text, one has no token, or the model's layers were not found.
    """
    made = _batches(ids, batch_size)
    shape = (len(POOLS), model.config.num_hidden_layers + 1, len(ids), model.config.hidden_size)
    pooled = np.empty(shape, np.float32)
    for numbers, batch, mask in made:
        batch, mask = batch.to(model.device), mask.to(model.device)
        length = mask.sum(1)
        weights = mask / length[:, None]  # (batch, time)
        rows = torch.arange(len(batch), device=batch.device)

        def pool(layer, states, numbers=numbers, weights=weights, rows=rows, last=length - 1):
            pooled[0, layer, numbers] = torch.einsum("bth,bt->bh", states.float(), weights).cpu()
            pooled[1, layer, numbers] = states[rows, last].float().cpu()

        with _every_state(model, pool):
            pool(
                shape[1] - 1, model.base_model(input_ids=batch, attention_mask=mask, use_cache=False).last_hidden_state
            )
    return pooled


@torch.no_grad()
def published_states(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], batch_size: int = 32
) -> NDArray[np.float32]:
    """States pooled as the authors' script does: cut at 128 tokens, padded left, padding averaged with the tokens.

    Theirs repeats the forward pass for every layer, with the same result.

    Returns:
        `(layers + 1, texts, hidden)`.

    Raises:
        ValueError: no text has a token, the tokenizer has no padding token, or the model's layers were not found.
    """
    ids = [tokenizer(text, truncation=True, max_length=_PUBLISHED_LENGTH).input_ids for text in texts]
    if not any(ids):
        raise ValueError("no text has a token")
    width = max(map(len, ids))
    pooled = np.empty((model.config.num_hidden_layers + 1, len(texts), model.config.hidden_size), np.float32)
    for start in range(0, len(ids), batch_size):
        part = slice(start, min(start + batch_size, len(ids)))
        padded = tokenizer.pad(
            {"input_ids": ids[part]}, padding="max_length", max_length=width, padding_side="left", return_tensors="pt"
        ).to(model.device)

        def pool(layer, states, part=part):
            pooled[layer, part] = states.float().mean(1).cpu()

        with _every_state(model, pool):
            pool(len(pooled) - 1, model.base_model(**padded, use_cache=False).last_hidden_state)
    return pooled
