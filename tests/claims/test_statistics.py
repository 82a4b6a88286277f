"""Every statistic has one definition, under a name that a search finds, and says the same on every layer."""

import ast
import json

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from mathtransfer import GROUPS
from mathtransfer.claims import (
    audit,
    controlled_study,
    criteria,
    latent_drift,
    token_drift,
    transfer,
)
from mathtransfer.claims.controlled_study import Tuned
from mathtransfer.claims.intervals import BySeed

CLAIMS = ROOT / "src" / "mathtransfer" / "claims"
NAMES = [name for claim in criteria.claims().values() for name in claim.criteria]
# One file a part of the claims.
FILES = ("audit", "controlled_study", "latent_drift", "token_drift", "ablation")


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
    assert {module for module, _ in found} <= set(FILES)


def test_statistics_are_keys_of_literal_dictionaries_and_no_code_builds_names():
    nodes = [node for name in FILES for node in ast.walk(trees()[name])]
    keys = [key.value for node in nodes if isinstance(node, ast.Dict) for key in node.keys if hasattr(key, "value")]
    assert set(NAMES) <= set(keys)
    # No text that code puts together is the beginning of a statistic's name.
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


def means(found: dict) -> dict[str, float]:
    return {name: float(values.mean(-1)) for name, values in found.items()}


def values(found: dict) -> dict[str, float]:
    return {name: estimate()[0] for name, estimate in found.items()}


def test_the_controlled_study_by_hand():
    # With equal headroom and one spread of 4, a domain index is half the mean of the signed roots of the gains.
    rl = tuned([4.0, 4.0], [1.0, 9.0], [-1.0, 1.0])
    sft = tuned([16.0, 16.0], [1.0, 1.0], [-4.0, 0.0])
    found = means(controlled_study.rl_study(rl) | controlled_study.sft_study(rl, sft))
    assert found == pytest.approx(
        {
            "rl_gain_non": 0.0,
            "rl_di_math": 1.0,
            "rl_di_other": 1.0,
            "rl_di_non": 0.0,
            "rl_less_sft_math": -12.0,
            "rl_less_sft_other": 4.0,
            "rl_less_sft_non": 2.0,
            "sft_gain_non": -2.0,
            "sft_di_math": 2.0,
            "sft_di_non": -0.5,
        }
    )


def test_a_domain_index_is_that_of_the_room():
    model = Tuned({"non": np.array([4.0, -9.0, 1.0])}, {"non": np.array([20.0, 50.0, 90.0])}, {"non": 2.5})
    expected = transfer.domain_index(model.gains["non"], model.base["non"], 2.5)
    assert model.parts("non").mean() == pytest.approx(float(expected))


def test_without_a_gain_on_mathematics_the_sign_still_has_a_value():
    assert means(controlled_study.rl_study(tuned([-4.0, -4.0], [1.0, 9.0], [1.0, 1.0])))["rl_di_non"] > 0


def test_survey_statistics_by_hand():
    gains = pd.DataFrame({"math": [3.0, 2.0, 1.0, 1.0], "other": [1.0, -1.0, 0.0, 2.0], "non": [-1.0, -2.0, -3.0, 4.0]})
    assert audit.readings(gains).sum().to_dict() == {
        "other": 2,
        "non": 3,
        "either": 3,
        "both": 2,
    }
    index = gains.assign(non=[1.0, 2.0, 3.0, 4.0])
    assert values(audit._failures(gains, index)) == {"share_failing": 75.0, "share_failing_by_index": 50.0}
    # A mean that only rounding tells from zero is zero, whatever its sign.
    assert audit.readings(pd.DataFrame({"other": [1e-15], "non": [1.0]}))["other"].all()
    rl, sft = ({group: np.array(own) for group in ("other", "non")} for own in ([5.0, 7.0], [4.0, 6.0, -1.0]))
    by_method = values(audit._other_by_method(rl, sft) | audit._non_by_method(rl, sft))
    assert by_method["rl_less_sft_ti_other"] == pytest.approx(3.0)
    assert by_method["rl_beats_sft_ti_non"] == pytest.approx(100 * 5 / 6)
    assert by_method["sft_negative_ti_non"] == pytest.approx(100 / 3)


def test_drift_statistics_by_hand():
    def by_seed(*values):
        return BySeed(np.array(values), np.zeros(len(values)))

    sft = {"math": by_seed(1.0, 4.0), "other": by_seed(3.0, 1.0), "non": by_seed(6.0, 6.0)}
    rl = {"math": by_seed(0.5, 2.0), "other": by_seed(3.0, 1.0), "non": by_seed(1.5, 6.0)}
    assert values(latent_drift.shifts(sft, rl)) == pytest.approx(
        {"sft_over_rl_shift_math": 2.0, "sft_over_rl_shift_other": 1.0, "sft_over_rl_shift_non": 2.0}
    )
    # Over mathematics 6 / sqrt(1 * 4), over other reasoning 6 / sqrt(3 * 1).
    assert values(latent_drift.shift_on_non(sft)) == pytest.approx({"sft_shift_non_over_rest": 3.0})
    assert values(token_drift.least_kl_ratio(sft, rl)) == pytest.approx({"sft_over_rl_kl_least": 1.0})
