"""P1 to P10, the survey of released models: statistics, and what the paper's tables say."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pandas as pd

from mathtransfer.claims import recomputed
from mathtransfer.claims.intervals import (
    Array,
    Estimate,
    exact,
    least,
    leave_one_out,
    mean_difference_interval,
    normal_interval,
    share_interval,
    superiority_interval,
    t_interval,
)
from mathtransfer.claims.ledger import Evidence, from_table
from mathtransfer.claims.transfer import OUTSIDE
from mathtransfer.paper import reported

_ByGroup = dict[str, Array]
_MODELS = {
    "survey": "Table 5",
    "stable": "Table 5 without unstable indices",
    "all": "with those of Table 1",
}


# --- statistics


def readings(gains: pd.DataFrame, at_most: float = 0.0) -> pd.DataFrame:
    """Which models fail to gain outside mathematics, by four readings: a gain of `at_most` or less is no gain.

    Args:
        gains: mean gains in percentage points, or indices, one row a model, one column a group.

    Returns:
        One row a model, true if it does not gain on `other`, on `non`, on `either` (at least one of them), on `both`.
    """
    fails = gains[list(OUTSIDE)].round(9) <= at_most  # a sum of printed decimals that is zero is zero
    return fails.assign(either=fails.any(axis=1), both=fails.all(axis=1))


def _failures(gains: pd.DataFrame, index: pd.DataFrame) -> dict[str, Estimate]:
    """P1: the share of models that gain on mathematics but not in every other group, by gains and by printed indices.

    Args:
        gains: mean gains of the models that gain on mathematics, one row a model, one column a group.
        index: their printed indices, in the same way.
    """
    return {
        "share_failing": _share(readings(gains)["either"]),
        "share_failing_by_index": _share(readings(index)["either"]),
    }


def _sft_failures(gains: pd.DataFrame) -> dict[str, Estimate]:
    """P10: the same share of the SFT models alone."""
    return {"sft_share_failing": _share(readings(gains)["either"])}


def _other_by_method(rl: _ByGroup, sft: _ByGroup) -> dict[str, Estimate]:
    """P2: the indices of RL models against those of SFT models, group -> `(models,)` in percent."""
    return {
        "rl_less_sft_ti_other": partial(mean_difference_interval, rl["other"], sft["other"]),
        "rl_beats_sft_ti_other": partial(superiority_interval, rl["other"], sft["other"]),
    }


def _non_by_method(rl: _ByGroup, sft: _ByGroup) -> dict[str, Estimate]:
    """P3: as P2, and how often SFT models have a negative index."""
    return {
        "rl_less_sft_ti_non": partial(mean_difference_interval, rl["non"], sft["non"]),
        "rl_beats_sft_ti_non": partial(superiority_interval, rl["non"], sft["non"]),
        "sft_negative_ti_non": partial(share_interval, int((sft["non"] < 0).sum()), len(sft["non"])),
    }


def _prediction(errors: dict[str, pd.DataFrame]) -> dict[str, Estimate]:
    """P4: variance explained by the paradigm less that by each other predictor; the smallest of these counts.

    Args:
        errors: group -> squared errors, one row a model, columns `nothing, paradigm` and the other predictors.
    """
    return {
        "paradigm_over_rivals_other": _over_rivals(errors["other"]),
        "paradigm_over_rivals_non": _over_rivals(errors["non"]),
    }


def _over_rivals(errors: pd.DataFrame) -> Estimate:
    """Student's t on each model's difference of squared errors, in points of the variance to be explained."""
    points = 100 * errors / errors["nothing"].mean()
    rivals = points.drop(columns=["nothing", "paradigm"])
    return partial(least, [partial(t_interval, rivals[name] - points["paradigm"]) for name in rivals])


def _broad_data(rl_less_sft: _ByGroup) -> dict[str, Estimate]:
    """P5: RL minus SFT of one pair on broader data, group -> `(benchmarks,)` in percentage points."""
    return {
        "broad_rl_less_sft_other": partial(t_interval, rl_less_sft["other"]),
        "broad_rl_less_sft_non": partial(t_interval, rl_less_sft["non"]),
    }


def _models_covered(tuned: int) -> dict[str, Estimate]:
    """P6: how many tuned models have scores."""
    return {"tuned_models": partial(exact, tuned)}


def _sft_of_qwen(gains: pd.DataFrame) -> dict[str, Estimate]:
    """P7: gains of the SFT models of Qwen, one row a model, columns `math, code, non`, percentage points."""
    return {
        "sft_qwen_gain_math": partial(t_interval, gains["math"]),
        "sft_qwen_gain_code": partial(t_interval, gains["code"]),
        "sft_qwen_gain_non": partial(t_interval, gains["non"]),
    }


def _moderate_transfer(gains: pd.DataFrame) -> dict[str, Estimate]:
    """P8: gains of all models, one row a model, one column a group, percentage points."""
    return {
        "gain_other": partial(t_interval, gains["other"]),
        "gain_other_less_math": partial(t_interval, gains["other"] - gains["math"]),
    }


def _best_of_its_size(leads: list[Estimate]) -> dict[str, Estimate]:
    """P9: the mean score of Qwen3-14B less that of each other model of its size, percentage points."""
    return {"teacher_lead_least": partial(least, leads)}


def _share(hits: pd.Series) -> Estimate:
    return partial(share_interval, int(hits.sum()), len(hits))


# --- the paper's tables


def published() -> list[Evidence]:
    """P1 to P10 from Tables 5 and 9 to 11; P2 to P4 also with the authors' own models, and without unstable indices."""
    gains = mean_gains()
    survey = gains[gains["table"] == "Table 5"]
    gained = survey[survey["math"] > 0]
    found = [
        *from_table(
            f"Tables 5 and 9 to 11, {len(gained)} models", _failures(gained, printed_indices().loc[gained.index])
        ),
        *from_table("Table 5's SFT models", _sft_failures(survey[survey["method"] == "SFT"])),
    ]
    for which in _MODELS:
        found += _transfer_by_method(which)
    return found + _general_reasoner() + _covered() + _gains_by_kind(survey) + _teacher()


