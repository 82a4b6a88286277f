"""Sphinx extension: the box at the head of a notebook's page, with how long it takes to read and took to run.

The box is the block quote under the title, which says what one learns and what one needs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

_WORDS_A_MINUTE = 200
_SKIPPED = (nodes.literal_block, nodes.raw, nodes.math, nodes.math_block)


def minutes_to_read(doctree: nodes.document) -> int:
    """By the words of a page's own sentences and lists; code, formulas and pictures do not count."""
    texts = (text for text in doctree.findall(nodes.Text) if not any(isinstance(p, _SKIPPED) for p in _parents(text)))
    return max(1, round(sum(len(text.split()) for text in texts) / _WORDS_A_MINUTE))


def _parents(node: nodes.Node):
    while node := node.parent:
        yield node


def complete_box(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Mark the box for the style sheet, and add a line on time."""
    copies = json.loads(os.environ["BOOK_EXECUTED"])
    box = next(doctree.findall(nodes.block_quote), None)
    if docname not in copies or box is None:
        return
    seconds = json.loads(Path(app.srcdir, copies[docname]).read_text())["metadata"]["papermill"]["duration"]
    minutes = minutes_to_read(doctree)
    time = nodes.paragraph("", "", nodes.strong("", "Time"))
    time += nodes.Text(f" {minutes} minute{'s' if minutes > 1 else ''} to read; its notebook ran {seconds:.0f} s here.")
    box += time
    box["classes"].append("opening")


def setup(app: Sphinx) -> dict:
    app.connect("doctree-resolved", complete_box)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
