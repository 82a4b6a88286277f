"""Elicitation or skill: how much of a gain is another way to begin an answer, and how much was gained within formats.

A miniature model answers at once, in steps or as the teacher thinks, and its first word says which. If its first words
are given, it answers in that format, whatever it likes best. So on each question a model has an accuracy A in each
format f, and a share p of its natural answers with this format. A gain over the base is then the sum of two parts, both
averages over questions (Kitagawa's decomposition of a difference of rates, 1955, with the base's rates as standard):

    format = sum over f of (p_tuned - p_base) A_base    the base, begun as the tuned model begins, minus the base
    within = sum over f of p_tuned (A_tuned - A_base)   the tuned model minus the base, begun alike

The sum of p A is a model's natural accuracy. So the gain is that of the natural answers, the first part is computed as
it stands here, and the second is what is left: the first is zero, without any noise, if no share changed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mathtransfer import GROUPS
from mathtransfer.claims.intervals import Array, Interval, normal_interval, resample_questions, seed_interval
from mathtransfer.claims.miniature import SETTINGS
from mathtransfer.miniature.formats import FORMATS, OTHERWISE, format_of
from mathtransfer.runs import read_manifest

NATURAL = "natural"
CONTRAST = "RL minus SFT"
_QUESTION = ["group", "benchmark", "question"]
_Values = dict[tuple[str, str], Array]  # (measure, format) -> (1 + draws, seeds, groups); what was observed comes first


def read_answers(folder: str | Path) -> pd.DataFrame:
    """How every question was answered in each format, naturally and with the first words given.

    Args:
        folder: runs of `evaluate` with the `FORMATS`.

    Returns:
        One row a model and question (`setting, seed, group, benchmark, question`), in percent. Columns
        `("share", format)`: how many natural answers begin so; `("right", format)`: how many begin so and are right;
        `("given", format)`: how many are right if the format's first words are given.

    Raises:
        FileNotFoundError: the folder has no finished evaluation, or one without formats.
    """
    tables = {}
    for run in sorted(path.parent for path in Path(folder).glob("*/manifest.json")):
        read_manifest(run, "evaluate")
        who = pd.read_csv(run / "scores.csv").iloc[0]
        samples, given = (pd.read_parquet(run / f"{name}.parquet") for name in ("samples", "formats"))
        tables[who["setting"], who["seed"]] = _by_question(samples, given)
    if not tables:
        raise FileNotFoundError(f"no finished evaluation in {folder}: run `make book` first")
    return pd.concat(tables, names=["setting", "seed"]).sort_index()


def _by_question(natural: pd.DataFrame, given: pd.DataFrame) -> pd.DataFrame:
    by_first_word = natural["completion"].map(format_of)
    begins = pd.DataFrame({name: 100.0 * (by_first_word == name) for name in [*FORMATS, OTHERWISE]})
    parts = pd.concat({"share": begins, "right": begins.mul(natural["score"], axis=0)}, axis=1)
    scores = 100 * given.pivot_table(index=_QUESTION, columns="begins", values="score")
    in_format = pd.DataFrame({name: scores[words] for name, words in FORMATS.items()})
    means = parts.groupby([natural[column] for column in _QUESTION]).mean()
    return means.join(pd.concat({"given": in_format}, axis=1))


def measure(answers: pd.DataFrame, draws: int = 1000) -> pd.DataFrame:
    """Accuracies, shares and gains by format with 95% intervals over training seeds and evaluation questions.

    Args:
        answers: from `read_answers`.
        draws: resamples of the questions.

    Returns:
        `setting, group, measure, format, value, low, high`, means over a group's benchmarks, for this one base.
        In percent, of the base and every setting: `accuracy`, natural and with each format given; `share` of the
        natural answers, and `accuracy of these`, by the format that they begin in. In percentage points, of every
        setting and of their `CONTRAST`: `gain`, natural and with each format given; of the natural gain the parts
        `format` and `within`, and `format minus within`; and both parts `by first word`, from natural answers alone
        with one accuracy in a format for a whole group: nan if the base by itself never takes a format that is needed.

    Raises:
        ValueError: the settings were not trained with the same seeds.
    """
    seeds = {setting: sorted(set(own.index.unique("seed"))) for setting, own in answers.groupby("setting")}
    if seeds[SETTINGS[0]] != seeds[SETTINGS[1]]:
        raise ValueError(f"the settings have other seeds, {seeds}: the study compares them seed by seed")
    values = _resampled(_begun_alike(answers), draws)
    gains = {setting: _gains(values[setting], values["base"]) for setting in SETTINGS}
    sft, rl = gains.values()
    found = {setting: _levels(own) | gains.get(setting, {}) for setting, own in values.items()}
    found[CONTRAST] = {key: rl[key] - sft[key] for key in rl}
    groups = [group for group in GROUPS if group in answers.index.unique("group")]
    rows = [
        (setting, group, *key, *_interval(array[..., column]))
        for setting, own in found.items()
        for key, array in own.items()
        for column, group in enumerate(groups)
    ]
    return pd.DataFrame(rows, columns=["setting", "group", "measure", "format", "value", "low", "high"])


def _begun_alike(answers: pd.DataFrame) -> pd.DataFrame:
    """With two columns more: natural accuracy, and the sum of p A with the model's p and the base's A."""
    base = answers.loc[("base", -1)]
    natural = pd.DataFrame({OTHERWISE: base["right"].sum(axis=1)})  # for a format that is not given: as the base likes
    in_format = base["given"].join(natural).loc[answers.index.droplevel(["setting", "seed"])]
    alike = (answers["share"].to_numpy() * in_format[answers["share"].columns].to_numpy()).sum(1) / 100
    levels = {("natural", ""): answers["right"].sum(axis=1), ("base begun alike", ""): alike}
    return answers.join(pd.DataFrame(levels, index=answers.index))


def _resampled(answers: pd.DataFrame, draws: int) -> dict[str, _Values]:
    """Setting -> column -> its mean over questions and a group's benchmarks, observed and with questions resampled."""
    table = answers.stack([0, 1], future_stack=True).unstack(_QUESTION)  # a row a setting, seed and column
    benchmarks = list(dict.fromkeys(column[:2] for column in table.columns))
    by_benchmark = [table[benchmark].to_numpy() for benchmark in benchmarks]
    observed = np.stack([own.mean(1) for own in by_benchmark], axis=-1)
    means = np.concatenate([observed[None], resample_questions(by_benchmark, draws, seed=0)])
    columns = [[number for number, (own, _) in enumerate(benchmarks) if own == group] for group in GROUPS]
    by_group = np.stack([means[..., own].mean(-1) for own in columns if own], axis=-1)  # (1 + draws, rows, groups)
    found: dict[str, _Values] = {}
    for (setting, *column), rows in table.groupby(level=[0, 2, 3], sort=False).indices.items():
        found.setdefault(setting, {})[tuple(column)] = by_group[:, rows]
    return found