def mean_gains() -> pd.DataFrame:
    """The mean gain of every tuned model in each group, percentage points: `math, other, non, method, table`."""
    means = reported.gains().groupby(["model", "group"])["gain"].mean().unstack()
    printed = reported.table("transferability_reported").set_index("model")["table"]
    return means.join(reported.tuned().set_index("model")["method"]).join(printed)


def printed_indices() -> pd.DataFrame:
    """The indices of Tables 1 and 5, percent: one row a model, columns `other, non`."""
    printed = reported.table("transferability_reported").set_index("model")
    return printed[["ti_other", "ti_non"]].set_axis(OUTSIDE, axis=1)


def pooled_indices(which: str = "all") -> pd.DataFrame:
    """Recomputed indices by the pooled definition of some models: a key of `_MODELS`.

    An index is unstable if that of mathematics, its denominator, is not above zero with its whole interval.
    """
    table = _indices()
    if which != "all":
        table = table[table["table"] == "Table 5"]
    return table[~table["unstable"]] if which == "stable" else table


@cache
def _indices() -> pd.DataFrame:
    return recomputed.indices().dropna(subset="value")


def predictors() -> pd.DataFrame:
    """What might predict transfer, for every tuned model.

    Returns:
        `paradigm, base type` (raw or instruction-tuned), `size, family, data`; the numbers as logarithms.
    """
    models = reported.tuned().set_index("model")
    return pd.DataFrame(
        {
            "paradigm": models["method"],
            "base type": np.where(models["base"].str.contains("Instruct"), "instruction-tuned", "raw"),
            "size": np.log10(models["params_b"]),
            "family": models["family"],
            "data": np.log10(models["examples"]),
        }
    )


def _prediction_errors(group: str, which: str = "all") -> pd.DataFrame:
    """Squared error of each predictor for each model's index, predicted from the other models.

    Returns:
        Squared points, one row a model, columns `nothing` (the mean of the others) and those of `predictors`.
    """
    table = pooled_indices(which)
    value = table[table["group"] == group].set_index("model")["value"]
    given = predictors().loc[value.index]
    given.insert(0, "nothing", "all")
    return pd.DataFrame({name: (leave_one_out(value, given[name]) - value) ** 2 for name in given}, index=value.index)


