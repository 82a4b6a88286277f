"""Charts of drift over the recorded study's bases; as in `charts`, each title states the finding."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from mathtransfer import GROUP_TITLES
from mathtransfer.pages.theme import WIDTH, fixed_colours, numbers, setting_colours

_LABELS = 200  # pixels for the names of settings
_ANSWERS = {"natural": 1.0, "equal format": 0.45}  # how strong a setting's colour is


def times_rl(ratios: pd.DataFrame, what: str) -> list[str]:
    """How many times as far SFT moved as RL on reasoning, a line for each kind of base, to be a chart's title.

    Args:
        ratios: `kind, answers, group, value`, SFT over RL.
        what: what is compared, such as "shift".
    """
    logs = np.log(ratios[ratios["group"] != "non"].set_index(["kind", "answers"])["value"])
    means = np.exp(logs.groupby(level=["kind", "answers"], sort=False).mean()).unstack()
    return [
        f"{kind.capitalize()} bases, reasoning: SFT's {what} is {row['natural']:.1f} times RL's, "
        f"{row['equal format']:.1f} at equal format"
        for kind, row in means.iterrows()
    ]


def by_setting(table: pd.DataFrame, axis: str, title: str | list[str], description: str) -> alt.FacetChart:
    """A measure of drift of every setting with its interval: a panel a group and kind of base, on a logarithmic scale.

    Args:
        table: `kind, answers, setting, group, value, low, high`; natural answers have the full colour of the setting,
            those at equal format a lighter one. Values of zero are left out.
        axis: the axis title, with its unit.
    """
    table = table[table["value"] > 0]  # a token may never have changed its rank
    colours, values = setting_colours(list(table["setting"])), table["value"]
    ends = [values.min() / 2, values.max() * 2]
    shown = table.assign(start=table["low"].clip(*ends), end=table["high"].clip(*ends))
    x = alt.X("start:Q", title=None, scale=alt.Scale(type="log", domain=ends, nice=False))
    strength = alt.Scale(domain=list(_ANSWERS), range=list(_ANSWERS.values()))
    shared = alt.Chart(_titled(shown)).encode(
        y=alt.Y("setting:N", sort=list(colours), title=None, axis=alt.Axis(labelLimit=_LABELS)),
        yOffset=alt.YOffset("answers:N", sort=list(_ANSWERS)),
        color=fixed_colours("setting", colours).legend(None),
        opacity=alt.Opacity("answers:N", scale=strength),
        tooltip=["kind", "setting", "group", "answers", *numbers(["value", "low", "high"], ".3~g")],
    )
    bars = shared.mark_rule(strokeWidth=2).encode(x=x, x2="end:Q")
    dots = shared.mark_circle(size=50).encode(x=alt.X("value:Q", title=None))
    chart = alt.layer(bars, dots).properties(width=(WIDTH - _LABELS) // 3 - 20, height=alt.Step(11))
    return _panels(chart, alt.Title(title, subtitle=f"{axis}; 95% interval over bases and questions"), description)


def prediction(
    table: pd.DataFrame, x: str, x_title: str, y: str, y_title: str, title: str | list[str], description: str
) -> alt.FacetChart:
    """A point for each cell of the study and the line of least squares through all: a panel a group and kind of base.

    Args:
        table: `kind, group, setting, base, changes` and the columns `x` and `y`.
    """
    colours = setting_colours(list(table["setting"]))
    lines = [_line(own[x], own[y]) for _, own in table.groupby(["kind", "group"])]
    shared = alt.Chart(_titled(table.assign(line=pd.concat(lines)))).encode(
        x=alt.X(f"{x}:Q", title=x_title, scale=alt.Scale(zero=False)), y=alt.Y(f"{y}:Q", title=y_title)
    )
    cells = shared.mark_circle(size=45, opacity=0.85).encode(
        color=fixed_colours("setting", colours).legend(columns=3),
        tooltip=["setting", "base", "changes", "group", *numbers([x, y], ".3~g")],
    )
    line = shared.mark_line(color="black", strokeWidth=1.5).encode(y="line:Q")
    panels = alt.layer(line, cells).properties(width=WIDTH // table["group"].nunique() - 70, height=190)
    return _panels(panels, title, description)


def _line(x: pd.Series, y: pd.Series) -> pd.Series:
    """The line of least squares at each x; the mean if all x are the same."""
    line = np.polynomial.Polynomial.fit(x.to_numpy(), y.to_numpy(), int(x.nunique() > 1))
    return pd.Series(line(x.to_numpy()), index=x.index)


def _titled(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(group=table["group"].map(GROUP_TITLES), kind=table["kind"] + " bases")


def _panels(chart: alt.LayerChart, title: str | list[str] | alt.Title, description: str) -> alt.FacetChart:
    rows, columns = alt.Row("kind:N"), alt.Column("group:N", sort=list(GROUP_TITLES.values()))
    return chart.facet(row=rows, column=columns, title=title).properties(description=description)
