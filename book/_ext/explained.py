"""Sphinx extension: a reference to a term of the glossary shows its definition on hover and on keyboard focus.

The first paragraph of the definition stands in the page, beside the link, and a style sheet shows it: no script, and
nothing that a network would have to bring.
"""

from __future__ import annotations

from html import escape

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


class Explained(nodes.inline):
    """A link to a term (`uri`), and what the term means (`definition`)."""


def glossaries(env: BuildEnvironment) -> set[str]:
    """The pages that define a term."""
    return {page for (kind, _), (page, _) in env.get_domain("std").objects.items() if kind == "term"}


def definitions(env: BuildEnvironment) -> dict[str, str]:
    """The anchor of each term, such as `term-advantage`, and the first paragraph of its definition."""
    found = {}
    for page in sorted(glossaries(env)):
        for glossary in env.get_doctree(page).findall(addnodes.glossary):
            for item in glossary.findall(nodes.definition_list_item):
                *terms, meaning = item.children
                text = " ".join(meaning.next_node(nodes.paragraph).astext().split())
                found |= {anchor: text for term in terms for anchor in term["ids"]}
    return found


def explain(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put its definition beside every resolved reference to a term."""
    if app.builder.format != "html":
        return
    links = [text.parent for text in doctree.findall(nodes.inline) if "std-term" in text["classes"]]
    links = [link for link in links if isinstance(link, nodes.reference)]  # Sphinx has warned of the others
    meanings = definitions(app.env) if links else {}
    for number, link in enumerate(links):
        uri = link.get("refuri") or f"#{link['refid']}"
        meaning = meanings[uri.partition("#")[2]]
        text = link.astext()
        link.replace_self(Explained("", text, uri=uri, definition=meaning, ids=[f"explained-{number}"]))


def write(writer: nodes.NodeVisitor, node: Explained) -> None:
    """The HTML of an `Explained`: a link that the definition describes, also to a screen reader."""
    (anchor,), text = node["ids"], escape(node.astext())
    writer.body.append(
        f'<span class="explained"><a class="reference internal" href="{escape(node["uri"])}" '
        f'aria-describedby="{anchor}">{text}</a>'
        f'<span class="definition" role="tooltip" id="{anchor}">{escape(node["definition"])}</span></span>'
    )
    raise nodes.SkipNode


def rewrite_all(app: Sphinx, env: BuildEnvironment, added: set, changed: set, removed: set) -> list[str]:
    """A changed glossary changes every page."""
    return sorted(env.found_docs) if glossaries(env) & changed else []


def setup(app: Sphinx) -> dict:
    app.add_node(Explained, html=(write, None))
    app.connect("env-get-outdated", rewrite_all)
    app.connect("doctree-resolved", explain)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
