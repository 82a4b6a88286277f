"""Two checkpoints compared in their weights, hidden states and next-token distributions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from mathtransfer import GROUP_TITLES
from mathtransfer.drift import completions, hidden_states, latent, weights
from mathtransfer.drift.completions import Load
from mathtransfer.drift.latent import States
from mathtransfer.models import checkpoints, engines, prompting


@dataclass(frozen=True)
class Comparison:
    """What the comparison of two checkpoints found.

    `weights` is the table of `weight_changes`, `latent` and `layers` are those of `latent.by_group`, and `tokens` is
    that of `token_drift` with each prompt's `group`. `left_out` says what was not compared, and why.
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
        chat: put each prompt into the tuned model's chat template, for all that is measured on prompts.
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
    sequences = completions.own_words(load_tuned, tokenizer, encoded, decoding, batch_size=batch_size, seed=seed)
    print("token drift", flush=True)
    drift = completions.token_drift(
        load_tuned, load_base, tokenizer, sequences, together=together, batch_size=batch_size
    )
    drift = drift.join(prompts.reset_index(drop=True)["group"], on="text")
    print("latent drift", flush=True)
    whole, layers, left_out = _latent(load_base, load_tuned, list(prompts["group"]), encoded, batch_size)
    return Comparison(changes, whole, layers, drift, left_out)


def _latent(
    load_base: Load,
    load_tuned: Load,
    names: list[str],
    encoded: list[list[int]],
    batch_size: int,
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Mean-pooled states of the groups that are large enough, measured; and what is left out, and why.

    Args:
        names: the group of each prompt.
        encoded: its token ids.
    """
    groups: dict[str, list[list[int]]] = {}
    for name, ids in zip(names, encoded, strict=True):
        groups.setdefault(name, []).append(ids)
    large = {name: own for name, own in groups.items() if len(own) >= latent.LEAST_TEXTS}

    def states(load: Load) -> States:
        model = load()
        return {(name,): hidden_states.pooled_states(model, own, batch_size)[0] for name, own in large.items()}

    columns = ["group", "metric", "value", "low", "high"]
    whole, layers = pd.DataFrame(columns=columns), pd.DataFrame(columns=[*columns, "layer"])
    if large:
        whole, layers = latent.by_group(states(load_base), states(load_tuned), ["group"])
    alike = set(whole.loc[whole["metric"].isin(["centroid_shift", "cka"]) & whole["value"].isna(), "group"])
    reasons = {name: "whose prompts are too much alike" for name in alike} | {
        name: f"which need at least {latent.LEAST_TEXTS} prompts ({len(groups[name])} found)"
        for name in groups.keys() - large
    }
    left_out = [
        f"hidden states on {GROUP_TITLES.get(name, name)}, {reasons[name]}" for name in groups if name in reasons
    ]
    return *(table[~table["group"].isin(reasons)] for table in (whole, layers)), left_out
