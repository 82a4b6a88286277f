"""The published layer: what the paper's own tables say about its claims.

Every function that ends in `_evidence` returns (statistic, interval, where from) for the claims it is named after;
`claims.yaml` has the criteria.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mathtransfer import GROUPS
from mathtransfer.claims import transfer
from mathtransfer.claims.intervals import (
    Interval,
    benchmark_resamples,
    leave_one_out,
    permutation_interval,
    quantile_interval,
    ratio_interval,
    share_interval,
    superiority_interval,
)
from mathtransfer.claims.transfer import OUTSIDE
from mathtransfer.paper import reported

Array = NDArray[np.float64]
Evidence = tuple[str, Interval, str]
UNIREASON = "UniReason-Qwen3-14B"
RL_14B, *SFT_14B = (f"{UNIREASON}{kind}" for kind in (" (RL)", "-think (SFT)", "-no-think (SFT)"))
CLOSE = 0.3  # an index within this many points of the printed one counts as reproduced: three times the rounding
DRAWS = 2000


def _kind(model: str) -> str:
    return model.removeprefix(UNIREASON).replace("-", " ", 1)


# --- the averages of Table 1


def group_averages() -> pd.DataFrame:
    """Table 1's averages and what Tables 9 to 11 give: `model, group, printed, recomputed, difference` in percent."""
    printed = reported.table("group_averages_reported").drop(columns="table")
    printed = printed.melt("model", var_name="group", value_name="printed")
    means = reported.table("scores").groupby(["model", "group"])["score"].mean().rename("recomputed").reset_index()
    joined = printed.merge(means, on=["model", "group"])
    return joined.assign(difference=joined["printed"] - joined["recomputed"])


# --- the indices of Tables 1 and 5


def indices(definition: str = "pooled", draws: int = DRAWS) -> pd.DataFrame:
    """Every tuned model's indices beside what the paper prints.

    Returns:
        `model, method, table, group, value, low, high, reason, unstable, printed, difference` in percent; the intervals
        are over evaluation items, from each score's standard error.
    """
    found = transfer.transferability(reported.scores(), reported.bases(), definition, draws)
    found = found[found["metric"] == "transferability index"]
    printed = reported.table("transferability_reported").rename(columns={"ti_other": "other", "ti_non": "non"})
    printed = printed.melt(["model", "table"], var_name="group", value_name="printed")
    joined = found.merge(printed, on=["model", "group"]).merge(reported.tuned()[["model", "method"]], on="model")
    return joined.assign(difference=joined["value"] - joined["printed"])


def pooled_spreads() -> dict[str, Array]:
    """sigma_g of the paper's gains, pooled over its tuned models: group -> `(1,)`, percentage points."""
    gains = reported.gains().pivot(index="model", columns=["group", "benchmark"], values="gain")
    return transfer.spreads(gains.to_numpy(), list(gains.columns.get_level_values("group")), "pooled")


def fitted_spreads() -> dict[str, Interval]:
    """sigma_g / sigma_math that the printed indices imply: group -> (fit, low, high).

    With one spread a group, TI_g = sqrt(sigma_math / sigma_g) * X, where X is the index without spreads. The factor
    is the median of printed / X over the 18 rows, which rows that follow from other scores cannot move far. The ends
    are the ratios between which no row is lost or won that the fit reproduces within `CLOSE`.
    """
    printed = reported.table("transferability_reported").set_index("model")
    plain = _plain_indices()
    found = {}
    for group in OUTSIDE:
        target, start = printed[f"ti_{group}"], plain[group][printed.index]
        factor = (target / start).median()
        reproduced = (factor * start - target).abs() <= CLOSE
        centre, reach = (target / start)[reproduced], CLOSE / start[reproduced].abs()
        found[group] = (float(factor) ** -2, float((centre + reach).min()) ** -2, float((centre - reach).max()) ** -2)
    return found


def _plain_indices() -> pd.DataFrame:
    """The indices with all spreads taken for one, percent: a row a model, a column a group."""
    own = {model: part for model, part in reported.gains().groupby("model")}
    rows = {m: {g: 100 * _domain(part, g) / _domain(part, "math") for g in OUTSIDE} for m, part in own.items()}
    return pd.DataFrame(rows).T


