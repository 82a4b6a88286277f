"""Drift of the recorded study base by base: how far its models moved, naturally and with the same first words given.

A measure of drift has a value for each run and benchmark, with an error over the questions that it was measured on. A
base's value is the mean over its training seeds, and the bases of a kind are the sample. All runs read the same
questions, so that what these leave open does not shrink with the number of runs.

With first words given only reasoning is asked. What there is to say at equal format is said of reasoning alone.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import numpy as np
import pandas as pd

from mathtransfer import GROUPS
from mathtransfer.claims import latent_drift as latent
from mathtransfer.claims import token_drift as tokens
from mathtransfer.claims.by_base import PARTS, Scores, in_parts
from mathtransfer.claims.intervals import BySeed, by_seed_interval, least_ratio, ratio_by_seed
from mathtransfer.claims.ledger import Evidence, from_table
from mathtransfer.claims.miniature import SETTINGS
from mathtransfer.claims.transfer import OUTSIDE
from mathtransfer.study.record import Record

_SFT, _ = SETTINGS
_OWN_STYLE = "off-policy SFT, own style"
_PREFIX = {"natural": "", "equal format": "begun_"}  # answers -> how the names of their measures begin


def measured(
    record: Record, metric: str, by: list[str], settings: Collection[str] = (), groups: Collection[str] = GROUPS
) -> pd.DataFrame:
    """A measure of drift of every setting on every base, natural and at equal format.

    Args:
        metric: its name without `begun_`.
        by: the columns that tell values apart, `["group"]`, `["benchmark"]`, both, or none: benchmarks are averaged.
        groups: benchmarks' groups, or `training` or `weights`.
        settings: none for all. Runs with changed parameters are left out, and so are benchmarks for which one of the
            runs has no value with an error, as the evenness of short responses.

    Returns:
        `kind, answers, setting, base, *by, value, variance`: the mean over training seeds, and its variance over
        questions.
    """
    models = record.runs[(record.runs["seed"] >= 0) & (record.runs["changes"] == "")]
    if settings:
        models = models[models["setting"].isin(settings)]
    names = {prefix + metric: answers for answers, prefix in _PREFIX.items()}
    shifts = record.shifts[record.shifts["metric"].isin(names)].astype({"run": str, "group": str, "benchmark": str})
    shifts = shifts[shifts["group"].isin(groups) & (shifts["n"] > 1)]
    rows = shifts.merge(models[["run", "kind", "setting", "base"]], on="run")
    rows = rows.assign(answers=rows["metric"].astype(str).map(names), variance=rows["stderr"] ** 2)
    runs = rows.groupby(["kind", "answers"])["run"].transform("nunique")
    rows = rows[rows.groupby(["kind", "answers", "benchmark"])["run"].transform("nunique") == runs]
    keys = ["kind", "answers", "setting", "base", *by]
    benchmarks = rows.groupby([*keys, "run"], sort=False)[["value", "variance"]]
    of_runs = benchmarks.mean()
    of_runs["variance"] /= benchmarks.size()  # each benchmark has questions of its own
    return of_runs.groupby(keys, sort=False).mean().reset_index()


def over_bases(table: pd.DataFrame, logarithmic: bool = True) -> pd.DataFrame:
    """Means over the bases of a kind with 95% intervals over bases and questions; that of one base has no ends.

    Args:
        table: from `measured`.
        logarithmic: geometric means, of positive values.

    Returns:
        The table with `value, low, high`, and without `base` and `variance`.
    """
    keys = [name for name in table if name not in ("base", "value", "variance")]
    rows = []
    for key, own in table.groupby(keys, sort=False):
        quantity, one = _quantity(own), BySeed(np.ones(len(own)), np.zeros(len(own)))
        rows.append((*key, *(ratio_by_seed(quantity, one) if logarithmic else by_seed_interval(quantity))))
    return pd.DataFrame(rows, columns=[*keys, "value", "low", "high"])


def sft_over_rl(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """How many times as far SFT moved as RL, with 95% intervals over bases and questions.

    Args:
        table: from `measured`, for the two `SETTINGS` of `miniature`.
        by: the column that tells values apart.

    Returns:
        `kind, answers, <by>, value, low, high`.
    """
    rows = []
    for key, own in table.groupby(["kind", "answers"], sort=False):
        sft, rl = _sides(own, *key, by, SETTINGS)
        rows += [(*key, name, *ratio_by_seed(sft[name], rl[name])) for name in sft]
    return pd.DataFrame(rows, columns=["kind", "answers", by, "value", "low", "high"])


def latent_drift(record: Record, metric: str = "centroid_distance") -> dict[str, list[Evidence]]:
    """Part -> L1, L5, L6, L7 and L8 as far as its runs can be asked; L5 needs non-reasoning.

    Args:
        metric: the measure of a shift, by default d of Section 3.2.
    """
    groups, benchmarks = (measured(record, metric, [by]) for by in ("group", "benchmark"))
    found: dict[str, list[Evidence]] = {}
    for part, (kind, scores) in in_parts(record, draws=2).items():
        answers = PARTS[part][1]
        sft, rl = _sides(groups, kind, answers, "group", SETTINGS)
        if not sft:
            found[part] = []
            continue
        estimates = latent.shifts(sft, rl)
        if "non" in sft:
            estimates |= latent.shift_on_non(sft)
        cells = shift_and_gain(record, scores, answers, metric).query("kind == @kind")
        shift, gain = (_by_group(cells, name) for name in ("log_shift", "gain"))
        setting = shift.index.get_level_values("setting").to_series(shift.index)
        if len(shift) - setting.nunique() > 2:  # or a correlation within settings has no interval
            estimates |= latent.shift_with_gain(shift, gain, setting)
        own, foreign = _sides(benchmarks, kind, answers, "benchmark", [_OWN_STYLE, _SFT])
        if own:
            estimates |= latent.thinking_traces(partial(ratio_by_seed, _geometric_mean(own), _geometric_mean(foreign)))
        sides = _sides(benchmarks, kind, answers, "benchmark", SETTINGS)
        spreads = [_spread(side) for side in sides]
        of_logs = [_spread({name: own.log() for name, own in side.items()}) for side in sides]
        estimates |= latent.scatter(partial(ratio_by_seed, *spreads), partial(ratio_by_seed, *of_logs))
        found[part] = from_table(_where(groups, kind), estimates)
    return found


def token_drift(record: Record) -> dict[str, list[Evidence]]:
    """Part -> T1 to T5 as far as its runs can be asked; T4 needs responses of some length, T5 non-reasoning."""
    benchmarks, groups = (measured(record, "kl", [by], SETTINGS) for by in ("benchmark", "group"))
    ranks, shifted, evenness = (
        measured(record, name, [], SETTINGS) for name in ("rank_shift", "shifted", "shift_evenness")
    )
    found: dict[str, list[Evidence]] = {}
    for part, (kind, answers) in PARTS.items():
        sft, _ = _sides(groups, kind, answers, "group", SETTINGS)
        if not sft:
            found[part] = []
            continue
        sft_ranks, rl_ranks = _overall(ranks, kind, answers)
        estimates = (
            tokens.least_kl_ratio(*_sides(benchmarks, kind, answers, "benchmark", SETTINGS))
            | tokens.rank_shift_ratio(partial(ratio_by_seed, rl_ranks, sft_ranks))
            | tokens.shifted_share_ratio(*_overall(shifted, kind, answers))
        )
        if evenly := _overall(evenness, kind, answers):
            estimates |= tokens.shift_evenness(*evenly)
        if "non" in sft:
            over = [sft["non"].log() - sft[group].log() for group in ("math", "other")]
            estimates |= tokens.kl_on_non(partial(least_ratio, over))
        found[part] = from_table(_where(groups, kind), estimates)
    return found


def _quantity(own: pd.DataFrame) -> BySeed:
    """One value a base, in the bases' order."""
    own = own.sort_values("base")
    return BySeed(own["value"].to_numpy(), own["variance"].to_numpy())


