"""All verdicts as a picture: a line for each claim, a mark for each layer, each mark a link to its evidence."""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlencode

import pandas as pd

from mathtransfer.claims.criteria import NO_VERDICTS, VERDICTS
from mathtransfer.pages.templating import fill

# Verdicts differ in shape as well as in colour: in print and for the colour-blind.
_MARKS = dict(zip((*VERDICTS, *NO_VERDICTS), ("●", "✕", "≈", "○", "·", ""), strict=True))


def grid_html(verdicts: pd.DataFrame) -> str:
    """A line for each claim and a column for each part of each layer.

    Args:
        verdicts: from `claims.ledger.verdicts`.
    """
    lines = [
        {"claim": claim, "statement": statement, "cells": [_cell(claim, *at, said) for at, said in own.items()]}
        for (claim, statement), own in verdicts.iterrows()
    ]
    counts = verdicts.stack([0, 1], future_stack=True).value_counts()
    legend = [(mark, said, int(counts.get(said, 0))) for said, mark in _MARKS.items() if mark]
    layers = Counter(layer for layer, _ in verdicts.columns)
    return fill("verdict_grid.html", lines=lines, legend=legend, layers=layers.items(), parts=list(verdicts.columns))


def _cell(claim: str, layer: str, part: str, said: str) -> dict[str, str]:
    """A mark; where there is evidence it leads to the ledger, filtered."""
    asked = {"claim": claim, "layer": layer} | ({"part": part} if part else {})
    return {
        "mark": _MARKS[said],
        "verdict": said,
        "about": ", ".join(filter(None, [claim, layer, part])) + f": {said}",
        "link": f"ledger.html?{urlencode(asked)}#ledger" if said in VERDICTS else "",
    }
