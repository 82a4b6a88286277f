"""Whatever was run of the paper's thirty models, and the paper beside it, on run folders made from its own numbers."""

import math
import re

import nbformat
import pandas as pd
import pytest
import yaml
from conftest import ROOT, papermill, run

from mathtransfer import runs
from mathtransfer.benchmarks import grades
from mathtransfer.claims import controlled_study, criteria, full, ledger, recomputed
from mathtransfer.paper import reported, survey

MODELS = ROOT / "config" / "models.yaml"
PAIR = ["Qwen2.5-7B-Base", "SimpleRL-7B"]
ACCURACY, AS_PUBLISHED = full.GRADINGS
RL_14B, *SFT_14B = reported.CONTROLLED_STUDY
STUDY = ["Qwen3-14B-Base", RL_14B, SFT_14B[0]]
EVERY = list(reported.table("models")["model"])


def evaluated(
    folder, model: str, suite: str = "paper", without: str = "", add: float = 0.0, n: int = 0, name: str = ""
):
    """A finished run with the paper's scores, or with others, and as without an answer 40% of what is not correct."""
    own = reported.scores().query("model == @model and benchmark != @without")
    own = own.assign(value=own["value"] + add, n=n or own["n"])
    parts = [
        own.assign(metric=ACCURACY),
        own.assign(metric=AS_PUBLISHED),
        own.assign(metric="no answer", value=0.4 * (100 - own["value"])),
    ]
    table = runs.tidy(pd.concat(parts).assign(base="", setting="tuned", seed=-1, tier="full", suite=suite))
    out = folder / (name or model.replace(" ", "-"))
    with runs.run_folder(str(out), "evaluate", {"model": model}, base_fingerprint=model) as partial:
        table.to_csv(partial / "scores.csv", index=False)
    return out


def read(folder) -> pd.DataFrame:
    return full.read_scores([str(folder)])


