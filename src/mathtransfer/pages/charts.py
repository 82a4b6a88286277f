"""The book's charts: one Altair theme, one colour a training setting, one function for each kind of chart.

Every function takes a title that states the finding and a description that stands in for the picture (read out by
screen readers).
"""

from __future__ import annotations

import json

import altair as alt
import pandas as pd
import vl_convert

from mathtransfer import GROUP_TITLES

# Okabe and Ito's palette, which people with any of the common colour deficiencies can tell apart.
COLOURS = {
    "base": "#666666",
    "off-policy SFT": "#D55E00",
    "off-policy SFT, rejection": "#E69F00",
    "on-policy SFT": "#CC79A7",
    "off-policy RL": "#56B4E9",
    "on-policy RL with KL": "#009E73",
    "on-policy RL": "#0072B2",
}
VERDICT_COLOURS = {"reproduced": "#009E73", "not reproduced": "#D55E00", "undecided": "#999999"}
STATUS_COLOURS = {
    "correct": "#009E73",
    "wrong answer": "#D55E00",
    "no answer in the expected format": "#bbbbbb",
    "not graded": "#000000",
}
WIDTH = 640


@alt.theme.register("mathtransfer", enable=True)
def _theme() -> alt.theme.ThemeConfig:
    font = "Helvetica, Arial, sans-serif"
    return alt.theme.ThemeConfig(
        config={
            "font": font,
            "background": "white",
            "view": {"stroke": None},
            "axis": {"grid": True, "gridColor": "#e8e8e8", "domain": False, "labelFontSize": 12, "titleFontSize": 12},
            "title": {"anchor": "start", "fontSize": 15, "fontWeight": 600, "offset": 12},
            "legend": {"orient": "top", "title": None, "labelFontSize": 12, "labelLimit": 260},
            "header": {"labelFontSize": 12, "title": None},
        }
    )


def vega_bundle() -> str:
    """A script that holds Vega, so that charts draw without a network.

    Altair's notebook output fetches Vega from a CDN unless the page says that it has these versions.
    """
    versions = {"vega": alt.VEGA_VERSION, "vegalite": alt.VEGALITE_VERSION, "vegaembed": alt.VEGAEMBED_VERSION}
    there = json.dumps({f"{library}_version": version for library, version in versions.items()})
    snippet = (
        f"window.vegaEmbed = vegaEmbed; window.vega = vega; window.vegaLite = vegaLite; window.VEGA_DEBUG = {there};"
    )
    bundle = vl_convert.javascript_bundle(snippet, vl_version=".".join(alt.VEGALITE_VERSION.split(".")[:2]))
    # In a function of its own, so that the bundle's names do not clash with those of other scripts.
    return f"(function () {{\n{bundle}\n}})();\n"


def _colour(settings: list[str]) -> alt.Color:
    present = [name for name in COLOURS if name in settings]
    present += [name for name in dict.fromkeys(settings) if name not in COLOURS]
    extra = ["#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
    colours = [COLOURS.get(name) or extra[i % len(extra)] for i, name in enumerate(present)]
    return alt.Color("setting:N", scale=alt.Scale(domain=present, range=colours))


def dots(
    table: pd.DataFrame, value: str, axis: str, title: str, description: str, rows: list[str], zero_line: bool = False
) -> alt.FacetChart | alt.LayerChart:
    """A dot with its interval for every setting, one row a benchmark or group.

    Args:
        table: `row`, `setting`, the value's column, `low` and `high`.
        value: the column to draw.
        axis: the axis title, with its unit.
        rows: the order of the rows.
    """
    settings = [name for name in COLOURS if name in set(table["setting"])]
    settings += [name for name in table["setting"].unique() if name not in settings]
    y = alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(labelLimit=260))
    offset = alt.YOffset("setting:N", sort=settings)
    tooltip = ["row", "setting", *(alt.Tooltip(f"{column}:Q", format=".3~f") for column in (value, "low", "high"))]
    shared = alt.Chart(table).encode(y=y, yOffset=offset, color=_colour(settings), tooltip=tooltip)
    bars = shared.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=axis), x2="high:Q")
    points = shared.mark_circle(size=70, opacity=1).encode(x=alt.X(f"{value}:Q", title=axis))
    layers = [bars, points]
    if zero_line:
        layers.insert(0, alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(color="#888888").encode(x="x:Q"))
    height = alt.Step(10 if len(settings) > 2 else 13)
    return alt.layer(*layers).properties(width=WIDTH - 160, height=height, title=title, description=description)


