"""A chart of what a change of format explains; as in `charts`, its title states the finding."""

from __future__ import annotations

import altair as alt
import pandas as pd

from mathtransfer import GROUP_TITLES
from mathtransfer.pages.theme import WIDTH, fixed_colours, numbers, setting_colours, zero_rule

_PARTS = {"by the change of format": 1.0, "within formats": 0.45}  # how strong the setting's colour is


def gain_in_parts(parts: pd.DataFrame, whole: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """A bar in two parts for every setting, one row a group; parts of different sign lie on either side of zero.

    Args:
        parts: `setting, group, part, value, low, high`; `part` is `format` or `within`.
        whole: the gain that the parts add up to, without `part`: a dot with its interval.
    """
    names = dict(zip(("format", "within"), _PARTS, strict=True))
    colours = setting_colours(list(whole["setting"]))
    tooltip = ["setting", "group", *numbers(["value", "low", "high"], "+.1f")]
    y = alt.Y("setting:N", sort=list(colours), title=None, axis=None)
    axis = "gain over the base (percentage points): bars its two parts, dot the whole with its 95% interval"
    named = pd.concat([parts.replace({"part": names}), whole.assign(part="whole")]).replace({"group": GROUP_TITLES})
    shared = alt.Chart(named).encode(y=y)
    bars = (
        shared.transform_filter("datum.part != 'whole'")
        .mark_bar(height=14)
        .encode(
            x=alt.X("value:Q", title=axis, stack="zero"),
            color=fixed_colours("setting", colours),
            opacity=alt.Opacity("part:O", scale=alt.Scale(domain=list(_PARTS), range=list(_PARTS.values()))),
            order=alt.Order("part:O"),
            tooltip=["part", *tooltip],
        )
    )
    sums = shared.transform_filter("datum.part == 'whole'")
    spans = sums.mark_rule(strokeWidth=2, color="black").encode(x=alt.X("low:Q", title=axis), x2="high:Q")
    dots = sums.mark_circle(size=70, opacity=1, color="black").encode(x="value:Q", tooltip=tooltip)
    return (
        alt.layer(bars, zero_rule(named), spans, dots)
        .properties(width=WIDTH - 160, height=alt.Step(24))
        .facet(
            row=alt.Row("group:N", sort=list(GROUP_TITLES.values()), header=alt.Header(labelAngle=0, labelAlign="left"))
        )
        .properties(title=title, description=description)
    )
