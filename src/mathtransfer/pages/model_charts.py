"""Charts of real models, the paper's and our own: indices, ranks, shifts, scores, and what their answers were.

As in `charts`, every function takes a title that states the finding and a description that stands in for the picture.
"""

from __future__ import annotations

import altair as alt
import pandas as pd

from mathtransfer import GROUP_TITLES
from mathtransfer.benchmarks.grades import CORRECT, NO_ANSWER, NOT_GRADED, READINGS, WRONG
from mathtransfer.pages.theme import COLOURS, WIDTH, by_group, fixed_colours, method_colour, numbers, zero_rule

_STATUS_COLOURS = {CORRECT: "#009E73", WRONG: "#D55E00", NO_ANSWER: "#bbbbbb", NOT_GRADED: "#000000"}
_REACH = 400.0  # percent: indices and their intervals are cut at plus and minus this


def model_indices(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """Every model's index with its interval, and a grey tick at the index that the paper prints, one panel a group.

    Args:
        table: `model, method, group, value, low, high, printed` in percent.
    """
    columns = ["low", "value", "high", "printed"]
    cut = table.assign(**{f"cut_{name}": table[name].clip(-_REACH, _REACH) for name in columns})
    cut = cut.replace({"group": GROUP_TITLES})
    order = list(table.sort_values(["method", "value"], ascending=[True, False])["model"].unique())
    shared = alt.Chart(cut).encode(
        y=alt.Y("model:N", sort=order, title=None, axis=alt.Axis(labelLimit=290)),
        tooltip=["model", "method", *numbers(columns, ".0f")],
    )
    axis = alt.X("cut_low:Q", title="index (%), 95% interval", scale=alt.Scale(domain=[-_REACH, _REACH], nice=False))
    bars = shared.mark_rule(strokeWidth=2).encode(x=axis, x2="cut_high:Q", color=method_colour())
    points = shared.mark_circle(size=60, opacity=1).encode(x="cut_value:Q", color=method_colour())
    printed = shared.mark_tick(thickness=2, size=12, color="#333333").encode(x="cut_printed:Q")
    panel = alt.layer(zero_rule(cut), bars, points, printed)
    return by_group(panel.properties(width=WIDTH // 2 - 115, height=alt.Step(17)), title, description)


def rank_spans(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """The lowest and highest rank of every model and, as a dot, one rank between, one panel a group.

    Args:
        table: `model, method, group, min, max, start`.
    """
    order = list(table[table["group"] == "non"].sort_values("start")["model"])
    shared = alt.Chart(table.replace({"group": GROUP_TITLES})).encode(
        y=alt.Y("model:N", sort=order, title=None, axis=alt.Axis(labelLimit=290)),
        color=method_colour(),
        tooltip=["model", "method", "start", "min", "max"],
    )
    spans = shared.mark_rule(strokeWidth=2).encode(x=alt.X("min:Q", title="rank"), x2="max:Q")
    points = shared.mark_circle(size=60, opacity=1).encode(x="start:Q")
    panel = alt.layer(spans, points).properties(width=WIDTH // 2 - 115, height=alt.Step(17))
    return by_group(panel, title, description)


def shifts_by_size(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """A dot for each model: PCA shift against size, both logarithmic, one panel a group.

    Args:
        table: `model, method, group, params_b` (billions) and `shift` (units of the model's hidden states).
    """
    sizes = alt.Axis(title="parameters (billions)", values=[2, 7, 14, 32])
    panel = (
        alt.Chart(table.replace({"group": GROUP_TITLES}))
        .mark_circle(size=80, opacity=0.85)
        .encode(
            x=alt.X("params_b:Q", scale=alt.Scale(type="log"), axis=sizes),
            y=alt.Y("shift:Q", title="PCA shift", scale=alt.Scale(type="log")),
            color=method_colour(),
            tooltip=["model", "method", *numbers(["shift"], ".3~g")],
        )
        .properties(width=WIDTH // 3 - 50, height=190)
    )
    return by_group(panel, title, description)


def shift_against_gain(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """A dot for each model: gain against PCA shift (logarithmic), one panel a group, a line for each training method.

    Args:
        table: `model, method, group, shift` and `gain` (percentage points).
    """
    shared = alt.Chart(table.replace({"group": GROUP_TITLES})).encode(
        x=alt.X("shift:Q", title="PCA shift", scale=alt.Scale(type="log")),
        y=alt.Y("gain:Q", title="gain (percentage points)"),
        color=method_colour(),
    )
    tooltip = ["model", "method", *numbers(["shift", "gain"], ".3~g")]
    points = shared.mark_circle(size=80, opacity=0.9).encode(tooltip=tooltip)
    trend = shared.transform_regression("shift", "gain", method="log", groupby=["method", "group"]).mark_line(
        opacity=0.5
    )
    panel = alt.layer(points, trend).properties(width=WIDTH // 2 - 60, height=220)
    return by_group(panel, title, description)


def statuses(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """The shares of each status as stacked bars, a row a reading, a panel a model and benchmark.

    Args:
        table: `model, benchmark, reading, status, responses` and `share` (percent).
    """
    named = table.assign(what=table["benchmark"] + ": " + table["model"])
    header = alt.Header(labelAngle=0, labelAnchor="start", labelOrient="top")
    return (
        _status_bars(named, "responses (%)")
        .encode(
            y=alt.Y("reading:N", sort=list(READINGS), title=None),
            tooltip=["what", "reading", "status", "responses", *numbers(["share"], ".1f")],
        )
        .properties(width=WIDTH - 160, height=alt.Step(20))
        .facet(row=alt.Row("what:N", header=header), title=title)
        .properties(description=description)
    )


def coverage(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """What a survey holds so far, a cell for each model and benchmark, one panel a group.

    Args:
        table: `model, group, benchmark, status`, and `paper`, `value` (percent) for whoever points at a cell.
    """
    colours = {"measured": COLOURS["on-policy RL"], "missing": "#dddddd", "no public release": "#888888"}
    panel = (
        alt.Chart(table.replace({"group": GROUP_TITLES}))
        .mark_rect(stroke="white")
        .encode(
            x=alt.X("benchmark:N", sort=None, title=None, axis=alt.Axis(labelAngle=-60, grid=False)),
            y=alt.Y("model:N", sort=None, title=None, axis=alt.Axis(labelLimit=290, grid=False)),
            color=fixed_colours("status", colours),
            tooltip=["model", "benchmark", "status", *numbers(["paper", "value"], ".1f")],
        )
        .properties(width=alt.Step(26), height=alt.Step(15))
    )
    return by_group(panel, title, description).resolve_scale(x="independent")


def differences(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """How far our scores are from the paper's, a dot for each model and benchmark, one panel a grading.

    Args:
        table: `model, benchmark, grading, value, paper` (percent), `difference` and its interval `low, high`
            (percentage points), and `place`, what the dots are coloured by: `inside` or `outside`.
    """
    colours = {"inside": COLOURS["on-policy RL"], "outside": COLOURS["off-policy SFT"]}
    points = (
        alt.Chart(table)
        .mark_circle(size=60, opacity=0.8)
        .encode(
            x=alt.X("difference:Q", title="ours less the paper's (percentage points)"),
            y=alt.Y("benchmark:N", sort=None, title=None),
            color=fixed_colours("place", colours),
            tooltip=["model", "benchmark", *numbers(["value", "paper", "difference", "low", "high"], ".1f")],
        )
    )
    return (
        alt.layer(zero_rule(table), points)
        .properties(width=WIDTH // 2 - 80, height=alt.Step(20))
        .facet(column=alt.Column("grading:N", sort=list(table["grading"].unique())), title=title)
        .properties(description=description)
    )


def scores_of_one(scores: pd.DataFrame, answers: pd.DataFrame, title: str, description: str) -> alt.HConcatChart:
    """The scores of one model, chosen in a drop-down, with intervals, and beside them what its answers were.

    Args:
        scores: `model, benchmark, grading, value, low, high` in percent; the models are offered in the table's order.
        answers: `model, benchmark, status` and `share` (percent); if it is empty, there is no second panel.
    """
    models = list(scores["model"].unique())
    choice = alt.param(name="model", value=models[0], bind=alt.binding_select(options=models, name="model "))
    y = alt.Y("benchmark:N", sort=None, title=None)
    panels = [_scores_with_intervals(scores, y)]
    if len(answers):
        colour = fixed_colours("status", _STATUS_COLOURS).legend(columns=1)
        tooltip = ["benchmark", "status", *numbers(["share"], ".1f")]
        panels.append(_status_bars(answers, "answers (%)").encode(y=y.axis(None), color=colour, tooltip=tooltip))
    size = {"width": WIDTH // 2 - 100, "height": alt.Step(27, **{"for": "position"})}
    panels = [panel.transform_filter("datum.model == model").properties(**size) for panel in panels]
    chart = alt.hconcat(*panels, title=title).add_params(choice)
    return chart.resolve_scale(color="independent").properties(description=description)


def _scores_with_intervals(scores: pd.DataFrame, y: alt.Y) -> alt.LayerChart:
    gradings = list(scores["grading"].unique())
    colours = alt.Scale(domain=gradings, range=["#666666", "#0072B2", "#E69F00"])
    shared = alt.Chart(scores).encode(
        y=y,
        yOffset=alt.YOffset("grading:N", sort=gradings),
        color=alt.Color("grading:N", scale=colours, legend=alt.Legend(columns=1)),
        tooltip=["benchmark", "grading", *numbers(["value", "low", "high"], ".1f")],
    )
    axis = {"title": "accuracy (%), 95% interval", "scale": alt.Scale(domain=[0, 100])}
    bars = shared.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", **axis), x2="high:Q")
    return alt.layer(bars, shared.mark_circle(size=60, opacity=1).encode(x=alt.X("value:Q", **axis)))


def _status_bars(table: pd.DataFrame, axis: str) -> alt.Chart:
    """The shares of each status, stacked in the order of the colours."""
    order = {status: place for place, status in enumerate(_STATUS_COLOURS)}
    return (
        alt.Chart(table.assign(order=table["status"].map(order)))
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title=axis, scale=alt.Scale(domain=[0, 100])),
            color=fixed_colours("status", _STATUS_COLOURS),
            order="order:O",
        )
    )
