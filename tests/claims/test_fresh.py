"""Fresh runs beside a record: what is altered is found and named, and what agrees is told from what does not."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from runs_of_a_study import tier, write_runs
from scipy import stats

from mathtransfer.claims.fresh import compare
from mathtransfer.study import record

RL = "RL--settled-0--1"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    of = tier(root / "record")
    write_runs(root, of)
    record.write_record(of, root)
    return record.read_record(root / "record")


def altered(of, table: str, column: str, value, where=None):
    """A record with one value changed in the first row of a run that matches, and the row as it was."""
    changed = getattr(of, table).copy()
    row = changed.query(f"run == @RL and {where}" if where else "run == @RL").index[0]
    before = changed.loc[row].copy()
    changed.loc[row, column] = value(before[column]) if callable(value) else value
    return dataclasses.replace(of, **{table: changed}), before


def verdicts(found: pd.DataFrame) -> dict[str, str]:
    return dict(zip(found["run"], found["verdict"], strict=True))


def test_a_record_beside_itself_is_the_same(recorded):
    found = compare(recorded, recorded)
    assert found["run"].tolist() == ["RL--settled-0--0", RL, "SFT-own--settled-0--0--learning_rate=0.2", "settled-0"]
    assert set(found["verdict"]) == {"the same bit for bit"}
    assert found[["same_code", "same_versions"]].all(axis=None) and not found["first_difference"].any()
    assert not found[["difference", "low", "high"]].any(axis=None)


@pytest.mark.parametrize(
    ("table", "column", "where", "named"),
    [
        (
            "shifts",
            "value",
            "metric == 'kl' and benchmark == 'truth'",
            "shifts, group other, benchmark truth, metric kl",
        ),
        ("scores", "stderr", "benchmark == 'capitals'", "scores, group non, benchmark capitals, metric accuracy"),
        ("training", "loss", "step == 2", "training, step 2"),
    ],
)
def test_one_number_altered_in_its_last_digit_is_found_and_named(recorded, table, column, where, named):
    other, before = altered(recorded, table, column, lambda value: np.nextafter(value, 9.0), where)
    found = compare(recorded, other)
    assert verdicts(found) == {run: "the same bit for bit" for run in found["run"]} | {RL: "agrees within its interval"}
    (said,) = found.loc[found["run"] == RL, "first_difference"]
    was, now = before[column], np.nextafter(before[column], 9.0)
    assert said == f"{named}: {column} is {was}, recorded {now}"


def test_an_altered_answer_and_an_altered_row_of_a_run_are_named(recorded):
    other, before = altered(
        recorded, "answers", "right", lambda right: not right, "benchmark == 'boxes' and question == 5"
    )
    (said,) = compare(recorded, other).query("run == @RL")["first_difference"]
    assert said == f"answers, benchmark boxes, question 5: right is {before['right']}, recorded {not before['right']}"
    other, _ = altered(recorded, "runs", "response_tokens", 7)
    (said,) = compare(recorded, other).query("run == @RL")["first_difference"]
    assert said == "runs: response_tokens is 142.0, recorded 7.0"


@pytest.mark.parametrize("column", ["train_seconds", "evaluate_memory_mb", "cores"])
def test_another_machine_or_hour_is_no_difference(recorded, column):
    other, _ = altered(recorded, "runs", column, 7)
    assert set(compare(recorded, other)["verdict"]) == {"the same bit for bit"}


def test_other_code_and_other_versions_are_told(recorded):
    for column, told in {"latent_drift_code": "same_code", "version_torch": "same_versions"}.items():
        other, _ = altered(recorded, "runs", column, "other")
        found = compare(recorded, other).set_index("run")
        assert found["verdict"].eq("the same bit for bit").all()
        assert (~found[told].astype(bool)).to_dict() == {run: run == RL for run in found.index}


@pytest.mark.parametrize(("wrong", "verdict"), [(4, "agrees within its interval"), (25, "does not agree")])
def test_a_score_agrees_if_questions_leave_the_difference_open(recorded, wrong, verdict):
    """So many of the 40 answers on one benchmark are now wrong. The interval by hand, for three groups at once."""
    table = recorded.answers.copy()
    table.loc[(table["run"] == RL) & (table["benchmark"] == "truth"), "right"] = True
    always = dataclasses.replace(recorded, answers=table.copy())
    table.loc[(table["run"] == RL) & (table["benchmark"] == "truth") & (table["question"] < wrong), "right"] = False
    fresh = dataclasses.replace(recorded, answers=table)
    row = compare(fresh, always).set_index("run").loc[RL]
    lost = np.where(np.arange(40) < wrong, -100.0, 0.0)
    half = stats.norm.ppf(0.5 + 0.95 ** (1 / 3) / 2) * stats.sem(lost)
    assert row["group"] == "other"
    assert row[["difference", "low", "high"]].tolist() == pytest.approx(
        [lost.mean(), lost.mean() - half, lost.mean() + half]
    )
    assert row["verdict"] == verdict


def test_a_measure_that_only_one_of_them_could_take_is_a_difference(recorded):
    """As the evenness of shifts, which needs responses of some length."""
    only = "run == @RL and metric == 'kl' and benchmark == 'truth'"
    without = dataclasses.replace(recorded, shifts=recorded.shifts.drop(recorded.shifts.query(only).index))
    value = recorded.shifts.query(only)["value"].item()
    cases = [(without, recorded, f"nan, recorded {value}"), (recorded, without, f"{value}, recorded nan")]
    for ours, theirs, said in cases:
        row = compare(ours, theirs).set_index("run").loc[RL]
        assert row["verdict"] == "agrees within its interval"
        assert row["first_difference"] == f"shifts, group other, benchmark truth, metric kl: value is {said}"


def test_what_cannot_be_compared_is_told(recorded):
    fewer = dataclasses.replace(recorded, answers=recorded.answers.query("run != @RL or question < 30"))
    found = compare(fewer, recorded)
    assert verdicts(found)[RL] == "of another size" and found.set_index("run").loc[RL].drop("verdict").isna().all()
    longer, _ = altered(recorded, "runs", "updates", 30)
    assert verdicts(compare(longer, recorded))[RL] == "of another size"
    without = dataclasses.replace(recorded, runs=recorded.runs.query("run != @RL"))
    assert verdicts(compare(recorded, without))[RL] == "not recorded"
    assert set(compare(recorded, None)["verdict"]) == {"not recorded"}
