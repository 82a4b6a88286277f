"""Charts of frontiers and of power fit the page and draw every row that they are given."""

import json

import pandas as pd

from mathtransfer.pages import frontier_charts
from mathtransfer.pages.theme import WIDTH


def drawn(chart) -> pd.DataFrame:
    (rows,) = json.loads(chart.to_json())["datasets"].values()
    return pd.DataFrame(rows)


def test_frontiers_draw_a_line_by_growing_rate_a_panel_for_each_group_and_answer():
    rows = [
        ("on-policy RL", at, group, answers, 10.0 * at, 5.0 * at, 4.0 * at, 6.0 * at)
        for at in (0.0, 2.0, 1.0)
        for group in ("other", "non")
        for answers in ("natural", "equal format")
    ]
    columns = ["setting", "at", "group", "answers", "math", "value", "low", "high"]
    chart = frontier_charts.frontiers(pd.DataFrame(rows, columns=columns), "math", "gain", "A title", "A description")
    spec = chart.to_dict()
    assert len(drawn(chart)) == len(rows) and set(drawn(chart)["group"]) == {"other reasoning", "non-reasoning"}
    assert spec["description"] == "A description" and 2 * spec["spec"]["width"] < WIDTH
    (line,) = [layer for layer in spec["spec"]["layer"] if layer["mark"]["type"] == "line"]
    assert line["encoding"]["order"]["field"] == "at"  # not by the gain, which may turn back


def test_power_has_a_panel_for_each_question():
    rows = [(q, s, e, 50.0) for q in ("above zero", "little") for s in ("a", "b") for e in (0.0, 5.0)]
    table = pd.DataFrame(rows, columns=["question", "series", "effect", "value"])
    chart = frontier_charts.power(table, "A title", "A description")
    assert len(drawn(chart)) == len(rows) and chart.to_dict()["description"] == "A description"
    assert 2 * chart.to_dict()["spec"]["width"] < WIDTH
