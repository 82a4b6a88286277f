"""The ledger as one self-contained element: a table with filters that works without a network."""

from __future__ import annotations

import math
from html import escape

import pandas as pd

from mathtransfer.claims.ledger import criterion_of

FILTERS = ("claim", "layer", "verdict")
HEADINGS = ("claim, layer", "statistic", "value, 95% interval", "verdict, criterion", "from")
COLOURS = {"reproduced": "#00795A", "not reproduced": "#B34A00", "undecided": "#666666"}  # dark enough to read as text
WIDTH = 120  # of an interval's picture, pixels

# Shows the rows that all filters let through, and says how many.
SCRIPT = """
(function () {
  const box = document.getElementById("ledger"), rows = [...box.querySelectorAll("tbody tr")];
  const filters = [...box.querySelectorAll("select")];
  function show() {
    rows.forEach(row => { row.hidden = filters.some(f => f.value && row.dataset[f.name] !== f.value); });
    box.querySelector("output").textContent = rows.filter(row => !row.hidden).length + " of " + rows.length;
  }
  filters.forEach(f => f.addEventListener("change", show));
  show();
})();
"""


def ledger_html(evidence: pd.DataFrame) -> str:
    """All evidence with a drop-down for claim, layer and verdict, and a link to the cell behind each row.

    Args:
        evidence: the ledger's columns.
    """
    drop_downs = " ".join(_drop_down(name, list(dict.fromkeys(evidence[name]))) for name in FILTERS)
    head = "".join(f"<th>{heading}</th>" for heading in HEADINGS)
    rows = "\n".join(_row(row) for row in evidence.itertuples())
    return (
        f'<div id="ledger"><p>{drop_downs} <output></output></p>\n'
        f'<table class="table"><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>\n'
        f"<script>{SCRIPT}</script></div>"
    )


def _drop_down(name: str, values: list[str]) -> str:
    options = "".join(f"<option>{escape(value)}</option>" for value in values)
    return f'<label>{name} <select name="{name}"><option value="">all</option>{options}</select></label>'


def _row(row) -> str:
    page, section = row.cell.split("#")
    about = criterion_of(row.statistic)[1].about
    number = f"{_number(row.value)} [{_number(row.low)}, {_number(row.high)}]"
    verdict = f'<b style="color: {COLOURS[row.verdict]}">{row.verdict}</b>'
    cells = [
        f"<b>{row.claim}</b><br>{row.layer}",
        f'<span title="{row.statistic}">{escape(about)}</span>',
        f"{number}<br>{_picture(row)}",
        f"{verdict}<br>{escape(row.criterion)}",
        f'<a href="{page}.html#{section}">{escape(str(row.run))}</a>',
    ]
    data = " ".join(f'data-{name}="{escape(getattr(row, name))}"' for name in FILTERS)
    return f"<tr {data}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "none")
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:.{digits}f}".replace("-", "−")


def _picture(row) -> str:
    """The interval as a line about its threshold, scaled to itself; an end without bound runs to the edge."""
    threshold = criterion_of(row.statistic)[1].threshold
    ends = {name: getattr(row, name) - threshold for name in ("low", "value", "high")}
    reach = max((abs(end) for end in ends.values() if math.isfinite(end)), default=0.0) or 1.0
    place = {
        name: WIDTH / 2 * (1 + max(-1.0, min(1.0, 0.92 * end / reach))) if not math.isnan(end) else WIDTH / 2
        for name, end in ends.items()
    }
    colour = COLOURS[row.verdict]
    line = f'<line x1="{place["low"]:.0f}" x2="{place["high"]:.0f}" y1="8" y2="8" stroke="{colour}" stroke-width="2"/>'
    if math.isnan(row.low) or math.isnan(row.high):
        line = ""
    return (
        f'<svg width="{WIDTH}" height="16" role="img" aria-label="interval against the threshold">'
        f'<line x1="{WIDTH // 2}" x2="{WIDTH // 2}" y1="0" y2="16" stroke="#999"/>{line}'
        f'<circle cx="{place["value"]:.0f}" cy="8" r="4" fill="{colour}"/></svg>'
    )
