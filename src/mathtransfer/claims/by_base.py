"""The recorded study base by base: what its models score, with what questions, training seeds and bases leave open.

A quantity of the study has a value a base and training seed, and it has that value again with the evaluation questions
drawn anew, the same ones for all models. Within one base its interval covers seeds and questions; over the bases of a
kind it covers bases too, and with them their seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial, reduce

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mathtransfer.claims.intervals import (
    Array,
    Estimate,
    boundless,
    normal_interval,
    pooled_seed_interval,
    seed_interval,
)
from mathtransfer.miniature.families import FAMILIES
from mathtransfer.miniature.formats import FORMATS
from mathtransfer.study.record import Record

KINDS = ["elicitable", "settled"]
# The format that all models are given in each group if they are compared at equal format: how a base works at its best.
EQUAL_FORMAT = {"math": "in steps", "other": "in steps", "non": "at once"}
# A claim about the study is judged in parts: for each kind of base, with natural answers and at equal format.
PARTS = {f"{kind} bases, {answers}": (kind, answers) for kind in KINDS for answers in ("natural", "equal format")}
DRAWS = 500  # resamples of the evaluation questions


@dataclass(frozen=True)
class ByBase:
    """A quantity of the study: base -> `(1 + draws, seeds, ...)`; what was observed comes first.

    `seeds`: base -> the training seeds; nothing for what has none, such as a score of the base itself.
    """

    values: dict[str, Array]
    seeds: dict[str, list[int]] = field(default_factory=dict)

    def combine(self, other: ByBase, operation: Callable[[Array, Array], Array]) -> ByBase:
        """Seed by seed on each base that both have; what has no seed goes with every one."""
        values, seeds = {}, {}
        for base in [base for base in self.values if base in other.values]:
            own, others = self.values[base], other.values[base]
            mine, theirs = self.seeds.get(base, []), other.seeds.get(base, [])
            if mine and theirs:
                if not (both := [seed for seed in mine if seed in theirs]):
                    continue
                own, others = own[:, [mine.index(s) for s in both]], others[:, [theirs.index(s) for s in both]]
                mine = both
            values[base], seeds[base] = operation(own, others), mine or theirs
        return ByBase(values, {base: own for base, own in seeds.items() if own})

    def __sub__(self, other: ByBase) -> ByBase:
        return self.combine(other, np.subtract)

    def map(self, operation: Callable[[Array], Array]) -> ByBase:
        return ByBase({base: operation(own) for base, own in self.values.items()}, self.seeds)

    def over(self, where: str) -> Estimate:
        """The mean over the bases of a kind, or on one base over seeds."""
        return self.over_bases(where) if where in KINDS else self.over_seeds(where)

    def over_seeds(self, base: str) -> Estimate:
        """The mean on one base, with an interval over its training seeds and the questions."""
        own = self.values[base]  # (1 + draws, seeds)
        variance = _question_variance(own.mean(-1))
        if own.shape[1] == 1:  # one seed leaves the questions alone
            return partial(normal_interval, float(own[0, 0]), variance**0.5)
        return partial(seed_interval, own[0], variance)

    def over_bases(self, kind: str) -> Estimate:
        """The mean over the bases of a kind, with an interval over bases and questions.

        One base alone leaves it without ends.
        """
        means = np.stack([self.values[base].mean(-1) for base in self.bases(kind)], axis=-1)  # (1 + draws, bases)
        if means.shape[1] == 1:
            return partial(boundless, float(means[0, 0]))
        return partial(seed_interval, means[0], _question_variance(means.mean(-1)))

    def on_each_base(self, kind: str) -> list[Estimate]:
        """The mean on each base of a kind, with an interval over seeds and questions.

        The spread between seeds is that of all these bases together: two seeds on one base tell too little of it.
        """
        own = [self.values[base] for base in self.bases(kind)]
        variances = [_question_variance(values.mean(-1)) for values in own]
        pool = [values[0] for values in own]
        return [partial(pooled_seed_interval, pool, i, variance) for i, variance in enumerate(variances)]

    def bases(self, kind: str) -> list[str]:
        """The bases of a kind that the quantity is known of."""
        return [base for base in self.values if kind_of(base) == kind]


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
        by_base = list(rows.sort_values("seed").groupby("base"))
        seeds = {base: list(own["seed"]) for base, own in by_base if setting != "base"}
        return ByBase({base: self.values[:, own.index] for base, own in by_base}, seeds)

    def settings(self, where: str) -> list[str]:
        """The settings that models were trained with on bases of a kind, or on one base."""
        bases = self.models["base"]
        own = self.models[((bases == where) | (bases.map(kind_of) == where)) & (self.models["setting"] != "base")]
        return sorted(set(own.loc[own["changes"] == "", "setting"]))

    def contrast(self, weights: Mapping[str, float]) -> ByBase:
        """A weighted sum of the scores of settings, seed by seed: setting -> weight; a base counts as `base`."""
        parts = [self.of(setting).map(partial(np.multiply, weight)) for setting, weight in weights.items()]
        return reduce(lambda total, part: total.combine(part, np.add), parts)

    def gain(self, setting: str, changes: str = "") -> ByBase:
        """A setting's gain over the base on each benchmark, percentage points."""
        return self.of(setting, changes) - self.of("base")

    def columns(self, group: str) -> list[int]:
        """Which benchmarks are of a group, or of other reasoning `near` or `far` from mathematics."""
        families = [FAMILIES[name] for name in self.benchmarks["benchmark"]]
        return [place for place, family in enumerate(families) if group in (family.group, family.distance)]

    def group_mean(self, quantity: ByBase, group: str) -> ByBase:
        """The mean over a group's benchmarks, see `columns`, of a quantity with one value a benchmark."""
        return quantity.map(lambda values: values[..., self.columns(group)].mean(-1))