def training_curves(logs: pd.DataFrame, title: str, description: str) -> alt.VConcatChart:
    """Reward, response length, entropy and gradient norm at every step, a line a training run.

    Args:
        logs: `setting`, `seed`, `step`, `reward`, `response_length`, `entropy`, `gradient_norm`.
    """
    panels = {
        "reward": "reward (share correct)",
        "response_length": "response length (tokens)",
        "entropy": "entropy (nats)",
        "gradient_norm": "gradient norm",
    }
    shared = (
        alt.Chart(logs)
        .mark_line(strokeWidth=1.3, opacity=0.85)
        .encode(
            x=alt.X("step:Q", title="step"),
            color=_colour(list(logs["setting"].unique())),
            detail="seed:N",
            tooltip=["setting", "seed", "step", *(alt.Tooltip(f"{name}:Q", format=".3~f") for name in panels)],
        )
    )
    charts = [
        shared.encode(y=alt.Y(f"{name}:Q", title=label)).properties(width=WIDTH // 2 - 70, height=150)
        for name, label in panels.items()
    ]
    return alt.vconcat(charts[0] | charts[1], charts[2] | charts[3], title=title).properties(description=description)


def recipe_costs(table: pd.DataFrame, title: str, description: str) -> alt.VConcatChart:
    """GPU hours of every recipe, and its memory beside that of the GPU.

    Args:
        table: `recipe, model, gpu, gpus, memory, capacity` (GB a GPU) and `gpu_hours`.
    """
    tooltip = [
        "recipe",
        "model",
        "gpu",
        "gpus",
        *(alt.Tooltip(f"{n}:Q", format=".3~g") for n in ("gpu_hours", "memory")),
    ]
    shared = alt.Chart(table).encode(
        y=alt.Y("recipe:N", sort=list(table["recipe"]), title=None, axis=alt.Axis(labelLimit=260)), tooltip=tooltip
    )
    hours = shared.mark_circle(size=90, opacity=1, color="#0072B2").encode(
        x=alt.X("gpu_hours:Q", title="GPU hours, estimated (logarithmic)", scale=alt.Scale(type="log"))
    )
    memory = shared.mark_bar(color="#56B4E9", height=10).encode(
        x=alt.X("memory:Q", title="memory of a GPU (GB): estimated need (bar) and what it has (tick)")
    )
    has = shared.mark_tick(color="#000000", thickness=2, height=16).encode(x="capacity:Q")
    panels = [panel.properties(width=WIDTH - 200, height=alt.Step(20)) for panel in (hours, memory + has)]
    return alt.vconcat(*panels, title=title).properties(description=description)


def lines(
    table: pd.DataFrame, x: str, x_title: str, value: str, axis: str, title: str, description: str
) -> alt.FacetChart:
    """A line a model over layers or positions, one panel a group, with a band where the table has an interval.

    Args:
        table: `group`, `setting`, `seed`, the columns `x` and `value`, and perhaps `low` and `high`.
    """
    band = {"low", "high"} <= set(table.columns)
    named = table.assign(group=table["group"].replace(GROUP_TITLES))
    groups = [name for name in GROUP_TITLES.values() if name in set(named["group"])]
    numbers = [alt.Tooltip(f"{name}:Q", format=".3~g") for name in ((value, "low", "high") if band else (value,))]
    settings = list(table["setting"].unique())
    shared = alt.Chart(named).encode(
        x=alt.X(f"{x}:O", title=x_title, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        color=_colour(settings) if len(settings) > 1 else _colour(settings).legend(None),
        detail="seed:N",
        tooltip=["group", "setting", "seed", x, *numbers],
    )
    layers = [shared.mark_line(point=alt.OverlayMarkDef(size=25)).encode(y=alt.Y(f"{value}:Q", title=axis))]
    if band:
        layers.insert(0, shared.mark_area(opacity=0.2).encode(y=alt.Y("low:Q", title=axis), y2="high:Q"))
    return (
        alt.layer(*layers)
        .properties(width=WIDTH // 3 - 50, height=190)
        .facet(column=alt.Column("group:N", sort=groups or None), title=title)
        .properties(description=description)
    )


def shifted_tokens(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """The tokens that moved most as ranked bars, one panel a model, coloured by what kind of token it is.

    Args:
        table: `setting`, `piece`, `class`, `share` (percent of all divergence), `count`, `kl` (mean, nats), `example`.
    """
    kinds = {"logical connective": "#0072B2", "number": "#E69F00", "content word": "#009E73", "format": "#999999"}
    ranked = table.assign(rank=table.groupby("setting")["share"].rank(method="first", ascending=False))
    shared = alt.Chart(ranked).encode(
        y=alt.Y("rank:O", title=None, axis=None),
        tooltip=[
            "piece",
            "class",
            "count",
            *(alt.Tooltip(f"{n}:Q", format=".3~g") for n in ("share", "kl")),
            "example",
        ],
    )
    bars = shared.mark_bar().encode(
        x=alt.X("share:Q", title="share of all divergence (%)"),
        color=alt.Color("class:N", scale=alt.Scale(domain=list(kinds), range=list(kinds.values()))),
    )
    words = shared.mark_text(align="left", dx=4, fontSize=11).encode(x="share:Q", text="piece:N")
    return (
        alt.layer(bars, words)
        .properties(width=WIDTH // max(1, ranked["setting"].nunique()) - 60, height=alt.Step(17))
        .facet(column=alt.Column("setting:N"), title=title)
        .properties(description=description)
    )


def update_map(table: pd.DataFrame, title: str, description: str) -> alt.Chart:
    """How much each kind of matrix changed in each layer, as a map.

    Args:
        table: `layer`, `kind`, `relative_update` (percent), `unchanged` and `unchanged_bfloat16` (percent).
    """
    tooltip = ["layer", "kind", "entries"]
    tooltip += [alt.Tooltip(f"{n}:Q", format=".3~g") for n in ("relative_update", "unchanged", "unchanged_bfloat16")]
    return (
        alt.Chart(table)
        .mark_rect()
        .encode(
            x=alt.X("layer:O", title="layer (-1: outside the layers)", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("kind:N", title=None),
            color=alt.Color("relative_update:Q", title="update (% of base)").scale(scheme="blues"),
            tooltip=tooltip,
        )
        .properties(width=WIDTH - 160, height=alt.Step(20), title=title, description=description)
    )


def gains(table: pd.DataFrame, title: str, description: str) -> alt.LayerChart:
    """One dot a training run and group: the gain over the base.

    Args:
        table: `setting`, `seed`, `group` and `gain` (percentage points).
    """
    named = table.replace({"group": GROUP_TITLES})
    settings = [name for name in COLOURS if name in set(table["setting"])]
    dots = (
        alt.Chart(named)
        .mark_circle(size=110, opacity=0.8)
        .encode(
            x=alt.X("gain:Q", title="gain over the base (percentage points)"),
            y=alt.Y("group:N", sort=list(GROUP_TITLES.values()), title=None, axis=alt.Axis(labelLimit=200)),
            yOffset=alt.YOffset("setting:N", sort=settings),
            color=_colour(list(table["setting"])),
            tooltip=["setting", "seed", "group", alt.Tooltip("gain:Q", format="+.1f")],
        )
    )
    zero = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(color="#888888").encode(x="x:Q")
    return (zero + dots).properties(width=WIDTH - 160, height=alt.Step(26), title=title, description=description)


def method_colour() -> alt.Color:
    """RL and SFT in the colours of the two settings that the controlled study names so."""
    return alt.Color(
        "method:N",
        scale=alt.Scale(domain=["RL", "SFT"], range=[COLOURS["on-policy RL"], COLOURS["off-policy SFT"]]),
    )


def model_indices(table: pd.DataFrame, title: str, description: str, reach: float = 400.0) -> alt.FacetChart:
    """Every model's index with its interval, and a grey tick where the paper prints another, one panel a group.

    Args:
        table: `model, method, group, value, low, high, printed, reason` in percent.
        reach: intervals and values are cut at plus and minus this.
    """
    columns = ("low", "value", "high", "printed")
    cut = table.assign(**{f"cut_{name}": table[name].clip(-reach, reach) for name in columns})
    cut = cut.replace({"group": GROUP_TITLES})
    order = list(table.sort_values(["method", "value"], ascending=[True, False])["model"].unique())
    numbers = [alt.Tooltip(f"{name}:Q", format=".0f") for name in columns]
    shared = alt.Chart(cut).encode(
        y=alt.Y("model:N", sort=order, title=None, axis=alt.Axis(labelLimit=290)),
        tooltip=["model", "method", *numbers],
    )
    axis = alt.X("cut_low:Q", title="index (%), 95% interval", scale=alt.Scale(domain=[-reach, reach], nice=False))
    bars = shared.mark_rule(strokeWidth=2).encode(x=axis, x2="cut_high:Q", color=method_colour())
    points = shared.mark_circle(size=60, opacity=1).encode(x="cut_value:Q", color=method_colour())
    printed = shared.mark_tick(thickness=2, size=12, color="#333333").encode(x="cut_printed:Q")
    zero = alt.Chart(cut).mark_rule(color="#888888").encode(x=alt.datum(0))
    return (
        alt.layer(zero, bars, points, printed)
        .properties(width=WIDTH // 2 - 115, height=alt.Step(17))
        .facet(column=alt.Column("group:N", sort=list(GROUP_TITLES.values())), title=title)
        .properties(description=description)
    )


def coverage(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """What of a survey there is, a cell a model and benchmark, one panel a group.

    Args:
        table: `model, group, benchmark, status`, and `paper`, `value` (percent) for whoever points at a cell.
    """
    colours = {"measured": COLOURS["on-policy RL"], "missing": "#dddddd", "no public release": "#888888"}
    return (
        alt.Chart(table.replace({"group": GROUP_TITLES}))
        .mark_rect(stroke="white")
        .encode(
            x=alt.X("benchmark:N", sort=None, title=None, axis=alt.Axis(labelAngle=-60, grid=False)),
            y=alt.Y("model:N", sort=None, title=None, axis=alt.Axis(labelLimit=290, grid=False)),
            color=alt.Color("status:N", scale=alt.Scale(domain=list(colours), range=list(colours.values()))),
            tooltip=[
                "model",
                "benchmark",
                "status",
                *(alt.Tooltip(f"{n}:Q", format=".1f") for n in ("paper", "value")),
            ],
        )
        .properties(width=alt.Step(26), height=alt.Step(15))
        .facet(column=alt.Column("group:N", sort=list(GROUP_TITLES.values())), title=title)
        .resolve_scale(x="independent")
        .properties(description=description)
    )


def differences(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """How far scores are from others, a dot a model and benchmark, one panel a grading.

    Args:
        table: `model, benchmark, grading, value, paper` (percent), `difference` and its interval `low, high`
            (percentage points), and `place`, what the dots are coloured by: `inside` or `outside`.
    """
    numbers = ("value", "paper", "difference", "low", "high")
    colours = {"inside": COLOURS["on-policy RL"], "outside": COLOURS["off-policy SFT"]}
    dots = (
        alt.Chart(table)
        .mark_circle(size=60, opacity=0.8)
        .encode(
            x=alt.X("difference:Q", title="ours less the paper's (percentage points)"),
            y=alt.Y("benchmark:N", sort=None, title=None),
            color=alt.Color("place:N", scale=alt.Scale(domain=list(colours), range=list(colours.values()))),
            tooltip=["model", "benchmark", *(alt.Tooltip(f"{name}:Q", format=".1f") for name in numbers)],
        )
    )
    zero = alt.Chart(table).mark_rule(color="#888888").encode(x=alt.datum(0))
    return (
        alt.layer(zero, dots)
        .properties(width=WIDTH // 2 - 80, height=alt.Step(20))
        .facet(column=alt.Column("grading:N", sort=list(table["grading"].unique())), title=title)
        .properties(description=description)
    )


def scores_of_one(scores: pd.DataFrame, answers: pd.DataFrame, title: str, description: str) -> alt.HConcatChart:
    """The scores of one model, chosen in a drop-down, with intervals, and beside them what its answers were.

    Args:
        scores: `model, benchmark, grading, value, low, high` in percent; the models are offered in the table's order.
        answers: `model, benchmark, status` and `share` (percent); where it is empty there is no second panel.
    """
    models, gradings = list(scores["model"].unique()), list(scores["grading"].unique())
    choice = alt.param(name="model", value=models[0], bind=alt.binding_select(options=models, name="model "))
    y = alt.Y("benchmark:N", sort=None, title=None)
    shared = (
        alt.Chart(scores)
        .transform_filter("datum.model == model")
        .encode(
            y=y,
            yOffset=alt.YOffset("grading:N", sort=gradings),
            color=alt.Color(
                "grading:N",
                scale=alt.Scale(domain=gradings, range=["#666666", "#0072B2", "#E69F00"]),
                legend=alt.Legend(columns=1),
            ),
            tooltip=["benchmark", "grading", *(alt.Tooltip(f"{n}:Q", format=".1f") for n in ("value", "low", "high"))],
        )
    )
    axis = {"title": "accuracy (%), 95% interval", "scale": alt.Scale(domain=[0, 100])}
    bars = shared.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", **axis), x2="high:Q")
    dots = shared.mark_circle(size=60, opacity=1).encode(x=alt.X("value:Q", **axis))
    size = {"width": WIDTH // 2 - 100, "height": alt.Step(27, **{"for": "position"})}
    panels = [alt.layer(bars, dots).properties(**size)]
    if len(answers):
        order = {status: i for i, status in enumerate(STATUS_COLOURS)}
        panels.append(
            alt.Chart(answers.assign(order=answers["status"].map(order)))
            .transform_filter("datum.model == model")
            .mark_bar()
            .encode(
                x=alt.X("share:Q", title="answers (%)", scale=alt.Scale(domain=[0, 100])),
                y=y.axis(None),
                color=_status_colour().legend(columns=1),
                order="order:O",
                tooltip=["benchmark", "status", alt.Tooltip("share:Q", format=".1f")],
            )
            .properties(**size)
        )
    chart = alt.hconcat(*panels, title=title).add_params(choice)
    return chart.resolve_scale(color="independent").properties(description=description)


def shifts_by_size(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """A dot a model: PCA shift against size, both logarithmic, one panel a group.

    Args:
        table: `model, method, group, params_b` (billions) and `shift` (units of the model's hidden states).
    """
    sizes = alt.Axis(title="parameters (billions)", values=[2, 7, 14, 32])
    return (
        alt.Chart(table.replace({"group": GROUP_TITLES}))
        .mark_circle(size=80, opacity=0.85)
        .encode(
            x=alt.X("params_b:Q", scale=alt.Scale(type="log"), axis=sizes),
            y=alt.Y("shift:Q", title="PCA shift", scale=alt.Scale(type="log")),
            color=method_colour(),
            tooltip=["model", "method", alt.Tooltip("shift:Q", format=".3~g")],
        )
        .properties(width=WIDTH // 3 - 50, height=190)
        .facet(column=alt.Column("group:N", sort=list(GROUP_TITLES.values())), title=title)
        .properties(description=description)
    )


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
    dots = shared.mark_circle(size=60, opacity=1).encode(x="start:Q")
    return (
        alt.layer(spans, dots)
        .properties(width=WIDTH // 2 - 115, height=alt.Step(17))
        .facet(column=alt.Column("group:N", sort=list(GROUP_TITLES.values())), title=title)
        .properties(description=description)
    )


def _status_colour() -> alt.Color:
    return alt.Color("status:N", scale=alt.Scale(domain=list(STATUS_COLOURS), range=list(STATUS_COLOURS.values())))


def statuses(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """The shares of each status as stacked bars, a row a reading, a panel a model and benchmark.

    Args:
        table: `model, benchmark, reading, status, responses` and `share` (percent).
    """
    order = {status: i for i, status in enumerate(STATUS_COLOURS)}
    named = table.assign(what=table["benchmark"] + ": " + table["model"], order=table["status"].map(order))
    return (
        alt.Chart(named)
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="responses (%)", scale=alt.Scale(domain=[0, 100])),
            y=alt.Y("reading:N", sort=["strict", "lenient", "harness"], title=None),
            color=_status_colour(),
            order="order:O",
            tooltip=["what", "reading", "status", "responses", alt.Tooltip("share:Q", format=".1f")],
        )
        .properties(width=WIDTH - 160, height=alt.Step(20))
        .facet(
            row=alt.Row("what:N", header=alt.Header(labelAngle=0, labelAnchor="start", labelOrient="top")), title=title
        )
        .properties(description=description)
    )
