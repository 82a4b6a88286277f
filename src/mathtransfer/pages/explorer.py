"""Every choice behind the index as a control: in Python, and as an Altair chart that computes in the browser.

The chart has the formulas of `claims/transfer.py` as Vega transforms, so that the page needs neither a network nor a
kernel. A test sets the controls in a browser and compares the bars with `index_with`.
"""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from mathtransfer import GROUP_TITLES
from mathtransfer.claims.transfer import DEFINITIONS, OUTSIDE, domain_index
from mathtransfer.pages.theme import WIDTH, method_colour, numbers

_NOBODY = "none"
SPREADS = ("standard deviation", "mean absolute gain", "none")


def index_with(
    gains: pd.DataFrame,
    definition: str = "pooled",
    exponent: float = 0.5,
    weights: str = "headroom",
    spread: str = "standard deviation",
    without_benchmark: str = _NOBODY,
    without_model: str = _NOBODY,
) -> pd.DataFrame:
    """Every model's indices (percent, columns `other` and `non`) by the given choices; nan if there is none.

    Args:
        gains: `model, group, benchmark, base_score, gain`, see `published.gains`.
        spread: what the gains are divided by; `mean absolute gain` does not grow with the square of an outlier.
            `exponent`, `weights` and `spread` do not enter the `relative` definition.
        without_benchmark, without_model: what to leave out, `none` for nothing.
    """
    kept = gains[(gains["benchmark"] != without_benchmark) & (gains["model"] != without_model)]
    pool = ["group"] if definition == "pooled" else ["model", "group"]
    measures = {
        "standard deviation": kept.groupby(pool)["gain"].transform("std"),
        "mean absolute gain": kept["gain"].abs().groupby([kept[name] for name in pool]).transform("mean"),
        "none": 1.0,
    }
    kept = kept.assign(sigma=measures[spread])

    def domain(part: pd.DataFrame) -> float:
        if definition == "relative":
            return float((part["gain"] / part["base_score"].replace(0, np.nan)).mean(skipna=False))
        return float(domain_index(part["gain"], part["base_score"], part["sigma"].iloc[0], exponent, weights))

    index = {key: domain(part) for key, part in kept.groupby(["model", "group"], sort=False)}
    table = pd.Series(index).unstack()
    return table[list(OUTSIDE)].div(table["math"], axis=0) * 100


def _drop_down(name: str, label: str, options: list[str], value: str) -> alt.Parameter:
    return alt.param(name=name, value=value, bind=alt.binding_select(options=options, name=f"{label} "))


def _controls(gains: pd.DataFrame) -> list[alt.Parameter]:
    """The chart's parameters, each with its drop-down or slider; they start at the definition closest to Table 5."""
    return [
        _drop_down("definition", "definition", list(reversed(DEFINITIONS)), "pooled"),
        alt.param(name="exponent", value=0.5, bind=alt.binding_range(min=0.1, max=2.0, step=0.1, name="exponent ")),
        _drop_down("weights", "weights", ["headroom", "equal"], "headroom"),
        _drop_down("spread", "spread", list(SPREADS), "standard deviation"),
        _drop_down("without_benchmark", "without benchmark", [_NOBODY, *gains["benchmark"].unique()], _NOBODY),
        _drop_down("without_model", "without model", [_NOBODY, *gains["model"].unique()], _NOBODY),
    ]


