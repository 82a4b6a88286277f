"""The glossary: every term that pages use exists and is used, and its definition shows where it is used."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
from conftest import ROOT, run

BOOK = ROOT / "book"


def terms_of(text: str) -> list[str]:
    """The terms that a page defines: in a `glossary` directive, the lines that are not indented."""
    found = re.findall(r"^```\{glossary\}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in found for line in block.splitlines() if line and not line.startswith(" ")]


def used_in(text: str) -> set[str]:
    """The terms to which a text refers, as {term}`word` or {term}`words <word>`."""
    return {re.sub(r".*<(.*)>", r"\1", name) for name in re.findall(r"\{term\}`([^`]+)`", text)}


def pages() -> dict[str, str]:
    """The prose of every page but the glossary itself."""
    found = {path.stem: path.read_text() for path in BOOK.glob("*.md") if path.stem != "glossary"}
    for path in (ROOT / "notebooks").glob("*/*.ipynb"):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "markdown"]
        found[path.stem] = "\n".join("".join(cell["source"]) for cell in cells)
    return found


def test_every_term_exists_and_is_used():
    defined = terms_of((BOOK / "glossary.md").read_text())
    used = set().union(*map(used_in, pages().values()))
    assert len(defined) >= 40 and len(set(defined)) == len(defined)
    assert used <= set(defined)
    assert not [term for term in defined if term not in used]


def test_a_definition_is_plain_and_leads_to_a_page():
    """A box over the text can hold no link and no formula: these come in a second paragraph."""
    blocks = re.findall(r"^(?! |`)(\S.*)\n((?:  .*\n|\n(?=  ))+)", (BOOK / "glossary.md").read_text(), re.MULTILINE)
    found = {term: body for term, body in blocks if term in terms_of((BOOK / "glossary.md").read_text())}
    assert len(found) == len(terms_of((BOOK / "glossary.md").read_text()))
    for term, body in found.items():
        first, second = body.strip().split("\n\n")
        assert not re.search(r"[$\[{]", first), term
        assert len(first.split()) <= 60, term
        (target,) = re.findall(r"\]\((.*)\)", second)
        assert (BOOK / target).is_file(), term


CONF = "extensions = ['myst_parser', 'explained']\nhtml_theme = 'basic'\n"
GLOSSARY = """# Glossary

```{glossary}
on-policy
  Written by the *model* itself, "as it is" & <now>.

  More about it [elsewhere](index.md).

forking token
fork
  Where text may go on in several ways.
```
"""
INDEX = """# Page

Trained {term}`on-policy`, with {term}`forks <fork>`.

```{toctree}
glossary
```
"""


def build(folder: Path, **files: str) -> str:
    """Sphinx on a project of these files; what it warns of."""
    for name, text in {"conf": CONF, "glossary": GLOSSARY, "index": INDEX, **files}.items():
        (folder / f"{name}.{'py' if name == 'conf' else 'md'}").write_text(text)
    place = os.environ | {"PYTHONPATH": f"{BOOK / '_ext'}{os.pathsep}{os.environ['PYTHONPATH']}"}
    done = run([sys.executable, "-m", "sphinx", "-n", "-q", "-b", "html", str(folder), str(folder / "html")], env=place)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
def test_a_definition_stands_beside_its_link(tmp_path):
    assert build(tmp_path) == ""
    html = (tmp_path / "html" / "index.html").read_text()
    link = re.search(r'<a class="reference internal" href="(\S+)" aria-describedby="(\S+)">on-policy</a>', html)
    assert link[1] == "glossary.html#term-on-policy"
    assert f'id="{link[1].partition("#")[2]}"' in (tmp_path / "html" / "glossary.html").read_text()
    box = re.search(rf'<span class="definition" role="tooltip" id="{link[2]}">(.*?)</span>', html)
    assert box[1] == "Written by the model itself, “as it is” &amp; &lt;now&gt;."  # the first paragraph alone
    assert re.search(r'href="glossary.html#term-fork" .*>forks</a>.*>Where text may go on in several ways\.<', html)

    build(tmp_path, glossary=GLOSSARY.replace("several ways", "two ways"))  # and the page is as it was
    assert "Where text may go on in two ways." in (tmp_path / "html" / "index.html").read_text()


@pytest.mark.slow
def test_a_term_that_is_not_there_is_warned_of(tmp_path):
    assert "term not in glossary: 'off-policy'" in build(tmp_path, index=INDEX.replace("on-policy", "off-policy"))


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_a_definition_shows_on_hover_and_on_focus_and_stays_in_the_page(tmp_path, browser, width):
    build(tmp_path)
    page = browser.new_page(viewport={"width": width, "height": 600})
    page.goto((tmp_path / "html" / "index.html").as_uri())
    page.add_style_tag(content=(BOOK / "_static" / "book.css").read_text())
    term, box = page.get_by_role("link", name="on-policy"), page.locator(".definition").first
    assert not box.is_visible()
    term.hover()
    assert box.is_visible()
    box.hover()  # the pointer can move on to it
    assert box.is_visible()
    place = box.bounding_box()
    assert place["x"] >= 0 and place["x"] + place["width"] <= width
    page.mouse.move(width - 1, 599)
    assert not box.is_visible()
    term.focus()
    assert box.is_visible()
    page.close()