def fitted_indices() -> pd.DataFrame:
    """The indices with the fitted spread ratios: `model, table, group, printed, fitted, difference, close`."""
    plain, ratios = _plain_indices(), fitted_spreads()
    printed = reported.table("transferability_reported").rename(columns={"ti_other": "other", "ti_non": "non"})
    rows = printed.melt(["model", "table"], var_name="group", value_name="printed")
    fitted = [plain.loc[row.model, row.group] * ratios[row.group][0] ** -0.5 for row in rows.itertuples()]
    rows = rows.assign(fitted=fitted, difference=np.array(fitted) - rows["printed"])
    return rows.assign(close=rows["difference"].abs() <= CLOSE)


def disagreeing() -> list[str]:
    """The models whose printed indices do not follow from Tables 9 to 11, in the paper's order."""
    close = fitted_indices().groupby("model", sort=False)["close"].all()
    return list(close.index[~close])


def reconciling_scores() -> pd.DataFrame:
    """For every disagreeing row, each single score that would reconcile it with its printed indices.

    Returns:
        `model, benchmark, group, reconciles, printed, needed, change`: with `needed` instead of the `printed` score
        (percent), the columns in `reconciles` come out. A score on mathematics enters both columns; it is listed where
        it reconciles all columns that are off and spoils none.
    """
    gains, rows = reported.gains(), fitted_indices()
    factors = {group: 100 * ratio**-0.5 for group, (ratio, *_) in fitted_spreads().items()}
    found = []
    for model in disagreeing():
        own = gains[gains["model"] == model].set_index("benchmark")
        printed = rows[rows["model"] == model].set_index("group")
        for benchmark, row in own.iterrows():
            entered = OUTSIDE if row["group"] == "math" else (row["group"],)
            off = [group for group in entered if not printed.loc[group, "close"]]
            candidates = [
                _needed(own, benchmark, group, printed.loc[group, "printed"] / factors[group]) for group in off
            ]
            misses = [
                max(abs(factors[g] * _quotient(own, g, benchmark, score) - printed.loc[g, "printed"]) for g in entered)
                for score in candidates
            ]
            if off and min(misses) <= CLOSE and 0 <= (needed := candidates[int(np.argmin(misses))]) <= 100:
                found.append((model, benchmark, row["group"], ", ".join(off), row["score"], needed))
    table = pd.DataFrame(found, columns=["model", "benchmark", "group", "reconciles", "printed", "needed"])
    return table.assign(change=table["needed"] - table["printed"])


def _domain(own: pd.DataFrame, group: str) -> float:
    part = own[own["group"] == group]
    return float(transfer.domain_index(part["gain"], part["base_score"], 1.0))


def _quotient(own: pd.DataFrame, group: str, benchmark: str, score: float) -> float:
    """DI_g / DI_math of one model, without spreads, with another score (percent) on one benchmark."""
    gain = own["gain"].where(own.index != benchmark, score - own["base_score"])
    changed = own.assign(gain=gain)
    return _domain(changed, group) / _domain(changed, "math")


def _needed(own: pd.DataFrame, benchmark: str, group: str, quotient: float) -> float:
    """The score on one benchmark that makes DI_g / DI_math this quotient: the index solved for one of its terms."""
    within = own.loc[benchmark, "group"]
    target = quotient * _domain(own, "math") if within == group else _domain(own, group) / quotient
    part = own[own["group"] == within]
    headroom = 100 - part["base_score"]
    terms = headroom * np.sign(part["gain"]) * part["gain"].abs() ** 0.5
    root = (target * headroom.sum() - terms.drop(benchmark).sum()) / headroom[benchmark]
    return float(own.loc[benchmark, "base_score"] + np.sign(root) * root**2)


# --- P1 to P5: the survey of models


def _by_method(definition: str = "pooled") -> dict[str, dict[str, Array]]:
    """Group -> method -> the indices of its models; models whose index has no value are left out."""
    table = indices(definition, draws=1).dropna(subset="value")
    return {
        g: {m: part.loc[part["method"] == m, "value"].to_numpy() for m in ("SFT", "RL")}
        for g, part in table.groupby("group")
    }


def survey_evidence() -> list[Evidence]:
    """P1 to P3: over models, by the recomputed pooled index and by gains."""
    gains = reported.gains()
    survey = reported.table("transferability_reported").query("table == 'Table 5'")["model"]
    means = gains[gains["model"].isin(survey)].groupby(["model", "group"])["gain"].mean().unstack()
    gained = means[means["math"] > 0]
    found: list[Evidence] = []
    for group in OUTSIDE:
        share = share_interval(int((gained[group] <= 0).sum()), len(gained))
        found.append((f"share_failing_{group}", share, f"Tables 9 to 11, {len(gained)} models"))
    by_method = _by_method()
    for group in OUTSIDE:
        rl, sft = by_method[group]["RL"], by_method[group]["SFT"]
        run = f"Tables 9 to 11, {len(rl)} RL and {len(sft)} SFT models"
        found.append((f"rl_less_sft_ti_{group}", permutation_interval(rl, sft), run))
        found.append((f"rl_beats_sft_ti_{group}", tuple(100 * end for end in superiority_interval(rl, sft)), run))
    sft = by_method["non"]["SFT"]
    found.append(("sft_negative_ti_non", share_interval(int((sft < 0).sum()), len(sft)), f"{len(sft)} SFT models"))
    return found


