"""Charts of the recorded study draw what they are given, intervals without ends too."""

import json

import numpy as np
import pandas as pd

from mathtransfer.pages import study_charts
from mathtransfer.pages.theme import WIDTH


def drawn(chart) -> pd.DataFrame:
    (rows,) = json.loads(chart.to_json())["datasets"].values()
    return pd.DataFrame(rows)


def test_an_interval_without_ends_reaches_the_panels_edges_and_no_further():
    rows = [("a", "math", "natural", 2.0, 1.0, 3.0), ("b", "math", "natural", -6.0, -np.inf, np.inf)]
    table = pd.DataFrame(rows, columns=["row", "group", "series", "value", "low", "high"])
    chart = study_charts.forest(table, "points", "A title", "A description", little=3.0)
    # From the least effect, -6, to the margin, 3, and a third of these 9 points beyond.
    assert drawn(chart)[["start", "end"]].to_numpy().tolist() == [[1.0, 3.0], [-9.0, 6.0]]
    spec = chart.to_dict()
    assert spec["description"] == "A description" and spec["spec"]["width"] < WIDTH  # one group, one panel


def test_an_interaction_has_a_line_a_style_in_each_panel():
    rows = [
        (part, policy, style, group, value, value - 1, np.inf)
        for part in ("settled bases, natural", "settled bases, equal format")
        for policy in ("on-policy", "off-policy")
        for style, value in (("own style", 4.0), ("foreign style", -2.0))
        for group in ("math", "other", "non")
    ]
    table = pd.DataFrame(rows, columns=["part", "policy", "style", "group", "value", "low", "high"])
    chart = study_charts.interaction(table, "A title", "A description")
    assert drawn(chart)["end"].max() == 6.0  # a third of the range beyond the largest value
    spec = chart.to_dict()
    assert spec["description"] == "A description" and 3 * spec["spec"]["width"] < WIDTH
