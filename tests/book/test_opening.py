"""The box at the head of a page: who has one gets the time it takes, counted and measured."""

import json
import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT
from docutils import nodes
from docutils.core import publish_doctree

sys.path.insert(0, str(ROOT / "book" / "_ext"))

import opening

PAGE = """Title
=====

   **You will learn** something.

{words}

.. code::

   {code}
"""


@pytest.fixture
def app(tmp_path, monkeypatch):
    (tmp_path / "ran.ipynb").write_text(json.dumps({"metadata": {"papermill": {"duration": 12.4}}}))
    monkeypatch.setenv("BOOK_EXECUTED", json.dumps({"page": "ran.ipynb"}))
    return SimpleNamespace(srcdir=tmp_path)


def page(words: int, code: int = 1) -> nodes.document:
    return publish_doctree(PAGE.format(words="word " * words, code="code " * code))


def test_the_box_says_how_long_reading_takes_and_how_long_the_notebook_ran(app):
    doctree = page(words=995)  # and five in title and box
    opening.complete_box(app, doctree, "page")
    (box,) = doctree.findall(nodes.block_quote)
    assert "opening" in box["classes"]
    assert box.children[-1].astext() == "Time 5 minutes to read; its notebook ran 12 s here."


def test_code_does_not_count_as_reading_and_nothing_takes_no_time(app):
    assert opening.minutes_to_read(page(words=1, code=5000)) == 1


def test_a_page_that_was_not_executed_stays_as_it_is(app):
    doctree = page(words=10)
    before = doctree.astext()
    opening.complete_box(app, doctree, "prose")
    assert doctree.astext() == before
