"""Final hidden states and output projections: what next-token distributions are made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

BLOCK = 4096  # entries of the vocabulary worked on at a time, few enough to stay in a processor's cache

Continuation = tuple[list[int], list[int]]  # token ids of a prompt and of a completion


@dataclass(frozen=True)
class Readout:
    """What a model's next-token distributions are made of.

    `hidden` is `(tokens, hidden)`, after the last norm; `weight`, `(vocab, hidden)`, and `bias`, `(vocab,)` or None,
    are the output projection's.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None


@torch.no_grad()
def readout(model: PreTrainedModel, sequences: list[Continuation]) -> Readout:
    """A model's final hidden states at the positions that predict a completion's tokens, from one forward pass.

    A model that does more to its logits than the output projection is not found out here: see `check_readout`.

    Args:
        sequences: one batch; every prompt has at least one token.

    Raises:
        ValueError: a prompt is empty.
    """
    if not all(prompt for prompt, _ in sequences):
        raise ValueError("a prompt without a token predicts nothing: give every prompt at least one token")
    width = max(len(prompt) + len(completion) for prompt, completion in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    mask = torch.zeros(len(sequences), width, dtype=torch.long)
    predicts = torch.zeros(len(sequences), width, dtype=torch.bool)
    for row, (prompt, completion) in enumerate(sequences):
        end = len(prompt) + len(completion)
        ids[row, :end] = torch.tensor(prompt + completion)
        mask[row, :end] = 1
        predicts[row, len(prompt) - 1 : end - 1] = True
    # Padding is on the right, where causal attention ignores it.
    states = model.base_model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).last_hidden_state
    head = model.get_output_embeddings()
    return Readout(states[predicts.to(states.device)], head.weight, getattr(head, "bias", None))


@torch.no_grad()
def check_readout(model: PreTrainedModel, sequence: Continuation) -> None:
    """Refuse a model whose logits are not its output projection of its final hidden states (soft-capping, scaling).

    Raises:
        ValueError: with the largest difference found.
    """
    prompt, completion = sequence
    ids = (prompt + completion)[:16]
    read = readout(model, [(prompt[:1], ids[1:])])
    ours = logits(read, slice(0, None))
    theirs = model(input_ids=torch.tensor([ids], device=model.device)).logits[0, :-1].float()
    half_step = torch.finfo(read.weight.dtype).eps * theirs.abs().max().clamp(min=1)  # logits come out in that type
    if (difference := (ours - theirs).abs().max()) > 8 * half_step + 1e-3:
        raise ValueError(
            f"{type(model).__name__} does not make its logits by its output projection alone (they differ by "
            f"{difference:.2g}): it cannot be compared from its hidden states"
        )


def logits(read: Readout, rows: slice, out: Tensor | None = None) -> Tensor:
    """Logits of some tokens in float32, `(rows, vocab)`: products of half-precision numbers are not rounded again."""
    weight = read.weight
    hidden = read.hidden[rows].to(weight.device)
    if out is None:
        out = torch.empty(len(hidden), len(weight), device=weight.device)
    if weight.dtype == torch.float32:
        torch.mm(hidden.float(), weight.T, out=out)
    elif weight.is_cuda:
        out.copy_(torch.mm(hidden, weight.T, out_dtype=torch.float32))
    else:
        for start in range(0, len(weight), BLOCK):
            block = slice(start, start + BLOCK)
            out[:, block] = hidden.float() @ weight[block].float().T
    return out if read.bias is None else out.add_(read.bias.float())
