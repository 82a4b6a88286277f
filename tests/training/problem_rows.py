"""Problems as files have them, under three names of columns."""

import json
from pathlib import Path

ROWS = [
    {"problem": "What is $1+1$?", "answer": "2", "level": 1},
    {"problem": "What is $\\frac{1}{4}+\\frac{1}{4}$?", "answer": "\\frac{1}{2}", "level": 1},
    {"question": "What is $2 \\cdot 3$?", "gt_answer": "6", "answer": "We multiply: 6", "level": 2},
]


def written(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)
