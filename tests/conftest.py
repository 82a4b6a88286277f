"""What several tests share: one smoke study, built once, and the miniature base."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# A shell has what it runs in the background ignore interrupts, and a kernel would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Two threads that share two busy cores are slower than one, and one thread gives the same numbers everywhere.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
os.environ["PYTHONPATH"] = str(ROOT / "src")
# What `make -j2 test` tells a make that it starts itself; one that a test starts would warn of it.
for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
    os.environ.pop(name, None)


def run(command: list[str], folder: Path = ROOT, **kwargs) -> subprocess.CompletedProcess:
    """A command in the repository, or in a copy of it with the copy's own package."""
    return subprocess.run(command, capture_output=True, text=True, **{**_place(folder), **kwargs})


def _place(folder: Path) -> dict:
    return {"cwd": folder, "env": os.environ | {"PYTHONPATH": str(folder / "src")}}


def list_files(*options: str) -> list[str]:
    """Names of the repository's files, whoever owns the clone: git itself refuses that of another user."""
    listed = run(["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", *options])
    assert listed.returncode == 0, f"the tests need a git clone: {listed.stderr}"
    return listed.stdout.strip("\0").split("\0")


def copy_repository(folder: Path) -> Path:
    """The working tree, committed or not, in another folder: tests change files there and never in the tree itself."""
    for name in list_files("--cached", "--others", "--exclude-standard"):
        if (ROOT / name).exists():  # and not deleted, if that is not committed yet
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


# In the environment that the tests run in.
MAKE_BOOK = ["make", "--no-print-directory", "-o", ".venv/installed", "book", "TIER=smoke"]
MAKE_STUDY = ["study" if word == "book" else word for word in MAKE_BOOK]


def papermill(notebook: str, copy: Path, kernel: str = "python3", **parameters) -> list[str]:
    """The command that runs a notebook and writes its executed copy."""
    command = ["papermill", "-k", kernel, "--no-progress-bar", f"notebooks/{notebook}.ipynb", str(copy)]
    return [*command, "-y", json.dumps(parameters, default=str)]


def kill_once(command: list[str], ready: Callable[[], bool], folder: Path = ROOT) -> None:
    """Start a command and kill it with -9, and all that it started, once it is ready for that."""
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, start_new_session=True, **silent, **_place(folder))
    deadline = time.monotonic() + 120
    while not (is_ready := ready()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, "the command ended before it was to be killed"
    assert is_ready, "the command was not ready to be killed in time"
    killed = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for part in killed:
        part.kill()
    psutil.wait_procs(killed)


@pytest.fixture(scope="session")
def studied(tmp_path_factory) -> Path:
    """A copy of the repository with all runs of the smoke tier and their record."""
    folder = copy_repository(tmp_path_factory.mktemp("repository"))
    done = run(MAKE_STUDY, folder)
    assert done.returncode == 0, done.stdout[-4000:]
    return folder


@pytest.fixture(scope="session")
def repository(studied) -> Path:
    """The same copy with the book of these runs, warnings as errors."""
    done = run(MAKE_BOOK, studied)
    assert done.returncode == 0, done.stdout[-4000:]
    return studied


@pytest.fixture(scope="session")
def smoke_study(repository) -> Path:
    return repository / "_build" / "smoke"


@pytest.fixture(scope="session")
def base():
    """The miniature base model and its tokenizer."""
    from mathtransfer.models import checkpoints

    return checkpoints.load_model("miniature"), checkpoints.load_tokenizer("miniature")


@pytest.fixture(scope="session")
def isolated():
    """Skips if the machine cannot isolate a program."""
    from mathtransfer.benchmarks import sandbox

    try:
        sandbox.check_sandbox()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_offline(browser):
    """Opens an HTML file; at the end nothing may have been asked of the network or gone wrong on any page."""
    pages, outside, errors = [], [], []

    def opened(path: Path, width: int = 1000, warnings: bool = True):
        page = browser.new_page(viewport={"width": width, "height": 900})
        pages.append(page)
        page.on("request", lambda r: outside.append(r.url) if r.url != path.as_uri() else None)
        wrong = ("error", "warning") if warnings else ("error",)
        page.on("console", lambda m: errors.append(m.text) if m.type in wrong else None)
        page.on("pageerror", lambda e: errors.append(str(e)))
        page.goto(path.as_uri())
        return page

    yield opened
    for page in pages:
        assert page.evaluate("window.broken") is None
        page.close()
    assert not outside and not errors


@pytest.fixture
def show(open_offline, tmp_path):
    """Opens a page with nothing but these elements."""

    def shown(*elements: str, width: int = 800):
        path = tmp_path / "page.html"
        path.write_text(f'<!doctype html><html><head><meta charset="utf-8"></head><body>{"<hr>".join(elements)}</body>')
        return open_offline(path, width)

    return shown