def same_base_pairs() -> pd.DataFrame:
    """Every RL model against every SFT model of the same base: `base, rl, sft, other, non`, RL less SFT in points."""
    table = indices(draws=1).pivot(index=["model", "method"], columns="group", values="value").reset_index()
    table["base"] = table["model"].map(reported.bases())
    rl, sft = (table[table["method"] == method] for method in ("RL", "SFT"))
    pairs = rl.merge(sft, on="base", suffixes=("_rl", "_sft"))
    return pd.DataFrame(
        {"base": pairs["base"], "rl": pairs["model_rl"], "sft": pairs["model_sft"]}
        | {group: pairs[f"{group}_rl"] - pairs[f"{group}_sft"] for group in OUTSIDE}
    )


def predictors() -> pd.DataFrame:
    """What might predict transfer, for every tuned model: `paradigm, size, family, data`, the numbers as logarithms."""
    models = reported.tuned().set_index("model")
    return pd.DataFrame(
        {
            "paradigm": models["method"],
            "size": np.log10(models["params_b"]),
            "family": models["family"],
            "data": np.log10(models["examples"]),
        }
    )


def prediction_errors(group: str) -> pd.DataFrame:
    """Squared error of each predictor for each model's index, predicted from the other 17 models.

    Returns:
        Squared points, one row a model, columns `nothing` (the mean of the others), `paradigm, size, family, data`.
    """
    table = indices(draws=1)
    value = table[table["group"] == group].set_index("model")["value"]
    given = predictors().loc[value.index]
    given.insert(0, "nothing", "all")
    return pd.DataFrame({name: (leave_one_out(value, given[name]) - value) ** 2 for name in given}, index=value.index)


def explained(errors: pd.DataFrame) -> pd.Series:
    """The share of variance that each predictor explains out of sample, percent; below 0 it is worse than nothing."""
    total = errors.sum()
    return 100 * (1 - total.drop("nothing") / total["nothing"])


def prediction_evidence() -> list[Evidence]:
    """P4: the paradigm against the best of size, family and data, with a bootstrap over the 18 models."""
    found: list[Evidence] = []
    for group in OUTSIDE:
        errors = prediction_errors(group)

        def margin(table: pd.DataFrame) -> float:
            shares = explained(table)
            return float(shares["paradigm"] - shares.drop("paradigm").max())

        rng = np.random.default_rng(0)
        drawn = [margin(errors.iloc[rng.integers(len(errors), size=len(errors))]) for _ in range(DRAWS)]
        run = f"Tables 9 to 11, {len(errors)} models"
        found.append((f"paradigm_over_rivals_{group}", quantile_interval(margin(errors), drawn), run))
    return found


def broad_data_evidence() -> list[Evidence]:
    """P5: General-Reasoner by RL less by SFT, with the uncertainty of the scores alone."""
    names = [f"General-Reasoner-Qwen3-14B ({method})" for method in ("RL", "SFT")]
    table = indices().set_index(["model", "group"])
    found: list[Evidence] = []
    for group in OUTSIDE:
        rl, sft = (table.loc[(name, group)] for name in names)
        value = rl["value"] - sft["value"]
        # The ends of two independent intervals, put together as roots of squares (Newcombe's way).
        low = value - np.hypot(rl["value"] - rl["low"], sft["high"] - sft["value"])
        high = value + np.hypot(rl["high"] - rl["value"], sft["value"] - sft["low"])
        found.append((f"broad_rl_less_sft_ti_{group}", (float(value), float(low), float(high)), "Tables 9 to 11"))
    return found


# --- S1 to S4: the controlled study


