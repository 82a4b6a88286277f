"""The rule by which the protocol's learning rates are chosen from the pilot."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mathtransfer import shipped
from mathtransfer.study.grid import read_tier
from mathtransfer.study.record import FILES, Record, read_record

_FEWEST = 4  # rates that must have been tried


def read_pilot(folder: str | Path, root: str | Path = ".") -> Record | None:
    """The pilot's record; None if there is none, or if it lacks a run that the protocol in `root` asks for."""
    if not shipped.find(Path(folder, FILES[0])).is_file():
        return None
    found, cells = read_record(folder), read_tier("pilot", root).cells.values()
    asked = {(cell.setting, cell.base, cell.seed, cell.parameters["learning_rate"]) for cell in cells}
    done = found.runs[["setting", "base", "seed", "learning_rate"]].itertuples(index=False, name=None)
    return None if asked - set(done) else found


def chosen_rates(pilot: Record) -> pd.DataFrame:
    """Every learning rate that was tried for each setting, and the one that the rule chooses.

    The rule: the highest accuracy on mathematics, the mean over its benchmarks and over the bases and seeds on which
    all rates of the setting were tried; of equal ones the smaller rate. The pilot asks validation questions.

    Returns:
        `setting, learning_rate, value` (percent), `runs` (how many the mean is of), `chosen`; by rate in each setting.

    Raises:
        ValueError: fewer than four rates of a setting were tried on the same bases with the same seeds.
    """
    scores = pilot.scores[(pilot.scores["group"] == "math") & (pilot.scores["metric"] == "accuracy")]
    runs = pilot.runs[pilot.runs["seed"] >= 0].assign(
        value=lambda t: t["run"].map(scores.groupby("run")["value"].mean())
    )
    rows = []
    for setting, own in runs.groupby("setting", sort=False):
        tried = own.pivot(index=["base", "seed"], columns="learning_rate", values="value").dropna()
        if tried.empty or len(tried.columns) < _FEWEST:
            raise ValueError(f"{setting}: the rule asks for {_FEWEST} learning rates on the same bases and seeds")
        means = tried.mean()
        best = means.idxmax()  # the first of equal ones, and so the smallest
        rows += [(setting, rate, value, len(tried), rate == best) for rate, value in means.items()]
    return pd.DataFrame(rows, columns=["setting", "learning_rate", "value", "runs", "chosen"])
