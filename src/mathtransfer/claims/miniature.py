"""The miniature layer: what our own models from scratch say about the paper's claims."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mathtransfer import GROUPS
from mathtransfer.claims import controlled_study, transfer
from mathtransfer.claims import latent_drift as latent
from mathtransfer.claims import token_drift as tokens
from mathtransfer.claims.controlled_study import Tuned
from mathtransfer.claims.intervals import (
    Array,
    BySeed,
    Estimate,
    by_seed_interval,
    normal_interval,
    ratio_by_seed,
    resample_questions,
    seed_interval,
)
from mathtransfer.claims.ledger import Evidence, from_table
from mathtransfer.runs import finished, read_manifest

SETTINGS = _SFT, _RL = "off-policy SFT, foreign style", "on-policy RL"
_DRAWS = 1000  # resamples of the evaluation questions


# --- S1 to S4: the controlled study


def read_answers(folder: str | Path) -> pd.DataFrame:
    """How often each question was answered correctly: `setting, seed, group, benchmark, question, accuracy` (percent).

    Raises:
        FileNotFoundError: the folder has no finished evaluation.
    """
    tables = []
    for run in finished(folder, "*"):
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
            value, low, high = normal_interval(by_seed.iloc[0], stderr)
        rows.append((setting, group, benchmark, value, stderr, low, high))
    return pd.DataFrame(rows, columns=["setting", "group", "benchmark", "value", "stderr", "low", "high"])


def indices(answers: pd.DataFrame, definition: str) -> pd.DataFrame:
    """Every tuned miniature model's indices with intervals over evaluation questions, see `transfer.transferability`.

    Args:
        answers: from `read_answers`.
    """
    names = answers["setting"].where(answers["seed"] < 0, answers["setting"] + ", seed " + answers["seed"].astype(str))
    scores = answers.assign(model=names).rename(columns={"accuracy": "value"})
    bases = dict.fromkeys(scores.loc[scores["setting"] != "base", "model"].unique(), "base")
    return transfer.transferability(scores, bases, definition)


def study(answers: pd.DataFrame, where: str) -> list[Evidence]:
    """S1 to S5 and S9 with intervals over training seeds and evaluation questions.

    Args:
        answers: from `read_answers`.
        where: what the answers are from.

    Raises:
        ValueError: SFT and RL were not trained with the same seeds, or with fewer than two.
    """
    seeds = {s: sorted(set(answers.loc[answers["setting"] == s, "seed"])) for s in SETTINGS}
    if seeds[_SFT] != seeds[_RL]:
        raise ValueError(f"SFT has the seeds {seeds[_SFT]}, RL {seeds[_RL]}: the study compares them seed by seed")
    models = [("base", -1), *((_SFT, seed) for seed in seeds[_SFT]), *((_RL, seed) for seed in seeds[_RL])]
    table = answers.pivot_table(
        index=["setting", "seed"], columns=["group", "benchmark", "question"], values="accuracy", sort=False
    ).loc[models]
    benchmarks = list(dict.fromkeys(column[:2] for column in table.columns))
    groups = [group for group, _ in benchmarks]
    accuracies = [table[column].to_numpy() for column in benchmarks]
    observed = np.stack([accuracy.mean(1) for accuracy in accuracies], axis=-1)  # (models, benchmarks)
    by_seed = _study(observed, groups)
    resampled = _study(resample_questions(accuracies, _DRAWS, seed=0), groups)
    variance = {name: float(values.mean(-1).var(ddof=1)) for name, values in resampled.items()}
    means = {name: partial(seed_interval, values, variance[name]) for name, values in by_seed.items()}
    half = len(models) // 2  # after the base, as many runs of SFT as of RL
    by_benchmark = controlled_study.nearly_all(_gains(accuracies, groups, "non", slice(half + 1, None)))
    by_benchmark |= controlled_study.unevenness(_gains(accuracies, groups, "other", slice(1, half + 1)))
    return from_table(where, means | by_benchmark)


def _gains(accuracies: list[Array], groups: list[str], group: str, rows: slice) -> list[Estimate]:
    """The gain over the base of some runs on each benchmark of a group, with an interval over seeds and questions."""
    found = []
    for accuracy in [own for own, name in zip(accuracies, groups, strict=True) if name == group]:
        gain = accuracy[rows] - accuracy[0]  # (seeds, questions)
        variance = gain.mean(0).var(ddof=1) / gain.shape[1]
        found.append(partial(seed_interval, gain.mean(1), float(variance)))
    return found


def _study(scores: Array, groups: list[str]) -> dict[str, Array]:
    """Statistic -> `(..., seeds)` from scores `(..., 1 + 2 * seeds, benchmarks)`: the base, SFT's seeds, then RL's."""
    base, gains = scores[..., :1, :], scores[..., 1:, :] - scores[..., :1, :]
    spreads = transfer.spreads(gains, groups, "pooled")
    columns = {group: [i for i, name in enumerate(groups) if name == group] for group in spreads}

    def tuned(rows: slice) -> Tuned:
        return Tuned(
            gains={group: gains[..., rows, :][..., own] for group, own in columns.items()},
            base={group: base[..., own] for group, own in columns.items()},
            spreads=spreads,
        )

    seeds = gains.shape[-2] // 2
    sft, rl = tuned(slice(seeds)), tuned(slice(seeds, None))
    by_benchmark = controlled_study.rl_study(rl) | controlled_study.sft_study(rl, sft)
    return {name: values.mean(-1) for name, values in by_benchmark.items()}


# --- L1, L5, T1 to T4: drift


def over_seeds(shifts: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A measure of drift by setting and benchmark: `setting, benchmark, value, low, high`.

    Args:
        shifts: tidy, from the runs of `latent_drift` or `token_drift`.
    """
    rows = [
        (setting, benchmark, *by_seed_interval(quantity))
        for setting, measured in zip(SETTINGS, _by(shifts, metric, "benchmark"), strict=True)
        for benchmark, quantity in measured.items()
    ]
    return pd.DataFrame(rows, columns=["setting", "benchmark", "value", "low", "high"])


