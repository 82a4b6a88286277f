"""Charts of drift: what they show of a table, and their titles in numbers."""

import numpy as np
import pandas as pd
import pytest

from mathtransfer.pages import drift_charts

ROWS = [
    (kind, answers, setting, group, value, value / 2, high)
    for kind, high in (("elicitable", np.inf), ("settled", 4.0))
    for answers in ("natural", "equal format")
    for setting, value in (("on-policy RL", 1.0), ("off-policy SFT, own style", 2.0))
    for group in ("math", "other", "non")
    if group != "non" or answers == "natural"
]
COLUMNS = ["kind", "answers", "setting", "group", "value", "low", "high"]


def drawn(chart) -> pd.DataFrame:
    """The table behind a chart."""
    (rows,) = chart.to_dict()["datasets"].values()
    return pd.DataFrame(rows)


def test_a_missing_end_is_at_the_panels_edge_and_nothing_has_no_place():
    table = pd.DataFrame([*ROWS, ("settled", "natural", "off-policy RL", "math", 0.0, 0.0, 0.0)], columns=COLUMNS)
    chart = drift_charts.by_setting(table, "shift", "title", "description")
    shown = drawn(chart)
    assert len(shown) == len(ROWS) and set(shown["group"]) == {"mathematics", "other reasoning", "non-reasoning"}
    assert (shown[shown["kind"] == "elicitable bases"]["end"] == 4.0).all()
    assert shown["start"].min() == 0.5
    text = chart.to_dict()["title"]
    assert text["text"] == "title" and text["subtitle"] == "shift; 95% interval over bases and questions"


def test_the_title_compares_on_reasoning_alone():
    ratios = pd.DataFrame(
        [
            ("settled", "natural", "math", 2.0),
            ("settled", "natural", "other", 8.0),
            ("settled", "natural", "non", 99.0),
            ("settled", "equal format", "math", 1.0),
            ("settled", "equal format", "other", 1.0),
        ],
        columns=["kind", "answers", "group", "value"],
    )
    said = ["Settled bases, reasoning: SFT's KL is 4.0 times RL's, 1.0 at equal format"]
    assert drift_charts.times_rl(ratios, "KL") == said


def test_the_line_is_that_of_least_squares_in_each_panel():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"group": ["other", "non"] * 20, "x": rng.normal(size=40), "y": rng.normal(size=40)})
    table = table.assign(kind="settled", setting="on-policy RL", base="settled-0", changes="")
    shown = drawn(drift_charts.prediction(table, "x", "x", "y", "y", "title", "description"))
    for _, own in shown.groupby("group"):
        slope, start = np.polyfit(own["x"], own["y"], 1)
        assert own["line"].tolist() == pytest.approx((start + slope * own["x"]).tolist())
    same = table.assign(x=1.0)
    flat = drawn(drift_charts.prediction(same, "x", "x", "y", "y", "title", "description"))
    assert flat.groupby("group")["line"].nunique().tolist() == [1, 1]