def index_explorer(gains: pd.DataFrame, start: pd.DataFrame, title: str, description: str) -> alt.VConcatChart:
    """The ranking of the models by their index, one panel a group, with controls for every choice in the definition.

    A grey tick marks the index and a number in brackets the rank before any control was moved. A model whose index of
    mathematics is not above zero is drawn faintly: there is no index.

    Args:
        gains: `model, method, group, benchmark, base_score, gain`, see `published.gains`.
        start: `model, group, value`: the index at the controls' start.
    """
    wide = start.pivot(index="model", columns="group", values="value")
    marks = {f"start_{group}": wide[group] for group in OUTSIDE}
    marks |= {f"start_rank_{group}": wide[group].rank(ascending=False) for group in OUTSIDE}
    columns = ["model", "method", "group", "benchmark", "base_score", "gain"]
    data = gains[columns].merge(pd.DataFrame(marks), left_on="model", right_index=True)
    panels = [_panel(_indices(data, ["model", "method", *marks]), group) for group in OUTSIDE]
    chart = alt.vconcat(*panels, title=title).add_params(*_controls(gains))
    return chart.properties(description=description).resolve_scale(color="shared")


def _indices(gains: pd.DataFrame, keys: list[str]) -> alt.Chart:
    """The columns `math`, `other` and `non` of every model by the controls' choices, computed in the browser."""
    own = "definition == 'per_model'"
    return (
        # 1. What the controls leave in, and how far its gains spread.
        alt.Chart(gains)
        .transform_filter("datum.benchmark != without_benchmark && datum.model != without_model")
        .transform_calculate(size="abs(datum.gain)")
        .transform_joinaggregate(own_sd="stdev(gain)", own_size="mean(size)", groupby=["model", "group"])
        .transform_joinaggregate(pool_sd="stdev(gain)", pool_size="mean(size)", groupby=["group"])
        .transform_calculate(
            sigma=f"spread == 'none' ? 1 : spread == 'standard deviation' ? ({own} ? datum.own_sd : datum.pool_sd)"
            f" : ({own} ? datum.own_size : datum.pool_size)"
        )
        # 2. Each benchmark's term: its weight times the signed power of its gain, or its gain relative to its base.
        .transform_calculate(
            root="(datum.gain < 0 ? -1 : 1) * pow(datum.size / datum.sigma, exponent)",
            weight="definition == 'relative' || weights == 'equal' ? 1 : 100 - datum.base_score",
        )
        .transform_calculate(
            term="definition == 'relative' ? datum.gain / datum.base_score : datum.weight * datum.root"
        )
        # 3. The weighted mean of each model and group, and a column for each group.
        .transform_aggregate(
            terms="sum(term)", weight="sum(weight)", least_base="min(base_score)", groupby=[*keys, "group"]
        )
        .transform_filter("definition != 'relative' || datum.least_base > 0")  # nothing is relative to zero
        .transform_calculate(index="datum.terms / datum.weight")
        .transform_pivot("group", value="index", groupby=keys)
    )


def _panel(computed: alt.Chart, group: str) -> alt.LayerChart:
    """The models ranked by their index on a group, best first."""
    ranked = (
        computed.transform_calculate(index=f"100 * datum.{group} / datum.math", stable="datum.math > 0")
        .transform_filter("isValid(datum.index) && isFinite(datum.index)")
        .transform_window(rank="rank()", sort=[alt.SortField("index", order="descending")])
        .transform_calculate(label=f"datum.rank + ' (' + datum.start_rank_{group} + ')'")
    )
    order = alt.EncodingSortField("index", op="max", order="descending")
    shared = ranked.encode(y=alt.Y("model:N", sort=order, title=None, axis=alt.Axis(labelLimit=250, labelFontSize=10)))
    value = alt.X("index:Q", title=f"index on {GROUP_TITLES[group]} (%)")
    bars = shared.mark_bar().encode(
        x=value,
        color=method_colour(),
        opacity=alt.condition("datum.stable", alt.value(0.9), alt.value(0.3)),
        tooltip=["model", "method", *numbers(["index"], ".1f"), alt.Tooltip("label:N", title="rank (start)")],
    )
    before = shared.mark_tick(thickness=2, color="#555555").encode(x=f"start_{group}:Q")
    width = WIDTH - 260
    ranks = shared.mark_text(align="left", fontSize=11).encode(x=alt.value(width + 6), text="label:N")
    return alt.layer(bars, before, ranks).properties(width=width, height=alt.Step(15), name=f"panel_{group}")
