"""L1 to L14, drift of hidden states: statistics, and what Tables 2 and 6 and Figures 3 and 7 to 12 say."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from mathtransfer import GROUPS
from mathtransfer.claims import audit
from mathtransfer.claims.controlled_study import RL_14B, SFT_14B, kind
from mathtransfer.claims.intervals import (
    Array,
    BySeed,
    Estimate,
    correlation_interval,
    exact,
    geometric_interval,
    least_ratio,
    mean_difference_interval,
    ratio_by_seed,
    share_interval,
    spread_ratio_interval,
    t_interval,
)
from mathtransfer.claims.ledger import Evidence, from_table
from mathtransfer.claims.transfer import OUTSIDE
from mathtransfer.paper import reported

_THINK_14B, _NO_THINK_14B = SFT_14B
_RL_7B, _SFT_7B = "UniReason-Qwen2.5-7B (RL)", "UniReason-Qwen2.5-7B (SFT)"
_LEAST = 0.05  # a printed 0.0 is taken for half the last digit


# --- statistics


def shifts(sft: dict[str, BySeed], rl: dict[str, BySeed]) -> dict[str, Estimate]:
    """L1: PCA shifts of training runs by group, SFT over RL; without non-reasoning of the other two alone."""
    found = {
        "sft_over_rl_shift_math": partial(ratio_by_seed, sft["math"], rl["math"]),
        "sft_over_rl_shift_other": partial(ratio_by_seed, sft["other"], rl["other"]),
    }
    if "non" in sft:
        found |= {"sft_over_rl_shift_non": partial(ratio_by_seed, sft["non"], rl["non"])}
    return found


def shift_on_non(sft: dict[str, BySeed]) -> dict[str, Estimate]:
    """L5: PCA shifts of SFT's training runs by group, non-reasoning over each of the others; the least counts."""
    return {
        "sft_shift_non_over_rest": partial(least_ratio, [sft["non"].log() - sft[g].log() for g in ("math", "other")])
    }


def _shift_ratio(sft: Array, rl: Array) -> dict[str, Estimate]:
    """L1: PCA shifts by benchmark, `(benchmarks,)`."""
    return {"sft_over_rl_shift": partial(geometric_interval, sft / rl)}


def _smallest_shifts(sft: pd.DataFrame, rl: pd.Series) -> dict[str, Estimate]:
    """L1: in how many comparisons RL's shift is the smaller one, percent; one row an SFT model, one column a group."""
    return {"rl_smaller_shifts": partial(exact, 100 * float((sft > rl).to_numpy().mean()))}


def _log_shifts_by_method(rl: pd.DataFrame, sft: pd.DataFrame) -> dict[str, Estimate]:
    """L2: log10 PCA shifts of RL models against SFT models, one row a model, one column a group."""
    return {
        "rl_less_sft_log_shift_math": partial(mean_difference_interval, rl["math"], sft["math"]),
        "rl_less_sft_log_shift_other": partial(mean_difference_interval, rl["other"], sft["other"]),
        "rl_less_sft_log_shift_non": partial(mean_difference_interval, rl["non"], sft["non"]),
    }


def _log_shifts_by_size(pairs: pd.DataFrame) -> dict[str, Estimate]:
    """L3: log10 PCA shift of a 32B model less that of the 7B model of its recipe: a row a recipe, a column a group."""
    return {
        "large_less_small_log_shift_math": partial(t_interval, pairs["math"]),
        "large_less_small_log_shift_other": partial(t_interval, pairs["other"]),
        "large_less_small_log_shift_non": partial(t_interval, pairs["non"]),
    }


def _log_shifts_by_family(llama: pd.DataFrame, qwen: pd.DataFrame) -> dict[str, Estimate]:
    """L4: log10 PCA shifts of RL models of Llama against those of Qwen, one row a model, one column a group."""
    return {
        "llama_less_qwen_log_shift_other": partial(mean_difference_interval, llama["other"], qwen["other"]),
        "llama_less_qwen_log_shift_non": partial(mean_difference_interval, llama["non"], qwen["non"]),
    }


def _largest_shifts(by_group: pd.DataFrame, by_benchmark: pd.DataFrame) -> dict[str, Estimate]:
    """L5: where each SFT model shifts most, and whether CoQA alone bears it out.

    Args:
        by_group: PCA shifts, one row an SFT model, one column a group.
        by_benchmark: PCA shifts, one row an SFT model, columns `math500, coqa` and others.
    """
    largest = by_group.idxmax(axis=1) == "non"
    coqa = by_benchmark["coqa"] > by_benchmark["math500"]
    return {
        "sft_share_largest_on_non": partial(share_interval, int(largest.sum()), len(largest)),
        "sft_share_coqa_above_math500": partial(share_interval, int(coqa.sum()), len(coqa)),
    }


