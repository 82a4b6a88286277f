"""What ships with the package stands in for what is not there, and for nothing that is."""

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, copy_repository, papermill, run

from mathtransfer import shipped
from mathtransfer.study import grid, shipping
from mathtransfer.study.record import FILES, read_record


@pytest.fixture
def empty(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_that_is_there_is_the_one_that_is_read(empty):
    assert shipped.find("config/study.yaml").read_bytes() == (ROOT / "config/study.yaml").read_bytes()
    Path("config").mkdir()
    Path("config/study.yaml").write_text("bases: {}")
    assert shipped.find("config/study.yaml").read_text() == "bases: {}"
    assert shipped.find("config/tiers.yaml").is_file()
    assert shipped.find("nowhere/x") == Path("nowhere/x")


def test_own_evidence_replaces_what_ships_chapter_by_chapter(empty):
    names = sorted(path.name for path in (ROOT / "results/mini/evidence").glob("*.csv"))
    own = Path("_build/mini/evidence", names[0])
    own.parent.mkdir(parents=True)
    own.touch()
    found = shipped.find_all("_build/mini/evidence", "*.csv")
    assert [path.name for path in found] == names
    assert found[0] == own and not any(path.is_relative_to(own.parent) for path in found[1:])


def test_the_protocol_is_read_in_an_empty_folder_as_in_a_checkout(empty):
    assert grid.read_tier("study") == grid.read_tier("study", ROOT)


def test_what_ships_is_of_the_cells_that_make_book_runs():
    cells = grid.read_tier("mini", ROOT).cells
    assert set(read_record(ROOT / "results/mini/record").runs.query("seed >= 0")["run"]) == set(cells)
    for kind in ("latent_drift", "token_drift"):
        assert {path.name for path in (ROOT / "results/mini/runs" / kind).iterdir()} == set(cells)
    for path in (ROOT / "results/mini/evidence").iterdir():  # of a chapter that is gone it would enter the ledger
        text = (ROOT / "notebooks/chapters" / f"{path.stem}.ipynb").read_text()
        assert f'ledger.record(study, \\"{path.stem}\\"' in text
    assert sum(path.stat().st_size for path in (ROOT / "results/mini").rglob("*") if path.is_file()) < 5e6


def test_a_wheel_has_all_that_a_checkout_links_to_once(tmp_path):
    source = copy_repository(tmp_path / "source")
    command = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("mathtransfer/checkout/")}
    places = {
        "config": "config",
        "results": "results",
        "notebooks/runs": "notebooks/runs",
        "results/mini": "_build/mini",
    }
    expected = set()
    for folder, place in places.items():
        for path in (source / folder).rglob("*"):
            if path.is_file() and (folder != "results" or "mini" not in path.parts):
                expected.add(f"mathtransfer/checkout/{place}/{path.relative_to(source / folder).as_posix()}")
    assert names == expected


@pytest.mark.slow
def test_shipping_keeps_every_number_but_those_of_single_tokens(smoke_study, tmp_path):
    tier = grid.read_tier("smoke", ROOT)
    size = shipping.ship(tier, smoke_study, tmp_path / "mini")
    assert size == sum(path.stat().st_size for path in (tmp_path / "mini").rglob("*") if path.is_file())
    for name in [*(f"record/{name}" for name in FILES), "ledger.csv"]:
        assert (tmp_path / "mini" / name).read_bytes() == (smoke_study / name).read_bytes()
    for run_ in tier.cells:
        name = f"runs/token_drift/{run_}/tokens.parquet"
        whole, thin = pd.read_parquet(smoke_study / name), pd.read_parquet(tmp_path / "mini" / name)
        every = ["text", "position", "kl", "log_ratio", "rank_shift", "class", "looping", "question", "decoding"]
        pd.testing.assert_frame_equal(whole[every], thin[every], check_dtype=False)
        first = whole["question"] == 0
        assert first.any() and thin.loc[first, "js"].equals(whole.loc[first, "js"])
    shutil.rmtree(smoke_study.parent / "nothing", ignore_errors=True)
    with pytest.raises(FileNotFoundError, match="finish it with `make book TIER=smoke` first"):
        shipping.ship(tier, smoke_study.parent / "nothing", tmp_path / "mini")


HEAVY = ["accelerate", "datasets", "lm_eval", "math_verify", "peft", "torch", "transformers", "trl"]


@pytest.mark.slow
@pytest.mark.parametrize("chapter", ["introduction", "token_drift", "ledger"])
def test_a_chapter_runs_from_an_empty_folder_without_torch(chapter, tmp_path, monkeypatch):
    blocked, folder = tmp_path / "blocked", tmp_path / "empty"
    for place in (blocked, folder):
        place.mkdir()
    for name in HEAVY:
        (blocked / f"{name}.py").write_text("raise ModuleNotFoundError(f'no module named {__name__}: blocked')")
    monkeypatch.setenv("PYTHONPATH", f"{blocked}:{ROOT / 'src'}")
    assert subprocess.run(["python", "-c", "import torch"], capture_output=True).returncode != 0
    command = papermill(f"chapters/{chapter}", folder / "out.ipynb")
    command = [str(ROOT / word) if word.startswith("notebooks/") else word for word in command]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    cells = json.loads((folder / "out.ipynb").read_text())["cells"]
    said = json.dumps([cell.get("outputs") for cell in cells])
    if chapter != "ledger":
        assert "whose tables come with the package" in said or "runs of the protocol are" in said


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["latent_drift", "token_drift"])
def test_a_drift_notebook_takes_the_miniatures_questions_if_it_is_given_no_evaluation(kind, tmp_path):
    asked = {"n": 8, "out": tmp_path / "out"} | ({"max_tokens": 4} if kind == "token_drift" else {})
    done = run(papermill(f"runs/{kind}", tmp_path / "out.ipynb", **asked))
    assert done.returncode == 0, done.stderr[-2000:]
    shifts = pd.read_csv(tmp_path / "out" / "shifts.csv").query("group != 'weights'")
    assert set(shifts["suite"]) == {"miniature"} and set(shifts["group"]) == {"math", "other", "non"}
