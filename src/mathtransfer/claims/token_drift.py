"""T1 to T8, drift of token distributions: statistics, and what Figures 4 and 17 to 19 and Table 8 say."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from mathtransfer.claims.controlled_study import RL_14B, SFT_14B, kind
from mathtransfer.claims.intervals import (
    Array,
    BySeed,
    Estimate,
    by_seed_interval,
    exact,
    geometric_interval,
    least,
    least_ratio,
    mean_ratio_interval,
    ratio_by_seed,
    without_interval,
)
from mathtransfer.claims.ledger import Evidence, from_table
from mathtransfer.paper import reported

# --- statistics


def least_kl_ratio(sft: dict[str, BySeed], rl: dict[str, BySeed]) -> dict[str, Estimate]:
    """T1: benchmark -> KL divergence from the base in nats per token; SFT over RL where that is least."""
    return {"sft_over_rl_kl_least": partial(least_ratio, [sft[name].log() - rl[name].log() for name in sft])}


def kl_ratio(sft: Array, rl: Array) -> dict[str, Estimate]:
    """T1: KL divergences from the base by benchmark, `(benchmarks,)`; one of them leaves no interval."""
    interval = partial(geometric_interval, sft / rl) if len(sft) > 1 else partial(without_interval, (sft / rl).item())
    return {"sft_over_rl_kl": interval}


def _lower_kl(sft: pd.DataFrame, rl: pd.Series) -> dict[str, Estimate]:
    """T1: in how many comparisons RL's KL divergence is the lower one, percent; a row a benchmark, a column a model."""
    return {"rl_lower_kl": partial(exact, 100 * float(sft.gt(rl, axis=0).to_numpy().mean()))}


def rank_shift_ratio(ratio: Estimate) -> dict[str, Estimate]:
    """T2: RL's mean absolute rank shift over SFT's."""
    return {"rl_over_sft_rank_shift": ratio}


def _shifted_tokens_ratio(sft: Array, rl: Array) -> dict[str, Estimate]:
    """T3: numbers of shifted tokens by query, `(queries,)`."""
    return {"sft_over_rl_shifted_tokens": partial(geometric_interval, sft / rl)}


def shifted_share_ratio(sft: BySeed, rl: BySeed) -> dict[str, Estimate]:
    """T3: shares of tokens whose rank differs, by seed."""
    return {"sft_over_rl_shifted_share": partial(ratio_by_seed, sft, rl)}


def shift_evenness(sft: BySeed, rl: BySeed) -> dict[str, Estimate]:
    """T4: how evenly shifted tokens lie along a response, percent, see `drift.summaries`."""
    return {
        "sft_shift_evenness": partial(by_seed_interval, sft),
        "rl_shift_evenness": partial(by_seed_interval, rl),
    }


def kl_on_non(least_over_others: Estimate) -> dict[str, Estimate]:
    """T5: KL divergence of SFT on non-reasoning over that on each other group; the least counts."""
    return {"sft_kl_non_over_rest": least_over_others}


def reasoning_markers_share(difference: Estimate) -> dict[str, Estimate]:
    """T7: the share of answers to non-reasoning prompts that hold a reasoning marker, SFT minus RL, percent."""
    return {"sft_less_rl_marked": difference}


def cost_of_markers(difference: Estimate) -> dict[str, Estimate]:
    """T7: how much further SFT's accuracy is behind RL's if its answer holds a marker, percentage points."""
    return {"marked_less_unmarked_gap": difference}


def _second_pair(rl: Array, sft: Array) -> dict[str, Estimate]:
    """T8: mean absolute rank shifts of the pair trained on Qwen2.5-7B, by benchmark, `(benchmarks,)`.

    Figure 18 prints the pair's KL divergences, but not which value is whose.
    """
    return {
        "second_pair_rl_over_sft_rank_shift": partial(geometric_interval, rl / sft),
        "second_pair_rl_lower_rank_shifts": partial(exact, 100 * float(np.mean(rl < sft))),
        "second_pair_sft_over_rl_kl": partial(without_interval, np.nan),
    }


# --- the paper's figures and tables


def published() -> list[Evidence]:
    """T1 to T3, T5 and T8; Student's t over benchmarks or queries."""
    figure_4 = reported.table("kl_reported").query("where == 'Figure 4'")
    kl = figure_4.pivot(index="benchmark", columns="model", values="kl")
    ranks = reported.table("rank_shift_reported").pivot(index="benchmark", columns="model", values="rank_shift")
    shifted = reported.table("shifted_tokens_reported").pivot(index="query", columns="model", values="shifted_tokens")
    group = reported.table("benchmarks").set_index("benchmark")["group"].reindex(kl.index)
    found = from_table("Figure 4", _lower_kl(kl[SFT_14B], kl[RL_14B]))
    for model in SFT_14B:
        found += from_table(f"Figure 4, {kind(model)}", kl_ratio(kl[model].to_numpy(), kl[RL_14B].to_numpy()))
        ratio = partial(geometric_interval, ranks[RL_14B].div(ranks[model]).dropna())
        found += from_table(f"Figure 17, {kind(model)}", rank_shift_ratio(ratio))
        own = {name: part.to_numpy() for name, part in kl[model].groupby(group)}
        over = [partial(mean_ratio_interval, own["non"], own[other]) for other in ("math", "other")]
        found += from_table(f"Figure 4, {kind(model)}", kl_on_non(partial(least, over)))
    pair = ranks[["UniReason-Qwen2.5-7B (RL)", "UniReason-Qwen2.5-7B (SFT)"]].dropna()
    found += from_table("Figure 19", _second_pair(pair.iloc[:, 0], pair.iloc[:, 1]))
    return found + from_table("Table 8, two queries", _shifted_tokens_ratio(shifted["SFT"], shifted["RL"]))
