"""The note on a record says how whole it is, and names what is not as it was."""

import dataclasses

import made_up_study
import numpy as np
import pytest
from conftest import ROOT

from mathtransfer.claims import fresh
from mathtransfer.pages import record_note
from mathtransfer.study.record import Record

RUN = "on-policy-RL--settled-0--1"


def part(record: Record, of) -> Record:
    """The runs of a record for which a condition on runs.csv holds."""
    names = set(record.runs.loc[of(record.runs), "run"])
    return Record(*(table[table["run"].isin(names)].reset_index(drop=True) for table in vars(record).values()))


@pytest.fixture(scope="module")
def whole():
    return made_up_study.make(questions=20)


@pytest.fixture
def noted(tmp_path, monkeypatch):
    """Writes a recorded study and fresh runs, either may be missing, and reads what the note says."""
    monkeypatch.chdir(ROOT)

    def read(recorded: Record | None, own: Record | None) -> str:
        if recorded is not None:
            made_up_study.write(recorded, tmp_path / "recorded")
        if own is not None:
            made_up_study.write(own, tmp_path / "study" / "record")
            fresh.compare(own, recorded).to_csv(tmp_path / "study" / "fresh.csv", index=False)
        found, note = record_note.read(tmp_path / "study", tmp_path / "recorded")
        is_whole = recorded is not None and len(recorded.runs) == len(made_up_study.make(questions=1).runs)
        assert len(found.runs) == len((recorded if own is None or is_whole else own).runs)
        return note

    return read


def sliced(record: Record) -> Record:
    settings = ["on-policy RL", "off-policy SFT, foreign style"]
    few = record.runs["setting"].isin(settings) & (record.runs["base"] == "settled-0") & (record.runs["changes"] == "")
    return part(record, lambda runs: few | (runs["run"] == "settled-0"))


def test_a_whole_record_that_agrees(whole, noted):
    note = noted(whole, sliced(whole))
    assert f"All {len(whole.runs)} runs of the protocol are recorded, 6 of them bases." in note
    assert "The machine was x86_64 with 2 cores and no GPU, the versions torch 2.13.0." in note
    assert "The code of every kind of run is still the same." in note
    assert "beside the recorded ones: 11 the same bit for bit. What" in note  # and no word of a difference


def test_one_number_that_was_altered_is_named(whole, noted):
    scores = whole.scores.copy()
    row = scores.query("run == @RUN and benchmark == 'routes'").index[0]
    scores.loc[row, "value"] = before = np.nextafter(scores.loc[row, "value"], 0)
    note = noted(dataclasses.replace(whole, scores=scores), sliced(whole))
    assert "10 the same bit for bit, 1 agrees within its interval" in note
    assert f"The first difference in `{RUN}` is `scores, group other, benchmark routes" in note
    assert f"recorded {before}`" in note and "by +0.0 [+0.0, +0.0] points." in note


def test_code_that_changed_is_named_by_kind_of_run(whole, noted):
    runs = whole.runs.assign(evaluate_code="older")
    runs.loc[runs["seed"] == 0, "train_code"] = "older"
    of_seed_0, trained = (runs["seed"] == 0).sum(), (runs["seed"] >= 0).sum()
    note = noted(dataclasses.replace(whole, runs=runs), sliced(whole))
    changed = f"that of {of_seed_0} of {trained} `train`, that of {len(runs)} of {len(runs)} `evaluate`."
    assert f"**Since then code has changed**: {changed}" in note


def test_a_part_of_the_protocol_says_which(whole, noted):
    few = part(whole, lambda runs: runs["base"].isin(["elicitable-0", "settled-0"]) & (runs["seed"] < 2))
    note = noted(few, None)
    assert f"Of the protocol's {len(whole.runs)} runs {len(few.runs)} are there: " in note
    assert "elicitable-0 with the training seeds 0, 1; settled-0 with the training seeds 0, 1." in note
    assert "again" not in note and "smaller" not in note


def test_a_part_of_the_protocol_is_not_shown_beside_fresh_runs(whole, noted):
    few = part(whole, lambda runs: runs["base"].isin(["settled-0"]) & (runs["seed"] < 2))
    note = noted(few, sliced(whole))
    assert f"{len(few.runs)} of {len(whole.runs)} runs are there so far. It is shown when it is whole" in note
    assert "again, beside the recorded ones: 5 the same bit for bit, 6 not recorded." in note


def test_without_a_record_the_fresh_runs_are_shown_and_it_is_said(whole, noted):
    own = sliced(whole)
    note = noted(None, dataclasses.replace(own, runs=own.runs.assign(updates=2)))
    assert note.startswith("There is no recorded study in `")
    assert "settled-0 with the training seeds 0, 1, 2, 3, 4." in note
    assert "**They are smaller than the protocol's**" in note


def test_without_any_record_the_file_that_is_missing_is_named(noted):
    with pytest.raises(FileNotFoundError, match=r"study/record/runs.csv is missing; `make study` or `make book`"):
        noted(None, None)