def _sides(table: pd.DataFrame, kind: str, answers: str, by: str, settings: Collection[str]) -> list[dict[str, BySeed]]:
    """Of each setting what was measured, by group or benchmark, on the bases that all of them were trained on."""
    own = table[(table["kind"] == kind) & (table["answers"] == answers) & table["setting"].isin(settings)]
    own = own[own.groupby("base")["setting"].transform("nunique") == len(settings)]
    return [
        {key: _quantity(part) for key, part in own[own["setting"] == setting].groupby(by, sort=False)}
        for setting in settings
    ]


def _overall(table: pd.DataFrame, kind: str, answers: str) -> list[BySeed]:
    """Of each setting of the two what was measured over all benchmarks; nothing if it was not."""
    return [own for side in _sides(table, kind, answers, "answers", SETTINGS) for own in side.values()]


def _by_group(cells: pd.DataFrame, value: str) -> pd.DataFrame:
    return cells.pivot(index=["base", "setting", "changes"], columns="group", values=value)


def _where(table: pd.DataFrame, kind: str) -> str:
    bases = table.loc[table["kind"] == kind, "base"].nunique()
    return f"{bases} base{'s' * (bases > 1)}"


def _geometric_mean(by_benchmark: dict[str, BySeed]) -> BySeed:
    """Over benchmarks, whose questions are independent, on each base."""
    logs = [own.log() for own in by_benchmark.values()]
    value = np.exp(np.mean([own.values for own in logs], axis=0))
    return BySeed(value, value**2 * np.sum([own.variance for own in logs], axis=0) / len(logs) ** 2)