def latent_drift(shifts: pd.DataFrame, where: str, metric: str = "centroid_distance") -> list[Evidence]:
    """L1 and L5 with intervals over training seeds and evaluation questions.

    Args:
        shifts: tidy, from the runs of `latent_drift`.
        where: what the shifts are from.
        metric: the measure of a shift; by default d of Section 3.2.
    """
    sft, rl = _by(shifts, metric, "group")
    return from_table(where, latent.shifts(sft, rl) | latent.shift_on_non(sft))


def token_drift(shifts: pd.DataFrame, where: str) -> list[Evidence]:
    """T1 to T5 with intervals over training seeds and evaluation questions.

    Args:
        shifts: tidy, from the runs of `token_drift`.
        where: what the shifts are from.
    """
    sft_ranks, rl_ranks = _overall(shifts, "rank_shift")
    evenness = shifts[(shifts["metric"] == "shift_evenness") & (shifts["n"] > 1)]
    in_runs = evenness.groupby("benchmark")["value"].transform("count")
    runs = shifts.groupby(["setting", "seed"]).ngroups
    evenness = evenness[in_runs == runs]  # benchmarks whose responses are long enough in every run
    by_group, _ = _by(shifts, "kl", "group")
    found = (
        tokens.least_kl_ratio(*_by(shifts, "kl", "benchmark"))
        | tokens.kl_on_non([partial(ratio_by_seed, by_group["non"], by_group[other]) for other in ("math", "other")])
        | tokens.rank_shift_ratio(partial(ratio_by_seed, rl_ranks, sft_ranks))
        | tokens.shifted_share_ratio(*_overall(shifts, "shifted"))
    )
    if len(evenness):
        found |= tokens.shift_evenness(*_overall(evenness, "shift_evenness"))
    return from_table(where, found)


def _by(shifts: pd.DataFrame, metric: str, column: str) -> list[dict[str, BySeed]]:
    """A measure of SFT's and of RL's runs, by group or benchmark."""
    mean, variance = (part.unstack() for part in _mean_and_variance(shifts, metric, column))
    return [
        {key: BySeed(mean.loc[setting, key].to_numpy(), variance.loc[setting, key].to_numpy()) for key in mean}
        for setting in SETTINGS
    ]


def _overall(shifts: pd.DataFrame, metric: str) -> list[BySeed]:
    """A measure of SFT's and of RL's runs, the mean over all benchmarks."""
    mean, variance = _mean_and_variance(shifts, metric)
    return [BySeed(mean.loc[setting].to_numpy(), variance.loc[setting].to_numpy()) for setting in SETTINGS]


def _mean_and_variance(shifts: pd.DataFrame, metric: str, *columns: str) -> tuple[pd.Series, pd.Series]:
    """The mean over benchmarks in every run, and its variance: each benchmark has questions of its own."""
    of_benchmarks = shifts["group"].isin(GROUPS)  # and not of the weights or on training prompts
    runs = shifts[of_benchmarks & (shifts["metric"] == metric)].groupby(["setting", "seed", *columns])
    return runs["value"].mean(), runs["stderr"].agg(lambda errors: (errors**2).sum(skipna=False) / len(errors) ** 2)
