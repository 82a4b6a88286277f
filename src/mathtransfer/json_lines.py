"""JSON lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path


def read_lines(path: str | Path) -> Iterator[dict]:
    """The objects in a file, one after the other; blank lines are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is no JSON object; names the file and the line, counted from one.
    """
    with Path(path).open(encoding="utf-8", newline="\n") as lines:  # a line ends nowhere else: text may hold "\r"
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} of {path} is no JSON: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number} of {path} is no JSON object: found {row!r:.60}")
            yield row
