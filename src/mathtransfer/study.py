"""The controlled study's statistics (Section 2.2), for the miniature models and for the paper's Table 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mathtransfer import GROUPS, published, transfer
from mathtransfer.runs import read_manifest

SFT, RL = "off-policy SFT", "on-policy RL"
DRAWS = 1000  # resamples of the evaluation questions

Array = NDArray[np.float64]
Interval = tuple[float, float, float]


def read_answers(folder: str | Path) -> pd.DataFrame:
    """How often each question was answered correctly: `setting, seed, group, benchmark, question, accuracy` (percent).

    Raises:
        FileNotFoundError: the folder has no finished evaluation.
    """
    tables = []
    for run in sorted(path.parent for path in Path(folder).glob("*/manifest.json")):
        read_manifest(run, "evaluate")
        who = pd.read_csv(run / "scores.csv").iloc[0]
        samples = pd.read_parquet(run / "samples.parquet")
        accuracy = 100 * samples.groupby(["group", "benchmark", "question"], sort=False)["correct"].mean()
        tables.append(accuracy.rename("accuracy").reset_index().assign(setting=who["setting"], seed=who["seed"]))
    if not tables:
        raise FileNotFoundError(f"no finished evaluation in {folder}: run `make book` first")
    return pd.concat(tables, ignore_index=True)


def mean_over_seeds(answers: pd.DataFrame) -> pd.DataFrame:
    """Scores by setting and benchmark with what seeds and questions leave open.

    Returns:
        `setting, group, benchmark, value, stderr, low, high` in percent; `low` and `high` end a 95% interval. A setting
        with one seed (the base) has the questions' part only.
    """
    rows = []
    for (setting, group, benchmark), part in answers.groupby(["setting", "group", "benchmark"], sort=False):
        by_question = part.groupby("question")["accuracy"].mean()
        by_seed = part.groupby("seed")["accuracy"].mean()
        question_variance = by_question.var() / len(by_question)
        seed_variance = by_seed.var() / len(by_seed) if len(by_seed) > 1 else 0.0
        stderr = np.sqrt(question_variance + seed_variance)
        if len(by_seed) > 1:
            value, low, high = transfer.seed_interval(by_seed, question_variance)
        else:
            value, low, high = by_seed.iloc[0], by_seed.iloc[0] - 1.96 * stderr, by_seed.iloc[0] + 1.96 * stderr
        rows.append((setting, group, benchmark, value, stderr, low, high))
    return pd.DataFrame(rows, columns=["setting", "group", "benchmark", "value", "stderr", "low", "high"])


def domain_indices(scores: Array, groups: list[str]) -> dict[str, Array]:
    """DI of every tuned model in every group, with each group's spread pooled over the tuned models.

    Args:
        scores: `(..., models, benchmarks)` in percent, the base first.
        groups: the group of each benchmark.

    Returns:
        Group -> `(..., models - 1)`.
    """
    indices = {}
    for group in GROUPS:
        columns = [i for i, name in enumerate(groups) if name == group]
        base, gains = scores[..., :1, columns], scores[..., 1:, columns] - scores[..., :1, columns]
        sigma = gains.reshape(*gains.shape[:-2], -1).std(-1, ddof=1)[..., None]
        indices[group] = transfer.domain_index(gains, np.broadcast_to(base, gains.shape), sigma)
    return indices


def seed_statistics(scores: Array, groups: list[str], seeds: int) -> dict[str, Array]:
    """The statistics of S1 to S4 for every training seed.

    Args:
        scores: `(..., 1 + 2 * seeds, benchmarks)` in percent: the base, then SFT's seeds, then RL's.

    Returns:
        Statistic -> `(..., seeds)`.
    """
    mean = {g: scores[..., [i for i, name in enumerate(groups) if name == g]].mean(-1) for g in GROUPS}
    sft, rl = slice(1, 1 + seeds), slice(1 + seeds, 1 + 2 * seeds)
    index = domain_indices(scores, groups)
    ti = {g: transfer.transferability_index(index[g], index["math"]) for g in ("other", "non")}
    return {
        "rl_less_sft_math": mean["math"][..., rl] - mean["math"][..., sft],
        "rl_less_sft_other": mean["other"][..., rl] - mean["other"][..., sft],
        "sft_gain_non": mean["non"][..., sft] - mean["non"][..., :1],
        "rl_gain_non": mean["non"][..., rl] - mean["non"][..., :1],
        "rl_ti_other": ti["other"][..., seeds:],
        "rl_ti_non": ti["non"][..., seeds:],
        "sft_ti_non": ti["non"][..., :seeds],
    }


def miniature_statistics(answers: pd.DataFrame) -> dict[str, Interval]:
    """The statistics of S1 to S4 with intervals over training seeds and evaluation questions.

    Raises:
        ValueError: SFT and RL were not trained with the same seeds, or with fewer than two.
    """
    seeds = {s: sorted(set(answers.loc[answers["setting"] == s, "seed"])) for s in (SFT, RL)}
    if seeds[SFT] != seeds[RL]:
        raise ValueError(f"SFT has the seeds {seeds[SFT]}, RL {seeds[RL]}: the study compares them seed by seed")
    models = [("base", -1), *((SFT, seed) for seed in seeds[SFT]), *((RL, seed) for seed in seeds[RL])]
    table = answers.pivot_table(
        index=["setting", "seed"], columns=["group", "benchmark", "question"], values="accuracy", sort=False
    ).loc[models]
    benchmarks = list(dict.fromkeys(column[:2] for column in table.columns))
    groups = [group for group, _ in benchmarks]
    accuracies = [table[column].to_numpy() for column in benchmarks]
    observed = np.stack([accuracy.mean(1) for accuracy in accuracies], axis=-1)  # (models, benchmarks)
    by_seed = seed_statistics(observed, groups, len(seeds[RL]))
    resampled = seed_statistics(transfer.resample_questions(accuracies, DRAWS, seed=0), groups, len(seeds[RL]))
    return {
        name: transfer.seed_interval(values, float(resampled[name].mean(-1).var(ddof=1)))
        for name, values in by_seed.items()
    }


def published_statistics() -> dict[tuple[str, str], Interval]:
    """The statistics of S1 to S4 for the paper's Table 1: (statistic, SFT or RL model) -> exact bootstrap interval.

    Where a statistic compares RL with SFT, there is one for each of the two SFT models.
    """
    gains = published.gains().set_index("model")
    rl, *sfts = (f"UniReason-Qwen3-14B{kind}" for kind in (" (RL)", "-think (SFT)", "-no-think (SFT)"))
    drawn = transfer.benchmark_resamples()

    def resampled(values: Array) -> Interval:
        return transfer.quantile_interval(values.mean(), values[drawn].mean(1))

    def gain(model: str, group: str) -> Array:
        part = gains.loc[model]
        return part.loc[part["group"] == group, "gain"].to_numpy()

    def index(model: str, group: str) -> tuple[float, Array]:
        part = gains.loc[model]
        base = part.loc[part["group"] == group, "base_score"].to_numpy()
        sigma = transfer.spread(gains.loc[gains["group"] == group, "gain"])
        change = gain(model, group)
        return float(transfer.domain_index(change, base, sigma)), transfer.domain_index(
            change[drawn], base[drawn], sigma
        )

    def transferability(model: str, group: str) -> Interval:
        (value, draws), (math_value, math_draws) = index(model, group), index(model, "math")
        all_pairs = transfer.transferability_index(draws[:, None], math_draws[None, :])
        return transfer.quantile_interval(float(transfer.transferability_index(value, math_value)), all_pairs)

    found = {
        ("rl_gain_non", rl): resampled(gain(rl, "non")),
        ("rl_ti_other", rl): transferability(rl, "other"),
        ("rl_ti_non", rl): transferability(rl, "non"),
    }
    for sft in sfts:
        found["rl_less_sft_math", sft] = resampled(gain(rl, "math") - gain(sft, "math"))
        found["rl_less_sft_other", sft] = resampled(gain(rl, "other") - gain(sft, "other"))
        found["sft_gain_non", sft] = resampled(gain(sft, "non"))
        found["sft_ti_non", sft] = transferability(sft, "non")
    return found


def index_table(gains: pd.DataFrame, models: list[str]) -> pd.DataFrame:
    """Both indices of some models by both readings of the spread, `as written` (one model's) and `pooled`.

    Args:
        gains: `model, group, benchmark, base_score, gain` of all models that the pooled spread is over.
    """
    rows = {}
    pooled = {group: transfer.spread(part["gain"]) for group, part in gains.groupby("group")}
    for model in models:
        part = {group: p for group, p in gains[gains["model"] == model].groupby("group")}
        row = {}
        for reading in ("as written", "pooled"):
            sigma = pooled if reading == "pooled" else {g: transfer.spread(p["gain"]) for g, p in part.items()}
            index = {g: transfer.domain_index(p["gain"], p["base_score"], sigma[g]) for g, p in part.items()}
            for group in ("other", "non"):
                row[f"TI {group}", reading] = float(transfer.transferability_index(index[group], index["math"]))
        rows[model] = row
    table = pd.DataFrame(rows).T
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table


def published_indices() -> pd.DataFrame:
    """Table 1's three models: both indices by both readings, beside what the paper prints."""
    printed = published.table("transferability_reported").query("table == 'Table 1'").set_index("model")
    table = index_table(published.gains(), list(printed.index))
    table["TI other", "printed"], table["TI non", "printed"] = printed["ti_other"], printed["ti_non"]
    return table.sort_index(axis=1, level=0, ascending=False, sort_remaining=False)


def miniature_indices(scores: pd.DataFrame) -> pd.DataFrame:
    """Every tuned miniature model's indices by both readings, from a tidy score table."""
    base = scores.loc[scores["setting"] == "base", ["benchmark", "value"]].rename(columns={"value": "base_score"})
    tuned = scores[scores["setting"] != "base"].merge(base, on="benchmark")
    gains = tuned.assign(gain=tuned["value"] - tuned["base_score"])
    return index_table(gains, list(gains["model"].unique()))
