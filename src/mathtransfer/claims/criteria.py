"""Criteria, written down in `claims.yaml`, and the rule that makes verdicts of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from mathtransfer.claims.intervals import LEVEL, Estimate
from mathtransfer.paper import reported

LAYERS = ("published", "released", "miniature", "full")
VERDICTS = HOLDS, FAILS, _NO_EFFECT, _TOO_LITTLE = "reproduced", "not reproduced", "near no effect", "too little data"
NO_VERDICTS = MISSING, NOT_APPLICABLE = "no evidence yet", "not applicable"
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
    nothing: tuple[float, float] | None  # what counts as no effect in this unit; None if it has no such value

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
        """Whether an interval lies wholly within the margin of no effect: precise, and still undecided."""
        return self.nothing is not None and self.nothing[0] < low and high < self.nothing[1]


@dataclass(frozen=True)
class _Claim:
    """What is asked of a claim: its criteria by statistic, the layers that could answer, and what is still needed."""

    criteria: dict[str, Criterion]
    layers: tuple[str, ...]
    needs: str


@cache
def _written() -> dict:
    return yaml.safe_load((Path(__file__).parent / "claims.yaml").read_text())


def margin(unit: str) -> float:
    """How far from zero what counts as little may be, in a unit of `claims.yaml` that is not a ratio."""
    return _written()["units"][unit]["margin"]


@cache
def claims() -> dict[str, _Claim]:
    """Every claim of the paper with its criteria, from `claims.yaml`.

    Raises:
        ValueError: a claim of the paper is missing or is none of its, or a criterion's side, unit or layer is unknown.
    """
    written = _written()
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
        factor = little["factor"]
        return Criterion(about, side, threshold, threshold / factor, threshold * factor, (1 / factor, factor))
    margin = little["margin"]
    nothing = (-margin, margin) if little["has_zero"] else None
    return Criterion(about, side, threshold, threshold - margin, threshold + margin, nothing)


def criterion_of(statistic: str) -> tuple[str, Criterion]:
    """The claim that a statistic speaks for, and its criterion.

    Raises:
        ValueError: no criterion was written down for it.
    """
    for name, claim in claims().items():
        if statistic in claim.criteria:
            return name, claim.criteria[statistic]
    raise ValueError(f"no criterion for {statistic!r} in claims.yaml: write it down before looking at the result")


def fail_level(comparisons: int) -> float:
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
    if criterion.fails(*estimate(level=fail_level(comparisons))[1:]):
        return FAILS
    return _NO_EFFECT if criterion.is_near(low, high) else _TOO_LITTLE


def combine(verdicts: Sequence[str]) -> str:
    """A claim's verdict from its statistics': reproduced if all hold, not reproduced if any fails.

    Otherwise too little data, unless every statistic is either precise or holds.
    """
    for said in (FAILS, _TOO_LITTLE, _NO_EFFECT):
        if said in verdicts:
            return said
    return HOLDS
