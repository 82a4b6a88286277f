"""Fresh runs of a study beside its record: the same to the last bit, the same within what questions leave open, or not.

The record was made once, elsewhere; a slice of the same cells is run again for the book. On the same kind of machine,
with the same code and versions, a run repeats itself bit for bit. Elsewhere sums are rounded in another order and
training drifts apart; then the scores, on the same questions, are compared instead.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mathtransfer.claims.intervals import LEVEL, Interval, normal_interval
from mathtransfer.study.record import CODE, TOOK, Record

_SAME, _AGREES, _DIFFERS = "the same bit for bit", "agrees within its interval", "does not agree"
_OTHER_SIZE, _NOT_RECORDED = "of another size", "not recorded"
_KEYS = ["run", "group", "benchmark", "metric", "format", "question", "step"]  # what a row is about
_SIZE = ["updates", "responses"]
_AS_ASKED = ["runs", "answers", "formats", "training"]  # tables whose rows do not depend on what models answer
_ELSEWHERE = ["machine", "cores", "gpu"]


def compare(fresh: Record, recorded: Record | None) -> pd.DataFrame:
    """What the record says of every run that was made afresh.

    Args:
        recorded: None if there is no record.

    Returns:
        A row a fresh run: `run`; `verdict`; `first_difference`, the first value of any table that differs, or nothing;
        `group, difference, low, high`, the fresh score minus the recorded one in percentage points where it is largest
        for its error, with an interval over questions that covers 95% for all groups together; `same_code` and
        `same_versions`. If the run is not recorded or is of another size, all but `run` and `verdict` are empty.
    """
    names = sorted(fresh.runs["run"])
    known = set() if recorded is None else set(recorded.runs["run"])
    rows = [
        _compare(_of(fresh, run), _of(recorded, run)) if run in known else {"verdict": _NOT_RECORDED} for run in names
    ]
    columns = ["verdict", "first_difference", "group", "difference", "low", "high", "same_code", "same_versions"]
    return pd.DataFrame(rows, index=pd.Index(names, name="run")).reindex(columns=columns).reset_index()


def _of(record: Record, run: str) -> dict[str, pd.DataFrame]:
    """A run's rows of every table."""
    tables = {name: table[table["run"] == run].reset_index(drop=True) for name, table in vars(record).items()}
    return {name: table.astype({key: str for key in _KEYS[:5] if key in table}) for name, table in tables.items()}


def _compare(fresh: dict[str, pd.DataFrame], recorded: dict[str, pd.DataFrame]) -> dict[str, object]:
    if any(not _asked(fresh[name]).equals(_asked(recorded[name])) for name in _AS_ASKED):
        return {"verdict": _OTHER_SIZE}
    ours, theirs = fresh["runs"].iloc[0], recorded["runs"].iloc[0]
    versions = [name for name in ours.index if name.startswith("version_")]
    found = [_first_difference(name, fresh[name], recorded[name]) for name in fresh]
    group, interval = _largest(fresh, recorded)
    first = next(filter(None, found), "")
    agrees = interval[1] <= 0 <= interval[2]
    return {
        "verdict": _SAME if not first else _AGREES if agrees else _DIFFERS,
        "first_difference": first,
        "group": group,
        **dict(zip(("difference", "low", "high"), interval, strict=True)),
        "same_code": ours[CODE].equals(theirs[CODE]),
        "same_versions": ours[versions].equals(theirs.reindex(versions)),
    }


def _asked(table: pd.DataFrame) -> pd.DataFrame:
    """What a table was to be made of, whatever came out."""
    return table[[name for name in [*_KEYS, *_SIZE] if name in table]].astype(object)


def _first_difference(name: str, fresh: pd.DataFrame, recorded: pd.DataFrame) -> str:
    """The first value that is not the same, in words; nothing if there is none."""
    keys = [key for key in _KEYS if key in fresh]
    ours, theirs = (table.set_index(keys).astype(object) for table in (fresh, recorded))
    rows = ours.index.union(theirs.index)  # a measure that needs long responses may be there in one of them only
    ours, theirs = ours.reindex(rows), theirs.reindex(rows)
    apart = {*TOOK, *CODE, *_ELSEWHERE, *(column for column in fresh if column.startswith("version_"))}
    for column in [column for column in ours if column in theirs and column not in apart]:
        a, b = ours[column], theirs[column]
        if (differs := (a != b) & ~(a.isna() & b.isna())).any():
            row = int(differs.to_numpy().argmax())
            about = [f"{key} {value}" for key, value in rows.to_frame(index=False).loc[row].items() if key != "run"]
            return f"{', '.join([name, *about])}: {column} is {a.iloc[row]}, recorded {b.iloc[row]}"
    return ""


def _largest(fresh: dict[str, pd.DataFrame], recorded: dict[str, pd.DataFrame]) -> tuple[str, Interval]:
    """The group whose score differs most for its error, and that difference with its interval."""
    ours, theirs = fresh["answers"], recorded["answers"]
    moved = ours.assign(moved=100.0 * (ours["right"].astype(int) - theirs["right"].astype(int)))
    by_benchmark = moved.groupby("benchmark")["moved"].agg(["mean", "var", "count"])
    groups = fresh["scores"].groupby("benchmark")["group"].first()
    difference = by_benchmark["mean"].groupby(groups).mean()
    variances = (by_benchmark["var"] / by_benchmark["count"]).groupby(groups)
    stderr = np.sqrt(variances.sum()) / variances.count()
    largest = (difference.abs() / stderr.where(stderr > 0)).fillna(difference.abs() * np.inf).fillna(0.0).idxmax()
    level = LEVEL ** (1 / len(difference))  # the groups' questions are not the same, so the groups are independent
    return largest, normal_interval(difference[largest], stderr[largest], level)