def kind_of(base: str) -> str:
    """The kind of a base by its name, such as `settled-0`."""
    return base.partition("-")[0]


def natural(record: Record, draws: int = DRAWS) -> Scores:
    """Scores of natural answers."""
    models = models_of(record)
    return scored(models, by_question(record.answers, models), draws)


def given(record: Record, formats: dict[str, str], draws: int = DRAWS) -> Scores:
    """Scores of answers whose first words are given: group -> format, such as `EQUAL_FORMAT`.

    Raises:
        ValueError: the models were not asked so.
    """
    order = list(FORMATS)
    wanted = np.array([order.index(formats[f.group]) if f.group in formats else len(order) for f in FAMILIES.values()])
    asked = _codes(record.formats["format"], order) == wanted[_codes(record.formats["benchmark"], list(FAMILIES))]
    if not asked.any():
        raise ValueError(f"the record has no answers in the formats {', '.join(formats.values())}")
    models = models_of(record)
    return scored(models, by_question(record.formats[asked], models), draws)


def in_parts(record: Record, draws: int = DRAWS) -> dict[str, tuple[str, Scores]]:
    """Part -> the kind of base that it is about, and the scores; a kind without any base in the record has no part."""
    by_answers = {"natural": natural(record, draws), "equal format": given(record, EQUAL_FORMAT, draws)}
    there = set(record.runs["kind"])
    return {part: (kind, by_answers[answers]) for part, (kind, answers) in PARTS.items() if kind in there}


def models_of(record: Record) -> pd.DataFrame:
    """The models of a record, as `Scores` has them."""
    return record.runs[["run", "base", "setting", "seed", "changes"]].reset_index(drop=True)


def by_question(answers: pd.DataFrame, models: pd.DataFrame, column: str = "right") -> dict[str, Array]:
    """Benchmark -> a number of each model's answer to each question, `(models, questions)`; nan if it was not asked.

    Args:
        answers: `run, benchmark, question` and the column; by default, whether the answer is right.
    """
    run, benchmark = _codes(answers["run"], list(models["run"])), _codes(answers["benchmark"], list(FAMILIES))
    question, values = answers["question"].to_numpy(), answers[column].to_numpy()
    found = {}
    for place, name in enumerate(FAMILIES):
        if len(rows := np.flatnonzero(benchmark == place)):
            found[name] = np.full((len(models), question[rows].max() + 1), np.nan)
            found[name][run[rows], question[rows]] = values[rows]
    return found


def scored(models: pd.DataFrame, right: dict[str, Array], draws: int = DRAWS) -> Scores:
    """The mean over questions of what is known of each, benchmark -> `(models, questions)`, as scores in percent."""
    rng = np.random.default_rng(0)
    values = [100.0 * _drawn(own, rng, draws) for own in right.values()]
    benchmarks = [(FAMILIES[name].group, name) for name in right]
    return Scores(models, pd.DataFrame(benchmarks, columns=["group", "benchmark"]), np.stack(values, axis=-1))


def _codes(column: pd.Series, order: list[str]) -> NDArray[np.integer]:
    """The place of each value in an order; -1 of what has none. Quick, since the columns of a record are categories."""
    return column.astype("category").cat.set_categories(order).cat.codes.to_numpy()


def _drawn(right: Array, rng: np.random.Generator, draws: int) -> Array:
    """Mean over questions of `(models, questions)`, observed and with questions drawn again: `(1 + draws, models)`."""
    questions = right.shape[1]
    times = rng.multinomial(questions, np.full(questions, 1 / questions), size=draws)  # how often each is drawn
    return np.concatenate([right.mean(1)[None], times @ right.T / questions])


def _question_variance(means: Array) -> float:
    return float(means[1:].var(ddof=1)) if len(means) > 2 else 0.0
