"""Single notebooks through papermill: bad parameters, missing tables, kill -9 and repetition."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch
from conftest import ROOT, copy_repository, kill_once, papermill, run

from mathtransfer import runs
from mathtransfer.miniature import pretrain, vocabulary
from mathtransfer.models import checkpoints
from mathtransfer.paper import reported

TABLES = [
    ("published_tables", "scores"),
    ("published_claims", "pca_shift_figures"),
    ("published_claims", "ablation_reported"),
    ("known_problems", "critiques"),
    ("index_under_the_microscope", "transferability_reported"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("chapter", "table"), TABLES)
def test_without_a_table_of_the_paper_a_chapter_fails(chapter, table, tmp_path, monkeypatch):
    """No number on these pages is typed: with the table gone there is nothing to show."""
    tables = shutil.copytree(reported._FOLDER, tmp_path / "paper")
    (tables / f"{table}.csv").unlink()
    monkeypatch.setattr(reported, "_FOLDER", tables)
    cells = nbformat.read(ROOT / "notebooks" / "chapters" / f"{chapter}.ipynb", as_version=4).cells
    after_the_parameters = [cell.source for cell in cells if cell.cell_type == "code"][3:]
    names = {"study": str(tmp_path), "runs": runs, "display": lambda *_: None}
    with pytest.raises(ValueError, match=f"unknown table '{table}'"):
        exec("\n".join(after_the_parameters), names)


@pytest.mark.slow
def test_without_a_table_of_the_paper_the_build_fails(tmp_path):
    chapter, table = TABLES[-1]
    copy = copy_repository(tmp_path / "copy")
    (copy / "src" / "mathtransfer" / "paper" / f"{table}.csv").unlink()
    done = run(papermill(f"chapters/{chapter}", tmp_path / "out.ipynb", study=tmp_path), copy)
    assert done.returncode != 0
    assert f"unknown table '{table}'" in done.stderr.strip().splitlines()[-1]


def heading_ids(chapter: str) -> set[str]:
    """The anchors that the book gives the headings of a chapter."""
    notebook = json.loads((ROOT / "notebooks" / "chapters" / f"{chapter}.ipynb").read_text())
    prose = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    headings = re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-") for heading in headings}


@pytest.mark.slow
def test_known_problems_lead_to_issues_and_chapters(tmp_path):
    out = tmp_path / "out.ipynb"
    done = run(papermill("chapters/known_problems", out, study=tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    html = out.read_text().replace("\\", "")
    for place, number in (source.split("#") for source in reported.table("critiques")["source"]):
        assert f'href="https://github.com/{place}/issues/{number}"' in html
    links = re.findall(r'href="(\w+)\.html#?([\w-]*)"', html)
    assert len(links) >= 15
    for chapter, section in links:
        assert not section or section in heading_ids(chapter), (chapter, section)
    for computed in ("60.0 printed, 51.0 in", "45.2 printed, 44.1 in", "52 (46 to 58)", "24 (19 to 29)"):
        assert computed in html


def train_command(out: Path) -> list[str]:
    small = {"steps": 6, "batch_size": 8, "group_size": 4, "problems_each": 20, "save_every": 1}
    return papermill("runs/train", out.with_suffix(".ipynb"), out=out, **small)


@pytest.mark.slow
def test_kill_and_repeat_give_the_same_bits(tmp_path):
    """One run to its end, and one that is killed with -9 in the middle and started again."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = run(train_command(whole))
    assert done.returncode == 0, done.stderr[-2000:]

    resume = tmp_path / "cut.partial" / runs.RESUME
    kill_once(train_command(cut), lambda: list(resume.glob("checkpoint-2/whole")))
    assert list(resume.glob("checkpoint-*/whole")), "the run was to be killed after a checkpoint"
    assert not cut.exists()
    with pytest.raises(FileNotFoundError):
        runs.read_manifest(cut)

    done = run(train_command(cut))
    assert done.returncode == 0, done.stderr[-2000:]
    assert (whole / "log.csv").read_bytes() == (cut / "log.csv").read_bytes()
    assert checkpoints.fingerprint(str(whole / "checkpoint")) == checkpoints.fingerprint(str(cut / "checkpoint"))
    assert not list(cut.glob(runs.RESUME))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("notebook", "parameters", "message"),
    [
        ("runs/evaluate", {"modell": "x"}, "unknown parameter modell: this notebook takes model, revision, base"),
        ("runs/token_drift", {"chat": True}, "unknown parameter chat"),  # the evaluation's prompts have their template
        ("chapters/ledger", {"study": "nowhere"}, "no evidence in nowhere"),
    ],
)
def test_bad_parameters_stop_a_notebook_with_one_sentence(notebook, parameters, message, tmp_path):
    done = run(papermill(notebook, tmp_path / "out.ipynb", **parameters))
    assert done.returncode != 0
    assert message in done.stderr.strip().splitlines()[-1]


@pytest.fixture
def evaluation(tmp_path) -> Path:
    """An evaluation of the miniature with two questions of one benchmark."""
    fingerprint = checkpoints.fingerprint("miniature")
    with runs.run_folder(
        tmp_path / "evaluate", "evaluate", {"suite": "miniature"}, base_fingerprint=fingerprint
    ) as folder:
        samples = pd.DataFrame({"question": [0, 1], "sample": 0, "group": "math", "benchmark": "sums"})
        samples.assign(prompt=["what is 3 + 4 - 5 + 6 ?", "what is 9 - 4 ?"]).to_parquet(folder / "samples.parquet")
    return tmp_path / "evaluate"


@pytest.mark.slow
def test_too_few_questions_are_told_of_before_a_model_runs(evaluation, tmp_path):
    done = run(papermill("runs/latent_drift", tmp_path / "out.ipynb", evaluation=evaluation, out=tmp_path / "out"))
    assert done.returncode != 0
    assert "fewer than 8 questions of sums: evaluate more" in done.stderr.strip().splitlines()[-1]
    cells = nbformat.read(tmp_path / "out.ipynb", 4).cells
    assert "load_model" not in "".join(cell.source for cell in cells if cell.get("execution_count"))


@pytest.mark.slow
def test_token_drift_counts_the_texts_that_there_are(evaluation, tmp_path):
    out = tmp_path / "out"
    done = run(papermill("runs/token_drift", tmp_path / "out.ipynb", evaluation=evaluation, out=out, n=5, max_tokens=4))
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(pd.read_csv(out / "shifts.csv").query("metric in ['kl', 'published_kl']")["n"]) == {2}


def test_pretraining_runs_and_resumes(tmp_path):
    tokenizer, checkpoint = vocabulary.build_tokenizer(), tmp_path / "checkpoint.pt"
    settings = {"kind": "settled", "seed": 1, "hidden_size": 64, "layers": 2, "batch_size": 4}
    settings |= {"muon_lr": 0.01, "adam_lr": 3e-3}
    whole, log = pretrain.pretrain(tokenizer, checkpoint, steps=6, save_every=100, **settings)
    stopped = pretrain._schedule
    try:  # stop after four steps, as a killed run would
        pretrain._schedule = lambda step, total: stopped(step, total) if step < 4 else 1 / 0
        with pytest.raises(ZeroDivisionError):
            pretrain.pretrain(tokenizer, checkpoint, steps=6, save_every=2, **settings)
    finally:
        pretrain._schedule = stopped
    assert checkpoint.is_file()
    resumed, log_again = pretrain.pretrain(tokenizer, checkpoint, steps=6, save_every=2, **settings)
    assert not checkpoint.exists() and log_again.equals(log)
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, dict(resumed.named_parameters())[name])
