"""Sphinx extension: the foot of every page says what it was made from, when, where, and under which licence."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib.metadata import version
from pathlib import Path

from sphinx.application import Sphinx

_LICENCE = '<a href="https://creativecommons.org/licenses/by/4.0/">CC BY 4.0</a> (text), MIT (code)'


@cache
def _commit(folder: str) -> str:
    """The commit that the book was rendered from, marked if files have changed since; nothing outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _of_notebook(docname: str, copy: Path) -> str:
    """When an executed notebook ran, for how long, and with which parameters."""
    ran = json.loads(copy.read_text())["metadata"]["papermill"]
    when = datetime.fromisoformat(ran["start_time"]).astimezone(UTC)
    given = ", ".join(f"{name} = {value}" for name, value in ran["parameters"].items())
    return (
        f"Made from <code>{escape(docname)}.ipynb</code>, which ran on {when:%d %B %Y at %H:%M} UTC for "
        f"{ran['duration']:.0f} s" + (f" with <code>{escape(given)}</code>" if given else "") + "."
    )


def add_foot(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    """Append the foot to a page's body."""
    if "body" not in context or doctree is None:
        return  # the index of terms and the search
    copies = json.loads(os.environ["BOOK_EXECUTED"])
    said = [_of_notebook(pagename, Path(app.srcdir, copies[pagename]))] if pagename in copies else []
    commit = _commit(str(app.srcdir))
    place = f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores"
    said.append(
        f"Rendered on {datetime.now(UTC):%d %B %Y} from version {version('mathtransfer')}"
        + (f", commit <code>{escape(commit)}</code>" if commit else "")
        + f" ({place}). {_LICENCE}."
    )
    context["body"] += f'<p class="provenance">{" ".join(said)}</p>\n'


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", add_foot, priority=850)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
