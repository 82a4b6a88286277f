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

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mathtransfer import GROUPS
from mathtransfer.claims.by_base import (
    DRAWS,
    ByBase,
    Scores,
    by_question,
    given,
    models_of,
    natural,
    scored,
)
from mathtransfer.claims.intervals import Interval
from mathtransfer.claims.miniature import SETTINGS
from mathtransfer.miniature.formats import FORMATS, OTHERWISE
from mathtransfer.study.record import Record

NATURAL = "natural"
CONTRAST = "RL minus SFT"
_SFT, _RL = SETTINGS
_ENDS = ("value", "low", "high")


def by_format(record: Record, draws: int = DRAWS) -> dict[tuple[str, str], Scores]:
    """What each format is worth, and how often a model takes it, in percent.

    Returns:
        `("accuracy", format)`: natural, and with each format's first words given; `("share", format)`: of the natural
        answers, how many begin so.
    """
    models = models_of(record)
    begins = record.answers["begins"].astype(str)
    found = {("accuracy", NATURAL): natural(record, draws)}
    found |= {("accuracy", name): given(record, dict.fromkeys(GROUPS, name), draws) for name in FORMATS}
    for name in [*FORMATS, OTHERWISE]:
        so_begun = by_question(record.answers.assign(begun=begins == name), models, "begun")
        found["share", name] = scored(models, so_begun, draws)
    return found


def levels(found: Mapping[tuple[str, str], Scores], where: str) -> pd.DataFrame:
    """The scores of `by_format` with 95% intervals over the bases of a kind, or over the seeds on one base.

    Returns:
        `setting, group, measure, format, value, low, high`, of the base too.
    """
    rows = []
    for key, scores in found.items():
        for setting in ["base", *scores.settings(where)]:
            own = scores.of(setting)
            rows += [(setting, group, *key, *scores.group_mean(own, group).over(where)()) for group in GROUPS]
    return pd.DataFrame(rows, columns=["setting", "group", "measure", "format", "value", "low", "high"])


def begun_alike(record: Record, draws: int = DRAWS) -> dict[str, Scores]:
    """The scores behind the two parts of a gain, on the questions that were asked in every format.

    Returns:
        `natural`: the sum of p A of each model, as it answered; `begun alike`: the same with the model's p and its
        base's A. A format that is not given counts as the base's natural answer.
    """
    models, order = models_of(record), list(FORMATS)
    place = {(base, setting): row for row, base, setting in models[["base", "setting"]].itertuples()}
    base_of = [place[base, "base"] for base in models["base"]]
    codes = record.answers["begins"].astype(str).map({name: i for i, name in enumerate(order)}).fillna(len(order))
    right, begins = by_question(record.answers, models), by_question(record.answers.assign(code=codes), models, "code")
    format_given = record.formats["format"].astype(str)
    in_format = [by_question(record.formats[format_given == name], models) for name in order]
    as_likes, alike = {}, {}
    for benchmark, own in right.items():
        n = min(table[benchmark].shape[1] for table in in_format)
        of_base = np.stack([*(table[benchmark][base_of, :n] for table in in_format), own[base_of, :n]])
        taken = begins[benchmark][None, :, :n].astype(int)  # (1, models, questions)
        as_likes[benchmark], alike[benchmark] = own[:, :n], np.take_along_axis(of_base, taken, 0)[0]
    return {NATURAL: scored(models, as_likes, draws), "begun alike": scored(models, alike, draws)}


def explained(alike: Mapping[str, Scores], where: str) -> pd.DataFrame:
    """Every natural gain or loss with its parts, and what the change of format explains as far as the intervals say.

    Args:
        alike: from `begun_alike`.
        where: a kind of base, for intervals over bases, or a base, for intervals over its seeds.

    Returns:
        Indexed by `setting, group`, the `CONTRAST` last: `gain`, `format` and `within`, each with `value, low, high` in
        percentage points; and `verdict`. That is `none` if the gain's interval has zero in it. Otherwise, of the parts
        in the direction of the gain: `all` if within formats the whole interval lies in the other direction; `most` if
        the format's part is the larger, `less` if it is the smaller, and `open` if the intervals do not say.
    """
    scores = alike[NATURAL]
    trained = scores.settings(where)
    weights = {setting: {setting: 1.0, "base": -1.0} for setting in trained}
    if {_SFT, _RL} <= set(trained):
        weights[CONTRAST] = {_RL: 1.0, _SFT: -1.0}
    rows = {}
    for setting, own in weights.items():
        gain, by_format = (alike[name].contrast(own) for name in alike)
        for group in GROUPS:
            rows[setting, group] = _parts(scores.group_mean(gain, group), scores.group_mean(by_format, group), where)
    found = pd.DataFrame.from_dict(rows, orient="index")
    found.columns = pd.MultiIndex.from_tuples(found.columns)
    return found.rename_axis(["setting", "group"])


def _parts(gain: ByBase, by_format: ByBase, where: str) -> dict[tuple[str, str], float | str]:
    within = gain - by_format
    quantities = {"gain": gain, "format": by_format, "within": within}
    found = {name: own.over(where)() for name, own in quantities.items()}
    ends = {(name, end): value for name, own in found.items() for end, value in zip(_ENDS, own, strict=True)}
    return ends | {("verdict", ""): _verdict(found["gain"], found["within"], (by_format - within).over(where)())}


def _verdict(gain: Interval, within: Interval, margin: Interval) -> str:
    """What the change of format explains of a gain, see `explained`; `margin` is its part minus that within formats."""
    if gain[1] <= 0 <= gain[2]:
        return "none"
    if gain[0] < 0:  # a loss: whatever explains it lies below zero too
        within, margin = ((-value, -high, -low) for value, low, high in (within, margin))
    if within[2] < 0:
        return "all"
    if margin[1] > 0:
        return "most"
    return "less" if margin[2] < 0 else "open"