def controlled_evidence(gains: pd.DataFrame | None = None, where: str = "Table 1") -> list[Evidence]:
    """S1 to S4 on Table 1's models: the exact bootstrap over a group's four benchmarks.

    Where a statistic compares RL with SFT, there is one for each of the two SFT models.

    Args:
        gains: all twelve of the RL model and of one or both SFT models, see `published.gains`; by default the paper's.
            The spread of the index is always that of the paper's gains.
        where: what the gains are from.
    """
    gains = reported.gains() if gains is None else gains
    sigma, drawn = pooled_spreads(), benchmark_resamples()

    def part(model: str, group: str, column: str) -> Array:
        return gains.loc[(gains["model"] == model) & (gains["group"] == group), column].to_numpy()

    def resampled(values: Array) -> Interval:
        return quantile_interval(values.mean(), values[drawn].mean(1))

    def index(model: str, group: str) -> tuple[Array, Array]:
        change, base = part(model, group, "gain"), part(model, group, "base_score")
        return transfer.domain_index(change, base, sigma[group]), transfer.domain_index(
            change[drawn], base[drawn], sigma[group]
        )

    def transferability(model: str, group: str) -> Interval:
        (value, draws), (math_value, math_draws) = index(model, group), index(model, "math")
        gained = np.where(math_draws > 0, math_draws, np.nan)  # where mathematics did not gain, the index says nothing
        all_pairs = transfer.transferability_index(draws[:, None], gained[None, :])
        return quantile_interval(float(transfer.transferability_index(value, math_value).item()), all_pairs)

    found: list[Evidence] = [
        ("rl_gain_non", resampled(part(RL_14B, "non", "gain")), f"{where},{_kind(RL_14B)}"),
        ("rl_ti_other", transferability(RL_14B, "other"), f"{where},{_kind(RL_14B)}"),
        ("rl_ti_non", transferability(RL_14B, "non"), f"{where},{_kind(RL_14B)}"),
    ]
    for sft in [model for model in SFT_14B if model in set(gains["model"])]:
        for group in ("math", "other"):
            less = part(RL_14B, group, "gain") - part(sft, group, "gain")
            found.append((f"rl_less_sft_{group}", resampled(less), f"{where},{_kind(sft)}"))
        found.append(("sft_gain_non", resampled(part(sft, "non", "gain")), f"{where},{_kind(sft)}"))
        found.append(("sft_ti_non", transferability(sft, "non"), f"{where},{_kind(sft)}"))
    return found


# --- L1 to L5: latent drift


def shifts_by_method() -> pd.DataFrame:
    """Table 6's tuned models: `method, family, params_b` and the log10 PCA shift in each group.

    A printed 0.0 is taken for half the last digit.
    """
    table_6 = reported.table("pca_shift_reported").query("table == 'Table 6'").set_index("model")[GROUPS]
    models = reported.tuned().set_index("model")[["method", "family", "params_b"]]
    return models.join(np.log10(table_6.replace(0.0, 0.05)), how="inner")


def latent_evidence() -> list[Evidence]:
    """L1 to L5 on Tables 2 and 6 and the values in Figure 3."""
    figure_3 = reported.table("pca_shift_figure3").set_index("model")
    found: list[Evidence] = [
        ("sft_over_rl_shift", ratio_interval(figure_3.loc[sft], figure_3.loc[RL_14B]), f"Figure 3,{_kind(sft)}")
        for sft in SFT_14B
    ]
    shifts = shifts_by_method()
    rl, sft = (shifts[shifts["method"] == method] for method in ("RL", "SFT"))
    large, small = shifts[shifts["params_b"] == 32], shifts[shifts["params_b"] == 7]
    llama, qwen = rl[rl["family"] == "Llama"], rl[rl["family"] == "Qwen"]
    comparisons = [
        ("rl_less_sft_log_shift", rl, sft, GROUPS, f"Table 6, {len(rl)} RL and {len(sft)} SFT models"),
        ("large_less_small_log_shift", large, small, GROUPS, f"Table 6, {len(large)} of 32B and {len(small)} of 7B"),
        ("llama_less_qwen_log_shift", llama, qwen, OUTSIDE, f"Table 6, {len(llama)} Llama and {len(qwen)} Qwen, RL"),
    ]
    for name, one, other, groups, run in comparisons:
        found += [(f"{name}_{group}", permutation_interval(one[group], other[group]), run) for group in groups]
    table_2 = reported.table("pca_shift_reported").set_index("model")[GROUPS].loc[SFT_14B]
    largest = pd.concat([sft[GROUPS], np.log10(table_2)]).idxmax(axis=1) == "non"
    run = f"Tables 2 and 6, {len(largest)} SFT models"
    found.append(("sft_share_largest_on_non", share_interval(int(largest.sum()), len(largest)), run))
    return found


# --- T1 to T3: token drift


