"""Two models compared: their pooled states group by group, their distributions token by token, and all that at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mathtransfer import GROUP_TITLES
from mathtransfer.drift import hidden_states, latent, tokens, weights
from mathtransfer.drift.divergence import divergences
from mathtransfer.models import checkpoints, engines, prompting
from mathtransfer.models.readout import Readout, Sequence, check_readout, readout

_Load = Callable[[], PreTrainedModel]
_States = dict[tuple, NDArray]  # group of texts -> their pooled states, `(layers, texts, hidden)`


# --- latent drift


def latent_drift(base: _States, tuned: _States, by: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two models' states of the same texts, measured group by group.

    Args:
        base, tuned: for every group of texts, such as `("math", "sums", "mean")`, the pooled states.
        by: the columns that a group's name fills, such as `["group", "benchmark", "pool"]`.

    Returns:
        Means over layers, `metric, value, stderr, low, high, *by, n`, see `latent.over_layers`; and every layer,
        `layer, metric, value, low, high, *by`, see `latent.by_layer`.

    Raises:
        ValueError: a group has too few texts, or the models differ in shape.
    """
    whole, layers = [], []
    for group, before in base.items():
        found, named = latent.measures(before, tuned[group]), dict(zip(by, group, strict=True))
        whole.append(latent.over_layers(*found).assign(**named, n=before.shape[1]))
        layers.append(latent.by_layer(*found).assign(**named))
    return pd.concat(whole, ignore_index=True), pd.concat(layers, ignore_index=True)


# --- token drift


def token_drift(
    load_tuned: _Load,
    load_base: _Load,
    tokenizer: PreTrainedTokenizerBase,
    sequences: list[Sequence],
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


def _checked(load: _Load, sequence: Sequence) -> PreTrainedModel:
    model = load()
    check_readout(model, sequence)
    return model


def _all_readouts(load: _Load, batches: list[list[Sequence]]) -> list[Readout]:
    """Every batch's hidden states, kept off the GPU, and the output projection; the rest of the model is let go."""
    model = _checked(load, batches[0][0])
    reads = [readout(model, batch) for batch in batches]
    return [Readout(read.hidden.cpu(), read.weight, read.bias) for read in reads]


def _observed(batch: list[int], sequences: list[Sequence]) -> torch.Tensor:
    return torch.tensor([token for number in batch for token in sequences[number][1]])


def _table(batch: list[int], sequences: list[Sequence], measured: dict[str, torch.Tensor]) -> pd.DataFrame:
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


# --- all of it


@dataclass(frozen=True)
class Comparison:
    """The tables of two checkpoints' comparison.

    `weights` of `weight_changes`; `latent` and `layers` of `latent_drift`, by group; `tokens` of `token_drift`, with
    `group`; `left_out`: what, and why.
    """

    weights: pd.DataFrame
    latent: pd.DataFrame
    layers: pd.DataFrame
    tokens: pd.DataFrame
    left_out: list[str]


def compare(
    base: str,
    tuned: str,
    prompts: pd.DataFrame,
    *,
    max_tokens: int = 128,
    batch_size: int = 16,
    chat: bool = False,
    together: bool = True,
    seed: int = 0,
) -> Comparison:
    """Measure what a fine-tuning changed; says on standard output what it is doing.

    Args:
        base, tuned: checkpoint folders or hub ids with the same tokenizer.
        prompts: `group, prompt`.
        max_tokens: the longest completion that drift is measured on.
        chat: put each prompt into the tuned model's chat template.
        together: hold both models at once while tokens are compared.
        seed: for the sampled completions.

    Raises:
        FileNotFoundError, ValueError: a checkpoint is missing or damaged, the tokenizers differ, or there is no prompt.
    """
    tokenizer = checkpoints.load_tokenizer(tuned)
    checkpoints.check_same_vocabulary(tokenizer, checkpoints.load_tokenizer(base))
    encoded = prompting.encode(tokenizer, list(prompts["prompt"]), chat)
    load_base, load_tuned = partial(checkpoints.load_model, base), partial(checkpoints.load_model, tuned)
    print("weights", flush=True)
    changes = weights.weight_changes(base, tuned)
    if damaged := changes.loc[~np.isfinite(changes[["base_square", "update_square"]]).all(axis=1), "tensor"].tolist():
        raise ValueError(f"there are numbers that are not finite in {damaged[0]} ({len(damaged)} tensors have some)")
    print(f"completions of {len(prompts)} prompts", flush=True)
    decoding = engines.Decoding(max_tokens, engines.DECODINGS["sampled"])
    completions = engines.Transformers(load_tuned(), tokenizer, batch_size).complete(encoded, decoding, seed)
    print("token drift", flush=True)
    sequences = [(prompt, completion.tokens) for prompt, completion in zip(encoded, completions, strict=True)]
    drift = token_drift(load_tuned, load_base, tokenizer, sequences, together=together, batch_size=batch_size)
    drift = drift.join(prompts.reset_index(drop=True)["group"], on="text")
    print("latent drift", flush=True)
    whole, layers, left_out = _by_group(load_base, load_tuned, tokenizer, prompts, batch_size)
    return Comparison(changes, whole, layers, drift, left_out)


def _by_group(
    load_base: _Load,
    load_tuned: _Load,
    tokenizer: PreTrainedTokenizerBase,
    prompts: pd.DataFrame,
    batch_size: int,
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """`latent_drift` of the groups that it can measure, on mean-pooled states; and what is left out, and why."""
    groups = {name: list(own) for name, own in prompts.groupby("group", sort=False)["prompt"]}
    large = {name: own for name, own in groups.items() if len(own) >= latent.LEAST_TEXTS}

    def states(load: _Load) -> _States:
        model = load()
        return {
            (name,): hidden_states.pooled_states(model, tokenizer, own, batch_size)[0] for name, own in large.items()
        }

    columns = ["group", "metric", "value", "low", "high"]
    whole, layers = pd.DataFrame(columns=columns), pd.DataFrame(columns=[*columns, "layer"])
    if large:
        whole, layers = latent_drift(states(load_base), states(load_tuned), ["group"])
    alike = set(whole.loc[whole["metric"].isin(["centroid_shift", "cka"]) & whole["value"].isna(), "group"])
    reasons = {name: "whose prompts are too much alike" for name in alike} | {
        name: f"which need at least {latent.LEAST_TEXTS} prompts ({len(groups[name])} found)"
        for name in groups.keys() - large
    }
    left_out = [
        f"hidden states on {GROUP_TITLES.get(name, name)}, {reasons[name]}" for name in groups if name in reasons
    ]
    return *(table[~table["group"].isin(reasons)] for table in (whole, layers)), left_out
