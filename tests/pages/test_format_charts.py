"""Charts of formats draw what they are given, intervals without ends too."""

import json

import numpy as np
import pandas as pd
import pytest

from mathtransfer.pages import format_charts
from mathtransfer.pages.theme import WIDTH


def drawn(chart) -> pd.DataFrame:
    (rows,) = json.loads(chart.to_json())["datasets"].values()
    return pd.DataFrame(rows)


def levels(value: float, low: float, high: float) -> pd.DataFrame:
    rows = [
        (setting, group, format, value, low, high)
        for setting in ("base", "on-policy RL")
        for group in ("math", "other")
        for format in ("in steps", "at once")
    ]
    return pd.DataFrame(rows, columns=["setting", "group", "format", "value", "low", "high"])


def test_an_accuracy_has_no_interval_beyond_0_and_100():
    chart = format_charts.accuracies(levels(60.0, -np.inf, 120.0), "A title", "A description")
    assert set(drawn(chart)["start"]) == {0.0} and set(drawn(chart)["end"]) == {100.0}
    assert chart.to_dict()["description"] == "A description" and 2 * chart.to_dict()["spec"]["width"] < WIDTH


def test_shares_are_stacked_in_the_order_of_the_legend():
    chart = format_charts.shares(levels(50.0, 40.0, 60.0), "A title", "A description")
    table, spec = drawn(chart), chart.to_dict()["spec"]["encoding"]
    order = table.drop_duplicates("format").sort_values("place")["format"]
    assert list(order) == spec["color"]["scale"]["domain"] == ["at once", "in steps"]


def test_the_parts_of_a_gain_are_drawn_beside_the_whole():
    ends = ("value", "low", "high")
    row = {("gain", end): x for end, x in zip(ends, (10.0, 5.0, np.inf), strict=True)}
    row |= {("format", end): x for end, x in zip(ends, (25.0, 20.0, 30.0), strict=True)}
    row |= {("within", end): x for end, x in zip(ends, (-15.0, -20.0, -10.0), strict=True)}
    explained = pd.DataFrame(
        [row.values()], pd.MultiIndex.from_tuples([("on-policy RL", "other")]), columns=pd.MultiIndex.from_tuples(row)
    )
    table = drawn(format_charts.gain_in_parts(explained, "A title", "A description")).set_index("part")
    assert table["value"].to_dict() == {"gain": 10.0, "by the change of format": 25.0, "within formats": -15.0}
    # The bars reach from -15 to 25, the panel a third of that further.
    assert table.loc["gain", ["start", "end"]].tolist() == pytest.approx([5.0, 25 + 40 / 3])
