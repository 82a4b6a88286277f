"""What goes into a page unescaped: style sheets, scripts and JSON."""

import json
import math

import pytest

from mathtransfer.pages import templating
from mathtransfer.runs import PACKAGE

FILES = sorted(path for path in (PACKAGE / "pages" / "templates").iterdir() if path.suffix in (".css", ".js"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_ends_the_element_that_it_stands_in(path):
    text = path.read_text(encoding="utf-8")
    assert "</" not in text and "<!--" not in text


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_json_has_no_number_that_is_not_finite(number):
    with pytest.raises(ValueError):
        templating.to_json({"value": number})


def test_json_comes_back_as_it_was_and_ends_nothing():
    value = {"</script>": ["<!--", "&amp;", "'\"\\", "\u2028", "half a pair: \ud83d", 1.5, None]}
    text = templating.to_json(value)
    assert text.isascii() and not set("<>&'") & set(text)
    assert json.loads(text) == value
