"""How likely the study is to decide: power by simulation, from what makes a contrast of settings vary.

A contrast has a true value on each base of a kind; on each base it varies from one training seed to the next, and with
the questions that are asked. More questions, seeds and bases each make another of these parts smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mathtransfer.claims.by_base import ByBase, Scores, kind_of
from mathtransfer.claims.criteria import Criterion
from mathtransfer.claims.intervals import Array, pooled_variance, seed_interval

_STUDIES = 2000  # that are simulated


@dataclass(frozen=True)
class Spreads:
    """What makes a contrast vary, as variances (points squared); nan if the data do not tell."""

    bases: float  # of its true value, between the bases of a kind
    seeds: float  # between training seeds on one base, all questions asked
    shared: float  # of one question of each benchmark: what it does to every pair of models alike
    own: float  # of one question of each benchmark: what it does to one pair of models alone


@dataclass(frozen=True)
class Design:
    """The size of a study: the training seeds on each base of a kind, and the questions of each benchmark."""

    seeds: tuple[int, ...]
    questions: int


def contrast(scores: Scores, weights: dict[str, float], group: str) -> ByBase:
    """A sum of settings' mean scores in a group, each times its weight, in points; seed by seed on each base."""
    total = ByBase({base: np.zeros(1) for base in scores.models["base"]})
    for setting, weight in weights.items():
        own = scores.group_mean(scores.of(setting), group)
        total = total.combine(own, lambda before, values, weight=weight: before + weight * values)
    return total


def spreads(values: ByBase, kind: str, questions: int) -> Spreads:
    """What makes a contrast vary, estimated from a study: the usual estimators of nested components of variance.

    Args:
        values: the contrast, its questions resampled.
        questions: of each benchmark.

    Returns:
        With one base, `bases` is nan; if no base has two seeds, `seeds` is nan, and `bases` covers both. With one run,
        what questions do counts as shared.
    """
    of_kind = [own for base, own in values.values.items() if kind_of(base) == kind]
    observed = [own[0] for own in of_kind]
    shared, own = _of_questions(np.concatenate([own[1:] for own in of_kind], axis=1))
    within, freedom = pooled_variance(observed)
    between = np.var([seeds.mean() for seeds in observed], ddof=1) if len(observed) > 1 else np.nan
    of_runs = within if freedom else own  # between runs on one base, as observed
    return Spreads(
        bases=_variance(between - np.mean([of_runs / len(seeds) for seeds in observed])),
        seeds=_variance(within - own),
        shared=shared * questions,
        own=own * questions,
    )


def _of_questions(resampled: Array) -> tuple[float, float]:
    """The shared and the own part of the variance that resampling questions gives runs, from `(draws, runs)`."""
    covariance = np.atleast_2d(np.cov(resampled, rowvar=False))
    runs, whole = len(covariance), float(np.trace(covariance)) / len(covariance)
    if runs == 1:
        return whole, 0.0
    shared = _variance((covariance.sum() - np.trace(covariance)) / (runs * (runs - 1)))
    return shared, _variance(whole - shared)


def _variance(value: float) -> float:
    """A difference of variances, which noise may make negative, as a variance; nan stays nan."""
    return float(np.maximum(value, 0.0))


def power(
    spreads: Spreads, design: Design, criterion: Criterion, effects: list[float], studies: int = _STUDIES, seed: int = 0
) -> pd.DataFrame:
    """How often the interval over bases decides a criterion by itself, at each true size of the effect.

    Every study draws bases, seeds and questions from normal distributions and makes the ledger's interval of them.

    Args:
        spreads: without nan.
        effects: true values, in points.

    Returns:
        `effect`, and in percent of the simulated studies `holds` and `fails`.

    Raises:
        ValueError: a spread is not known.
    """
    if unknown := [name for name, value in vars(spreads).items() if np.isnan(value)]:
        raise ValueError(f"the spread between {unknown[0]} is not known: assume one")
    rng, seeds = np.random.default_rng(seed), np.array(design.seeds)
    shared, own = spreads.shared / design.questions, spreads.own / design.questions
    of_bases = np.sqrt(spreads.bases + (spreads.seeds + own) / seeds)  # (bases,)
    means = rng.normal(0, of_bases, (studies, len(seeds))) + rng.normal(0, np.sqrt(shared), (studies, 1))
    of_questions = shared + own * np.mean(1 / seeds) / len(seeds)  # of the mean over bases
    ends = [seed_interval(study, of_questions)[1:] for study in means]

    def share(rule: Callable[[float, float], bool], effect: float) -> float:
        return 100 * float(np.mean([rule(low + effect, high + effect) for low, high in ends]))

    said = {name: getattr(criterion, name) for name in ("holds", "fails")}
    found = {name: [share(rule, effect) for effect in effects] for name, rule in said.items()}
    return pd.DataFrame({"effect": effects} | found)