def shift_with_gain(shift: pd.DataFrame, gain: pd.DataFrame, within: pd.Series) -> dict[str, Estimate]:
    """L6: correlation of log10 PCA shift with gain, over all models and within training methods.

    Args:
        shift, gain: one row a model, columns `other` and perhaps `non`: log10 shifts, gains in percentage points.
        within: the method of each model, whose means are taken out of shift and gain.
    """
    near, rise = (table - table.groupby(within).transform("mean") for table in (shift, gain))
    given = within.nunique() - 1
    found = {
        "shift_with_gain_other": partial(correlation_interval, shift["other"], gain["other"]),
        "shift_with_gain_other_within": partial(correlation_interval, near["other"], rise["other"], given),
    }
    if "non" in shift:
        found |= {
            "shift_with_gain_non": partial(correlation_interval, shift["non"], gain["non"]),
            "shift_with_gain_non_within": partial(correlation_interval, near["non"], rise["non"], given),
        }
    return found


def _shift_with_index(shift: pd.DataFrame, index: pd.DataFrame) -> dict[str, Estimate]:
    """L6: correlation of log10 PCA shift with the index in percent; one row a model, columns `other, non`."""
    return {
        "shift_with_ti_other": partial(correlation_interval, shift["other"], index["other"]),
        "shift_with_ti_non": partial(correlation_interval, shift["non"], index["non"]),
    }


def thinking_traces(ratio: Estimate) -> dict[str, Estimate]:
    """L7: PCA shift of SFT without thinking traces over that of SFT with them."""
    return {"no_think_over_think_shift": ratio}


def scatter(ratio: Estimate, relative: Estimate) -> dict[str, Estimate]:
    """L8: the spread of PCA shifts over benchmarks, SFT over RL: as they are, and of their logarithms."""
    return {"sft_over_rl_shift_spread": ratio, "sft_over_rl_log_shift_spread": relative}


def functional_change(other: Estimate, non: Estimate) -> dict[str, Estimate]:
    """L9: of losses in a group, what the PCA shift explains minus what the best measure of the weights does, points."""
    return {"shift_less_weights_other": other, "shift_less_weights_non": non}


def _second_pair_shift(sft: Array, rl: Array) -> dict[str, Estimate]:
    """L11: PCA shifts of the pair trained on Qwen2.5-7B, `(benchmarks,)`."""
    return {
        "second_pair_sft_over_rl_shift": partial(geometric_interval, sft / rl),
        "second_pair_rl_smaller_shifts": partial(exact, 100 * float(np.mean(sft > rl))),
    }


def _scale_alone(large: pd.DataFrame, small: pd.DataFrame) -> dict[str, Estimate]:
    """L13: log10 PCA shifts of models of 32B against those of 7B and 8B, and of the large SFT against the small RL.

    Args:
        large, small: one row a model, `method` and one column a group; their mean is compared.
    """
    of_large, of_small = (table[GROUPS].mean(axis=1) for table in (large, small))
    sft, rl = of_large[large["method"] == "SFT"], of_small[small["method"] == "RL"]
    return {
        "large_less_small_models_log_shift": partial(mean_difference_interval, of_large, of_small),
        "large_sft_less_small_rl_log_shift": partial(mean_difference_interval, sft, rl),
    }


# --- the paper's tables and figures


def published() -> list[Evidence]:
    """L1 to L8, L11 and L13 from Tables 2 and 6 and Figures 3 and 7 to 12."""
    return [*_controlled_study(), *_across_models(), *_largest(), *_transfer(), *_sizes()]


def shifts_by_method() -> pd.DataFrame:
    """Table 6's tuned models: `method, family, params_b` and the log10 PCA shift in each group."""
    table_6 = reported.table("pca_shift_reported").query("table == 'Table 6'").set_index("model")[GROUPS]
    models = reported.tuned().set_index("model")[["method", "family", "params_b"]]
    return models.join(np.log10(table_6.replace(0.0, _LEAST)), how="inner")


def shifts_by_benchmark() -> pd.DataFrame:
    """The PCA shifts printed in Figures 3 and 7 to 12 whose benchmark is known, one row a model."""
    figures = reported.table("pca_shift_figures").dropna(subset="benchmark").drop_duplicates(["model", "benchmark"])
    return figures.pivot(index="model", columns="benchmark", values="value")


