"""The recorded study base by base: what its models score, with what questions, training seeds and bases leave open.

A quantity of the study has a value a base and training seed, and it has that value again with the evaluation questions
drawn anew, the same ones for all models. Within one base its interval covers seeds and questions; over the bases of a
kind it covers bases too, and with them their seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from mathtransfer.claims.intervals import LEVEL, Array, Estimate, Interval, normal_interval, seed_interval
from mathtransfer.miniature.families import FAMILIES
from mathtransfer.study.record import Record

KINDS = ["elicitable", "settled"]
# The format that all models are given in each group if they are compared at equal format: how a base works at its best.
EQUAL_FORMAT = {"math": "in steps", "other": "in steps", "non": "at once"}
# A claim about the study is judged in parts: for each kind of base, with natural answers and at equal format.
PARTS = {f"{kind} bases, {answers}": (kind, answers) for kind in KINDS for answers in ("natural", "equal format")}
_DRAWS = 500  # resamples of the evaluation questions


@dataclass(frozen=True)
class ByBase:
    """A quantity of the study: base -> `(1 + draws, seeds, ...)`; what was observed comes first."""

    values: dict[str, Array]

    def combine(self, other: ByBase, operation: Callable[[Array, Array], Array]) -> ByBase:
        """Seed by seed on each base that both have; one value without a seed goes with every seed."""
        return ByBase(
            {base: operation(own, other.values[base]) for base, own in self.values.items() if base in other.values}
        )

    def __sub__(self, other: ByBase) -> ByBase:
        return self.combine(other, np.subtract)

    def map(self, operation: Callable[[Array], Array]) -> ByBase:
        return ByBase({base: operation(own) for base, own in self.values.items()})

    def over_seeds(self, base: str) -> Estimate:
        """The mean on one base, with an interval over its training seeds and the questions."""
        return partial(_seeds_interval, self.values[base])

    def over_bases(self, kind: str) -> Estimate:
        """The mean over the bases of a kind, with an interval over bases and questions."""
        return partial(_bases_interval, [own for base, own in self.values.items() if kind_of(base) == kind])


@dataclass(frozen=True)
class Scores:
    """What the study's models score.

    `models`: a row a model, with `run, base, setting, seed, changes`; `benchmarks`: a row a benchmark, with `group,
    benchmark`; `values`: `(1 + draws, models, benchmarks)` in percent, what was observed first.
    """

    models: pd.DataFrame
    benchmarks: pd.DataFrame
    values: Array

    def of(self, setting: str, changes: str = "") -> ByBase:
        """A setting's scores, base -> `(1 + draws, seeds, benchmarks)`, by seed; `base` is the setting of the bases.

        Raises:
            ValueError: there is no such setting among the models.
        """
        rows = self.models[(self.models["setting"] == setting) & (self.models["changes"] == changes)]
        if rows.empty:
            raise ValueError(f"no model of the setting {setting!r} {changes!r}".strip())
        by_base = rows.sort_values("seed").groupby("base")
        return ByBase({base: self.values[:, own.index] for base, own in by_base})

    def gain(self, setting: str, changes: str = "") -> ByBase:
        """A setting's gain over the base on each benchmark, percentage points."""
        return self.of(setting, changes) - self.of("base")

    def columns(self, group: str) -> list[int]:
        """Which benchmarks are of a group."""
        return list(np.flatnonzero(self.benchmarks["group"] == group))

    def group_mean(self, quantity: ByBase, group: str) -> ByBase:
        """The mean over a group's benchmarks of a quantity with one value a benchmark."""
        return quantity.map(lambda values: values[..., self.columns(group)].mean(-1))


def kind_of(base: str) -> str:
    """The kind of a base by its name, such as `settled-0`."""
    return base.partition("-")[0]


def natural(record: Record, draws: int = _DRAWS) -> Scores:
    """Scores of natural answers."""
    return _scores(record, record.answers, draws)


def given(record: Record, formats: dict[str, str], draws: int = _DRAWS) -> Scores:
    """Scores of answers whose first words are given: group -> format, such as `EQUAL_FORMAT`.

    Raises:
        ValueError: the models were not asked so.
    """
    groups = record.formats["benchmark"].map({name: family.group for name, family in FAMILIES.items()})
    asked = record.formats[record.formats["format"].astype(str) == groups.map(formats).astype(str)]
    if asked.empty:
        raise ValueError(f"the record has no answers in the formats {', '.join(formats.values())}")
    return _scores(record, asked, draws)


def in_parts(record: Record, draws: int = _DRAWS) -> dict[str, tuple[str, Scores]]:
    """Part -> the kind of base that it is about, and the scores; a kind without any base in the record has no part."""
    by_answers = {"natural": natural(record, draws), "equal format": given(record, EQUAL_FORMAT, draws)}
    there = set(record.runs["kind"])
    return {part: (kind, by_answers[answers]) for part, (kind, answers) in PARTS.items() if kind in there}


def _scores(record: Record, answers: pd.DataFrame, draws: int) -> Scores:
    models = record.runs[["run", "base", "setting", "seed", "changes"]].reset_index(drop=True)
    right = answers.astype({"benchmark": str}).pivot(index="run", columns=["benchmark", "question"], values="right")
    right = 100.0 * right.loc[models["run"]]
    asked = right.columns.unique("benchmark")
    benchmarks = [(family.group, name) for name, family in FAMILIES.items() if name in asked]
    rng = np.random.default_rng(0)
    values = [_drawn(right[name].to_numpy(dtype=float), rng, draws) for _, name in benchmarks]
    return Scores(models, pd.DataFrame(benchmarks, columns=["group", "benchmark"]), np.stack(values, axis=-1))


def _drawn(right: Array, rng: np.random.Generator, draws: int) -> Array:
    """Mean over questions of `(models, questions)`, observed and with questions drawn again: `(1 + draws, models)`."""
    questions = right.shape[1]
    times = rng.multinomial(questions, np.full(questions, 1 / questions), size=draws)  # how often each is drawn
    return np.concatenate([right.mean(1)[None], times @ right.T / questions])


def _question_variance(means: Array) -> float:
    return float(means[1:].var(ddof=1)) if len(means) > 2 else 0.0


def _seeds_interval(values: Array, level: float = LEVEL) -> Interval:
    """From `(1 + draws, seeds)`; one seed leaves the questions alone."""
    variance = _question_variance(values.mean(-1))
    if values.shape[1] == 1:
        return normal_interval(float(values[0, 0]), variance**0.5, level)
    return seed_interval(values[0], variance, level)


def _bases_interval(by_base: list[Array], level: float = LEVEL) -> Interval:
    """From one `(1 + draws, seeds)` a base; fewer than two bases leave the interval without ends."""
    means = np.stack([values.mean(-1) for values in by_base], axis=-1)  # (1 + draws, bases)
    if means.shape[1] < 2:
        return float(means[0].mean()), -np.inf, np.inf
    return seed_interval(means[0], _question_variance(means.mean(-1)), level)
