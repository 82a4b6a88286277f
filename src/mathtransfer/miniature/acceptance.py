"""Whether a base can be used: bounds that were written down before one was evaluated (config/study.yaml)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mathtransfer import GROUP_TITLES
from mathtransfer.miniature.families import FAMILIES, chance_level
from mathtransfer.miniature.formats import FORMATS

_NATURAL = "natural"


def measure(evaluation: str | Path) -> pd.DataFrame:
    """What a base scores on each family: `group, family, format, value` (percent), `n`.

    Args:
        evaluation: a run of `evaluate` with the `FORMATS`.
    """
    folder = Path(evaluation)
    natural = pd.read_parquet(folder / "samples.parquet", columns=["benchmark", "question", "score"])
    given = pd.read_parquet(folder / "formats.parquet", columns=["begins", "benchmark", "question", "score"])
    named = given["begins"].map({words: name for name, words in FORMATS.items()})
    answers = pd.concat([natural.assign(format=_NATURAL), given.assign(format=named)])
    by_family = answers.groupby(["benchmark", "format"], sort=False)
    found = pd.DataFrame({"value": 100 * by_family["score"].mean(), "n": by_family["question"].nunique()})
    found = found.reset_index().rename(columns={"benchmark": "family"})
    found.insert(0, "group", [FAMILIES[name].group for name in found["family"]])
    return found


def broken(scores: pd.DataFrame, kind: str, bounds: dict) -> list[str]:
    """The bounds that a base breaks, a sentence each; none if it is accepted.

    Args:
        scores: `family, format, value` (percent) on validation questions; the format is `natural`, or the one whose
            first words were given.
        kind: of base, a key of `corpus.STYLES`.
        bounds: `questions` of each family that were asked; `group`, the least and the most of a group's natural
            accuracy (percent); `above_chance` (points) and `family` (percent), for every family; `settled_by_nature`
            (points), how much a given format may be better than a settled base's natural one in a group of reasoning.
    """
    by_family = scores.pivot(index="family", columns="format", values="value")
    by_group = by_family.groupby(by_family.index.map(lambda name: FAMILIES[name].group)).mean()
    least, most = bounds["group"]
    found = [
        f"{GROUP_TITLES[group]} is at {value:.1f}%, not from {least} to {most}%"
        for group, value in by_group[_NATURAL].items()
        if not least <= value <= most
    ]
    for family, value in by_family[_NATURAL].items():
        chance = 100 * chance_level(family, "validation", bounds["questions"])
        if value < chance + bounds["above_chance"]:
            found.append(f"{family} is at {value:.1f}%, less than {bounds['above_chance']} points above {chance:.1f}%")
        if value > bounds["family"]:
            found.append(f"{family} is at {value:.1f}%, above {bounds['family']}%")
    if kind == "settled":
        gains = by_group.drop(columns=_NATURAL).sub(by_group[_NATURAL], axis=0).drop("non")
        found += [
            f"{GROUP_TITLES[group]} gains {gain:.1f} points if {format} is given"
            for format, column in gains.items()
            for group, gain in column.items()
            if gain > bounds["settled_by_nature"]
        ]
    return found