def shift_and_transfer() -> pd.DataFrame:
    """Table 6's models and the authors' own: `model, method, own, group, log_shift, gain, index` in two groups."""
    table_2 = reported.table("pca_shift_reported").query("table == 'Table 2'").set_index("model")[GROUPS]
    own = np.log10(table_2.loc[reported.CONTROLLED_STUDY])
    log_shift = pd.concat([shifts_by_method()[GROUPS], own]).rename_axis("model")
    tidy = log_shift.reset_index().melt("model", list(OUTSIDE), "group", "log_shift")
    gains = audit.mean_gains().reset_index().melt(["model", "method"], list(OUTSIDE), "group", "gain")
    index = audit.pooled_indices()[["model", "group", "value"]].rename(columns={"value": "index"})
    joined = tidy.merge(gains, on=["model", "group"]).merge(index, on=["model", "group"])
    return joined.assign(own=joined["model"].isin(reported.CONTROLLED_STUDY))


def recipes_in_two_sizes() -> pd.DataFrame:
    """Recipes with a 7B and a 32B model in Table 6: log10 shift of the larger less the smaller, one column a group."""
    table = shifts_by_method()
    recipe = table.index.str.replace(r"-\d+B$", "", regex=True)
    small, large = (table[table["params_b"] == size].set_axis(recipe[table["params_b"] == size]) for size in (7, 32))
    return (large[GROUPS] - small[GROUPS]).dropna()


def _controlled_study() -> list[Evidence]:
    """L1, L7, L8 and L11."""
    values = shifts_by_benchmark()
    found = []
    for model in SFT_14B:
        sft, rl = values.loc[model].to_numpy(), values.loc[RL_14B].to_numpy()
        spreads = [partial(spread_ratio_interval, *both) for both in ((sft, rl), (np.log(sft), np.log(rl)))]
        found += from_table(f"Figure 3, {kind(model)}", _shift_ratio(sft, rl) | scatter(*spreads))
    table_2 = reported.table("pca_shift_reported").query("table == 'Table 2'").set_index("model")[GROUPS]
    found += from_table("Table 2", _smallest_shifts(table_2.loc[SFT_14B], table_2.loc[RL_14B]))
    traces = thinking_traces(partial(geometric_interval, values.loc[_NO_THINK_14B] / values.loc[_THINK_14B]))
    pair = _second_pair_shift(values.loc[_SFT_7B], values.loc[_RL_7B])
    return [*found, *from_table("Figure 3", traces), *from_table("Figure 7", pair)]


def _across_models() -> list[Evidence]:
    """L2 and L4."""
    table = shifts_by_method()
    rl, sft = (table[table["method"] == method] for method in ("RL", "SFT"))
    llama, qwen = rl[rl["family"] == "Llama"], rl[rl["family"] == "Qwen"]
    return [
        *from_table(f"Table 6, {len(rl)} RL and {len(sft)} SFT models", _log_shifts_by_method(rl, sft)),
        *from_table(f"Table 6, {len(llama)} Llama and {len(qwen)} Qwen, RL", _log_shifts_by_family(llama, qwen)),
    ]


def _largest() -> list[Evidence]:
    """L5."""
    table = reported.table("pca_shift_reported").drop_duplicates("model").set_index("model")[GROUPS]
    method = reported.tuned().set_index("model")["method"]
    by_group = table[(method.reindex(table.index) == "SFT").to_numpy()]
    values = shifts_by_benchmark()
    sft = (method.reindex(values.index) == "SFT") | values.index.str.endswith("(SFT)")
    by_benchmark = values[sft]
    where = f"Tables 2 and 6, {len(by_group)} SFT models; Figures 3 and 7 to 11, {len(by_benchmark)}"
    return from_table(where, _largest_shifts(by_group, by_benchmark))


def _transfer() -> list[Evidence]:
    """L6, without the authors' own models, which have their own claims."""
    table = shift_and_transfer().query("~own").set_index("model")
    shift, gain, index = (table.pivot(columns="group", values=name) for name in ("log_shift", "gain", "index"))
    method = reported.tuned().set_index("model")["method"].reindex(shift.index)
    where = f"Tables 6 and 9 to 11, {len(shift)} models"
    return from_table(where, shift_with_gain(shift, gain, method) | _shift_with_index(shift, index))


def _sizes() -> list[Evidence]:
    """L3 and L13."""
    pairs, table = recipes_in_two_sizes(), shifts_by_method()
    large, small = table[table["params_b"] == 32], table[table["params_b"].isin([7, 8])]
    return [
        *from_table(f"Table 6, {' and '.join(pairs.index)}", _log_shifts_by_size(pairs)),
        *from_table(f"Table 6, {len(large)} models of 32B, {len(small)} of 7B or 8B", _scale_alone(large, small)),
    ]
