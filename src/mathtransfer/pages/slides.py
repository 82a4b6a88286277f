"""Slides from the figures of executed notebooks: one page that scrolls from slide to slide and needs no network.

A deck is a YAML file, `title` and `slides`; a slide has a `title` and perhaps `points` (plain text) and a `figure`,
such as `chapters/price#At equal mathematics`: the first chart under this heading, or the first table if there is none.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode

from mathtransfer.pages.templating import fill


def pages_of(deck: str | Path) -> set[str]:
    """The notebooks that a deck takes figures from, such as `chapters/price`."""
    return {_place(slide)[0] for slide in _read(deck)["slides"] if "figure" in slide}


def write(deck: str | Path, executed: str | Path, page: str | Path) -> None:
    """Write the slides of a deck as one HTML file.

    Args:
        executed: the folder of the executed notebooks.

    Raises:
        FileNotFoundError: a notebook has not been executed.
        ValueError: there is no figure where the deck says.
    """
    from mathtransfer.pages.charts import vega_bundle  # here: who only asks for pages need not wait for Altair

    written = _read(deck)
    notebooks = {name: nbformat.read(Path(executed, f"{name}.ipynb"), 4) for name in pages_of(deck)}
    slides = [
        {"title": slide["title"], "points": slide.get("points", []), "figure": _figure(slide, notebooks)}
        for slide in written["slides"]
    ]
    html = fill("slides.html", title=written["title"], slides=slides, vega=vega_bundle())
    Path(page).write_text(html, encoding="utf-8")


def _read(deck: str | Path) -> dict:
    return yaml.safe_load(Path(deck).read_text())


def _place(slide: dict) -> tuple[str, str]:
    """The notebook and the heading of a slide's figure."""
    name, _, heading = slide["figure"].partition("#")
    return name, heading


def _figure(slide: dict, notebooks: dict[str, NotebookNode]) -> str:
    """The HTML of a slide's figure; empty if it has none."""
    if "figure" not in slide:
        return ""
    name, heading = _place(slide)
    found = _html_under(notebooks[name], heading)
    if not found:
        raise ValueError(
            f"{name} has no figure under the heading {heading!r}, which the slide {slide['title']!r} asks for"
        )
    return next((html for html in found if "vega-embed" in html), found[0])


def _html_under(notebook: NotebookNode, heading: str) -> list[str]:
    """The HTML outputs between a heading and the next one."""
    found, inside = [], False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                inside = line.lstrip("#").strip() == heading if line.startswith("#") else inside
        elif inside:
            found += [output.data["text/html"] for output in cell.outputs if "text/html" in output.get("data", {})]
    return found
