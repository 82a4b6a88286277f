"""Two models' next-token distributions, compared exactly and without ever holding all their logits.

The logits of a few hundred tokens at a time are made from final hidden states and output projections. So a comparison
needs no more than those: the models may be loaded together or one after the other, with the same result.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mathtransfer.models.readout import BLOCK, Readout, logits

_TOP = 5  # of either model's likeliest tokens that are kept
_CHUNK_LOGITS = 2**25  # logits of one model held at a time: 134 MB in float32
_MAXIMA = 64  # entries of the vocabulary that share a maximum when the largest are looked for
_ROWS = 16  # tokens compared at a time


@torch.no_grad()
def divergences(tuned: Readout, base: Readout, observed: Tensor) -> dict[str, Tensor]:
    """How two models' distributions differ at every token, over the whole vocabulary.

    Args:
        observed: the token that came, `(tokens,)`.

    Returns:
        `kl` and `kl_reverse`, KL(tuned || base) and KL(base || tuned); `js`, the Jensen-Shannon divergence, at most
        log 2; `entropy_tuned`, `entropy_base`; `logp_tuned`, `logp_base` of the observed token (all in nats);
        `rank_tuned`, `rank_base`: how many tokens are strictly likelier, so ties share the better rank; each
        `(tokens,)` on the CPU. `top_tuned`, `top_base`: ids of the five likeliest tokens, `(tokens, 5)`;
        `top_tuned_p`, `top_base_p`: their probabilities.

    Raises:
        ValueError: the vocabularies or the numbers of tokens differ.
    """
    if len(tuned.weight) != len(base.weight):
        raise ValueError(
            f"the models have {len(tuned.weight)} and {len(base.weight)} outputs: give checkpoints of one vocabulary"
        )
    if not len(tuned.hidden) == len(base.hidden) == len(observed):
        raise ValueError(f"{len(tuned.hidden)} and {len(base.hidden)} hidden states for {len(observed)} tokens")
    vocabulary, device = len(tuned.weight), tuned.weight.device
    chunk = min(len(observed), max(1, _CHUNK_LOGITS // vocabulary))
    own, others = (torch.empty(chunk, vocabulary, device=read.weight.device) for read in (tuned, base))
    parts = []
    for start in range(0, len(observed), chunk):
        rows = slice(start, min(start + chunk, len(observed)))
        size = rows.stop - rows.start
        a, b = logits(tuned, rows, own[:size]), logits(base, rows, others[:size]).to(device)
        pieces = zip(a.split(_ROWS), b.split(_ROWS), observed[rows].to(device).split(_ROWS), strict=True)
        parts += [_compare(*piece, min(_TOP, vocabulary)) for piece in pieces]
    return {name: torch.cat([part[name].cpu() for part in parts]) for name in parts[0]}


def _compare(a: Tensor, b: Tensor, observed: Tensor, top: int) -> dict[str, Tensor]:
    """`divergences` from the logits of both models, `(rows, vocab)`."""
    best_a, best_b = _largest(a, top), _largest(b, top)
    normaliser_a, normaliser_b = _log_normaliser(a, best_a[:, :1]), _log_normaliser(b, best_b[:, :1])
    seen_a, seen_b = a.gather(1, observed[:, None]), b.gather(1, observed[:, None])
    names = ("kl", "kl_reverse", "js", "entropy_tuned", "entropy_base")
    sums = {name: torch.zeros(len(a), dtype=torch.float64, device=a.device) for name in names}
    rank_a, rank_b = (torch.zeros(len(a), dtype=torch.long, device=a.device) for _ in range(2))
    for block_a, block_b in zip(a.split(BLOCK, dim=1), b.split(BLOCK, dim=1), strict=True):
        rank_a += _above(block_a, seen_a)
        rank_b += _above(block_b, seen_b)
        log_p, log_q = _log_p(block_a, normaliser_a), _log_p(block_b, normaliser_b)
        p, q = log_p.exp(), log_q.exp()
        ratio = log_p - log_q
        sums["entropy_tuned"] -= _dot(p, log_p)
        sums["entropy_base"] -= _dot(q, log_q)
        sums["kl"] += _dot(p, ratio)
        sums["kl_reverse"] -= _dot(q, ratio)
        # For the mixture m = (p + q) / 2, log(p / m) = log 2 - log(1 + exp -|ratio|) + min(ratio, 0), and log(q / m) is
        # the same with -ratio: in p log(p / m) + q log(q / m) the last terms make -min(p, q) |ratio|. Nothing cancels.
        distance = ratio.abs_().neg_()
        sums["js"] += _dot(torch.minimum(p, q), distance) / 2
        sums["js"] -= _dot(p.add_(q), distance.exp_().log1p_().sub_(math.log(2))) / 2
    sums["js"].clamp_(0, math.log(2))
    return {
        **{name: total.float() for name, total in sums.items()},
        "logp_tuned": _log_p(seen_a, normaliser_a)[:, 0],
        "logp_base": _log_p(seen_b, normaliser_b)[:, 0],
        "rank_tuned": rank_a,
        "rank_base": rank_b,
        "top_tuned": best_a,
        "top_tuned_p": _log_p(a.gather(1, best_a), normaliser_a).exp(),
        "top_base": best_b,
        "top_base_p": _log_p(b.gather(1, best_b), normaliser_b).exp(),
    }


def _log_normaliser(logits: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
    """log sum exp over the vocabulary, block by block; `(rows, vocab)`, `(rows, 1)` -> twice `(rows, 1)`.

    Two parts: the largest logit, which stands at `best`, and the log of the sum of exp(logit - largest). Their sum in
    float32 would be wrong by about 1e-6, more than a small divergence.
    """
    largest = logits.gather(1, best)
    total = sum((block - largest).exp_().sum(1, keepdim=True).double() for block in logits.split(BLOCK, dim=1))
    return largest, total.log().float()


def _log_p(logits: Tensor, normaliser: tuple[Tensor, Tensor]) -> Tensor:
    """Log probabilities, `(rows, n)`, from logits and the two parts of their `_log_normaliser`."""
    largest, rest = normaliser
    return (logits - largest).sub_(rest)


def _above(logits: Tensor, bound: Tensor) -> Tensor:
    """How many of a row are larger than its bound; `(rows, n)`, `(rows, 1)` -> `(rows,)`.

    Arithmetic on floats takes a third of the time that a comparison and a sum of booleans take on a CPU.
    """
    return (logits - bound).clamp_min_(0).sign_().sum(1).long()


def _largest(logits: Tensor, k: int) -> Tensor:
    """Where a row's k largest are, largest first, `(rows, vocab)` -> `(rows, k)`.

    They lie in the k groups with the largest maxima, so that only those need sorting.
    """
    whole = logits.shape[1] // _MAXIMA * _MAXIMA
    if whole < k * _MAXIMA:
        return logits.topk(k).indices
    groups = logits[:, :whole].unflatten(1, (-1, _MAXIMA)).amax(2).topk(k).indices  # (rows, k)
    columns = (groups[:, :, None] * _MAXIMA + torch.arange(_MAXIMA, device=logits.device)).flatten(1)
    rest = torch.arange(whole, logits.shape[1], device=logits.device).expand(len(logits), -1)
    columns = torch.cat([columns, rest], dim=1)
    return columns.gather(1, logits.gather(1, columns).topk(k).indices)


def _dot(weights: Tensor, values: Tensor) -> Tensor:
    """Row by row; `(rows, n)`, `(rows, n)` -> `(rows,)` in float64."""
    return torch.linalg.vecdot(weights, values).double()
