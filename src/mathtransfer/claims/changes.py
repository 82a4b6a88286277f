"""What was changed in the criteria after a result was known, and what it did to the verdicts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml

from mathtransfer.claims import ledger
from mathtransfer.claims.criteria import LAYERS


def changes(evidence: pd.DataFrame) -> pd.DataFrame:
    """Every change of `changes.yaml` beside the present verdicts, a row a claim and layer.

    A layer that has parts now had the first of them then: natural answers of one elicitable base.

    Args:
        evidence: the ledger's rows.

    Returns:
        `date, claim, was, is, why, layer, before, after`.

    Raises:
        ValueError: a change is of no claim of the paper, or says nothing of the verdicts before.
    """
    now = ledger.verdicts(evidence).droplevel("statement")
    first = {layer: (layer, part) for layer, part in reversed(now.columns)}
    rows = []
    for change in yaml.safe_load((Path(__file__).parent / "changes.yaml").read_text()):
        for claim in change["claims"]:
            before = change["before"].get(claim, change["before"])
            if claim not in now.index or not set(before) <= set(LAYERS):
                raise ValueError(f"changes.yaml: no verdicts before of {claim}, or no such claim")
            texts = [change[name] for name in ("was", "is", "why")]
            rows += [
                (change["date"], claim, *texts, *then, said, now.loc[claim, then])
                for then, said in ((first[layer], said) for layer, said in before.items())
            ]
    return pd.DataFrame(rows, columns=["date", "claim", "was", "is", "why", "layer", "part", "before", "after"])
