"""What the tests of self-contained elements share: texts that try to get out of them, and what an element embeds."""

import json
import re

HOSTILE = [
    "</script><script>window.broken = 1</script>",
    "</template></div><img src=x onerror='window.broken = 1'>",
    "<!--<script>",
    "]]>",
    "&lt;b&amp;\"'\\",
    "${1}`",
    "$x$ \\(y\\)",
    "a\u2028b\u2029c\ufffd",
    "😀 Ärger",
    "",
]


def embedded(html: str) -> dict:
    """The data that the element's script reads."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, flags=re.DOTALL)[1])
