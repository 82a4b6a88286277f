"""The book as a PDF: all pages in order, an outline, and links that stay within the file."""

import sys
from pathlib import Path

import pytest
from conftest import ROOT
from pypdf import PdfReader

sys.path.insert(0, str(ROOT / "book"))

import print as printing

PAGES = {
    "index": ("", "Front", '<p><a href="two.html#end">on</a> <a href="https://example.org/">out</a></p>'),
    "one": ("Part", "One", '<a href="#end">down</a><p style="height: 3000px">long</p><p id="end">end</p>'),
    "two": ("Part", "Two", '<p id="end"><a href="index.html">back</a> <a href="#end">here</a></p>'),
}


@pytest.fixture
def book(tmp_path, browser) -> PdfReader:
    printed = []
    for name, (_, title, body) in PAGES.items():
        text = f'<h1>{title}<a class="headerlink" href="#">#</a></h1>{body}'
        (tmp_path / f"{name}.html").write_text(f"<!doctype html><title>{title}</title>{text}")
    for name, (part, *_) in PAGES.items():
        html, pdf = tmp_path / f"{name}.html", tmp_path / f"{name}.pdf"
        printed.append((part, printing.print_page(browser, html, pdf), html, pdf))
    assert printing.join(printed, tmp_path / "book.pdf") == len(PdfReader(tmp_path / "book.pdf").pages)
    return PdfReader(tmp_path / "book.pdf")


def test_pages_come_in_order_with_an_outline(book):
    texts = [sheet.extract_text() for sheet in book.pages]
    starts = [next(i for i, text in enumerate(texts) if text.startswith(title)) for _, title, _ in PAGES.values()]
    assert starts == sorted(starts) and starts[2] > starts[1] + 1  # a long page takes several sheets
    front, part, of_part = book.outline
    assert (front.title, part.title, [entry.title for entry in of_part]) == ("Front", "Part", ["One", "Two"])
    assert [book.get_destination_page_number(entry) for entry in (front, *of_part)] == starts


def test_links_to_pages_of_the_book_lead_within_it(book):
    sheets = {sheet.indirect_reference.idnum: i for i, sheet in enumerate(book.pages)}
    links = [(i, entry.get_object()) for i, sheet in enumerate(book.pages) for entry in sheet.get("/Annots", [])]
    within = {(i, sheets[link["/Dest"][0].idnum]) for i, link in links if "/Dest" in link}
    one, two = (
        next(i for i, sheet in enumerate(book.pages) if sheet.extract_text().startswith(t)) for t in ("One", "Two")
    )
    assert {(0, two), (one, two - 1), (two, 0), (two, two)} <= within  # both pages have a place called "end"
    assert [link["/A"]["/URI"] for _, link in links if "/URI" in link.get("/A", {})] == ["https://example.org/"]


def test_the_contents_are_those_of_the_book():
    pages = list(printing.contents(ROOT / "_toc.yml"))
    assert pages[0] == ("", "notebooks/chapters/introduction") and pages[-1] == ("Appendix", "book/references")
    assert all((ROOT / f"{name}.ipynb").is_file() or (ROOT / f"{name}.md").is_file() for _, name in pages)
    assert len({name for _, name in pages}) == len(pages) >= 45


def test_without_a_chromium_or_pages_it_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="a Chromium is needed on the path"):
        printing.main("mini")
    for name in ("chromium",):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setattr(printing, "contents", lambda toc: [("", str(Path("nowhere", "page")))])
    with pytest.raises(SystemExit, match=r"nowhere/page\.html is not there: render the book"):
        printing.main("mini")
