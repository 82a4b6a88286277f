"""What a grade says, and the readings that may give different ones."""

from __future__ import annotations

READINGS = ("strict", "lenient", "harness")


CORRECT, WRONG, NO_ANSWER, NOT_GRADED = "correct", "wrong answer", "no answer in the expected format", "not graded"
