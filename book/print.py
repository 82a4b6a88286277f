"""The whole book as one PDF: `python book/print.py HTML OUT`, with a Chromium on the path.

Every page of the table of contents is printed as a browser shows it, charts drawn; a link from page to page leads
within the file, and the outline has the book's parts and pages.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urldefrag

import yaml
from playwright.sync_api import Browser, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, NameObject

_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
_DRAWN = "[...document.querySelectorAll('.vega-embed')].every(chart => chart.querySelector('svg, canvas'))"
_PAPER = {"format": "A4", "print_background": True}
_PAPER |= {"margin": {"top": "15mm", "bottom": "15mm", "left": "15mm", "right": "15mm"}}


def contents(toc: Path) -> Iterator[tuple[str, str]]:
    """Every page of the book in order, with the part that it belongs to; the front page belongs to none."""
    written = yaml.safe_load(toc.read_text())
    yield "", written["root"]
    for part in written["parts"]:
        yield from ((part["caption"], chapter["file"]) for chapter in part["chapters"])


def print_page(browser: Browser, page: Path, out: Path) -> str:
    """Print one page to a PDF; returns its title."""
    tab = browser.new_page(viewport={"width": 900, "height": 1200})
    tab.goto(page.as_uri())
    tab.emulate_media(media="print", color_scheme="light")
    tab.wait_for_function(_DRAWN)
    tab.pdf(path=out, **_PAPER)
    title = tab.locator("h1").first.evaluate("heading => heading.firstChild.textContent")
    tab.close()
    return title


def join(printed: list[tuple[str, str, Path, Path]], out: Path) -> int:
    """Put printed pages together; returns the number of sheets.

    Args:
        printed: of each page its part, its title, its HTML file and its own PDF.
    """
    writer, first, parts = PdfWriter(), {}, {}
    for part, title, html, pdf in printed:
        first[html.as_uri()] = len(writer.pages)
        writer.append(PdfReader(pdf), import_outline=False)
        if part and part not in parts:
            parts[part] = writer.add_outline_item(part, first[html.as_uri()])
        writer.add_outline_item(title, first[html.as_uri()], parent=parts.get(part))
    for sheet in writer.pages:
        for link in (entry.get_object() for entry in sheet.get("/Annots", [])):
            action = link.get("/A", DictionaryObject()).get_object()
            target = first.get(urldefrag(str(action.get("/URI", ""))).url)
            if target is not None:
                del link["/A"]
                place = [writer.pages[target].indirect_reference, NameObject("/Fit")]
                link[NameObject("/Dest")] = ArrayObject(place)
    writer.write(out)
    return len(writer.pages)


def main(html: str, out: str) -> None:
    """Print the book that was rendered into a folder.

    Raises:
        SystemExit: no Chromium is installed, or a page is not rendered.
    """
    chromium = next(filter(None, map(shutil.which, _CHROMIUMS)), None)
    if chromium is None:
        sys.exit(f"to print the book a Chromium is needed on the path: one of {', '.join(_CHROMIUMS)}")
    pages = [(part, Path(html, f"{name}.html").resolve()) for part, name in contents(Path("_toc.yml"))]
    if missing := [page for _, page in pages if not page.is_file()]:
        sys.exit(f"{missing[0]} is not there: render the book with `make book` first")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        printed = []
        for number, (part, page) in enumerate(pages):
            own = Path(folder, f"{number}.pdf")
            printed.append((part, print_page(browser, page, own), page, own))
            print(f"\r{number + 1} of {len(pages)} pages", end="", file=sys.stderr, flush=True)
        sheets = join(printed, Path(out))
        browser.close()
    print(f"\n{out}: {sheets} sheets, {Path(out).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