def _levels(own: _Values) -> _Values:
    with np.errstate(invalid="ignore"):  # no answer begins so
        accuracy = {("accuracy of these", name): 100 * own["right", name] / own["share", name] for name in FORMATS}
    return {
        ("accuracy", NATURAL): own["natural", ""],
        **{("accuracy", name): own["given", name] for name in FORMATS},
        **{("share", name): own["share", name] for name in [*FORMATS, OTHERWISE]},
        **accuracy,
    }


def _gains(own: _Values, base: _Values) -> _Values:
    gain = own["natural", ""] - base["natural", ""]
    by_format = own["base begun alike", ""] - base["base begun alike", ""]
    by_first_word = _standardised(own, base) - base["natural", ""]
    return {
        ("gain", NATURAL): gain,
        **{("gain", name): own["given", name] - base["given", name] for name in FORMATS},
        ("format", NATURAL): by_format,
        ("within", NATURAL): gain - by_format,
        ("format minus within", NATURAL): 2 * by_format - gain,
        ("format by first word", NATURAL): by_first_word,
        ("within by first word", NATURAL): gain - by_first_word,
    }


def _standardised(own: _Values, base: _Values) -> Array:
    """The base's accuracy with a model's shares of formats, and in each format its accuracy on what it answers so."""
    total = 0.0
    for name in [*FORMATS, OTHERWISE]:
        with np.errstate(invalid="ignore", divide="ignore"):
            accuracy = base["right", name] / base["share", name]
        total = total + np.where(own["share", name] > 0, own["share", name] * accuracy, 0.0)
    return total


def _interval(values: Array) -> Interval:
    """An interval over seeds and questions from `(1 + draws, seeds)`; over questions alone from one seed."""
    question_variance = float(values[1:].mean(-1).var(ddof=1))
    if values.shape[1] == 1:
        return normal_interval(float(values[0, 0]), question_variance**0.5)
    return seed_interval(values[0], question_variance)


def explained(found: pd.DataFrame) -> pd.DataFrame:
    """Every natural gain or loss with its parts, and what the change of format explains as far as the intervals say.

    Args:
        found: from `measure`.

    Returns:
        Indexed by `setting, group`: `gain`, `format` and `within`, each with `value, low, high`; and `verdict`. That is
        `none` if the gain's interval has zero in it. Otherwise, of the parts in the direction of the gain: `all` if
        within formats the whole interval lies in the other direction; `most` if the format's part is the larger,
        `less` if it is the smaller, and `open` if the intervals do not say.
    """
    natural = found[found["format"] == NATURAL].set_index(["setting", "group", "measure"])[["value", "low", "high"]]
    wide = natural.unstack("measure").swaplevel(axis=1).reindex(natural.index.droplevel("measure").unique())
    wide = wide.dropna(subset=[("gain", "value")])  # the base gains nothing over itself
    verdicts = [_verdict(row["gain"], row["within"], row["format minus within"]) for _, row in wide.iterrows()]
    parts = wide[["gain", "format", "within"]].copy()
    parts["verdict", ""] = verdicts
    return parts


def _verdict(gain: pd.Series, within: pd.Series, margin: pd.Series) -> str:
    if gain["low"] <= 0 <= gain["high"]:
        return "none"
    if gain["value"] < 0:  # a loss: whatever explains it lies below zero too
        within, margin = ({"low": -part["high"], "high": -part["low"]} for part in (within, margin))
    if within["high"] < 0:
        return "all"
    if margin["low"] > 0:
        return "most"
    return "less" if margin["high"] < 0 else "open"
