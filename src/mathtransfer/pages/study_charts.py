"""Charts of the recorded study that several chapters share; as in `charts`, each title states the finding."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from mathtransfer import GROUP_TITLES
from mathtransfer.pages.theme import WIDTH, by_group, fixed_colours, numbers, setting_colours, zero_rule

_LABELS = 220  # pixels for the names of rows


def forest(table: pd.DataFrame, axis: str, title: str, description: str, little: float = 0.0) -> alt.FacetChart:
    """Effects with their intervals, a row each and a panel a group, about a line at zero.

    An interval without an end, or one that reaches far beyond all effects, ends where the panel does.

    Args:
        table: `row, group, series, value, low, high`; the colour tells the series apart, which are settings or not.
            Rows and series keep their order.
        axis: the axis title, with its unit.
        little: the margin of what counts as little, shaded to both sides of zero; none if zero.
    """
    left, right = _domain(table, little)
    shown = table.replace({"group": GROUP_TITLES}).assign(
        start=table["low"].clip(left, right), end=table["high"].clip(left, right)
    )
    colours = setting_colours(list(table["series"]))
    x = alt.X("start:Q", title=axis, scale=alt.Scale(domain=[left, right], nice=False, zero=False))
    shared = alt.Chart(shown).encode(
        y=alt.Y("row:N", sort=list(table["row"].unique()), title=None, axis=alt.Axis(labelLimit=_LABELS)),
        yOffset=alt.YOffset("series:N", sort=list(colours)),
        color=fixed_colours("series", colours),
        tooltip=["row", "group", "series", *numbers(["value", "low", "high"], "+.1f")],
    )
    band = alt.Chart(shown).mark_rect(color="#eeeeee").encode(x=alt.datum(-little), x2=alt.datum(little))
    bars = shared.mark_rule(strokeWidth=2).encode(x=x, x2="end:Q")
    dots = shared.mark_circle(size=50, opacity=1).encode(x=alt.X("value:Q", title=axis))
    layers = [*([band] if little else []), zero_rule(shown), bars, dots]
    height = alt.Step(max(8, 22 // len(colours)))
    chart = alt.layer(*layers).properties(width=(WIDTH - _LABELS) // 3 - 20, height=height)
    return by_group(chart, title, description)


def _domain(table: pd.DataFrame, little: float) -> tuple[float, float]:
    """From the least to the largest effect or margin, and half of that range to either side."""
    values = [*table["value"], -little, little]
    beyond = 0.5 * (np.nanmax(values) - np.nanmin(values))
    return float(np.nanmin(values) - beyond), float(np.nanmax(values) + beyond)
