"""The claim ledger: criteria written down beforehand, evidence with intervals, computed verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
import yaml
from pandas.io.formats.style import Styler

from mathtransfer.claims.intervals import Interval
from mathtransfer.paper.reported import table

Evidence = tuple[str, Interval, str]  # a statistic's name, its interval, and where it comes from
_COLUMNS = ["claim", "layer", "statistic", "value", "low", "high", "criterion", "verdict", "run", "cell"]
_LAYERS = ("published", "released", "miniature", "full")
_HOLDS, _FAILS, _OPEN = "reproduced", "not reproduced", "undecided"


@dataclass(frozen=True)
class _Criterion:
    """The side of a threshold that a statistic's whole interval must lie on for its claim to hold."""

    about: str
    side: str  # "above" or "below"
    threshold: float

    def __str__(self) -> str:
        return f"interval {self.side} {self.threshold:g}"

    def verdict(self, low: float, high: float) -> str:
        """What the interval says; an interval without ends (nan) decides nothing."""
        if math.isnan(low) or math.isnan(high):
            return _OPEN
        above, below = low > self.threshold, high < self.threshold
        if not above and not below:
            return _OPEN
        return _HOLDS if above == (self.side == "above") else _FAILS


@cache
def _criteria() -> dict[str, dict[str, _Criterion]]:
    """Claim -> statistic -> criterion, from `claims.yaml`.

    Raises:
        ValueError: a criterion's side is neither above nor below, or its claim is not among the paper's.
    """
    written = yaml.safe_load((Path(__file__).parent / "claims.yaml").read_text())
    known = set(table("claims")["claim"])
    found = {c: {name: _Criterion(**entry) for name, entry in entries.items()} for c, entries in written.items()}
    for claim, entries in found.items():
        if claim not in known:
            raise ValueError(f"claims.yaml has a criterion for {claim!r}, which is no claim of the paper")
        for name, criterion in entries.items():
            if criterion.side not in ("above", "below"):
                raise ValueError(f"claims.yaml: side of {claim}/{name} is {criterion.side!r}, expected above or below")
    return found


def criterion_of(statistic: str) -> tuple[str, _Criterion]:
    """The claim that a statistic speaks for, and its criterion.

    Raises:
        ValueError: no criterion was written down for it.
    """
    for claim, entries in _criteria().items():
        if statistic in entries:
            return claim, entries[statistic]
    raise ValueError(f"no criterion for {statistic!r} in claims.yaml: write it down before looking at the result")


def judge(layer: str, found: list[Evidence]) -> pd.DataFrame:
    """Evidence as rows of the ledger, in the order of the claims file.

    Claim, criterion and verdict follow from each statistic's name and interval.

    Raises:
        ValueError: no criterion was written down for a statistic, or the layer does not exist.
    """
    if layer not in _LAYERS:
        raise ValueError(f"unknown layer {layer!r}: expected one of {', '.join(_LAYERS)}")
    rows = []
    for statistic, (value, low, high), run in found:
        claim, criterion = criterion_of(statistic)
        rows.append((claim, layer, statistic, value, low, high, str(criterion), criterion.verdict(low, high), run))
    return _in_order(pd.DataFrame(rows, columns=_COLUMNS[:-1]))


def record(study: str | Path, chapter: str, judged: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Write a chapter's evidence to `<study>/evidence/<chapter>.csv` and return it, in the order of the claims file.

    Args:
        judged: section -> rows from `judge`. The section is the address of the heading above the cell that computed
            them, such as `evidence-for-s1-to-s4`; the ledger links to it.
    """
    rows = [part.assign(cell=f"{chapter}#{section}") for section, part in judged.items()]
    table = _in_order(pd.concat(rows, ignore_index=True))
    folder = Path(study, "evidence")
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / f"{chapter}.csv", index=False)
    return table


def show(table: pd.DataFrame) -> Styler:
    """Evidence as a table to print on a chapter's page."""
    about = table["statistic"].map(lambda name: criterion_of(name)[1].about)
    columns = ["claim", "statistic", "value", "low", "high", "criterion", "verdict", "run"]
    return table.assign(statistic=about)[columns].style.hide().format(precision=2)


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    order = list(_criteria())
    return table.sort_values("claim", key=lambda claims: claims.map(order.index), kind="stable", ignore_index=True)


def _combine(verdicts: list[str]) -> str:
    """A claim's verdict from its statistics': reproduced if all hold, not reproduced if any fails."""
    if _FAILS in verdicts:
        return _FAILS
    return _OPEN if _OPEN in verdicts else _HOLDS


def read_evidence(folder: str | Path) -> pd.DataFrame:
    """All evidence that the chapters recorded in a folder, in the order of the claims file.

    Raises:
        FileNotFoundError: no chapter has recorded any.
    """
    files = sorted(Path(folder).glob("*.csv"))
    if not files:
        raise FileNotFoundError(f"no evidence in {folder}: run the chapters first")
    tables = [table for table in map(pd.read_csv, files) if len(table)]  # a chapter may have found nothing to judge
    return _in_order(pd.concat(tables, ignore_index=True)[_COLUMNS])


def verdicts(ledger: pd.DataFrame) -> pd.DataFrame:
    """The combined verdict of each claim and statement (rows) on each layer that has evidence (columns)."""
    combined = ledger.groupby(["claim", "layer"], sort=False)["verdict"].agg(lambda column: _combine(list(column)))
    stated = combined.reset_index().merge(table("claims")[["claim", "statement"]], on="claim")
    wide = stated.pivot_table(
        index=["claim", "statement"], columns="layer", values="verdict", aggfunc="first", sort=False
    )
    return wide.fillna("no evidence yet")
