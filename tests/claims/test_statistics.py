"""Every statistic has one definition, under a name that a search finds, and says the same on every layer."""

import ast
import json
import math

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT

from mathtransfer import GROUPS
from mathtransfer.claims import miniature, statistics
from mathtransfer.claims.intervals import BySeed
from mathtransfer.claims.statistics import Tuned

CLAIMS = ROOT / "src" / "mathtransfer" / "claims"
NAMES = [name for entries in yaml.safe_load((CLAIMS / "claims.yaml").read_text()).values() for name in entries]


def trees() -> dict[str, ast.Module]:
    return {path.stem: ast.parse(path.read_text()) for path in sorted(CLAIMS.glob("*.py"))}


def test_no_two_criteria_share_a_name():
    assert len(NAMES) == len(set(NAMES))


def test_every_statistic_is_defined_once_under_its_literal_name():
    found = [
        (module, node.value)
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in NAMES
    ]
    assert sorted(name for _, name in found) == sorted(NAMES)
    assert {module for module, _ in found} == {"statistics"}


def test_statistics_are_keys_of_literal_dictionaries_and_no_code_builds_names():
    keys = [key for node in ast.walk(trees()["statistics"]) if isinstance(node, ast.Dict) for key in node.keys]
    assert sorted(key.value for key in keys if isinstance(key, ast.Constant)) == sorted(NAMES)
    built = [ast.unparse(node) for node in ast.walk(trees()["statistics"]) if isinstance(node, ast.JoinedStr)]
    assert not built
    # Elsewhere no text that code puts together is the beginning of a statistic's name.
    beginnings = {name[: i + 1] for name in NAMES for i, letter in enumerate(name) if letter == "_"}
    parts = [
        part.value
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.BinOp)
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    assert not beginnings & set(parts)


def test_no_chapter_defines_a_statistic():
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        code = "\n".join("".join(cell["source"]) for cell in cells)
        assert not [name for name in NAMES if name in code], path.name


# --- by hand


def tuned(math, other, non, base=50.0) -> Tuned:
    gains = dict(zip(GROUPS, map(np.array, (math, other, non)), strict=True))
    return Tuned(gains, {group: np.full(2, base) for group in GROUPS}, dict.fromkeys(GROUPS, 4.0))


def test_the_controlled_study_by_hand():
    # With equal headroom and one spread, TI is 100 times the ratio of the signed roots' sums: (1 + 3) / (2 + 2) for RL.
    rl = tuned([4.0, 4.0], [1.0, 9.0], [-1.0, 1.0])
    sft = tuned([16.0, 16.0], [1.0, 1.0], [-4.0, 0.0])
    found = statistics.rl_study(rl) | statistics.sft_study(rl, sft)
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        {
            "rl_gain_non": 0.0,
            "rl_ti_other": 100.0,
            "rl_ti_non": 0.0,
            "rl_less_sft_math": -12.0,
            "rl_less_sft_other": 4.0,
            "sft_gain_non": -2.0,
            "sft_ti_non": -25.0,
        }
    )


def test_without_a_gain_on_mathematics_the_index_says_nothing():
    assert math.isnan(tuned([-4.0, -4.0], [1.0, 9.0], [-1.0, 1.0]).index("other"))


def test_survey_statistics_by_hand():
    gains = pd.DataFrame(
        {"math": [3.0, 2.0, 1.0, 1.0], "other": [1.0, -1.0, 0.0, 2.0], "non": [-1.0, -2.0, -3.0, -4.0]}
    )
    found = statistics.failures(gains)
    assert [found[name][0] for name in ("share_failing_other", "share_failing_non")] == [50.0, 100.0]
    rl, sft = ({group: np.array(own) for group in ("other", "non")} for own in ([5.0, 7.0], [4.0, 6.0, -1.0]))
    by_method = statistics.transfer_by_method(rl, sft)
    assert by_method["rl_less_sft_ti_other"][0] == pytest.approx(3.0)
    assert by_method["rl_beats_sft_ti_non"][0] == pytest.approx(100 * 5 / 6)
    assert statistics.negative_transfer(sft)["sft_negative_ti_non"][0] == pytest.approx(100 / 3)


def test_drift_statistics_by_hand():
    def by_seed(*values):
        return BySeed(np.array(values), np.zeros(len(values)))

    sft = {"math": by_seed(1.0, 5.0), "other": by_seed(3.0, 1.0), "non": by_seed(6.0, 6.0)}
    rl = {"math": by_seed(0.5, 2.0), "other": by_seed(1.0, 1.0), "non": by_seed(6.0, 7.0)}
    found = {name: shift.values.tolist() for name, shift in statistics.shifts(sft, rl).items()}
    assert found == {
        "sft_less_rl_shift_math": [0.5, 3.0],
        "sft_less_rl_shift_other": [2.0, 0.0],
        "sft_less_rl_shift_non": [0.0, -1.0],
        "sft_shift_non_less_rest": [3.0, 1.0],
    }
    assert statistics.least_kl_difference(sft, rl)["sft_less_rl_kl"].values.tolist() == [0.0, -1.0]


# --- the miniature layer


def test_drift_in_miniature_covers_seeds_and_questions():
    """Two benchmarks a group: errors of the questions add within a group, halve in its mean, and add over settings."""
    rows = [
        (setting, seed, group, f"{group} {i}", "centroid_distance", value + seed + i, 0.2)
        for setting, value in {"off-policy SFT": 4.0, "on-policy RL": 1.0}.items()
        for seed in range(3)
        for group in GROUPS
        for i in range(2)
    ]
    columns = ["setting", "seed", "group", "benchmark", "metric", "value", "stderr"]
    found = {
        name: interval for name, interval, _ in miniature.latent_drift(pd.DataFrame(rows, columns=columns), "here")
    }
    value, low, high = found["sft_less_rl_shift_math"]
    half = 1.96 * math.sqrt(2 * (2 * 0.2**2) / 4)  # the difference is the same for all seeds
    assert (value, low, high) == pytest.approx((3.0, 3.0 - half, 3.0 + half), abs=1e-3)
