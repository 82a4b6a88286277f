"""The claim ledger: written criteria, evidence with intervals, computed verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
import yaml
from pandas.io.formats.style import Styler

from mathtransfer.claims.intervals import LEVEL, Estimate
from mathtransfer.paper import reported

Evidence = tuple[str, Estimate, str]  # a statistic's name, its estimate, and where it comes from
LAYERS = ("published", "released", "miniature", "full")
VERDICTS = HOLDS, FAILS, NO_EFFECT, TOO_LITTLE = "reproduced", "not reproduced", "near no effect", "too little data"
_MISSING, _NOT_APPLICABLE = "no evidence yet", "not applicable"
_COLUMNS = ["claim", "layer", "statistic", "value", "low", "high", "level", "criterion", "verdict", "run", "cell"]
_SIDES = ("above", "below", "within")


@dataclass(frozen=True)
class Criterion:
    """Where a statistic's whole interval must lie for its claim to hold: beyond a threshold, or within a margin of it.

    The margin is what counts as little in the statistic's unit: percentage points are told from none by three, ratios
    from one by a factor of 1.25 (`units` in `claims.yaml`).
    """

    about: str
    side: str
    threshold: float
    low: float  # the threshold less the margin
    high: float  # the threshold and the margin

    def __str__(self) -> str:
        place = f"{self.low:g} to {self.high:g}" if self.side == "within" else f"{self.threshold:g}"
        return f"interval {self.side} {place}"

    def holds(self, low: float, high: float) -> bool:
        """Whether an interval lies wholly where the claim needs it; one without ends (nan) does not."""
        if self.side == "within":
            return self.low < low and high < self.high
        return low > self.threshold if self.side == "above" else high < self.threshold

    def fails(self, low: float, high: float) -> bool:
        """Whether an interval lies wholly where the claim forbids it."""
        if self.side == "within":
            return low > self.high or high < self.low
        return high < self.threshold if self.side == "above" else low > self.threshold

    def is_near(self, low: float, high: float) -> bool:
        """Whether an interval lies wholly within the margin of the threshold: precise, and still undecided."""
        return self.low < low and high < self.high


@dataclass(frozen=True)
class _Claim:
    """What is asked of a claim: its criteria by statistic, the layers that could answer, and what is still needed."""

    criteria: dict[str, Criterion]
    layers: tuple[str, ...]
    needs: str


@cache
def _claims() -> dict[str, _Claim]:
    """Every claim of the paper with its criteria, from `claims.yaml`.

    Raises:
        ValueError: a claim of the paper is missing or is none of its, or a criterion's side, unit or layer is unknown.
    """
    written = yaml.safe_load((Path(__file__).parent / "claims.yaml").read_text())
    known, found = list(reported.table("claims")["claim"]), written["claims"]
    if odd := sorted(set(known) ^ set(found)):
        raise ValueError(f"claims.yaml and the paper's claims differ in {', '.join(odd)}")
    return {claim: _read_claim(claim, found[claim], written["units"]) for claim in known}


def _read_claim(name: str, entry: dict, units: dict[str, dict]) -> _Claim:
    if unknown := set(entry["layers"]) - set(LAYERS):
        raise ValueError(f"claims.yaml: unknown layer {', '.join(unknown)} of {name}: expected {', '.join(LAYERS)}")
    criteria = {
        statistic: _read_criterion(f"{name}/{statistic}", units=units, **written)
        for statistic, written in entry.get("criteria", {}).items()
    }
    return _Claim(criteria, tuple(entry["layers"]), entry.get("needs", ""))


def _read_criterion(name: str, about: str, side: str, threshold: float, unit: str, units: dict[str, dict]) -> Criterion:
    if side not in _SIDES:
        raise ValueError(f"claims.yaml: side of {name} is {side!r}, expected {', '.join(_SIDES)}")
    if unit not in units:
        raise ValueError(f"claims.yaml: unit of {name} is {unit!r}, expected one of {', '.join(units)}")
    little = units[unit]
    if "factor" in little:
        return Criterion(about, side, threshold, threshold / little["factor"], threshold * little["factor"])
    return Criterion(about, side, threshold, threshold - little["margin"], threshold + little["margin"])


def criterion_of(statistic: str) -> tuple[str, Criterion]:
    """The claim that a statistic speaks for, and its criterion.

    Raises:
        ValueError: no criterion was written down for it.
    """
    for name, claim in _claims().items():
        if statistic in claim.criteria:
            return name, claim.criteria[statistic]
    raise ValueError(f"no criterion for {statistic!r} in claims.yaml: write it down before looking at the result")


def from_table(where: str, found: dict[str, Estimate]) -> list[Evidence]:
    """Statistics as evidence from one place."""
    return [(name, estimate, where) for name, estimate in found.items()]


def _fail_level(comparisons: int) -> float:
    """The level of the intervals by which one of several statistics may fail a claim (Bonferroni).

    A claim holds if all its statistics do, which many of them make harder; it fails if any of them does, which many of
    them would make easier.
    """
    return 1 - (1 - LEVEL) / comparisons


def verdict(criterion: Criterion, estimate: Estimate, comparisons: int = 1) -> str:
    """What an estimate says of one criterion.

    Args:
        comparisons: how many statistics speak for the claim on this layer, see `fail_level`.
    """
    _, low, high = estimate(level=LEVEL)
    if criterion.holds(low, high):
        return HOLDS
    if criterion.fails(*estimate(level=_fail_level(comparisons))[1:]):
        return FAILS
    return NO_EFFECT if criterion.is_near(low, high) else TOO_LITTLE


def judge(layer: str, found: list[Evidence]) -> pd.DataFrame:
    """Evidence as rows of the ledger, in the order of the claims file: all that one layer has for a claim.

    Claim, criterion and verdict follow from each statistic's name and estimate.

    Raises:
        ValueError: no criterion was written down for a statistic, the layer does not exist, or it cannot answer.
    """
    if layer not in LAYERS:
        raise ValueError(f"unknown layer {layer!r}: expected one of {', '.join(LAYERS)}")
    spoken = [(*criterion_of(statistic), statistic, estimate, run) for statistic, estimate, run in found]
    counted = pd.Series([claim for claim, *_ in spoken], dtype=str).value_counts()
    rows = []
    for claim, criterion, statistic, estimate, run in spoken:
        if layer not in _claims()[claim].layers:
            raise ValueError(f"{claim} is not applicable to the layer {layer!r} by claims.yaml")
        said = verdict(criterion, estimate, counted[claim])
        level = round(100 * _fail_level(counted[claim]), 1)
        rows.append((claim, layer, statistic, *estimate(level=LEVEL), level, str(criterion), said, run))
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
    order = list(_claims())
    return table.sort_values("claim", key=lambda names: names.map(order.index), kind="stable", ignore_index=True)


def combine(verdicts: Sequence[str]) -> str:
    """A claim's verdict from its statistics': reproduced if all hold, not reproduced if any fails.

    Otherwise too little data, unless every statistic is either precise or holds.
    """
    for said in (FAILS, TOO_LITTLE, NO_EFFECT):
        if said in verdicts:
            return said
    return HOLDS


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
    """The combined verdict of every claim and statement (rows) on every layer (columns).

    A layer that could speak and has not is told from one that cannot.
    """
    said = ledger.groupby(["claim", "layer"])["verdict"].agg(list)
    stated = reported.table("claims").set_index("claim")["statement"]

    def cell(name: str, layer: str) -> str:
        if (name, layer) in said:
            return combine(said[name, layer])
        return _MISSING if layer in _claims()[name].layers else _NOT_APPLICABLE

    rows = {(name, stated[name]): [cell(name, layer) for layer in LAYERS] for name in _claims()}
    table = pd.DataFrame(rows, index=list(LAYERS)).T
    return table.rename_axis(["claim", "statement"])


def needs(ledger: pd.DataFrame) -> pd.DataFrame:
    """What would give evidence for the claims that have none on any layer: `claim, statement, needs`."""
    open_claims = [name for name in _claims() if name not in set(ledger["claim"])]
    stated = reported.table("claims").set_index("claim")["statement"]
    rows = [(name, stated[name], _claims()[name].needs) for name in open_claims]
    return pd.DataFrame(rows, columns=["claim", "statement", "needs"])
