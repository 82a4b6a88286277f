"""Slides: each deck has the figures that it asks for, and opens without a network."""

import altair as alt
import nbformat
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from mathtransfer.pages import slides

DECKS = sorted((ROOT / "book" / "slides").glob("*.yaml"))


def chart(title: str) -> str:
    """As a notebook's output has it."""
    table = pd.DataFrame({"x": [1, 2], "y": [3, 4]})
    return alt.Chart(table, title=title).mark_point().encode(x="x", y="y")._repr_mimebundle_()["text/html"]


@pytest.fixture
def executed(tmp_path):
    """A notebook with tables and charts under its headings."""

    def shows(*htmls):
        return new_code_cell(outputs=[new_output("display_data", data={"text/html": html}) for html in htmls])

    cells = [
        new_markdown_cell("# Title"),
        shows("<table><tr><td>the first table</td></tr></table>"),
        new_markdown_cell("Prose.\n\n## Charts\n\nMore."),
        shows("<table><tr><td>the second table</td></tr></table>", chart("the first chart"), chart("the second chart")),
        new_markdown_cell("### Nothing"),
        new_code_cell(outputs=[new_output("stream", text="no figure")]),
    ]
    (tmp_path / "chapters").mkdir()
    nbformat.write(new_notebook(cells=cells), tmp_path / "chapters" / "one.ipynb")
    return tmp_path


def written(executed, *figures: str):
    deck, page = executed / "deck.yaml", executed / "deck.html"
    listed = [{"title": "Start", "points": ["<b> & more"]}, *({"title": f, "figure": f} for f in figures)]
    deck.write_text(yaml.safe_dump({"title": "A deck", "slides": listed}))
    slides.write(deck, executed, page)
    return page


def test_a_figure_is_the_first_chart_under_its_heading_or_the_first_table(executed, open_offline):
    page = open_offline(written(executed, "chapters/one#Charts", "chapters/one#Title"))
    page.wait_for_selector("#slide-2 .vega-embed :is(canvas, svg)")
    assert page.locator("section").count() == 3
    assert page.locator("li").inner_text() == "<b> & more"
    assert page.locator("#slide-2 figure table").count() == 0 and "second chart" not in page.content()
    assert page.locator("#slide-3 figure").inner_text() == "the first table"


@pytest.mark.parametrize("place", ["chapters/one#Nothing", "chapters/one#Elsewhere"])
def test_a_missing_figure_is_refused(executed, place):
    with pytest.raises(ValueError, match="chapters/one has no figure under the heading"):
        written(executed, place)


@pytest.mark.parametrize("deck", DECKS, ids=lambda path: path.stem)
def test_decks_have_twelve_to_eighteen_slides_with_figures_of_chapters(deck):
    own = yaml.safe_load(deck.read_text())["slides"]
    assert 12 <= len(own) <= 18 and sum("figure" in slide for slide in own) >= 8
    for name in slides.pages_of(deck):
        headings = {
            line.lstrip("#").strip()
            for cell in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells
            if cell.cell_type == "markdown"
            for line in cell.source.splitlines()
            if line.startswith("#")
        }
        asked = {slide["figure"].partition("#")[2] for slide in own if slide.get("figure", "").startswith(f"{name}#")}
        assert asked and asked <= headings
