"""The ledger as one self-contained element: a table with filters that works without a network."""

from __future__ import annotations

import math

import pandas as pd

from mathtransfer.claims.criteria import criterion_of
from mathtransfer.pages.templating import fill

_WIDTH = 120  # of an interval's picture, pixels


def ledger_html(evidence: pd.DataFrame) -> str:
    """All evidence with a drop-down for claim, layer, part and verdict, and a link to the cell behind each row.

    Args:
        evidence: the ledger's columns.
    """
    filters = {
        name: {"": "all"} | {value: value for value in evidence[name] if value}
        for name in ("claim", "layer", "part", "verdict")
    }
    rows = [_row(row) for row in evidence.to_dict("records")]
    return fill("ledger_table.html", filters=filters, rows=rows, width=_WIDTH)


def _row(row: dict) -> dict:
    """A row of evidence as the template shows it: its numbers as text, and their places in its picture, in pixels."""
    criterion = criterion_of(row["statistic"])[1]
    page, section = row["cell"].split("#")
    ends = {name: row[name] for name in ("low", "value", "high")}
    return row | {
        **{name: _number(end) for name, end in ends.items()},
        "about": criterion.about,
        "page": page,
        "section": section,
        "places": _places({name: end - criterion.threshold for name, end in ends.items()}),
        "is_interval": not math.isnan(row["low"]) and not math.isnan(row["high"]),
    }


def _number(value: float) -> str:
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "none")
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:.{digits}f}".replace("-", "−")


def _places(distances: dict[str, float]) -> dict[str, int]:
    """Distances from the threshold as pixels: the threshold is in the middle, an end without bound at the edge.

    The farthest finite distance takes 92% of the half width. A missing number stays in the middle.
    """
    reach = max((abs(distance) for distance in distances.values() if math.isfinite(distance)), default=0.0) or 1.0
    parts = {
        name: 0.0 if math.isnan(distance) else max(-1.0, min(1.0, 0.92 * distance / reach))
        for name, distance in distances.items()
    }
    return {name: round(_WIDTH / 2 * (1 + part)) for name, part in parts.items()}
