"""Which record of the study a chapter shows, how whole it is, and how the runs that were made again compare with it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mathtransfer import GROUP_TITLES, shipped
from mathtransfer.study import grid
from mathtransfer.study.record import CODE, Record, read_record


def read(study: str | Path, recorded: str | Path) -> tuple[Record, str]:
    """The recorded study, or until that is whole the record of the fresh runs, and a note on it in Markdown.

    A part of the study is not shown beside fresh runs: it would be a choice of what to show, and change every day.
    The note says how many of the protocol's runs are there, what made them, whether today's code is the same, and what
    the fresh runs say about the recorded ones. Protocol and records are those of the working folder, or of the package
    if they are not there.

    Args:
        study: the folder of the fresh runs, with their `record` and `fresh.csv`. The whole study has no runs besides
            the recorded ones, and no such folder.
        recorded: the folder of the recorded study.

    Raises:
        FileNotFoundError: neither folder has a record.
    """
    own, ours = Path(study, "record"), f"the fresh runs in `{study}`"
    if shipped.find(own) != own:
        ours = "a small part of it, whose tables come with the package"
    if not shipped.find(Path(recorded, "runs.csv")).is_file():
        found = read_record(own)
        start = f"There is no recorded study in `{recorded}`, so all that follows is about {ours}."
        return found, " ".join([start, *_of_runs(found.runs)])
    found, is_fresh = read_record(recorded), shipped.find(own / "runs.csv").is_file()
    asked = grid.read_tier("study").runs["evaluate"]
    there = set(asked) & set(found.runs["run"])
    if is_fresh and len(there) < len(asked):
        found = read_record(own)
        start = (
            f"Of the recorded study in `{recorded}` {len(there)} of {len(asked)} runs are there so far. It is shown "
            f"when it is whole; all that follows is about {ours}."
        )
        return found, " ".join([start, *_of_runs(found.runs), *_compared(study)])
    said = _of_runs(found.runs)
    if is_fresh:
        said.append(_of_code(read_record(own).runs, found.runs))
        said += _compared(study)
    return found, " ".join(said)


def _compared(study: str | Path) -> list[str]:
    said = _of_fresh(pd.read_csv(shipped.find(Path(study, "fresh.csv")), keep_default_na=False))
    return [*said, "What the fresh models wrote can be [read](../chapters/samples.ipynb)."]


def _of_runs(runs: pd.DataFrame) -> list[str]:
    """How many of the protocol's runs there are, and what made them."""
    protocol = grid.read_tier("study")
    asked = protocol.runs["evaluate"]
    there = runs[runs["run"].isin(asked)]
    trained = there[there["seed"] >= 0]
    if len(there) == len(asked):
        said = [f"All {len(asked)} runs of the protocol are recorded, {len(protocol.bases)} of them bases."]
    else:
        seeds = {base: ", ".join(map(str, sorted(set(own)))) for base, own in trained.groupby("base")["seed"]}
        which = "; ".join(f"{base} with the training seeds {own}" for base, own in seeds.items())
        said = [f"Of the protocol's {len(asked)} runs {len(there)} are there: {which or 'no trained model'}."]
    if (trained["updates"] != trained["run"].map(lambda run: protocol.cells[run].parameters["steps"])).any():
        said.append("**They are smaller than the protocol's**: they show that everything runs, and nothing else.")
    versions = [name for name in runs if name.startswith("version_")]
    made = ", ".join(f"{name.removeprefix('version_')} {_all(runs[name])}" for name in versions)
    machine = f"{_all(runs['machine'])} with {_all(runs['cores'])} cores and {_all(runs['gpu']) or 'no GPU'}"
    return [*said, f"The machine was {machine}, the versions {made}."]


def _all(column: pd.Series) -> str:
    return "/".join(sorted(set(map(str, column))))


def _of_code(fresh: pd.DataFrame, recorded: pd.DataFrame) -> str:
    """Whether the code that made the recorded runs is that of the fresh ones, which is today's."""
    changed = {}
    for column in CODE:
        kind = column.removesuffix("_code")
        made = recorded.loc[recorded[f"{kind}_seconds"].notna(), column]  # a base has an evaluation alone
        if others := int((~made.isin(fresh[column])).sum()):
            changed[kind] = f"{others} of {len(made)}"
    if not changed:
        return "The code of every kind of run is still the same."
    return "**Since then code has changed**: " + ", ".join(f"that of {n} `{kind}`" for kind, n in changed.items()) + "."


def _of_fresh(compared: pd.DataFrame) -> list[str]:
    """What `claims.fresh.compare` found: how many runs that were made again agree, and the first that differs."""
    counts = compared["verdict"].value_counts(sort=False)
    counted = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
    said = [f"Runs that were made again, beside the recorded ones: {counted}."]
    for row in compared[compared["first_difference"] != ""].to_dict("records")[:1]:
        value, low, high = (f"{float(row[end]):+.1f}" for end in ("difference", "low", "high"))
        said.append(
            f"The first difference in `{row['run']}` is `{row['first_difference']}`; its scores differ most on "
            f"{GROUP_TITLES[row['group']]}, by {value} [{low}, {high}] points."
        )
    return said
