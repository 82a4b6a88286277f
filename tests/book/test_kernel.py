"""The environment as a Jupyter kernel of its own, and the run notebooks in another kernel than python3."""

import json
import os
import sys

import pandas as pd
import pytest
from conftest import run

pytestmark = pytest.mark.slow


def test_a_run_notebook_runs_in_the_registered_kernel(tmp_path):
    environment = os.environ | {"JUPYTER_DATA_DIR": str(tmp_path)}
    done = run(["make", "-o", ".venv/installed", "kernel"], env=environment)
    assert done.returncode == 0, done.stderr
    kernel = json.loads((tmp_path / "kernels" / "mathtransfer" / "kernel.json").read_text())
    assert os.path.dirname(kernel["argv"][0]) == os.path.dirname(sys.executable)
    values = {"n": 2, "groups": ["non"], "out": str(tmp_path / "run")}
    copy = tmp_path / "copy.ipynb"
    command = ["papermill", "-k", "mathtransfer", "--no-progress-bar", "notebooks/runs/evaluate.ipynb", str(copy)]
    done = run([*command, "-y", json.dumps(values)], env=environment)  # there is no other kernel of this name
    assert done.returncode == 0, done.stderr[-4000:]
    assert set(pd.read_csv(tmp_path / "run" / "scores.csv")["n"]) == {2}


def test_the_study_runs_in_the_kernel_that_is_named():
    planned = ["snakemake", "--nolock", "--dry-run", "--forceall", "--printshellcmds"]
    done = run([*planned, "--config", "tier=smoke", "kernel=another"])
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "papermill -k another " in said and "papermill -k python3 " not in said
