"""Every notebook runs on Colab from an empty folder: in its libraries, with what the notebook's first cell installs.

`pytest -m colab -n 0 -s` takes a quarter of an hour and several GB of downloads. The seconds of a
notebook are of the processor, so that a busy machine gives the same.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, copy_repository

pytestmark = [pytest.mark.colab, pytest.mark.slow]

TINY = {  # run notebook -> parameters with which it takes little time
    "evaluate": {"n": 2},
    "latent_drift": {"n": 8},
    "pretrain": {"steps": 2, "batch_size": 4},
    "rejection": {"n": 2, "samples": 1},
    "report": {"n": 2, "max_tokens": 8},
    "token_drift": {"n": 2, "greedy_n": 2, "max_tokens": 8},
    "train": {"steps": 2, "batch_size": 8, "problems_each": 20},
}
KEPT = ["torch", "transformers", "numpy", "pandas"]  # large, or already imported: to install another one costs minutes
LONGEST_INSTALLATION, LONGEST_RUN = 180, 120  # seconds


def extra_of(path: Path) -> str:
    """The extra that a notebook's first cell installs, with its brackets."""
    cells = json.loads(path.read_text())["cells"]
    first = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return re.search(r'"mathtransfer(\[\w+\])? @', first)[1] or ""


# The light ones first: they run before anything heavier is installed.
WEIGHT = ["", "[evaluate]", "[train]"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*/*.ipynb"), key=lambda path: (WEIGHT.index(extra_of(path)), path))


def clean(command: list[str], **kwargs) -> subprocess.CompletedProcess:
    """A command that knows nothing of the environment that the tests run in, nor of this checkout."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    env |= {"SSL_CERT_FILE": env["PIP_CERT"]} if "PIP_CERT" in env else {}
    done = subprocess.run(command, capture_output=True, text=True, env=env | kwargs.pop("env", {}), **kwargs)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


class Colab:
    """An environment like Colab's, in which notebooks run by a kernel of its own."""

    def __init__(self, folder: Path):
        self.folder, self.python = folder, folder / "env" / "bin" / "python"
        found = shutil.which("python3.13") and subprocess.run(["python3.13", "-c", ""]).returncode == 0
        clean([sys.executable, "-m", "uv", "venv", "--python", "3.13" if found else sys.executable, folder / "env"])
        self.install("-r", ROOT / "tests" / "colab-constraints.txt")
        self.before = self.versions()
        clean([self.python, "-m", "ipykernel", "install", "--prefix", folder / "kernel", "--name", "colab"])
        source = copy_repository(folder / "source")
        clean([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source])
        self.wheel = next(folder.glob("*.whl"))
        self.installed: dict[str, float] = {}  # extra -> seconds

    def install(self, *what: str | Path) -> None:
        clean([sys.executable, "-m", "uv", "pip", "install", "--python", self.python, *what])

    def versions(self) -> dict[str, str]:
        code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {KEPT}}}))"
        return json.loads(clean([self.python, "-c", code]).stdout)

    def need(self, extra: str) -> None:
        """The package with an extra, as a first cell installs it."""
        if extra not in self.installed:
            started = time.monotonic()
            self.install(f"mathtransfer{extra} @ {self.wheel.as_uri()}")
            self.installed[extra] = time.monotonic() - started

    def run(self, notebook: Path, folder: Path, parameters: dict) -> float:
        """Seconds of the processor that a notebook takes in a folder."""
        folder.mkdir()
        command = [
            sys.executable,
            "-m",
            "papermill",
            "-k",
            "colab",
            "--no-progress-bar",
            notebook,
            folder / "out.ipynb",
        ]
        started = resource.getrusage(resource.RUSAGE_CHILDREN)
        kernels = {"JUPYTER_PATH": str(self.folder / "kernel" / "share" / "jupyter")}
        clean([*command, "-y", json.dumps(parameters)], cwd=folder, env=kernels)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime


@pytest.fixture(scope="module")
def colab(tmp_path_factory) -> Colab:
    return Colab(tmp_path_factory.mktemp("colab"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_notebook_runs_from_an_empty_folder(colab, notebook, tmp_path):
    extra = extra_of(notebook)
    colab.need(extra)
    assert colab.installed[extra] < LONGEST_INSTALLATION
    assert colab.versions() == colab.before
    took = colab.run(notebook, tmp_path / "empty", TINY[notebook.stem] if notebook.parent.name == "runs" else {})
    print(f"{notebook.stem}: {took:.0f} s; installed {extra or 'the core'} in {colab.installed[extra]:.0f} s")
    assert extra or took < LONGEST_RUN
