"""T1 to T8, drift of token distributions: statistics, and what Figures 4 and 17 to 19 and Table 8 say."""

from __future__ import annotations

from functools import partial

from mathtransfer.claims.controlled_study import RL_14B, SFT_14B, kind
from mathtransfer.claims.intervals import (
    Array,
    BySeed,
    Estimate,
    by_seed_interval,
    geometric_interval,
    least,
    ratio_by_seed,
    without_interval,
)
from mathtransfer.claims.ledger import Evidence, from_table
from mathtransfer.paper import reported

# --- statistics


def least_kl_ratio(sft: dict[str, BySeed], rl: dict[str, BySeed]) -> dict[str, Estimate]:
    """T1: benchmark -> KL divergence from the base in nats a token; SFT over RL where that is least."""
    return {"sft_over_rl_kl_least": partial(least, [partial(ratio_by_seed, sft[name], rl[name]) for name in sft])}


def least_response_kl_ratio(sft: dict[str, BySeed], rl: dict[str, BySeed]) -> dict[str, Estimate]:
    """T1: the same in nats a response, which also counts how long the responses are."""
    ratios = [partial(ratio_by_seed, sft[name], rl[name]) for name in sft]
    return {"sft_over_rl_response_kl_least": partial(least, ratios)}


def kl_ratio(sft: Array, rl: Array) -> dict[str, Estimate]:
    """T1: KL divergences from the base by benchmark, `(benchmarks,)`; one of them leaves no interval."""
    interval = partial(geometric_interval, sft / rl) if len(sft) > 1 else partial(without_interval, (sft / rl).item())
    return {"sft_over_rl_kl": interval}


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
    """T4: how evenly shifted tokens lie along a response, percent, see `drift.summaries.shift_evenness`."""
    return {
        "sft_shift_evenness": partial(by_seed_interval, sft),
        "rl_shift_evenness": partial(by_seed_interval, rl),
    }


def _kl_on_non(non: Array, rest: Array) -> dict[str, Estimate]:
    """T5: KL divergences of SFT models on non-reasoning benchmarks over the largest elsewhere, `(values,)`."""
    return {"sft_kl_non_over_rest": partial(geometric_interval, non / rest)}


def reasoning_markers_share(difference: Estimate) -> dict[str, Estimate]:
    """T7: the share of answers to non-reasoning prompts that hold a reasoning marker, SFT less RL, percent."""
    return {"sft_less_rl_marked": difference}


def cost_of_markers(difference: Estimate) -> dict[str, Estimate]:
    """T7: how much further SFT's accuracy is behind RL's if its answer holds a marker, percentage points."""
    return {"marked_less_unmarked_gap": difference}


def _second_pair_rank_shift(rl: Array, sft: Array) -> dict[str, Estimate]:
    """T8: mean absolute rank shifts of the pair trained on Qwen2.5-7B, by benchmark, `(benchmarks,)`."""
    return {"second_pair_rl_over_sft_rank_shift": partial(geometric_interval, rl / sft)}


# --- the paper's figures and tables


def published() -> list[Evidence]:
    """T1 to T3, T5 and T8; Student's t over benchmarks or queries."""
    figure_4 = reported.table("kl_reported").query("where == 'Figure 4'")
    kl = figure_4.pivot(index="benchmark", columns="model", values="kl")
    ranks = reported.table("rank_shift_reported").pivot(index="benchmark", columns="model", values="rank_shift")
    shifted = reported.table("shifted_tokens_reported").pivot(index="query", columns="model", values="shifted_tokens")
    non = reported.table("benchmarks").query("group == 'non'")["benchmark"]
    on_non = kl.index.isin(non)
    found = []
    for model in SFT_14B:
        found += from_table(f"Figure 4, {kind(model)}", kl_ratio(kl[model].to_numpy(), kl[RL_14B].to_numpy()))
        ratio = partial(geometric_interval, ranks[RL_14B].div(ranks[model]).dropna())
        found += from_table(f"Figure 17, {kind(model)}", rank_shift_ratio(ratio))
        found += from_table(f"Figure 4, {kind(model)}", _kl_on_non(kl.loc[on_non, model], kl.loc[~on_non, model].max()))
    pair = ranks[["UniReason-Qwen2.5-7B (RL)", "UniReason-Qwen2.5-7B (SFT)"]].dropna()
    found += from_table("Figure 19", _second_pair_rank_shift(pair.iloc[:, 0], pair.iloc[:, 1]))
    return found + from_table("Table 8, two queries", _shifted_tokens_ratio(shifted["SFT"], shifted["RL"]))
