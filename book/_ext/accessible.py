"""Sphinx extension: mends what the theme and other extensions write that a screen reader stumbles over."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

_MENDS = {
    'role="list" class="citation-list"': 'class="citation-list"',  # its items have another role
    ' aria-label="Toggle hidden content"': "",  # of a button that has a text of its own
}
_EMPTY_HEADING = re.compile(
    r"<th(?P<with>[^>]*)>(?P<nothing>(?:&nbsp;|\s)*)</th>"
)  # the corner of a table that pandas wrote


def mend(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    """Replace some HTML of a page's body."""
    body = context.get("body", "")
    for wrong, right in _MENDS.items():
        body = body.replace(wrong, right)
    context["body"] = _EMPTY_HEADING.sub(r"<td\g<with>>\g<nothing></td>", body)


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", mend, priority=840)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