def _spread(by_benchmark: dict[str, BySeed]) -> BySeed:
    """The standard deviation over benchmarks on each base; its variance to first order."""
    values, variances = (
        np.stack([getattr(own, name) for own in by_benchmark.values()]) for name in ("values", "variance")
    )
    spread = values.std(0, ddof=1)
    slopes = (values - values.mean(0)) / ((len(values) - 1) * spread)  # of the spread in each benchmark's value
    return BySeed(spread, (slopes**2 * variances).sum(0))


def shift_and_gain(record: Record, scores: Scores, answers: str, metric: str = "centroid_distance") -> pd.DataFrame:
    """What each cell of the study shifted and gained outside mathematics, the mean over its training seeds.

    Args:
        scores: of the record, natural or at equal format, as `answers` says.

    Returns:
        A row a cell and group: `kind, base, setting, changes, group, log_shift` (log10 of the measure), `gain`
        (percentage points). At equal format there is no shift on non-reasoning.
    """
    runs = record.runs[record.runs["seed"] >= 0].set_index("run")
    keys = [runs[name] for name in ("kind", "base", "setting", "changes")]
    tables = {"shift": by_run(record, _PREFIX[answers] + metric), "gain": gains(scores)}
    means = {name: table.loc[runs.index].groupby(keys, sort=False).mean() for name, table in tables.items()}
    groups = [group for group in OUTSIDE if group in means["shift"]]
    wide = pd.concat(
        {name: table[groups].rename_axis("group", axis=1).stack() for name, table in means.items()}, axis=1
    )
    return wide.assign(log_shift=np.log10(wide["shift"])).drop(columns="shift").reset_index()


def by_run(record: Record, metric: str) -> pd.DataFrame:
    """A measure of drift of every run: a row a run, a column a group, whose benchmarks are averaged."""
    rows = record.shifts[record.shifts["metric"] == metric]
    return rows.pivot_table(index="run", columns="group", values="value", observed=True)


def gains(scores: Scores) -> pd.DataFrame:
    """What every trained model gained over its base, percentage points: a row a run, a column a group."""
    models = scores.models.set_index("run")
    of_groups = {group: scores.values[0][:, scores.columns(group)].mean(-1) for group in GROUPS}
    means = pd.DataFrame(of_groups, index=models.index)
    trained = models[models["seed"] >= 0]
    return means.loc[trained.index] - means.loc[trained["base"]].to_numpy()
