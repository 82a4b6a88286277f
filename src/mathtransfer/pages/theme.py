"""What all charts have in common: Altair's theme, their width, and one colour a training setting and method."""

from __future__ import annotations

import altair as alt
import pandas as pd

from mathtransfer import GROUP_TITLES

# Okabe and Ito's palette and Paul Tol's muted one: people with any of the common colour deficiencies see each.
COLOURS = {
    "base": "#666666",
    "off-policy SFT": "#D55E00",
    "off-policy SFT, foreign style": "#B34700",
    "off-policy SFT, own style": "#999933",
    "off-policy SFT, rejection": "#E69F00",
    "SFT on the base's samples": "#AA4499",
    "SFT on RL's samples": "#117733",
    "on-policy SFT, foreign style": "#882255",
    "on-policy SFT": "#CC79A7",
    "off-policy RL": "#56B4E9",
    "on-policy RL with KL": "#009E73",
    "on-policy RL without negatives": "#332288",
    "on-policy RL": "#0072B2",
}
# Formats of answers, and the two parts of a gain that they make.
FORMAT_COLOURS = {
    "natural": "#000000",
    "at once": "#56B4E9",
    "in steps": "#0072B2",
    "as the teacher": "#B34700",
    "otherwise": "#BBBBBB",
}
PART_COLOURS = {"by the change of format": "#E69F00", "within formats": "#009E73"}
WIDTH, PHONE = 640, 340  # of a chart, pixels; and of one that a phone shows whole

# Of what is no setting of ours, in turn: black, and what is left of Paul Tol's palette.
_OTHERS = ("#000000", "#CC6677", "#44AA99", "#DDCC77", "#BBBBBB")


@alt.theme.register("mathtransfer", enable=True)
def _theme() -> alt.theme.ThemeConfig:
    return alt.theme.ThemeConfig(
        config={
            "font": "Helvetica, Arial, sans-serif",
            "background": "white",
            "view": {"stroke": None},
            "axis": {"grid": True, "gridColor": "#e8e8e8", "domain": False, "labelFontSize": 12, "titleFontSize": 12},
            "title": {"anchor": "start", "fontSize": 15, "fontWeight": 600, "offset": 12},
            "legend": {"orient": "top", "title": None, "labelFontSize": 12, "labelLimit": 260},
            "header": {"labelFontSize": 12, "title": None},
        }
    )


def fixed_colours(column: str, colours: dict[str, str]) -> alt.Color:
    """The colour of each value of a column, in this order in the legend."""
    return alt.Color(f"{column}:N", scale=alt.Scale(domain=list(colours), range=list(colours.values())))


def setting_colours(settings: list[str]) -> dict[str, str]:
    """Setting -> colour: ours in the order of the palette, then others in their own order."""
    ours = {name: colour for name, colour in COLOURS.items() if name in settings}
    others = [name for name in dict.fromkeys(settings) if name not in COLOURS]
    return ours | {name: _OTHERS[i % len(_OTHERS)] for i, name in enumerate(others)}


def method_colour() -> alt.Color:
    """RL and SFT in the colours of the two settings that the controlled study names so."""
    return fixed_colours("method", {"RL": COLOURS["on-policy RL"], "SFT": COLOURS["off-policy SFT"]})


def numbers(columns: list[str], format: str) -> list[alt.Tooltip]:
    """Tooltips of columns of numbers."""
    return [alt.Tooltip(f"{column}:Q", format=format) for column in columns]


def zero_rule(table: pd.DataFrame) -> alt.Chart:
    """A grey vertical line at zero, to lie under a chart of the same table."""
    return alt.Chart(table).mark_rule(color="#888888").encode(x=alt.datum(0))


def by_group(
    chart: alt.Chart | alt.LayerChart, title: str | alt.Title, description: str, stacked: bool = False
) -> alt.FacetChart:
    """One panel a group, in the paper's order; the chart's table has the groups' titles in `group`.

    Panels stand side by side, or one below the other, as a phone wants them.
    """
    order = list(GROUP_TITLES.values())
    of_group = (
        alt.Row("group:N", sort=order, header=alt.Header(orient="top"))
        if stacked
        else alt.Column("group:N", sort=order)
    )
    return chart.facet(**{"row" if stacked else "column": of_group}, title=title).properties(description=description)
