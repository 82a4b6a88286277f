"""Tables that wait behind a line: who wants the numbers opens them, and who reads on is not held up."""

from __future__ import annotations

import pandas as pd
from IPython.display import HTML
from pandas.io.formats.style import Styler

from mathtransfer.claims import ledger
from mathtransfer.pages.templating import fill


def folded(title: str, table: pd.DataFrame | Styler) -> HTML:
    """A table behind a line that says what it has."""
    return HTML(fill("folded.html", title=title, table=_to_html(table)))


def evidence(rows: pd.DataFrame) -> HTML:
    """Each claim with its verdict in every part of its layer, and, folded, the statistics from which it follows.

    Args:
        rows: of one layer, from `ledger.judge` or `ledger.judge_parts`.
    """
    if rows.empty:
        return HTML("<p>Nothing here has a value that could be judged.</p>")
    (layer,) = rows["layer"].unique()
    said = ledger.verdicts(rows).xs(layer, axis=1, level="layer").loc[rows["claim"].unique()]
    claims = [(*name, list(verdicts)) for name, verdicts in zip(said.index, said.to_numpy(), strict=True)]
    parts = [part or "verdict" for part in said.columns]
    return HTML(fill("evidence.html", parts=parts, claims=claims, number=len(rows), table=_to_html(ledger.show(rows))))


def _to_html(table: pd.DataFrame | Styler) -> str:
    styled = table if isinstance(table, Styler) else table.style
    return styled.set_table_attributes('class="dataframe"').to_html()
