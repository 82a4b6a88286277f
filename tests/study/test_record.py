"""The record of a study against the run folders that it is made of, read by hand."""

import dataclasses
import json
import random
import shutil

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from runs_of_a_study import BENCHMARKS, WORDS, tier, write_runs

from mathtransfer.miniature import families, traces
from mathtransfer.miniature.formats import FORMATS, OTHERWISE
from mathtransfer.study import record

RL, SFT = "RL--settled-0--1", "SFT-own--settled-0--0--learning_rate=0.2"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    of = tier(root / "record")
    write_runs(root, of)
    record.write_record(of, root)
    return root, record.read_record(root / "record")


def test_a_row_a_run_says_what_it_is_and_what_it_took(written):
    _, found = written
    assert found.runs["run"].tolist() == ["RL--settled-0--0", RL, SFT, "settled-0"]
    row = found.runs.set_index("run").loc[SFT]
    assert row[["base", "kind", "setting", "seed", "changes"]].tolist() == [
        "settled-0",
        "settled",
        "SFT, own",
        0,
        "learning_rate=0.2",
    ]
    assert row[["objective", "teacher", "learning_rate"]].tolist() == ["on-policy RL", "own", 0.2]
    assert row[["updates", "responses", "response_tokens"]].tolist() == [3, 24, round(8 * (5.5 + 6 + 6.25))]
    assert row[[f"{part}_seconds" for part in record._PARTS]].tolist() == [12.5] * 4
    assert row[["base_fingerprint", "version_torch", "cores", "gpu"]].tolist() == ["abc", "2.9.0", 2, ""]
    base = found.runs.set_index("run").loc["settled-0"]
    assert base[["setting", "seed", "changes", "evaluate_seconds"]].tolist() == ["base", -1, "", 12.5]
    assert base[["updates", "train_seconds", "token_drift_memory_mb"]].isna().all()


def test_every_question_has_its_first_sample_by_format_and_every_format_its_answers(written):
    root, found = written
    samples = pd.read_parquet(root / "runs" / "evaluate" / RL / "samples.parquet").query("sample == 0")
    answers = found.answers[found.answers["run"] == RL].set_index(["benchmark", "question"])
    assert len(answers) == len(samples) == 40 * len(BENCHMARKS)
    begun = {WORDS["answer"]: "at once", WORDS["steps :"]: "in steps", WORDS["let me think ."]: "as the teacher"}
    for row in samples.itertuples():
        kept = answers.loc[(row.benchmark, row.question)]
        assert (kept["begins"], kept["right"]) == (begun.get(row.completion, "otherwise"), row.score == 1)
    given = pd.read_parquet(root / "runs" / "evaluate" / RL / "formats.parquet").query("begins == 'steps :'")
    formats = found.formats.query("run == @RL and format == 'in steps'").set_index(["benchmark", "question"])
    assert len(formats) == len(given) == 20 * len(BENCHMARKS)
    assert all(formats.loc[(row.benchmark, row.question), "right"] == (row.score == 1) for row in given.itertuples())


@pytest.mark.parametrize("name", ["shifts", "scores", "training"])
def test_numbers_are_those_of_the_runs_to_the_last_bit(written, name):
    root, found = written
    kinds = {"shifts": ["latent_drift", "token_drift"], "scores": ["evaluate"], "training": ["train"]}[name]
    files = [path for kind in kinds for path in (root / "runs" / kind).glob("*/*.csv")]
    tables = [pd.read_csv(path).assign(run=path.parent.name) for path in files]
    columns = ["run", "step", "loss"] if name == "training" else ["run", "benchmark", "metric", "value", "stderr"]
    by_hand = pd.concat(tables)[columns].sort_values(columns[:3], ignore_index=True)
    kept = getattr(found, name)[columns].astype({column: by_hand[column].dtype for column in columns})
    pd.testing.assert_frame_equal(kept, by_hand, check_exact=True)


def test_the_same_runs_have_the_same_bytes(written, tmp_path):
    """Whatever order a folder lists them in, and whenever they are written."""
    root, _ = written
    of = tier(tmp_path)
    again = record.Tier(of.name, of.html, of.record, dict(reversed(of.cells.items())), of.sizes, of.varying)
    record.write_record(again, root)
    for name in record.FILES:
        assert (tmp_path / name).read_bytes() == (root / "record" / name).read_bytes(), name


def test_the_code_is_what_makes_tables(tmp_path):
    """Neither a page's template nor a notebook's prose or first cell, which installs, is part of it; other code is."""
    notebook = tmp_path / "run.ipynb"

    def hashed(code: str, prose: str, *files: str, first: str = "install()") -> str:
        cells = [nbformat.v4.new_markdown_cell(prose), *map(nbformat.v4.new_code_cell, (first, code))]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
        return record._code_hash([notebook, *(ROOT / "src/mathtransfer" / file for file in files)])

    assert hashed("a = 1", "Prose") == hashed("a = 1", "Other prose") == hashed("a = 1", "Prose", "pages/charts.py")
    assert hashed("a = 1", "") == hashed("a = 1", "", first="install(2)")
    assert len({hashed("a = 1", ""), hashed("a = 2", ""), hashed("a = 1", "", "runs.py")}) == 3


