"""The files of `templates/`: Jinja fills the HTML and escapes every value; style sheets and scripts go in unchanged."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps

_FOLDER = Path(__file__).parent / "templates"


def fill(template: str, **values) -> str:
    """The HTML of a template, such as `samples.html`, with these values; a value that it lacks is an error."""
    return _ENVIRONMENT.get_template(template).render(values)


def to_json(value: object) -> str:
    """JSON for a script element: in ASCII, which can write a lone surrogate, and without `<`, so that no text ends it.

    Raises:
        ValueError: a number is not finite.
    """
    return htmlsafe_json_dumps(value, separators=(",", ":"), allow_nan=False)


def _contents(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_ENVIRONMENT.filters["tojson"] = to_json
_ENVIRONMENT.globals["contents"] = _contents
