"""Policy and style, crossed: effects by hand."""

import numpy as np
import pandas as pd
import pytest

from mathtransfer.claims import policy_or_style
from mathtransfer.claims.by_base import Scores

ON_OWN, ON_FOREIGN = "on-policy SFT", "on-policy SFT, foreign style"
OFF_OWN, OFF_FOREIGN = "off-policy SFT, own style", "off-policy SFT, foreign style"
BENCHMARKS = pd.DataFrame({"group": ["math", "other", "non"], "benchmark": ["sums", "routes", "truth"]})


def scores(models: list[tuple[str, str, int, list[float]]]) -> Scores:
    """From (base, setting, seed, scores of the three benchmarks); questions leave nothing open."""
    rows = [(f"{i}", base, setting, seed, "") for i, (base, setting, seed, _) in enumerate(models)]
    table = pd.DataFrame(rows, columns=["run", "base", "setting", "seed", "changes"])
    return Scores(table, BENCHMARKS, np.stack([np.array([own for *_, own in models], dtype=float)] * 3))


def one_base(base: str, shift: float = 0.0):
    return [
        (base, "base", -1, [50, 50, 70]),
        (base, ON_OWN, 0, [60 + shift, 60, 70]),
        (base, ON_OWN, 1, [99, 99, 99]),  # the others have no such seed
        (base, ON_FOREIGN, 0, [55, 52, 70]),
        (base, OFF_OWN, 0, [58, 58, 70]),
        (base, OFF_FOREIGN, 0, [40, 30, 66]),
    ]


def test_effects_by_hand():
    table = policy_or_style.effects(scores(one_base("settled-0")), "settled-0")
    values = table.pivot(index="effect", columns="group", values="value")
    assert list(table["effect"].unique()) == list(policy_or_style.EFFECTS)
    policy, style, interaction = policy_or_style.EFFECTS
    assert values.loc[policy].to_dict() == pytest.approx({"math": 8.5, "other": 12.0, "non": 2.0})
    assert values.loc[style].to_dict() == pytest.approx({"math": 11.5, "other": 18.0, "non": 2.0})
    assert values.loc[interaction].to_dict() == pytest.approx({"math": -13.0, "other": -20.0, "non": -4.0})


def test_effects_over_bases_have_an_interval_over_them():
    several = scores([*one_base("settled-0"), *one_base("settled-1", 4.0), *one_base("settled-2", 8.0)])
    row = policy_or_style.effects(several, "settled").iloc[0]
    assert row["value"] == pytest.approx(8.5 + 2.0)  # half of the mean shift of one of the four
    assert row["high"] - row["value"] == pytest.approx(4.303 * 2.0 / 3**0.5, rel=1e-3)  # Student's t, the spread is 2


def test_the_four_settings_gain_over_their_base_and_missing_ones_are_left_out():
    table = policy_or_style.crossed(scores(one_base("settled-0")), "settled-0").set_index(["policy", "style", "group"])
    assert table.loc[("off-policy", "foreign style", "other"), "value"] == -20.0
    assert len(table) == 12
    without = scores([row for row in one_base("settled-0") if row[1] != ON_FOREIGN])
    assert len(policy_or_style.crossed(without, "settled-0")) == 9
    assert policy_or_style.effects(without, "settled-0").empty
