"""The published layer: what the paper's own tables say about its claims."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from mathtransfer import GROUPS
from mathtransfer.claims import recomputed, statistics
from mathtransfer.claims.intervals import (
    Array,
    benchmark_resamples,
    geometric_interval,
    leave_one_out,
    quantile_interval,
)
from mathtransfer.claims.ledger import Evidence
from mathtransfer.claims.statistics import Tuned
from mathtransfer.claims.transfer import OUTSIDE
from mathtransfer.paper import reported

_RL_14B, *_SFT_14B = reported.CONTROLLED_STUDY


def evidence(claims: str) -> list[Evidence]:
    """What the tables say about some claims, by the part of the paper that they belong to, such as `S1 to S4`.

    Raises:
        KeyError: no table says anything about these claims.
    """
    parts: dict[str, Callable[[], list[Evidence]]] = {
        "P1 to P3": _survey,
        "P4": _prediction,
        "P5": _broad_data,
        "S1 to S4": lambda: controlled_study(reported.gains(), "Table 1"),
        "L1 to L5": _latent_drift,
        "T1 to T3": _token_drift,
        "A1, A2, A4 and A5": _ablation,
    }
    return parts[claims]()


def _from(run: str, found: dict, interval: Callable = lambda value: value) -> list[Evidence]:
    """Statistics as evidence from a table; `interval` makes their intervals if they have none."""
    return [(name, interval(value), run) for name, value in found.items()]


def _kind(model: str) -> str:
    return model.removeprefix("UniReason-Qwen3-14B").replace("-", " ", 1)


# --- P1 to P5: the survey of models


def _survey() -> list[Evidence]:
    """P1 to P3: over models, by gains and by the recomputed pooled index."""
    gains = reported.gains()
    survey = reported.table("transferability_reported").query("table == 'Table 5'")["model"]
    means = gains[gains["model"].isin(survey)].groupby(["model", "group"])["gain"].mean().unstack()
    gained = means[means["math"] > 0]
    table = recomputed.indices(draws=1).dropna(subset="value")
    rl, sft = (
        {group: part["value"].to_numpy() for group, part in table[table["method"] == method].groupby("group")}
        for method in ("RL", "SFT")
    )
    return [
        *_from(f"Tables 9 to 11, {len(gained)} models", statistics.failures(gained)),
        *_from(
            f"Tables 9 to 11, {len(rl['non'])} RL and {len(sft['non'])} SFT models",
            statistics.transfer_by_method(rl, sft),
        ),
        *_from(f"{len(sft['non'])} SFT models", statistics.negative_transfer(sft)),
    ]


def same_base_pairs() -> pd.DataFrame:
    """Every RL model against every SFT model of the same base: `base, rl, sft, other, non`, RL less SFT in points."""
    table = recomputed.indices(draws=1).pivot(index=["model", "method"], columns="group", values="value").reset_index()
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
    table = recomputed.indices(draws=1)
    value = table[table["group"] == group].set_index("model")["value"]
    given = predictors().loc[value.index]
    given.insert(0, "nothing", "all")
    return pd.DataFrame({name: (leave_one_out(value, given[name]) - value) ** 2 for name in given}, index=value.index)


def _prediction() -> list[Evidence]:
    errors = {group: prediction_errors(group) for group in OUTSIDE}
    return _from(f"Tables 9 to 11, {len(errors['non'])} models", statistics.prediction(errors))


def _broad_data() -> list[Evidence]:
    """P5: General-Reasoner, with the uncertainty of the scores alone."""
    table = recomputed.indices().set_index(["model", "group"])[["value", "low", "high"]]
    rl, sft = (
        {group: tuple(table.loc[(f"General-Reasoner-Qwen3-14B ({method})", group)]) for group in OUTSIDE}
        for method in ("RL", "SFT")
    )
    return _from("Tables 9 to 11", statistics.broad_data(rl, sft))


# --- S1 to S4: the controlled study


def controlled_study(gains: pd.DataFrame, where: str) -> list[Evidence]:
    """S1 to S4 on Section 2.2's models: the exact bootstrap over a group's four benchmarks.

    Statistics of SFT occur once for each of the two SFT models.

    Args:
        gains: all twelve of the RL model and of one or both SFT models, see `reported.gains`. The spread of the index
            is always that of the paper's gains.
        where: what the gains are from.
    """
    measured = set(gains["model"])
    rl = _tuned(gains, _RL_14B)
    found = _from(f"{where},{_kind(_RL_14B)}", _bootstrap(statistics.rl_study, rl))
    for model in _SFT_14B:
        if model in measured:
            found += _from(f"{where},{_kind(model)}", _bootstrap(statistics.sft_study, rl, _tuned(gains, model)))
    return found


def _tuned(gains: pd.DataFrame, model: str) -> Tuned:
    own = {group: part for group, part in gains[gains["model"] == model].groupby("group")}
    return Tuned(
        gains={group: part["gain"].to_numpy() for group, part in own.items()},
        base={group: part["base_score"].to_numpy() for group, part in own.items()},
        spreads={group: sigma.item() for group, sigma in recomputed.pooled_spreads().items()},
    )


def _bootstrap(study: Callable[..., dict[str, Array]], *models: Tuned) -> dict[str, tuple[float, float, float]]:
    resampled = study(*(_resampled(model) for model in models))
    return {name: quantile_interval(value, resampled[name]) for name, value in study(*models).items()}


def _resampled(model: Tuned) -> Tuned:
    """Every choice of benchmarks on mathematics, `(1, choices, 4)`, meets every one outside it, `(choices, 1, 4)`."""

    def drawn(values: dict[str, Array]) -> dict[str, Array]:
        choices = {group: own[benchmark_resamples(len(own))] for group, own in values.items()}
        return {group: own[None] if group == "math" else own[:, None] for group, own in choices.items()}

    return Tuned(drawn(model.gains), drawn(model.base), model.spreads)


# --- L1 to L5: latent drift


def shifts_by_method() -> pd.DataFrame:
    """Table 6's tuned models: `method, family, params_b` and the log10 PCA shift in each group.

    A printed 0.0 is taken for half the last digit.
    """
    table_6 = reported.table("pca_shift_reported").query("table == 'Table 6'").set_index("model")[GROUPS]
    models = reported.tuned().set_index("model")[["method", "family", "params_b"]]
    return models.join(np.log10(table_6.replace(0.0, 0.05)), how="inner")


def _latent_drift() -> list[Evidence]:
    """L1 to L5 on Tables 2 and 6 and the values in Figure 3."""
    figure_3 = reported.table("pca_shift_figure3").set_index("model")
    found = []
    for model in _SFT_14B:
        ratio = statistics.shift_ratio(figure_3.loc[model], figure_3.loc[_RL_14B])
        found += _from(f"Figure 3,{_kind(model)}", ratio, geometric_interval)
    shifts = shifts_by_method()
    rl, sft = (shifts[shifts["method"] == method] for method in ("RL", "SFT"))
    large, small = shifts[shifts["params_b"] == 32], shifts[shifts["params_b"] == 7]
    llama, qwen = rl[rl["family"] == "Llama"], rl[rl["family"] == "Qwen"]
    table_2 = reported.table("pca_shift_reported").set_index("model")[GROUPS].loc[_SFT_14B]
    all_sft = pd.concat([sft[GROUPS], np.log10(table_2)])
    return [
        *found,
        *_from(f"Table 6, {len(rl)} RL and {len(sft)} SFT models", statistics.log_shifts_by_method(rl, sft)),
        *_from(f"Table 6, {len(large)} of 32B and {len(small)} of 7B", statistics.log_shifts_by_size(large, small)),
        *_from(f"Table 6, {len(llama)} Llama and {len(qwen)} Qwen, RL", statistics.log_shifts_by_family(llama, qwen)),
        *_from(f"Tables 2 and 6, {len(all_sft)} SFT models", statistics.largest_shifts(all_sft)),
    ]


# --- T1 to T3: token drift


def _token_drift() -> list[Evidence]:
    """T1 to T3 on the values that the text states, Figure 17 and Table 8; Student's t over benchmarks or queries."""
    text = reported.table("kl_reported").query("where == 'Section 4.2'")
    kl = text.pivot(index="benchmark", columns="model", values="kl")
    ranks = reported.table("rank_shift_reported").pivot(index="benchmark", columns="model", values="rank_shift")
    shifted = reported.table("shifted_tokens_reported").pivot(index="query", columns="model", values="shifted_tokens")
    found = []
    for model in _SFT_14B:
        if model in kl:
            ratio = statistics.kl_ratio(kl[model], kl[_RL_14B])
            found += _from(f"Section 4.2,{_kind(model)}", ratio, geometric_interval)
        ratio = statistics.rank_shift_ratio(ranks[_RL_14B], ranks[model])
        found += _from(f"Figure 17,{_kind(model)}", ratio, geometric_interval)
    ratio = statistics.shifted_tokens_ratio(shifted["SFT"], shifted["RL"])
    return found + _from("Table 8, two queries", ratio, geometric_interval)


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
    scores = reported.scores().drop_duplicates("benchmark")
    items = {group: part["n"] for group, part in scores.groupby("group")}
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
            stderr = float(np.hypot(*(_average_error(average, items[group]) for average in pair)))
            rows.append((claim, change, group, pair.iloc[0] - pair.iloc[1], stderr, ti))
    return pd.DataFrame(rows, columns=["claim", "change", "group", "value", "stderr", "ti"])


def _average_error(average: float, items: pd.Series) -> float:
    errors = reported.standard_error(pd.Series(average, index=items.index), items, pd.Series(1, index=items.index))
    return float(np.sqrt((errors**2).sum()) / len(errors))


def _ablation() -> list[Evidence]:
    """A1, A2, A4 on Table 4's averages, and A5 on Table 7's gradient norms."""
    kinds = {"A1": statistics.on_policy, "A2": statistics.credit, "A4": statistics.kl_penalty}
    found = []
    for (claim, name), part in ablation_differences().groupby(["claim", "change"], sort=False):
        change = {row.group: (row.value, row.stderr) for row in part.itertuples()}
        found += _from(f"Table 4, {name}", kinds[claim](change))
    norms = reported.table("gradient_norm_reported")
    rl, sft = norms[norms["method"] == "RL"], norms[norms["method"] == "SFT"]
    run = f"Table 7, {len(rl)} RL run, {len(sft)} SFT runs"
    return found + _from(run, statistics.gradient_norms(rl, sft), geometric_interval)
