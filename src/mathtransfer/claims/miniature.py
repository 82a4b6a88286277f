"""The controlled study's statistics (Section 2.2) for the miniature models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mathtransfer import GROUPS
from mathtransfer.claims import transfer
from mathtransfer.claims.intervals import Interval, resample_questions, seed_interval
from mathtransfer.runs import read_manifest

SFT, RL = "off-policy SFT", "on-policy RL"
DRAWS = 1000  # resamples of the evaluation questions

Array = NDArray[np.float64]


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
        accuracy = 100 * samples.groupby(["group", "benchmark", "question"], sort=False)["score"].mean()
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
            value, low, high = seed_interval(by_seed, question_variance)
        else:
            value, low, high = by_seed.iloc[0], by_seed.iloc[0] - 1.96 * stderr, by_seed.iloc[0] + 1.96 * stderr
        rows.append((setting, group, benchmark, value, stderr, low, high))
    return pd.DataFrame(rows, columns=["setting", "group", "benchmark", "value", "stderr", "low", "high"])


def seed_statistics(scores: Array, groups: list[str], seeds: int) -> dict[str, Array]:
    """The statistics of S1 to S4 for every training seed.

    Args:
        scores: `(..., 1 + 2 * seeds, benchmarks)` in percent: the base, then SFT's seeds, then RL's.

    Returns:
        Statistic -> `(..., seeds)`.
    """
    mean = {g: scores[..., [i for i, name in enumerate(groups) if name == g]].mean(-1) for g in GROUPS}
    sft, rl = slice(1, 1 + seeds), slice(1 + seeds, 1 + 2 * seeds)
    gains = scores[..., 1:, :] - scores[..., :1, :]
    base = np.broadcast_to(scores[..., :1, :], gains.shape)
    index = transfer.domain_indices(gains, base, groups, "pooled")
    gained = np.where(index["math"] > 0, index["math"], np.nan)  # without a gain on mathematics the index says nothing
    ti = {g: transfer.transferability_index(index[g], gained) for g in transfer.OUTSIDE}
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
    resampled = seed_statistics(resample_questions(accuracies, DRAWS, seed=0), groups, len(seeds[RL]))
    return {
        name: seed_interval(values, float(resampled[name].mean(-1).var(ddof=1))) for name, values in by_seed.items()
    }


def miniature_indices(answers: pd.DataFrame, definition: str) -> pd.DataFrame:
    """Every tuned miniature model's indices with intervals over evaluation questions, see `transfer.transferability`.

    Args:
        answers: as `read_answers` gives them.
    """
    names = answers["setting"].where(answers["seed"] < 0, answers["setting"] + ", seed " + answers["seed"].astype(str))
    scores = answers.assign(model=names).rename(columns={"accuracy": "value"})
    bases = dict.fromkeys(scores.loc[scores["setting"] != "base", "model"].unique(), "base")
    return transfer.transferability(scores, bases, definition)