def test_answers_in_every_style_are_classed_by_their_first_word():
    rng, (problem,) = random.Random(0), families.distinct_problems("boxes", "posttrain", 1, seed=0)
    written = {"at once": traces.direct(problem), "in steps": traces.steps(problem, rng)}
    for _ in range(20):  # which of its two beginnings the long style takes is random
        samples = pd.DataFrame({"completion": [*written.values(), traces.thinking(problem, rng), "7"], "sample": 0})
        begins = record._answers(samples.assign(benchmark="boxes", question=0, score=1.0))["begins"]
        assert begins.tolist() == [*written, "as the teacher", "otherwise"]


def test_the_code_of_an_evaluation_has_its_tasks_and_graders():
    names = {path.name for path in record._code_of("evaluate")}
    assert {"evaluate.ipynb", "_greedy.yaml", "boxes.yaml", "miniature.py", "engines.py"} <= names
    assert "evaluate.py" not in {path.name for path in record._code_of("train")}


@pytest.mark.parametrize("ended", ["runs/token_drift/{}/manifest.json", "timings/latent_drift--{}.tsv"])
def test_a_record_grows_by_what_is_finished_and_says_what_it_lacks(ended, written, tmp_path):
    """On one machine all but a run; on another, which has the record and no runs, that run: the same bytes."""
    root, _ = written
    of = tier(tmp_path / "record")
    write_runs(tmp_path / "first", of)
    (tmp_path / "first" / ended.format(RL)).unlink()
    assert record.recorded(of) == set()
    assert record.write_record(of, tmp_path / "first") == [RL]
    assert record.recorded(of) == {"RL--settled-0--0", SFT, "settled-0"}
    write_runs(tmp_path / "second", of)
    for other in record.recorded(of):
        for folder in (tmp_path / "second" / "runs").glob(f"*/{other}"):
            shutil.rmtree(folder)
    assert record.write_record(of, tmp_path / "second") == []
    for name in record.FILES:
        assert (tmp_path / "record" / name).read_bytes() == (root / "record" / name).read_bytes(), name


def test_what_is_asked_otherwise_by_now_is_not_in_the_record(written):
    root, _ = written
    of = tier(root / "record")
    faster = dataclasses.replace(of.cells[RL], parameters=of.cells[RL].parameters | {"learning_rate": 0.3})
    assert record.recorded(dataclasses.replace(of, cells=of.cells | {RL: faster})) == {*of.runs["evaluate"]} - {RL}
    assert record.recorded(dataclasses.replace(of, sizes=of.sizes | {"evaluate": {"n": 7}})) == set()


def test_a_missing_record_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no record: .*runs\.csv is missing; `make study` or `make book`"):
        record.read_record(tmp_path)


def test_the_whole_study_is_recorded_in_less_than_ten_megabytes(tmp_path):
    """210 runs and six bases with answers and numbers that nothing could compress further: pure noise."""
    rng = np.random.default_rng(0)
    names = [f"off-policy-SFT-foreign-style--elicitable-0--{seed}" for seed in range(210)]
    benchmarks, bases = [f"benchmark{n}" for n in range(12)], [f"base-{n}" for n in range(6)]

    def rows(**axes):
        return pd.MultiIndex.from_product(axes.values(), names=axes.keys()).to_frame(index=False)

    def measured(runs_, metrics):
        table = rows(run=runs_, benchmark=benchmarks, metric=[f"measure of drift {n}" for n in range(metrics)])
        return table.assign(group="other", value=rng.random(len(table)), stderr=rng.random(len(table)), n=100)

    classes = [*FORMATS, OTHERWISE]
    answers = rows(run=[*bases, *names], benchmark=benchmarks, question=range(1000))
    formats = rows(run=[*bases, *names], benchmark=benchmarks, format=classes[:3], question=range(400))
    training = rows(run=names, step=range(75))
    tables = {
        "answers.parquet": answers.assign(
            begins=rng.choice(classes, len(answers)), right=rng.random(len(answers)) < 0.5
        ),
        "formats.parquet": formats.assign(right=rng.random(len(formats)) < 0.5),
        "shifts.parquet": measured(names, 30),
        "scores.csv": measured([*bases, *names], 4),
        "training.parquet": training.assign(**{name: rng.random(len(training)) for name in "abcde"}),
    }
    record._write(tables, tmp_path)
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    a_row = 700  # bytes of runs.csv
    assert total + a_row * (len(bases) + len(names)) < 10e6, {p.name: p.stat().st_size for p in tmp_path.iterdir()}
    print(json.dumps({path.name: path.stat().st_size for path in tmp_path.iterdir()}))
