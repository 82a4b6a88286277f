"""The environment as a Jupyter kernel of its own, and the study in another kernel than python3."""

import json
import os
import sys

import pytest
from conftest import papermill, run

pytestmark = pytest.mark.slow


def test_a_notebook_runs_in_the_registered_kernel(tmp_path):
    environment = os.environ | {"JUPYTER_DATA_DIR": str(tmp_path)}
    done = run(["make", "-o", ".venv/installed", "kernel"], env=environment)
    assert done.returncode == 0, done.stderr
    kernel = json.loads((tmp_path / "kernels" / "mathtransfer" / "kernel.json").read_text())
    assert os.path.dirname(kernel["argv"][0]) == os.path.dirname(sys.executable)
    command = papermill("chapters/index_under_the_microscope", tmp_path / "copy.ipynb", kernel="mathtransfer")
    done = run(command, env=environment)  # there is no other kernel of this name
    assert done.returncode == 0, done.stderr[-4000:]
    cells = json.loads((tmp_path / "copy.ipynb").read_text())["cells"]
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code" and cell["source"])


def test_the_study_runs_in_the_kernel_that_is_named():
    planned = ["snakemake", "--nolock", "--dry-run", "--forceall", "--printshellcmds"]
    done = run([*planned, "--config", "tier=smoke", "kernel=another"])
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "papermill -k another " in said and "papermill -k python3 " not in said
