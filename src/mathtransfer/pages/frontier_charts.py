"""Charts of what a gain costs, and of how likely a study is to see an effect; titles state findings, as in `charts`."""

from __future__ import annotations

import altair as alt
import pandas as pd

from mathtransfer import GROUP_TITLES
from mathtransfer.pages.theme import WIDTH, fixed_colours, numbers, setting_colours

_ENOUGH = 80  # percent of studies that a good one should be among


def frontiers(table: pd.DataFrame, x: str, x_title: str, title: str, description: str) -> alt.FacetChart:
    """A line for every setting through its points in order, a row of panels for each way to answer, a column a group.

    A click on a setting in the legend leaves it alone.

    Args:
        table: `setting, at, group, answers`, the column `x`, and the gain as `value, low, high` (percentage points); a
            line goes by growing `at`.
        x_title: the axis title, with its unit.
    """
    colours = setting_colours(list(table["setting"]))
    alone = alt.selection_point(fields=["setting"], bind="legend")
    named = table.replace({"group": GROUP_TITLES})
    shared = alt.Chart(named).encode(
        x=alt.X(f"{x}:Q", title=x_title),
        color=fixed_colours("setting", colours).legend(columns=3),
        opacity=alt.when(alone).then(alt.value(1)).otherwise(alt.value(0.08)),
        tooltip=["setting", "at", "answers", "group", *numbers([x, "value", "low", "high"], "+.3~g")],
    )
    axis = "gain (percentage points)"
    zero = alt.Chart(named).mark_rule(color="#888888").encode(y=alt.datum(0))
    bars = shared.mark_rule(strokeWidth=1, strokeOpacity=0.4).encode(y=alt.Y("low:Q", title=axis), y2="high:Q")
    lines = shared.mark_line(strokeWidth=1.5).encode(y=alt.Y("value:Q", title=axis), order="at:Q")
    points = shared.mark_circle(size=30).encode(y=alt.Y("value:Q", title=axis)).add_params(alone)
    groups = [name for name in GROUP_TITLES.values() if name in set(named["group"])]
    return (
        alt.layer(zero, bars, lines, points)
        .properties(width=(WIDTH - 130) // len(groups), height=190)
        .facet(
            column=alt.Column("group:N", sort=groups), row=alt.Row("answers:N", sort=list(table["answers"].unique()))
        )
        .properties(title=title, description=description)
    )


def power(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """How often a criterion is decided at each true size of an effect, a panel a question, with a line at 80%.

    Args:
        table: `question, series, effect` (percentage points) and `value` (percent of studies).
    """
    colours = setting_colours(list(table["series"]))
    lines = (
        alt.Chart(table)
        .mark_line(point=True, strokeWidth=1.5)
        .encode(
            x=alt.X("effect:Q", title="true effect (points)"),
            y=alt.Y("value:Q", title="studies that show it (%)", scale=alt.Scale(domain=[0, 100])),
            color=fixed_colours("series", colours),
            tooltip=["question", "series", "effect", *numbers(["value"], ".0f")],
        )
    )
    seen = alt.Chart(table).mark_rule(color="#888888", strokeDash=[4, 3]).encode(y=alt.datum(_ENOUGH))
    return (
        alt.layer(seen, lines)
        .properties(width=WIDTH // table["question"].nunique() - 60, height=180)
        .facet(column=alt.Column("question:N", sort=list(table["question"].unique())), title=title)
        .properties(description=description)
    )
