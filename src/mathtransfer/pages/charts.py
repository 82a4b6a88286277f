"""Charts of training runs and their settings, and the script that draws charts without a network.

Every function takes a title that states the finding and a description that stands in for the picture (read out by
screen readers).
"""

from __future__ import annotations

import json

import altair as alt
import pandas as pd
import vl_convert

from mathtransfer import GROUP_TITLES
from mathtransfer.pages.theme import WIDTH, by_group, fixed_colours, numbers, setting_colours, zero_rule


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


def dots(
    table: pd.DataFrame, value: str, axis: str, title: str, description: str, rows: list[str], zero_line: bool = False
) -> alt.LayerChart:
    """A dot with its interval for every setting, one row a benchmark or group.

    Args:
        table: `row`, `setting`, the value's column, `low` and `high`.
        value: the column to draw.
        axis: the axis title, with its unit.
        rows: the order of the rows.
        zero_line: whether to draw a line at zero.
    """
    colours = setting_colours(list(table["setting"]))
    shared = alt.Chart(table).encode(
        y=alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(labelLimit=260)),
        yOffset=alt.YOffset("setting:N", sort=list(colours)),
        color=fixed_colours("setting", colours),
        tooltip=["row", "setting", *numbers([value, "low", "high"], ".3~f")],
    )
    bars = shared.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=axis), x2="high:Q")
    points = shared.mark_circle(size=70, opacity=1).encode(x=alt.X(f"{value}:Q", title=axis))
    layers = [zero_rule(table), bars, points] if zero_line else [bars, points]
    height = alt.Step(10 if len(colours) > 2 else 13)
    return alt.layer(*layers).properties(width=WIDTH - 160, height=height, title=title, description=description)


def training_curves(logs: pd.DataFrame, title: str, description: str) -> alt.VConcatChart:
    """Reward, response length, entropy and gradient norm at every step, a line a training run.

    Args:
        logs: `setting`, `seed`, `step`, `reward`, `response_length`, `entropy`, `gradient_norm`.
    """
    labels = {
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
            color=fixed_colours("setting", setting_colours(list(logs["setting"]))),
            detail="seed:N",
            tooltip=["setting", "seed", "step", *numbers(list(labels), ".3~f")],
        )
    )
    panels = [
        shared.encode(y=alt.Y(f"{name}:Q", title=label)).properties(width=WIDTH // 2 - 70, height=150)
        for name, label in labels.items()
    ]
    return alt.vconcat(panels[0] | panels[1], panels[2] | panels[3], title=title).properties(description=description)


def recipe_costs(table: pd.DataFrame, title: str, description: str) -> alt.VConcatChart:
    """GPU hours of every recipe, and its memory beside that of the GPU.

    Args:
        table: `recipe, model, gpu, gpus, memory, capacity` (GB a GPU) and `gpu_hours`.
    """
    shared = alt.Chart(table).encode(
        y=alt.Y("recipe:N", sort=list(table["recipe"]), title=None, axis=alt.Axis(labelLimit=260)),
        tooltip=["recipe", "model", "gpu", "gpus", *numbers(["gpu_hours", "memory"], ".3~g")],
    )
    hours = shared.mark_circle(size=90, opacity=1, color="#0072B2").encode(
        x=alt.X("gpu_hours:Q", title="GPU hours, estimated (logarithmic)", scale=alt.Scale(type="log"))
    )
    memory = shared.mark_bar(color="#56B4E9", height=10).encode(
        x=alt.X("memory:Q", title="memory of a GPU (GB): estimated need (bar) and what it has (tick)")
    )
    capacity = shared.mark_tick(color="#000000", thickness=2, height=16).encode(x="capacity:Q")
    panels = [panel.properties(width=WIDTH - 200, height=alt.Step(20)) for panel in (hours, memory + capacity)]
    return alt.vconcat(*panels, title=title).properties(description=description)


def lines(
    table: pd.DataFrame, x: str, x_title: str, value: str, axis: str, title: str, description: str
) -> alt.FacetChart:
    """A line for each model over layers or positions, one panel a group, with a band if the table has an interval.

    Args:
        table: `group`, `setting`, `seed`, the columns `x` and `value`, and perhaps `low` and `high`.
    """
    has_band = {"low", "high"} <= set(table.columns)
    colours = setting_colours(list(table["setting"]))
    colour = fixed_colours("setting", colours)
    shared = alt.Chart(table.replace({"group": GROUP_TITLES})).encode(
        x=alt.X(f"{x}:O", title=x_title, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        color=colour if len(colours) > 1 else colour.legend(None),
        detail="seed:N",
        tooltip=["group", "setting", "seed", x, *numbers([value, "low", "high"] if has_band else [value], ".3~g")],
    )
    layers = [shared.mark_line(point=alt.OverlayMarkDef(size=25)).encode(y=alt.Y(f"{value}:Q", title=axis))]
    if has_band:
        layers.insert(0, shared.mark_area(opacity=0.2).encode(y=alt.Y("low:Q", title=axis), y2="high:Q"))
    return by_group(alt.layer(*layers).properties(width=WIDTH // 3 - 50, height=190), title, description)


def shifted_tokens(table: pd.DataFrame, title: str, description: str) -> alt.FacetChart:
    """The tokens that moved most as ranked bars, one panel a setting, coloured by what kind of token each is.

    Args:
        table: `setting`, `piece`, `class`, `share` (percent of all divergence), `count`, `kl` (mean, nats), `example`.
    """
    kinds = {"logical connective": "#0072B2", "number": "#E69F00", "content word": "#009E73", "format": "#999999"}
    ranked = table.assign(rank=table.groupby("setting")["share"].rank(method="first", ascending=False))
    shared = alt.Chart(ranked).encode(
        y=alt.Y("rank:O", title=None, axis=None),
        tooltip=["piece", "class", "count", *numbers(["share", "kl"], ".3~g"), "example"],
    )
    bars = shared.mark_bar().encode(
        x=alt.X("share:Q", title="share of all divergence (%)"), color=fixed_colours("class", kinds)
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
        table: `layer`, `kind`, `entries`, `relative_update`, `unchanged` and `unchanged_bfloat16` (percent).
    """
    return (
        alt.Chart(table)
        .mark_rect()
        .encode(
            x=alt.X("layer:O", title="layer (-1: outside the layers)", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("kind:N", title=None),
            color=alt.Color("relative_update:Q", title="update (% of base)").scale(scheme="blues"),
            tooltip=[
                *("layer", "kind", "entries"),
                *numbers(["relative_update", "unchanged", "unchanged_bfloat16"], ".3~g"),
            ],
        )
        .properties(width=WIDTH - 160, height=alt.Step(20), title=title, description=description)
    )
