"""The whole book as one PDF: `python book/print.py TIER`, when the pages are there; a Chromium prints them.

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

from mathtransfer.study import grid

_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
_DRAWN = "[...document.querySelectorAll('.vega-embed')].every(chart => chart.querySelector('svg, canvas'))"
_PAPER = {"format": "A4", "print_background": True, "scale": 0.7}
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
    writer, first, parts, readers = PdfWriter(), {}, {}, []
    for part, title, html, pdf in printed:
        first[html.as_uri()] = start = len(writer.pages)
        readers += [(start, reader := PdfReader(pdf))]
        writer.append(reader, import_outline=False)
        if part and part not in parts:
            parts[part] = writer.add_outline_item(title=part, page_number=start)
        writer.add_outline_item(title=title, page_number=start, parent=parts.get(part))
    for start, reader in readers:
        for sheet in writer.pages[start : start + len(reader.pages)]:
            for link in (entry.get_object() for entry in sheet.get("/Annots", [])):
                target = _target(link, first, start, reader)
                if target is not None:
                    link.pop("/A", None)
                    place = [writer.pages[target].indirect_reference, NameObject("/Fit")]
                    link[NameObject("/Dest")] = ArrayObject(place)
    writer.write(out)
    return len(writer.pages)


def _target(link: DictionaryObject, first: dict[str, int], start: int, reader: PdfReader) -> int | None:
    """The sheet to which a link leads; none if it leads out of the book.

    Args:
        first: address of a page -> its first sheet.
        start, reader: the first sheet of the link's own page, and that page's PDF, in which places have names. Pages
            share names, such as those of headings.
    """
    named = reader.named_destinations.get(str(link.get("/Dest", "")))
    if named is not None:
        return start + reader.get_destination_page_number(named)
    action = link.get("/A", DictionaryObject()).get_object()
    return first.get(urldefrag(str(action.get("/URI", ""))).url)


def main(tier: str) -> None:
    """Print a tier's pages, such as those of `mini`, to `mathtransfer.pdf` beside their folder.

    Raises:
        SystemExit: no Chromium is installed, or a page is not rendered.
    """
    chromium = next(filter(None, map(shutil.which, _CHROMIUMS)), None)
    if chromium is None:
        sys.exit(f"to print the book a Chromium is needed on the path: one of {', '.join(_CHROMIUMS)}")
    html = Path(grid.read_tier(tier).html)
    pages = [(part, Path(html, f"{name}.html").resolve()) for part, name in contents(Path("_toc.yml"))]
    if missing := [page for _, page in pages if not page.is_file()]:
        sys.exit(f"{missing[0]} is not there: render the book with `make book` first")
    out = html.parent / "mathtransfer.pdf"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        printed = []
        for number, (part, page) in enumerate(pages, start=1):
            own = Path(folder, f"{number}.pdf")
            printed.append((part, print_page(browser, page, own), page, own))
            print(f"  {number} of {len(pages)} pages: {printed[-1][1]}", flush=True)
        sheets = join(printed, out)
        browser.close()
    print(f"{out}: {sheets} sheets, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
