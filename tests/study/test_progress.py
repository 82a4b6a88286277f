"""What is left of a study, how long it takes, and the lines that say how far it is."""

import re
from datetime import datetime

import numpy as np
import pytest
from runs_of_a_study import tier, write_runs
from safetensors.numpy import save_file

from mathtransfer.study import progress

RUNS = [("train", "RL--settled-0--0"), ("train", "RL--settled-0--1"), ("evaluate", "settled-0")]
SUMMARY = """Building DAG of jobs...
output_file\tdate\trule\tlog-file(s)\tstatus\tplan
_build/tiny/runs/train/RL--settled-0--0/manifest.json\t-\ttrain\tx\tmissing\tupdate pending
_build/tiny/executed/runs/train--RL--settled-0--0.ipynb\t-\ttrain\tx\tmissing\tupdate pending
_build/tiny/runs/train/RL--settled-0--1/manifest.json\tnow\ttrain\tx\tok\tupdate pending
_build/tiny/runs/train/done/manifest.json\tnow\ttrain\tx\tok\tno update
_build/tiny/runs/evaluate/settled-0/manifest.json\t-\tevaluate\tx\tmissing\tupdate pending
results/study/runs.csv\t-\trecorded\t-\tmissing\tupdate pending
"""


@pytest.fixture
def small(monkeypatch, tmp_path):
    of = tier(tmp_path / "record")
    monkeypatch.setattr(progress, "base_folder", lambda base: tmp_path)
    save_file({"weights": np.zeros((500, 500), np.float16)}, tmp_path / "model.safetensors")
    return of, tmp_path


def timing(root, run, seconds):
    (root / "timings").mkdir(exist_ok=True)
    (root / "timings" / f"{'--'.join(run)}.tsv").write_text(f"s\tmax_rss\n{seconds}\t1\n")


def test_what_is_left_is_what_snakemake_would_run():
    assert progress.left_to_run(SUMMARY.splitlines()) == RUNS


def test_a_plan_without_any_duration_says_so(small):
    said = progress.plan(*small, RUNS, cores=2)
    assert said.startswith("3 of 13 runs are left: 2 train, 1 evaluate\n")
    assert re.search(r"^RL +2 +2$", said, flags=re.MULTILINE), said
    assert "Time: unknown, since no run has finished yet and there is no record of durations" in said
    assert "Disk: about 2 MB, without evaluate: none has finished yet; 12 MB more while 2 runs train" in said


def test_a_plan_goes_by_finished_runs_of_the_same_setting_then_by_the_record_then_by_the_kind(small):
    """90 s for 3 updates of RL here, SFT in the record only, and no evaluation in either."""
    of, root = small
    timing(root, RUNS[0], 90)
    (root / "record").mkdir()
    rows = ["setting,updates,train_seconds,evaluate_seconds,latent_drift_seconds,token_drift_seconds"]
    (root / "record" / "runs.csv").write_text("\n".join([*rows, "RL,3,1,,,", '"SFT, own",30,600,,,']) + "\n")
    left = [("train", name) for name in of.cells]
    assert "Time: about 4 min 0 s on 1 cores\n" in progress.plan(of, root, left, cores=1)  # 90 + 90 + 3 * 600 / 30
    assert "Time: about 1 min 15 s on 2 cores, without evaluate: none" in progress.plan(
        of, root, [RUNS[1], ("train", "SFT-own--settled-0--0--learning_rate=0.2"), RUNS[2]], cores=2
    )


def test_a_plan_measures_the_disk_on_finished_runs(small):
    of, root = small
    write_runs(root, of)
    (root / "runs" / "evaluate" / "settled-0" / "large").write_bytes(bytes(8 * 10**6))
    said = progress.plan(of, root, [RUNS[2]], cores=1)
    assert "Disk: about 2 MB; 6 MB more while 1 runs train" in said  # 8 MB in one of four evaluations


def test_all_finished(small):
    assert progress.plan(*small, [], cores=2) == "All 13 runs are finished"


def test_a_line_whenever_a_run_ends_and_everything_else_as_it_is(small):
    of, root = small
    timing(root, RUNS[0], 3600)
    timing(root, RUNS[2], 1800)
    lines = ["Error in rule train:\n"]
    lines += [f"  {kind} run={name}: started\n" for kind, name in RUNS[:2]]
    lines += [f"  train run={RUNS[1][1]}: done in 3 s\n", f"  train run={RUNS[0][1]}: failed\n"]
    lines += ["  chapter_survey : started\n"]
    error, first, second, chapter = progress.follow(of, root, RUNS, 1, lines)
    assert (error, chapter) == (lines[0], lines[-1])
    now = datetime.now()
    clock = r"\d\d:\d\d"
    said = rf"{clock}  train RL--settled-0--1: done in 0 s; 1 done, 1 running, 1 left; end about (\w+ )?({clock})\n"
    end = re.fullmatch(said, first)[2]
    # A run of training is expected to take the mean of an hour and nothing, the evaluation half an hour.
    expected = (now.hour * 60 + now.minute + 60) % 1440
    assert (int(end[:2]) * 60 + int(end[3:]) - expected) % 1440 in (0, 1, 1439)
    assert re.fullmatch(rf"{clock}  .*-0: failed in 0 s; 1 done, 1 failed, 0 running, 1 left; end .*\n", second)


def test_what_the_end_leaves_out(small):
    lines = [f"  train run={RUNS[0][1]}: {what}\n" for what in ("started", "done in 3 s")]
    (said,) = progress.follow(*small, RUNS, 1, lines)
    assert said.endswith(", not counting evaluate\n")
