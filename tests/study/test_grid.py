"""The cells of the protocol, what a tier makes of them, and what is refused."""

import copy
import json
import re
import shutil

import pytest
import yaml
from conftest import ROOT

from mathtransfer.study import grid

STUDY = {
    "bases": {"settled": {"steps": 3, "seeds": [0, 1], "rejected": [7]}},
    "larger_bases": {"4M": {"hidden_size": 256}},
    "train": {"problems_each": 9, "steps": 7, "batch_size": 4, "group_size": 2, "max_completion": 5, "save_every": 3},
    "settings": {
        "on-policy RL": {"setting": "on-policy RL", "learning_rate": 0.1},
        "SFT on RL's samples": {"setting": "off-policy SFT", "teacher": "on-policy RL", "learning_rate": 0.1},
        "off-policy SFT, own style": {"setting": "off-policy SFT", "teacher": "own", "steps": 8},
    },
    "grid": [
        {"settings": "all", "bases": ["settled-0"], "seeds": [0, 1]},
        {
            "settings": ["on-policy RL"],
            "bases": ["settled-0"],
            "seeds": [1],
            "changes": {"learning_rate": [0.1, 0.2], "steps": [7, 30]},
        },
    ],
    "evaluate": {"suite": "miniature", "n": 50},
    "latent_drift": {"n": 5},
    "token_drift": {"n": 5},
}
TIERS = {
    "whole": {"html": "a", "record": "b", "cells": "grid"},
    "tiny": {
        "html": "c",
        "record": "d",
        "cells": [{"settings": ["on-policy RL"], "bases": ["settled-0"], "seeds": [1]}],
        "train": {"steps": 2},
        "evaluate": {"n": 4},
    },
}


