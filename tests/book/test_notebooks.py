"""Single notebooks through papermill: bad parameters, missing tables, kill -9 and repetition."""

import copy
import json
import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, copy_repository, kill_once, papermill, run

from mathtransfer import runs
from mathtransfer.drift import latent
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


@pytest.mark.slow
def test_token_drift_at_equal_behaviour_and_on_training_prompts(evaluation, tmp_path):
    """The model is its own base, so that all divergences are 0; the rows say on how many responses."""
    out, asked = tmp_path / "out", {"begins": "steps :", "begins_n": 1, "training_n": 3, "max_tokens": 8}
    done = run(papermill("runs/token_drift", tmp_path / "out.ipynb", evaluation=evaluation, out=out, n=2, **asked))
    assert done.returncode == 0, done.stderr[-2000:]
    found = pd.read_csv(out / "shifts.csv").set_index(["benchmark", "metric"])
    measures = ["kl", "kl_reverse", "js", "log_ratio", "rank_shift", "shifted", "kl_response"]
    assert set(found.loc["sums"].index) == {*measures, "published_kl", *(f"begun_{name}" for name in measures)}
    assert set(found.loc["training"].index) == {"kl", "kl_response", "base_kl", "base_kl_response"}
    assert found["n"].loc["training"].eq(3).all() and found["n"].loc["sums", "begun_kl"] == 1
    assert (found["value"] == 0).all()


@pytest.mark.slow
def test_latent_drift_at_equal_behaviour_and_of_the_weights(base, tmp_path):
    """A copy in which ten entries were doubled and ten were moved by less than bfloat16 can hold."""
    model, tokenizer = copy.deepcopy(base[0]), base[1]
    changed = model.model.layers[1].mlp.up_proj.weight
    with torch.no_grad():
        changed[:, :20] = 1.0
    folders = tmp_path / "base", tmp_path / "tuned"
    model.save_pretrained(folders[0])
    texts = [f"what is {a} + 4 - 5 + 6 ?" for a in range(3, 11)]
    begun = torch.tensor([tokenizer(f"{text} steps :").input_ids for text in texts])
    with torch.no_grad():
        before = [state[:, -1].numpy() for state in model(begun, output_hidden_states=True).hidden_states]
        changed[0, :10] = 2.0
        changed[0, 10:20] += 2.0**-12
        after = [state[:, -1].numpy() for state in model(begun, output_hidden_states=True).hidden_states]
    model.save_pretrained(folders[1])
    for folder in folders:
        tokenizer.save_pretrained(folder)
    facts = {"base_fingerprint": checkpoints.fingerprint(str(folders[0]))}
    with runs.run_folder(tmp_path / "evaluate", "evaluate", {"suite": "miniature"}, **facts) as folder:
        samples = pd.DataFrame({"question": range(8), "sample": 0, "group": "math", "benchmark": "sums"})
        samples.assign(prompt=texts).to_parquet(folder / "samples.parquet")
    names = {"base": folders[0], "model": folders[1], "evaluation": tmp_path / "evaluate", "out": tmp_path / "out"}
    done = run(papermill("runs/latent_drift", tmp_path / "out.ipynb", **names, begins="steps :", begins_n=8))
    assert done.returncode == 0, done.stderr[-2000:]
    found = pd.read_csv(tmp_path / "out" / "shifts.csv").set_index(["benchmark", "metric"])["value"]
    entries = sum(parameter.numel() for parameter in model.parameters())
    norm = sum(
        float(parameter.double().square().sum()) for parameter in checkpoints.load_model(str(folders[0])).parameters()
    )
    assert found["weights"].to_dict() == pytest.approx(
        {
            "unchanged": 100 * (1 - 20 / entries),
            "unchanged_bfloat16": 100 * (1 - 10 / entries),
            "relative_update": 100 * (10 * (1 + 2.0**-24) / norm) ** 0.5,
        },
        rel=1e-9,
    )
    shift = latent.pca_shift(np.stack(before[1:]), np.stack(after[1:]))  # all texts' last token has one embedding
    moved = latent.centroid_distance(shift)
    assert found["sums", "begun_last_centroid_distance"] == pytest.approx(moved, rel=1e-3)
    assert found["sums", "begun_cka"] != found["sums", "cka"]


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