def token_evidence() -> list[Evidence]:
    """T1 to T3 on the values that the text states, Figure 17 and Table 8; Student's t over benchmarks or queries."""
    text = reported.table("kl_reported").query("where == 'Section 4.2'")
    kl = text.pivot(index="benchmark", columns="model", values="kl")
    found: list[Evidence] = [
        ("sft_over_rl_kl", ratio_interval(kl[sft], kl[RL_14B]), f"Section 4.2,{_kind(sft)}")
        for sft in SFT_14B
        if sft in kl
    ]
    ranks = reported.table("rank_shift_reported").pivot(index="benchmark", columns="model", values="rank_shift")
    for sft in SFT_14B:
        found.append(("rl_over_sft_rank_shift", ratio_interval(ranks[RL_14B], ranks[sft]), f"Figure 17,{_kind(sft)}"))
    shifted = reported.table("shifted_tokens_reported").pivot(index="query", columns="model", values="shifted_tokens")
    found.append(("sft_over_rl_shifted_tokens", ratio_interval(shifted["SFT"], shifted["RL"]), "Table 8, two queries"))
    return found


# --- A1, A2, A4, A5: the ablation


def ablation_gains() -> pd.DataFrame:
    """Table 4: gains over Qwen3-8B-Base by setting, percentage points, and the printed indices."""
    table = reported.table("ablation_reported").set_index("setting")
    averages = table[[f"{group}_avg" for group in GROUPS]].set_axis(GROUPS, axis=1)
    gains = (averages - averages.loc["Qwen3-8B-Base"]).drop("Qwen3-8B-Base")
    return gains.join(table[["ti_other", "ti_non"]])


def ablation_differences() -> pd.DataFrame:
    """What one change of the objective does to a group average: `claim, change, group, value, stderr, ti` in points.

    The standard error is of two averages over four benchmarks, taking the average for the accuracy on each, by the
    items alone: one training run a setting says nothing of the spread between runs. `ti` is the printed indices'
    difference.
    """
    table = reported.table("ablation_reported").set_index("setting")
    changes = [
        ("A1", "SFT: on-policy less off-policy", "On-policy SFT", "Off-policy SFT"),
        ("A1", "RL: on-policy less off-policy", "On-policy RL (no KL)", "Off-policy RL"),
        ("A2", "off-policy: advantage less one", "Off-policy RL", "Off-policy SFT"),
        ("A2", "on-policy: advantage less rejection", "On-policy RL (no KL)", "On-policy SFT"),
        ("A4", "on-policy RL: with KL less without", "On-policy RL", "On-policy RL (no KL)"),
    ]
    rows = []
    for claim, change, one, other in changes:
        for group in GROUPS:
            pair = table.loc[[one, other], f"{group}_avg"]
            ti = table.loc[one, f"ti_{group}"] - table.loc[other, f"ti_{group}"] if group in OUTSIDE else np.nan
            stderr = float(np.hypot(*(_average_error(average, group) for average in pair)))
            rows.append((claim, change, group, pair.iloc[0] - pair.iloc[1], stderr, ti))
    return pd.DataFrame(rows, columns=["claim", "change", "group", "value", "stderr", "ti"])


def _average_error(average: float, group: str) -> float:
    scores = reported.scores()
    items = scores[scores["group"] == group].drop_duplicates("benchmark")["n"]
    errors = reported.standard_error(pd.Series(average, index=items.index), items, pd.Series(1, index=items.index))
    return float(np.sqrt((errors**2).sum()) / len(errors))


def ablation_evidence() -> list[Evidence]:
    """A1, A2, A4 on Table 4's averages, and A5 on Table 7's gradient norms."""
    names = {"A1": "on_less_off_policy", "A2": "credit", "A4": "kl_penalty"}
    found: list[Evidence] = []
    for row in ablation_differences().query("group != 'math'").itertuples():
        interval = (row.value, row.value - 1.96 * row.stderr, row.value + 1.96 * row.stderr)
        if row.claim == "A4":
            drawn = np.random.default_rng(0).normal(row.value, row.stderr, size=DRAWS)
            interval = quantile_interval(abs(row.value), np.abs(drawn))
        found.append((f"{names[row.claim]}_{row.group}", interval, f"Table 4, {row.change}"))
    norms = reported.table("gradient_norm_reported").set_index("model")
    rl, sft = norms[norms["method"] == "RL"], norms[norms["method"] == "SFT"]
    for column in ("total_grad", "late_var", "oscillation"):
        ratio = ratio_interval(np.repeat(rl[column].to_numpy(), len(sft)), sft[column])
        found.append((f"rl_over_sft_{column}", ratio, f"Table 7, {len(rl)} RL run, {len(sft)} SFT runs"))
    return found