@pytest.fixture
def read(tmp_path):
    """Reads a tier of a repository with these configurations, some of their values changed: path -> value."""
    shutil.copytree(ROOT / "notebooks" / "runs", tmp_path / "notebooks" / "runs")

    def reading(tier: str, **changes):
        files = copy.deepcopy({"study": STUDY, "tiers": TIERS})
        for path, value in changes.items():
            *places, last = path.split("__")
            place = files
            for name in places:
                place = place[int(name) if name.isdigit() else name]
            place[int(last) if last.isdigit() else last] = value
        for name, content in files.items():
            (tmp_path / "config").mkdir(exist_ok=True)
            (tmp_path / "config" / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        return grid.read_tier(tier, tmp_path)

    return reading


def test_cells_are_all_combinations_each_once_and_called_readably(read):
    """A changed value that is the setting's own is no change."""
    assert list(read("whole").cells) == [
        "on-policy-RL--settled-0--0",
        "on-policy-RL--settled-0--1",
        "SFT-on-RLs-samples--settled-0--0",
        "SFT-on-RLs-samples--settled-0--1",
        "off-policy-SFT-own-style--settled-0--0",
        "off-policy-SFT-own-style--settled-0--1",
        "on-policy-RL--settled-0--1--steps=30",
        "on-policy-RL--settled-0--1--learning_rate=0.2",
        "on-policy-RL--settled-0--1--learning_rate=0.2--steps=30",
    ]


def test_a_setting_differs_from_what_all_share_a_cell_from_its_setting_and_a_tier_from_all(read):
    whole, tiny = read("whole"), read("tiny")
    assert whole.cells["off-policy-SFT-own-style--settled-0--0"].parameters["steps"] == 8
    changed = whole.cells["on-policy-RL--settled-0--1--learning_rate=0.2--steps=30"].parameters
    shared = {key: value for key, value in STUDY["train"].items() if key != "steps"}
    assert changed == {**shared, "steps": 30, "setting": "on-policy RL", "learning_rate": 0.2}
    (cell,) = tiny.cells.values()
    assert cell.name == "on-policy-RL--settled-0--1" and cell.parameters["steps"] == 2
    assert cell.parameters["learning_rate"] == 0.1
    assert tiny.sizes["evaluate"] == {"suite": "miniature", "n": 4}
    assert tiny.varying == whole.varying == ["learning_rate", "setting", "steps", "teacher"]


def test_every_cell_is_trained_and_measured_and_every_base_evaluated(read):
    tiny = read("tiny")
    assert tiny.runs == {
        "train": ["on-policy-RL--settled-0--1"],
        "evaluate": ["settled-0", "on-policy-RL--settled-0--1"],
        "latent_drift": ["on-policy-RL--settled-0--1"],
        "token_drift": ["on-policy-RL--settled-0--1"],
    }


def test_a_teacher_of_another_setting_is_its_unchanged_run_on_the_same_base_with_the_same_seed(read):
    taught = {name: cell.taught_by for name, cell in read("whole").cells.items() if cell.taught_by}
    assert taught == {f"SFT-on-RLs-samples--settled-0--{n}": f"on-policy-RL--settled-0--{n}" for n in (0, 1)}


def test_a_base_is_pre_trained_as_its_kind_and_size_say_and_ships_or_is_built(read, tmp_path):
    read("whole")
    found = grid.read_bases(tmp_path)
    assert list(found) == ["settled-0", "settled-1", "settled-0-4M", "settled-1-4M"]
    assert found["settled-1-4M"] == {"kind": "settled", "seed": 1, "steps": 3, "hidden_size": 256}
    assert grid.read_rejected(tmp_path) == {"settled-7": {"kind": "settled", "seed": 7, "steps": 3}}
    assert grid.base_folder("settled-0").is_dir() and not grid.base_folder("settled-0-4M").is_dir()


ONE = {"settings": ["on-policy RL"], "bases": ["settled-0"], "seeds": [0]}


@pytest.mark.parametrize(
    ("tier", "changes", "message"),
    [
        ("huge", {}, "config/tiers.yaml: unknown tier 'huge': expected one of tiny, whole"),
        (
            "tiny",
            {"tiers__tiny__evalute": {}},
            "config/tiers.yaml: unknown field of tiny 'evalute': expected one of cells, evaluate",
        ),
        ("tiny", {"tiers__tiny__train__step": 1}, "unknown parameter in tiny.train 'step': expected one of batch_size"),
        ("tiny", {"study__evaluate__m": 1}, "config/study.yaml: unknown parameter in evaluate 'm': expected one of "),
        (
            "tiny",
            {"study__settings__on-policy RL__setting": "RL"},
            "config/study.yaml: unknown setting in settings.on-policy RL 'RL': expected one of off-policy RL",
        ),
        (
            "tiny",
            {"study__settings__on-policy RL__teacher": "me"},
            "unknown teacher in settings.on-policy RL 'me': expected one of SFT on RL's samples, base, foreign",
        ),
        ("tiny", {"study__settings__on-policy RL__seed": 1}, "unknown parameter in settings.on-policy RL 'seed'"),
        (
            "tiny",
            {"study__grid__1__settings": ["RL"]},
            "config/study.yaml, grid[1]: unknown setting 'RL': expected one of SFT on RL's samples, off-policy SFT",
        ),
        ("tiny", {"study__grid__0__seeds": 3}, "config/study.yaml, grid[0]: seeds is 3: expected a list"),
        (
            "tiny",
            {"study__grid__0__seeds": ["a"]},
            "grid[0]: a seed is 'a': expected a whole number",
        ),
        ("tiny", {"study__grid__0__changes": {"rate": [1]}}, "grid[0]: unknown parameter in changes 'rate'"),
        ("tiny", {"study__grid__0": {"settings": "all"}}, "config/study.yaml, grid[0]: there is no field 'bases'"),
        (
            "tiny",
            {"study__grid__0__base": 1},
            "grid[0]: unknown field 'base': expected one of bases",
        ),
        (
            "tiny",
            {"tiers__tiny__cells__0__seeds": [2]},
            "config/tiers.yaml, tiny.cells: unknown cell of the grid in config/study.yaml "
            "'on-policy-RL--settled-0--2': expected one of SFT-on-RLs-samples--settled-0--0",
        ),
        (
            "tiny",
            {"tiers__tiny__cells__0__settings": ["SFT on RL's samples"]},
            "tiny: SFT-on-RLs-samples--settled-0--1 needs the run on-policy-RL--settled-0--1 for its teacher",
        ),
        (
            "whole",
            {"study__grid__0__bases": ["elicitable-9"]},
            "config/study.yaml: unknown base 'elicitable-9': expected one of settled-0, settled-0-4M, settled-1",
        ),
        (
            "whole",
            {"study__settings__on policy RL": STUDY["settings"]["on-policy RL"]},
            "config/study.yaml: two settings differ only in characters that a folder's name leaves out",
        ),
    ],
)
def test_what_does_not_exist_is_refused_in_one_sentence(read, tier, changes, message):
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        read(tier, **changes)
    assert "\n" not in str(raised.value)


def test_no_value_of_the_study_stands_in_a_tier_too():
    """What a tier says again would be changed in one of the two places only."""
    study, tiers = (yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text()) for name in ("study", "tiers"))
    said = [
        (tier, kind, key)
        for tier, own in tiers.items()
        for kind, values in own.items()
        if isinstance(values, dict)
        for key, value in values.items()
        if json.dumps(study.get(kind, {}).get(key, "nothing")) == json.dumps(value)
    ]
    assert not said
    assert tiers["mini"]["cells"] == tiers["smoke"]["cells"]
    assert not {"train", *grid.MEASURED} & tiers["mini"].keys(), "fresh runs are compared with recorded ones"
