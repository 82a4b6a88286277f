"""What several tests share: one smoke study, built once, and the miniature base."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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
# Two threads that share two busy cores are slower than one, and one thread gives the same numbers everywhere.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def run(command: list[str], **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **kwargs)


def make_book() -> subprocess.CompletedProcess:
    """`make book` at the smoke tier, in the environment that the tests run in."""
    return run(["make", "-o", ".venv/installed", "book", "TIER=smoke"])


@pytest.fixture(scope="session")
def smoke_study() -> Path:
    """The whole study at the smoke tier: every notebook through papermill, the book with warnings as errors."""
    done = make_book()
    assert done.returncode == 0, done.stdout[-4000:]
    return ROOT / "_build" / "smoke"


@pytest.fixture(scope="session")
def base():
    """The miniature base model and its tokenizer."""
    from mathtransfer.models import checkpoints

    return checkpoints.load_model("miniature"), checkpoints.load_tokenizer("miniature")


@pytest.fixture(scope="session")
def isolated():
    """Skips where the machine cannot isolate a program."""
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

    def opened(path: Path, width: int = 1000):
        page = browser.new_page(viewport={"width": width, "height": 900})
        pages.append(page)
        page.on("request", lambda r: outside.append(r.url) if r.url != path.as_uri() else None)
        page.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: errors.append(str(e)))
        page.goto(path.as_uri())
        return page

    yield opened
    for page in pages:
        assert page.evaluate("window.broken") is None
        page.close()
    assert not outside and not errors
