"""Prompts and responses packed into rows: little padding, and a prompt only once for all its responses in a row.

In a group of eight responses of sixteen tokens, half of what a batch of rows computes is the same prompt again, and
half of the rest is padding up to the longest response.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

WIDTH = 160  # tokens of a row; longer ones spend more on attention to what is masked than they save on padding
_IGNORED = -100  # as a label, in PyTorch


@dataclass(frozen=True)
class Packed:
    """Rows of a model's inputs, each `(rows, time)`, but `mask`, `(rows, 1, time, time)`: which token sees which.

    A response's tokens are labelled with themselves, all others -100. In the order of rows, labelled tokens are those
    of the responses, one after the other.
    """

    ids: Tensor
    positions: Tensor
    labels: Tensor
    mask: Tensor


def pack(prompts: list[list[int]], responses: list[list[int]], width: int = WIDTH) -> Packed:
    """Rows of at most `width` tokens, or as many as the longest prompt with its response has.

    All but a prompt's last token stand in a row once, and behind them each response in a part of its own that begins
    with that last token, so that every token to predict follows the token that predicts it. A part's tokens see the
    prompt before it and themselves, at the positions that they have without packing.

    Args:
        prompts: token ids, not empty; those that are the same should follow each other.
        responses: token ids, one response a prompt.
    """
    width = max(width, *(len(p) + len(r) for p, r in zip(prompts, responses, strict=True)))
    rows: list[list[tuple[int, ...]]] = [[]]  # tokens: id, position, label, part, part of the prompt
    parts, shared, context = count(), None, -1
    for prompt, response in zip(prompts, responses, strict=True):
        if prompt != shared or len(rows[-1]) + 1 + len(response) > width:
            if len(rows[-1]) + len(prompt) + len(response) > width:
                rows.append([])
            shared, context = prompt, next(parts)
            rows[-1] += [(token, place, _IGNORED, context, context) for place, token in enumerate(prompt[:-1])]
        part, first = next(parts), len(prompt)
        rows[-1].append((prompt[-1], first - 1, _IGNORED, part, context))
        rows[-1] += [(token, first + place, token, part, context) for place, token in enumerate(response)]
    longest = max(map(len, rows))
    padding = (0, 0, _IGNORED, -1, -1)
    table = torch.tensor([row + [padding] * (longest - len(row)) for row in rows])  # (rows, time, 5)
    ids, positions, labels, part, context = table.unbind(2)
    sees = (part[:, :, None] == part[:, None]) | (context[:, :, None] == part[:, None])
    return Packed(ids, positions, labels, sees.tril()[:, None])