def explained(group: str, which: str = "all") -> pd.Series:
    """The share of variance that each predictor explains out of sample, percent; below 0 it is worse than nothing."""
    total = _prediction_errors(group, which).sum()
    return 100 * (1 - total.drop("nothing") / total["nothing"])


def same_base_pairs() -> pd.DataFrame:
    """Every RL model against every SFT model of the same base: `base, rl, sft, other, non`, RL minus SFT in points."""
    table = pooled_indices().pivot(index=["model", "method"], columns="group", values="value").reset_index()
    table["base"] = table["model"].map(reported.bases())
    rl, sft = (table[table["method"] == method] for method in ("RL", "SFT"))
    pairs = rl.merge(sft, on="base", suffixes=("_rl", "_sft"))
    return pd.DataFrame(
        {"base": pairs["base"], "rl": pairs["model_rl"], "sft": pairs["model_sft"]}
        | {group: pairs[f"{group}_rl"] - pairs[f"{group}_sft"] for group in OUTSIDE}
    )


def _transfer_by_method(which: str) -> list[Evidence]:
    table = pooled_indices(which)
    rl, sft = (
        {group: part["value"].to_numpy() for group, part in table[table["method"] == method].groupby("group")}
        for method in ("RL", "SFT")
    )
    counted = f"{len(rl['non'])} RL and {len(sft['non'])} SFT models, {_MODELS[which]}"
    errors = {group: _prediction_errors(group, which) for group in OUTSIDE}
    return from_table(counted, _other_by_method(rl, sft) | _non_by_method(rl, sft) | _prediction(errors))


def _general_reasoner() -> list[Evidence]:
    """P5: the two General-Reasoner models on the four benchmarks of each group."""
    scores = reported.table("scores").pivot(index=["group", "benchmark"], columns="model", values="score")
    rl, sft = (scores[f"General-Reasoner-Qwen3-14B ({method})"] for method in ("RL", "SFT"))
    return from_table("Tables 9 to 11", _broad_data({group: (rl - sft).loc[group].to_numpy() for group in OUTSIDE}))


def _covered() -> list[Evidence]:
    models = reported.table("models")
    rows = reported.table("scores")["model"].unique()
    tuned = models[models["model"].isin(rows) & (models["method"] != "base")]
    return from_table("Tables 9 to 11", _models_covered(len(tuned)))


def _gains_by_kind(survey: pd.DataFrame) -> list[Evidence]:
    """P7 and P8, on Table 5's models."""
    code = reported.gains().query("benchmark == 'livecodebench_v2'").set_index("model")["gain"].rename("code")
    table = survey.join(code)
    family = reported.tuned().set_index("model")["family"]
    qwen = table[(table["method"] == "SFT") & (family.reindex(table.index) == "Qwen")]
    return [
        *from_table(f"Tables 9 to 11, {len(qwen)} SFT models of Qwen", _sft_of_qwen(qwen)),
        *from_table(f"Tables 9 to 11, {len(table)} models", _moderate_transfer(table)),
    ]


def _teacher() -> list[Evidence]:
    """P9: Qwen3-14B in its thinking mode against the other 14B models, with the benchmarks' items as the only error."""
    scores = reported.scores()
    of_size = reported.table("models").query("params_b == 14")["model"]
    means = (
        scores[scores["model"].isin(of_size)]
        .groupby("model")
        .agg(value=("value", "mean"), stderr=("stderr", lambda errors: np.sqrt((errors**2).sum()) / len(errors)))
    )
    teacher, rivals = means.loc["Qwen3-14B (think)"], means[~means.index.str.startswith("Qwen3-14B (")]
    leads = [
        partial(normal_interval, teacher["value"] - rival.value, float(np.hypot(teacher["stderr"], rival.stderr)))
        for rival in rivals.itertuples()
    ]
    return from_table(f"Tables 9 to 11, {len(rivals)} other models of 14B", _best_of_its_size(leads))
