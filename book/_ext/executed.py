"""Sphinx extension: pages show executed notebooks, and the built book asks nothing of the network.

Source notebooks carry no outputs. When Sphinx reads `notebooks/chapters/x.ipynb` it gets the executed copy that the
environment variable BOOK_EXECUTED, a JSON object, has for `notebooks/chapters/x`, so page paths, source links and
launch buttons name the source notebook. A run notebook is executed many times; its page shows the copy that the
Snakefile chose, with the parameters it was given.
"""

from __future__ import annotations

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

from mathtransfer.pages.charts import vega_bundle

LOGGER = logging.getLogger(__name__)
INJECTED = "injected-parameters"  # papermill's tag for the cell it adds
VEGA_BUNDLE = "vega-bundle.js"


def show_executed_copy(app: Sphinx, docname: str, content: list[str]) -> None:
    """Replace the text of a source notebook by that of its executed copy; warn if that is missing or stale."""
    if not Path(app.srcdir, f"{docname}.ipynb").is_file():
        return  # a page of prose
    copies = json.loads(os.environ["BOOK_EXECUTED"])
    if docname not in copies:
        LOGGER.warning("no executed copy of %s: expected a rule of the Snakefile that makes one", docname)
        return
    copy = Path(app.srcdir, copies[docname])
    app.env.note_dependency(str(copy))
    source, executed = json.loads(content[0]), json.loads(copy.read_text())
    own = [cell for cell in executed["cells"] if INJECTED not in cell["metadata"].get("tags", [])]
    if [cell["source"] for cell in own] != [cell["source"] for cell in source["cells"]]:
        LOGGER.warning("the executed copy of %s is stale: %s was made from another version", docname, copy)
    is_run = copy.stem != Path(docname).name
    content[0] = json.dumps({**executed, "cells": executed["cells"] if is_run else own})


def add_offline_scripts(app: Sphinx, config: Config) -> None:
    """Put Vega and MathJax among the book's own static files."""
    static = Path(app.srcdir, "_build", "offline")
    fonts = Path("mathjax", "output", "chtml", "fonts", "woff-v2")
    packaged = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static"
    shutil.copytree(packaged / fonts, static / fonts, dirs_exist_ok=True)
    shutil.copy(packaged / "mathjax" / "tex-chtml.js", static / "mathjax")
    config.mathjax_path = "mathjax/tex-chtml.js"
    (static / VEGA_BUNDLE).write_text(vega_bundle())
    config.html_static_path.append(str(static))


def choose_scripts(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    """Load the Vega bundle on pages with charts only, and leave out Thebe, whose library comes from a CDN."""
    if "vega-embed" in context.get("body", ""):
        app.add_js_file(VEGA_BUNDLE, priority=100)
    scripts = context["script_files"]
    scripts[:] = [script for script in scripts if "thebe" not in str(script).lower()]


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", add_offline_scripts)
    app.connect("source-read", show_executed_copy, priority=1)
    app.connect("html-page-context", choose_scripts, priority=900)
    return {"version": "1", "parallel_read_safe": True}
