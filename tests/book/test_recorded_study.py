"""One cell of the recorded study, another one every time, is run again from its base and measured as the study was."""

import dataclasses
import random

import pytest
import yaml
from conftest import MAKE_STUDY, ROOT, copy_repository, run

from mathtransfer.claims import fresh
from mathtransfer.study import grid, record

pytestmark = pytest.mark.slow
RECORDED = ROOT / "results" / "study"


def cells_of_the_record() -> list[grid.Cell]:
    """Those that take no longer than most and need no other model than their base."""
    tier = dataclasses.replace(grid.read_tier("study", ROOT), record=str(RECORDED))
    known = record.recorded(tier)
    usual = max(cell.parameters["steps"] for cell in tier.cells.values() if not cell.changes)
    return [c for n, c in tier.cells.items() if n in known and not c.taught_by and c.parameters["steps"] <= usual]


def test_a_recorded_cell_comes_out_again(tmp_path):
    if not (cells := cells_of_the_record()):
        pytest.skip("no study is recorded")
    cell, folder = random.choice(cells), copy_repository(tmp_path / "copy")
    tiers = yaml.safe_load((folder / "config" / "tiers.yaml").read_text())
    part = {"settings": [cell.setting], "bases": [cell.base], "seeds": [cell.seed]}
    changes = {"changes": {name: [value] for name, value in cell.changes.items()}} if cell.changes else {}
    tiers["study"] |= {"record": "_build/study/record", "cells": [part | changes]}
    (folder / "config" / "tiers.yaml").write_text(yaml.safe_dump(tiers))
    done = run([*MAKE_STUDY[:-1], "TIER=study"], folder)
    assert done.returncode == 0, done.stdout[-2000:]
    again, recorded = record.read_record(folder / "_build" / "study" / "record"), record.read_record(RECORDED)
    found = fresh.compare(again, recorded).set_index("run").loc[cell.name]
    then, now = (own.runs.set_index("run").loc[cell.name] for own in (recorded, again))
    if not (found["same_versions"] and then["machine"] == now["machine"]):
        pytest.skip(f"{cell.name} was recorded on another machine or with other versions; {found['verdict']}")
    assert found["verdict"] == "the same bit for bit", found.to_dict()
