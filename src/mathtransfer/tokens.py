"""Token drift: two models on one text, compared token by token (Sections 4.1 and 4.2)."""

from __future__ import annotations

import math

import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mathtransfer.models import check_same_vocabulary


def kl_divergence(tuned_logits: Tensor, base_logits: Tensor) -> Tensor:
    """KL(tuned || base) at every position, over the whole vocabulary, in nats. `(..., vocab)` -> `(...)`."""
    tuned, base = tuned_logits.double().log_softmax(-1), base_logits.double().log_softmax(-1)
    return (tuned.exp() * (tuned - base)).sum(-1)


def ranks(logits: Tensor, tokens: Tensor) -> Tensor:
    """The rank of each token among the whole vocabulary, 0 for the likeliest. `(..., vocab)`, `(...)` -> `(...)`.

    A rank counts the tokens that are strictly likelier, so ties share the better rank.
    """
    return (logits > logits.gather(-1, tokens[..., None])).sum(-1)


@torch.no_grad()
def token_drift(
    tuned: PreTrainedModel,
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    base_tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    completions: list[str],
    batch_size: int = 32,
) -> pd.DataFrame:
    """Compare two models on the tuned model's own completions, the end-of-text token included.

    Returns:
        One row a token: `text` (number of the prompt), `position` in the completion, `token`, `kl` (nats, exact),
        `rank_tuned`, `rank_base`, `rank_shift` (base less tuned, positions; positive where tuning raised the token).

    Raises:
        ValueError: the vocabularies differ, or the lists have different lengths.
    """
    check_same_vocabulary(tokenizer, base_tokenizer)
    if len(prompts) != len(completions):
        raise ValueError(f"{len(prompts)} prompts and {len(completions)} completions: one each is needed")
    tables = []
    for start in range(0, len(prompts), batch_size):
        prompt_ids = [tokenizer(p).input_ids for p in prompts[start : start + batch_size]]
        completion_ids = [
            [*tokenizer(c, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
            for c in completions[start : start + batch_size]
        ]
        ids, mask = _padded(prompt_ids, completion_ids, tokenizer.pad_token_id)
        tuned_logits, base_logits = (_next_token_logits(model, ids) for model in (tuned, base))
        text, time = mask[:, 1:].nonzero(as_tuple=True)  # (tokens,): positions that predict a completion's token
        tuned_logits, base_logits = tuned_logits[text, time], base_logits[text, time]  # (tokens, vocab)
        token = ids[:, 1:][text, time]
        rank_tuned, rank_base = ranks(tuned_logits, token), ranks(base_logits, token)
        first = torch.tensor([len(p) - 1 for p in prompt_ids])
        tables.append(
            pd.DataFrame(
                {
                    "text": (text + start).numpy(),
                    "position": (time - first[text]).numpy(),
                    "token": tokenizer.convert_ids_to_tokens(token.tolist()),
                    "kl": kl_divergence(tuned_logits, base_logits).numpy(),
                    "rank_tuned": rank_tuned.numpy(),
                    "rank_base": rank_base.numpy(),
                    "rank_shift": (rank_base - rank_tuned).numpy(),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def summarise(drift: pd.DataFrame) -> pd.DataFrame:
    """Means over all tokens of a benchmark, with standard errors that respect that tokens of one text belong together.

    Args:
        drift: the table of `token_drift` with `group`, `benchmark` and `question`.

    Returns:
        `group, benchmark, metric, value, stderr, n` (texts) for the metrics `kl` (nats a token) and `rank_shift` (mean
        absolute shift, positions).
    """
    measured = drift.assign(rank_shift=drift["rank_shift"].abs())
    rows = []
    for (group, benchmark), tokens in measured.groupby(["group", "benchmark"], sort=False):
        for metric in ("kl", "rank_shift"):
            mean = tokens[metric].mean()
            residuals = (tokens[metric] - mean).groupby(tokens["question"]).sum()
            n = len(residuals)
            stderr = math.sqrt(n / (n - 1) * (residuals**2).sum()) / len(tokens) if n > 1 else math.nan
            rows.append(
                {"group": group, "benchmark": benchmark, "metric": metric, "value": mean, "stderr": stderr, "n": n}
            )
    return pd.DataFrame(rows)


def _padded(prompts: list[list[int]], completions: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Prompt and completion in one row, padded on the right, and a mask of the completion's tokens; `(batch, time)`."""
    width = max(len(p) + len(c) for p, c in zip(prompts, completions, strict=True))
    ids = torch.full((len(prompts), width), pad)
    mask = torch.zeros(len(prompts), width, dtype=torch.bool)
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        end = len(prompt) + len(completion)
        ids[row, :end] = torch.tensor(prompt + completion)
        mask[row, len(prompt) : end] = True
    return ids, mask


def _next_token_logits(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Logits for the tokens after the first, on the CPU. Padding is on the right, where causal attention ignores it."""
    return model(input_ids=ids.to(model.device)).logits[:, :-1].float().cpu()
