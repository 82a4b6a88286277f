"""Token drift: two models on the same completions, token by token (Sections 4.1 and 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mathtransfer.drift import tokens
from mathtransfer.drift.divergence import divergences
from mathtransfer.models import engines
from mathtransfer.models.readout import Continuation, Readout, check_readout, readout

Load = Callable[[], PreTrainedModel]


def own_words(
    load: Load,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    decoding: engines.Decoding,
    *,
    batch_size: int = 32,
    seed: int = 0,
) -> list[Continuation]:
    """What a model writes after prompts; first words that are given to it count as part of the prompt.

    Raises:
        ValueError: a prompt fills the model's context.
    """
    given = len(decoding.begins)
    written = engines.Transformers(load(), tokenizer, batch_size).complete(prompts, decoding, seed)
    each = zip(prompts, (completion.tokens for completion in written), strict=True)
    return [([*prompt, *ids[:given]], ids[given:]) for prompt, ids in each]


def token_drift(
    load_tuned: Load,
    load_base: Load,
    tokenizer: PreTrainedTokenizerBase,
    sequences: list[Continuation],
    *,
    together: bool = True,
    batch_size: int = 32,
) -> pd.DataFrame:
    """Compare two models on completions, the end-of-text token included.

    Args:
        load_tuned, load_base: give the models when called.
        tokenizer: of both.
        sequences: token ids of prompts and completions.
        together: hold both models at once; otherwise one after the other, with their final hidden states and output
            projections kept. The result is the same.

    Returns:
        One row a token: `text` (number of the sequence), `position` in the completion, `length` of the completion in
        tokens, `token` (id), what `divergences` gives, `log_ratio`, log p_tuned less log p_base of the token (the
        estimator of KL that the paper's authors use), `rank_shift`, base less tuned (positive if tuning raised the
        token), and what `tokens.describe` adds: `piece`, `class` and `looping`.

    Raises:
        ValueError: there is no completion with a token, a prompt is empty, or the models cannot be compared.
    """
    filled = [number for number, (_, completion) in enumerate(sequences) if completion]
    if not filled:
        raise ValueError("no completion has a token: there is nothing to compare")
    filled.sort(key=lambda number: len(sequences[number][0]) + len(sequences[number][1]))  # little padding in a batch
    batches = [filled[start : start + batch_size] for start in range(0, len(filled), batch_size)]
    batched = [[sequences[number] for number in batch] for batch in batches]
    if together:
        tuned, base = _checked(load_tuned, sequences[filled[0]]), _checked(load_base, sequences[filled[0]])
        pairs: Iterator = ((readout(tuned, batch), readout(base, batch)) for batch in batched)
    else:
        pairs = zip(_all_readouts(load_tuned, batched), _all_readouts(load_base, batched), strict=True)
    tables = []
    for number, (batch, pair) in enumerate(zip(batches, pairs, strict=True), start=1):
        tables.append(_table(batch, sequences, divergences(*pair, _observed(batch, sequences))))
        if number % max(1, len(batches) // 10) == 0:
            print(f"token drift: batch {number} of {len(batches)}", flush=True)
    return tokens.describe(pd.concat(tables).sort_values(["text", "position"], ignore_index=True), tokenizer)


def _checked(load: Load, sequence: Continuation) -> PreTrainedModel:
    model = load()
    check_readout(model, sequence)
    return model


def _all_readouts(load: Load, batches: list[list[Continuation]]) -> list[Readout]:
    """Every batch's hidden states, kept off the GPU, and the output projection; the rest of the model is let go."""
    model = _checked(load, batches[0][0])
    reads = [readout(model, batch) for batch in batches]
    return [Readout(read.hidden.cpu(), read.weight, read.bias) for read in reads]


def _observed(batch: list[int], sequences: list[Continuation]) -> torch.Tensor:
    return torch.tensor([token for number in batch for token in sequences[number][1]])


def _table(batch: list[int], sequences: list[Continuation], measured: dict[str, torch.Tensor]) -> pd.DataFrame:
    lengths = [len(sequences[number][1]) for number in batch]
    table = {
        "text": np.repeat(batch, lengths),
        "position": np.concatenate([np.arange(length) for length in lengths]),
        "length": np.repeat(lengths, lengths),
        "token": _observed(batch, sequences).numpy(),
    }
    for name, values in measured.items():
        table[name] = values.numpy() if values.dim() == 1 else list(values.numpy())
    table["log_ratio"] = table["logp_tuned"] - table["logp_base"]
    table["rank_shift"] = table["rank_base"] - table["rank_tuned"]
    return pd.DataFrame(table)
