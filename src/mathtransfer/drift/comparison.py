"""Two checkpoints compared in their weights, hidden states and next-token distributions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from mathtransfer import GROUP_TITLES
from mathtransfer.drift import divergence, hidden_states, latent, tokens, weights
from mathtransfer.models import checkpoints, engines, prompting


@dataclass(frozen=True)
class Comparison:
    """The tables of two checkpoints' comparison.

    `weights` of `weight_changes`; `latent` and `layers` of `latent.over_layers` and `by_layer`, with `group`; `tokens`
    of `divergence.token_drift`, described, with `group`; `left_out`: what, and why.
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
    prompts = prompts.reset_index(drop=True)
    print("weights", flush=True)
    changes = weights.weight_changes(base, tuned)
    if damaged := changes.loc[~np.isfinite(changes[["base_square", "update_square"]]).all(axis=1), "tensor"].tolist():
        raise ValueError(f"there are numbers that are not finite in {damaged[0]} ({len(damaged)} tensors have some)")
    load_base, load_tuned = partial(checkpoints.load_model, base), partial(checkpoints.load_model, tuned)
    print(f"completions of {len(prompts)} prompts", flush=True)
    decoding = engines.Decoding(max_tokens, engines.DECODINGS["sampled"])
    completions = engines.Transformers(load_tuned(), tokenizer, batch_size).complete(encoded, decoding, seed)
    print("token drift", flush=True)
    sequences = [(prompt, completion.tokens) for prompt, completion in zip(encoded, completions, strict=True)]
    drift = divergence.token_drift(load_tuned, load_base, sequences, together=together, batch_size=batch_size)
    drift = tokens.describe(drift, tokenizer).join(prompts["group"], on="text")
    print("latent drift", flush=True)
    whole, layers, left_out = _latent(load_base, load_tuned, tokenizer, prompts, batch_size)
    return Comparison(changes, whole, layers, drift, left_out)


def _latent(load_base, load_tuned, tokenizer, prompts, batch_size) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Mean-pooled states of one model after the other, compared by group."""
    texts = list(prompts["prompt"])
    before, after = (
        hidden_states.pooled_states(load(), tokenizer, texts, batch_size)[0] for load in (load_base, load_tuned)
    )
    whole, layers, left_out = [], [], []
    for group, members in prompts.groupby("group", sort=False).indices.items():
        what, n = f"hidden states on {GROUP_TITLES.get(group, group)}", len(members)
        if n < latent.LEAST_TEXTS:
            left_out.append(f"{what}, which need at least {latent.LEAST_TEXTS} prompts ({n} found)")
            continue
        found = latent.measures(before[:, members], after[:, members])
        summary = latent.over_layers(*found)
        if summary.set_index("metric").loc[["centroid_shift", "cka"], "value"].isna().any():
            left_out.append(f"{what}, whose prompts are too much alike")
            continue
        whole.append(summary.assign(group=group, n=n))
        layers.append(latent.by_layer(*found).assign(group=group))
    columns = ["group", "metric", "value", "low", "high"]
    whole = pd.concat(whole, ignore_index=True) if whole else pd.DataFrame(columns=columns)
    layers = pd.concat(layers, ignore_index=True) if layers else pd.DataFrame(columns=[*columns, "layer"])
    return whole, layers, left_out
