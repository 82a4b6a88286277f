"""Charts of formats and of what a change of format explains; as in `charts`, each title states the finding."""

from __future__ import annotations

import altair as alt
import pandas as pd

from mathtransfer import GROUP_TITLES
from mathtransfer.pages.theme import (
    FORMAT_COLOURS,
    PART_COLOURS,
    WIDTH,
    by_group,
    fixed_colours,
    numbers,
    zero_rule,
)

_LABELS = 220  # pixels for the names of settings
_PARTS = dict(zip(("format", "within"), PART_COLOURS, strict=True))  # part of a gain -> as a chart calls it


def accuracies(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """Accuracy of each setting in each format with its interval, a panel a group; the interval ends at 0 and 100%.

    Args:
        table: `setting, group, format, value, low, high` in percent; settings keep their order.
    """
    shown = table.replace({"group": GROUP_TITLES}).assign(
        start=table["low"].clip(0, 100), end=table["high"].clip(0, 100)
    )
    formats = {name: colour for name, colour in FORMAT_COLOURS.items() if name in set(table["format"])}
    axis = "accuracy (%)"
    shared = alt.Chart(shown).encode(
        y=_settings(table),
        yOffset=alt.YOffset("format:N", sort=list(formats)),
        color=fixed_colours("format", formats),
        tooltip=["setting", "group", "format", *numbers(["value", "low", "high"], ".1f")],
    )
    bars = shared.mark_rule(strokeWidth=2).encode(x=alt.X("start:Q", title=axis), x2="end:Q")
    dots = shared.mark_circle(size=45, opacity=1).encode(x=alt.X("value:Q", title=axis))
    chart = alt.layer(bars, dots).properties(width=_width(table), height=alt.Step(7))
    return by_group(chart, title, description)


def shares(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """How each setting's natural answers begin: a bar of 100% in parts, a panel a group.

    Args:
        table: as in `accuracies`.
    """
    formats = {name: colour for name, colour in FORMAT_COLOURS.items() if name in set(table["format"])}
    shown = table.replace({"group": GROUP_TITLES}).assign(place=table["format"].map(list(formats).index))
    chart = (
        alt.Chart(shown)
        .mark_bar()
        .encode(
            y=_settings(table),
            x=alt.X("value:Q", title="natural answers (%)", scale=alt.Scale(domain=[0, 100])),
            color=fixed_colours("format", formats),
            order="place:Q",
            tooltip=["setting", "group", "format", *numbers(["value", "low", "high"], ".1f")],
        )
        .properties(width=_width(table), height=alt.Step(16))
    )
    return by_group(chart, title, description)


def gain_in_parts(explained: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """A bar in two parts for every setting, a panel a group; parts of different sign lie on either side of zero.

    A dot with its interval is the whole gain. An interval without an end, or one that reaches far beyond all bars, ends
    where the panel does.

    Args:
        explained: from `claims.elicitation.explained`; settings keep their order.
    """
    table = explained[["gain", "format", "within"]].stack(0, future_stack=True)
    table = table.rename_axis(["setting", "group", "part"]).reset_index()
    left, right = _reach(table[table["part"] != "gain"])
    shown = table.replace({"group": GROUP_TITLES, "part": _PARTS}).assign(
        start=table["low"].clip(left, right), end=table["high"].clip(left, right)
    )
    axis = "gain (points)"
    x = alt.X("value:Q", title=axis, stack="zero", scale=alt.Scale(domain=[left, right], nice=False))
    tooltip = ["part", "setting", "group", *numbers(["value", "low", "high"], "+.1f")]
    shared = alt.Chart(shown).encode(y=_settings(table), tooltip=tooltip)
    bars = (
        shared.transform_filter("datum.part != 'gain'")
        .mark_bar()
        .encode(x=x, color=fixed_colours("part", PART_COLOURS), order=alt.Order("part:N"))
    )
    sums = shared.transform_filter("datum.part == 'gain'")
    spans = sums.mark_rule(strokeWidth=2, color="black").encode(x=alt.X("start:Q", title=axis), x2="end:Q")
    dots = sums.mark_circle(size=50, opacity=1, color="black").encode(x=alt.X("value:Q", title=axis))
    chart = alt.layer(bars, zero_rule(shown), spans, dots).properties(width=_width(table), height=alt.Step(18))
    return by_group(chart, title, description)


def _settings(table: pd.DataFrame) -> alt.Y:
    return alt.Y("setting:N", sort=list(table["setting"].unique()), title=None, axis=alt.Axis(labelLimit=_LABELS))


def _width(table: pd.DataFrame) -> int:
    return (WIDTH - _LABELS) // table["group"].nunique() - 20


def _reach(parts: pd.DataFrame) -> tuple[float, float]:
    """How far the bars reach to either side of zero, and a third of that range beyond."""
    bars = parts.groupby(["setting", "group"])["value"]
    left, right = bars.agg(lambda own: own.clip(upper=0).sum()).min(), bars.agg(lambda own: own.clip(0).sum()).max()
    beyond = (right - left) / 3 or 1.0
    return float(left - beyond), float(right + beyond)