@pytest.fixture(scope="module")
def all_thirty(tmp_path_factory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("all")
    for model in EVERY:
        evaluated(folder, model)
    return read(folder)


# --- what was measured


def test_only_finished_runs_of_the_suite_count(tmp_path):
    evaluated(tmp_path / "deep" / "er", PAIR[0])
    evaluated(tmp_path, PAIR[1], suite="miniature")
    cut = evaluated(tmp_path, "Qwen3-14B-Base")
    cut.rename(cut.with_name("cut.partial"))
    unfinished = evaluated(tmp_path, RL_14B)
    (unfinished / "manifest.json").unlink()
    with runs.run_folder(str(tmp_path / "train"), "train", {}):
        pass
    scores = read(tmp_path)
    assert set(scores["model"]) == {PAIR[0]} and len(scores) == 36
    assert scores["run"].str.endswith(f"er/{PAIR[0]}").all()
    assert read(tmp_path / "nowhere").empty


def test_of_two_runs_the_larger_counts_then_the_first(tmp_path):
    evaluated(tmp_path / "a", PAIR[0], n=20, add=1, name="trial")
    evaluated(tmp_path / "b", PAIR[0], n=200, without="ifeval", name="whole")
    evaluated(tmp_path / "c", PAIR[0], n=200, name="again")
    chosen = full.read_scores([str(tmp_path / part) for part in "abc"]).query("metric == @ACCURACY")
    assert not chosen.duplicated(["model", "benchmark"]).any() and len(chosen) == 12
    names = chosen.set_index("benchmark")["run"].str.rpartition("/")[2]
    assert names.pop("ifeval") == "again" and set(names) == {"whole"}


def test_coverage_says_what_is_missing(tmp_path):
    evaluated(tmp_path, PAIR[0])
    evaluated(tmp_path, PAIR[1], without="ifeval")
    cover = full.coverage(survey.read_models(MODELS), read(tmp_path))
    assert len(cover) == 360 and not cover.duplicated(["model", "benchmark"]).any()
    assert cover["status"].value_counts().to_dict() == {"measured": 23, "missing": 325, "no public release": 12}
    hidden = cover[cover["status"] == "no public release"]["model"].unique()
    assert list(hidden) == ["General-Reasoner-Qwen3-14B (SFT)"]
    gap = cover.query("model == @PAIR[1] and status == 'missing'")
    assert list(gap["benchmark"]) == ["ifeval"]


def test_answers_are_correct_wrong_or_missing(tmp_path):
    evaluated(tmp_path, PAIR[1])
    shares = full.answers(read(tmp_path)).pivot(index="benchmark", columns="status", values="share")
    paper = reported.scores().query("model == @PAIR[1]").set_index("benchmark")["value"]
    assert shares.sum(axis=1).tolist() == pytest.approx([100] * 12)
    assert shares[grades.CORRECT].to_dict() == pytest.approx(paper.to_dict())
    assert shares[grades.WRONG].to_dict() == pytest.approx((0.6 * (100 - paper)).to_dict())


# --- beside the paper


def test_the_papers_own_numbers_leave_no_difference(all_thirty):
    beside = full.beside_paper(all_thirty)
    assert len(beside) == 2 * 360 and (beside["difference"] == 0).all() and beside["inside"].all()
    index, paper = full.indices(all_thirty), recomputed.indices(draws=1)
    assert len(index) == 36
    joined = index.merge(paper, on=["model", "group"], suffixes=("", "_paper"))
    assert joined["value"].tolist() == pytest.approx(joined["value_paper"].tolist())
    assert joined["published"].tolist() == pytest.approx(joined["value"].tolist())
    assert (joined["printed"] == joined["printed_paper"]).all()
    assert ((joined["low"] <= joined["value"]) & (joined["value"] <= joined["high"])).all()
    ours = full.evidence(all_thirty)
    theirs = controlled_study.from_gains(reported.gains(), "there")
    assert [(name, estimate()) for name, estimate, _ in ours] == [(name, estimate()) for name, estimate, _ in theirs]


def test_a_difference_has_both_errors(tmp_path):
    evaluated(tmp_path, PAIR[0], add=8, name="far")
    beside = full.beside_paper(read(tmp_path)).query("metric == @ACCURACY").set_index("benchmark")
    assert beside["difference"].tolist() == pytest.approx([8] * 12)
    row, p = beside.loc["math500"], reported.scores().set_index(["model", "benchmark"])["value"][PAIR[0], "math500"]
    drawn = (p * 5 + 2) / 504  # two successes and two failures more, of 500 items
    both = math.sqrt(2 * drawn * (1 - drawn) / 500) * 100
    assert (row["high"] - row["low"]) / 2 == pytest.approx(1.959964 * both)
    assert not row["inside"] and beside.loc["aime24", "inside"]  # 500 items tell what 30 do not


def test_without_a_standard_error_nothing_is_decided(tmp_path):
    scores = read(evaluated(tmp_path, PAIR[0]).parent).assign(stderr=math.nan)
    assert full.beside_paper(scores)["inside"].isna().all()


def test_one_pair_has_its_index_whoever_else_was_measured(tmp_path, all_thirty):
    for model in PAIR:
        evaluated(tmp_path, model)
    index = full.indices(read(tmp_path))
    assert set(index["model"]) == {"SimpleRL-7B"} and len(index) == 2
    both = index.merge(full.indices(all_thirty), on=["model", "group"], suffixes=("", "_among_all"))
    assert len(both) == 2 and both["value"].tolist() == pytest.approx(both["value_among_all"].tolist())


def test_an_index_without_a_score_has_a_reason(tmp_path):
    evaluated(tmp_path, PAIR[0])
    evaluated(tmp_path, PAIR[1], without="ifeval")
    index = full.indices(read(tmp_path)).set_index("group")
    assert index.loc["non", "reason"] == "no score on ifeval" and math.isnan(index.loc["non", "value"])
    assert index.loc["other", "reason"] == "" and not math.isnan(index.loc["other", "value"])
    tuned_only = read(evaluated(tmp_path / "tuned", PAIR[1]).parent)
    assert full.indices(tuned_only).empty


def test_evidence_waits_for_base_rl_and_sft(tmp_path):
    for model in STUDY[:2]:
        evaluated(tmp_path, model)
    assert full.evidence(read(tmp_path)) == []
    evaluated(tmp_path, STUDY[2], without="coqa")
    assert full.evidence(read(tmp_path)) == []
    evaluated(tmp_path, STUDY[2])
    found = full.evidence(read(tmp_path))
    assert {ledger.criterion_of(name)[0] for name, *_ in found} == {"S1", "S2", "S3", "S4"}
    assert len(found) == 10 and not any("no-think" in run for *_, run in found)


def test_the_ledger_copes_with_a_chapter_without_evidence(tmp_path):
    some = ledger.judge("published", controlled_study.from_gains(reported.gains(), "here"))
    recorded = ledger.record(tmp_path, "published_tables", {"x": some})
    assert ledger.record(tmp_path, "survey", {"evidence-for-s1-to-s4": ledger.judge("full", [])}).empty
    joined = ledger.read_evidence(tmp_path / "evidence")
    pd.testing.assert_frame_equal(joined, recorded)
    assert set(ledger.verdicts(joined)["full"]) == {criteria.MISSING, criteria.NOT_APPLICABLE}


# --- the chapter


def chapter(tmp_path, folder) -> tuple[str, pd.DataFrame]:
    """What the executed chapter shows, and the evidence it records."""
    copy, folders = tmp_path / "survey.ipynb", [str(folder)]
    done = run(papermill("chapters/survey", copy, study=tmp_path, run_folders=folders, models=MODELS))
    assert done.returncode == 0, done.stderr[-2000:]
    outputs = [o for cell in nbformat.read(copy, as_version=4).cells for o in cell.get("outputs", [])]
    shown = "\n".join(o.get("text", "") + "".join(o.get("data", {}).values()) for o in outputs)
    return shown, pd.read_csv(tmp_path / "evidence" / "survey.csv")


@pytest.mark.slow
def test_the_chapter_with_nothing_measured(tmp_path):
    shown, evidence = chapter(tmp_path, tmp_path / "nowhere")
    assert "0 evaluations, 0 of 30 models" in shown and "0 of 360 scores measured, 348 missing" in shown
    assert "make survey MODELS=Mistral-Small-24B-Instruct-2501" in shown and "make book" in shown
    assert evidence.empty and list(evidence.columns) == ledger._COLUMNS


@pytest.mark.slow
def test_the_chapter_with_one_pair_and_a_gap(tmp_path):
    evaluated(tmp_path / "runs", PAIR[0])
    evaluated(tmp_path / "runs", PAIR[1], without="ifeval", add=-60)
    shown, evidence = chapter(tmp_path, tmp_path / "runs")
    assert "2 evaluations, 2 of 30 models" in shown and "23 of 360 scores measured" in shown
    assert f"{PAIR[1]}: without ifeval" in shown
    beside = full.beside_paper(read(tmp_path / "runs")).query("metric == @ACCURACY")
    assert 12 <= beside["inside"].sum() < 23
    assert f"{beside['inside'].sum()} of 23 (thinking stripped)" in shown
    assert "no score on ifeval" in shown and evidence.empty


@pytest.mark.slow
def test_make_survey_gives_the_evaluation_what_it_takes(tmp_path):
    """The models' settings and one's own reach papermill, all of them parameters of the notebook."""
    (tmp_path / "own.yaml").write_text("n: 20\nengine_options: {tensor_parallel_size: 2}\n")
    asked = f"models={STUDY[0]};{STUDY[1]}"
    command = ["snakemake", "survey", "--dry-run", "--forceall", "-p", "--nolock", "--config", asked]
    done = run([*command, f"settings={tmp_path / 'own.yaml'}"])
    assert done.returncode == 0, done.stderr[-2000:]
    values = [yaml.safe_load(found) for found in re.findall(r"-y '({.*?})' 2>", done.stdout + done.stderr)]
    assert sorted(value["label"] for value in values) == sorted(STUDY[:2])
    known = survey.read_models(MODELS)
    notebook = nbformat.read(ROOT / "notebooks" / "runs" / "evaluate.ipynb", as_version=4)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    names = {line.split(" = ")[0] for line in cell.source.splitlines()}
    for value in values:
        model = known[value["label"]]
        assert value.keys() <= names
        assert value["n"] == 20 and value["engine_options"] == {"tensor_parallel_size": 2}
        assert (value["model"], value["base"]) == (model.hub_id, known[STUDY[0]].hub_id)
        assert (value["chat"], value["think"], value["budget"]) == (True, model.enable_thinking, model.budget)

    refused = run([*command[:-1], "models=Qwen4"])
    assert refused.returncode != 0 and "unknown model 'Qwen4': expected one of Mistral-Small" in refused.stdout
