"""Charts of the recorded study that several chapters share; as in `charts`, each title states the finding."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from mathtransfer import GROUP_TITLES
from mathtransfer.pages.theme import COLOURS, PHONE, WIDTH, by_group, fixed_colours, numbers, setting_colours, zero_rule

_LABELS = 250  # pixels for the names of rows


def forest(
    table: pd.DataFrame,
    axis: str,
    title: str | alt.Title,
    description: str,
    little: float = 0.0,
    stacked: bool = False,
) -> alt.FacetChart:
    """Effects with their intervals, a row each and a panel a group, about a line at zero.

    An interval without an end, or one that reaches far beyond all effects, ends where the panel does.

    Args:
        table: `row, group, series, value, low, high`; the colour tells the series apart, which are settings or not.
            Rows and series keep their order.
        axis: the axis title, with its unit.
        little: the margin of what counts as little, shaded to both sides of zero; none if zero.
        stacked: panels one below the other, narrow enough for a phone.
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
    labels = min(_LABELS, 7 * int(table["row"].str.len().max()))
    width = PHONE - labels if stacked else (WIDTH - labels) // table["group"].nunique() - 20
    chart = alt.layer(*layers).properties(width=width, height=height)
    return by_group(chart, title, description, stacked)


def interaction(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """A line a style from off-policy to on-policy, a row of panels a part, a column a group; ends as in `forest`.

    If neither factor changes what the other does, the lines are parallel.

    Args:
        table: `part, policy, style, group, value, low, high`, gains in percentage points.
    """
    low, high = _domain(table, 0.0)
    shown = table.replace({"group": GROUP_TITLES}).assign(
        start=table["low"].clip(low, high), end=table["high"].clip(low, high)
    )
    axis = "gain (points)"
    shared = alt.Chart(shown).encode(
        x=alt.X("policy:N", sort=["off-policy", "on-policy"], title=None, axis=alt.Axis(labelAngle=0)),
        color=fixed_colours("style", {style: COLOURS[f"off-policy SFT, {style}"] for style in table["style"].unique()}),
        tooltip=["part", "policy", "style", "group", *numbers(["value", "low", "high"], "+.1f")],
    )
    y = alt.Y("start:Q", title=axis, scale=alt.Scale(domain=[low, high], nice=False, zero=False))
    bars = shared.mark_rule(strokeWidth=2).encode(y=y, y2="end:Q")
    lines = shared.mark_line(strokeWidth=1.5).encode(y=alt.Y("value:Q", title=axis))
    points = shared.mark_circle(size=60, opacity=1).encode(y=alt.Y("value:Q", title=axis))
    zero = alt.Chart(shown).mark_rule(color="#888888").encode(y=alt.datum(0))
    in_lines = alt.Header(labelAngle=0, labelAlign="left", labelExpr="split(datum.label, ', ')")
    return (
        alt.layer(zero, bars, lines, points)
        .properties(width=(WIDTH - 100) // 3 - 50, height=110)
        .facet(
            column=alt.Column("group:N", sort=list(GROUP_TITLES.values())),
            row=alt.Row("part:N", sort=list(table["part"].unique()), header=in_lines),
        )
        .properties(title=title, description=description)
    )


def erring_teacher(table: pd.DataFrame, axis: str, title: str, description: str) -> alt.FacetChart:
    """Gains against how much of what a teacher says is wrong, a panel a group; ends as in `forest`.

    Args:
        table: `setting, style, errs, group, value, low, high`; `errs` in percent, the style is the teacher's.
        axis: the title of the value's axis, with its unit.
    """
    low, high = _domain(table, 0.0)
    shown = table.replace({"group": GROUP_TITLES}).assign(
        start=table["low"].clip(low, high),
        end=table["high"].clip(low, high),
        style=table["style"] + " style",
        line=table["setting"] + table["style"],
    )
    colours = setting_colours(list(table["setting"]))
    shared = alt.Chart(shown).encode(
        x=alt.X("errs:O", title="wrong responses (%)", axis=alt.Axis(labelAngle=0)),
        xOffset=alt.XOffset("line:N"),
        color=fixed_colours("setting", colours),
        detail="line:N",
        tooltip=["setting", "style", "errs", "group", *numbers(["value", "low", "high"], "+.1f")],
    )
    y = alt.Y("start:Q", title=axis, scale=alt.Scale(domain=[low, high], nice=False, zero=False))
    shape = alt.Shape("style:N", scale=alt.Scale(range=["circle", "square"]))
    bars = shared.mark_rule(strokeWidth=2).encode(y=y, y2="end:Q")
    lines = shared.mark_line(strokeWidth=1).encode(y=alt.Y("value:Q", title=axis))
    points = shared.mark_point(size=60, filled=True, opacity=1).encode(y=alt.Y("value:Q", title=axis), shape=shape)
    zero = alt.Chart(shown).mark_rule(color="#888888").encode(y=alt.datum(0))
    chart = alt.layer(zero, bars, lines, points).properties(width=WIDTH // 3 - 40, height=200)
    return by_group(chart, title, description)


def curves(table: pd.DataFrame, axis: str, title: str, description: str) -> alt.FacetChart:
    """A line with its band for every setting over the updates of training, a panel a kind of base.

    Args:
        table: `kind, setting, step, value, low, high`.
        axis: the axis title, with its unit, and what line and band are.
    """
    colours = setting_colours(list(table["setting"]))
    shared = alt.Chart(table).encode(
        x=alt.X("step:Q", title="update"),
        color=fixed_colours("setting", colours).legend(symbolOpacity=1, columns=3),
        tooltip=["kind", "setting", "step", *numbers(["value", "low", "high"], ".3~f")],
    )
    bands = shared.mark_area(opacity=0.15).encode(y=alt.Y("low:Q", title=axis), y2="high:Q")
    lines = shared.mark_line(strokeWidth=1.5).encode(y=alt.Y("value:Q", title=axis))
    panels = alt.layer(bands, lines).properties(width=WIDTH // 2 - 70, height=200)
    return panels.facet(column=alt.Column("kind:N"), title=title).properties(description=description)


def _domain(table: pd.DataFrame, little: float) -> tuple[float, float]:
    """From the least to the largest effect or margin, and a third of that range to either side."""
    values = [*table["value"], -little, little]
    beyond = (np.nanmax(values) - np.nanmin(values)) / 3
    return float(np.nanmin(values) - beyond), float(np.nanmax(values) + beyond)
