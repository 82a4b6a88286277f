"""The list of changed criteria names claims that exist and keeps the verdicts before."""

from functools import partial

import pandas as pd
import pytest
import yaml

from mathtransfer.claims import by_base, changes, criteria, ledger
from mathtransfer.claims.intervals import normal_interval

PARTS = list(by_base.PARTS)


def test_verdicts_before_stand_beside_those_of_the_ledger():
    evidence = ledger.judge("published", [("rl_less_sft_math", partial(normal_interval, 4.0, 1.0), "here")])
    table = changes.changes(evidence).set_index(["claim", "layer"])
    assert table.loc[("S1", "published"), ["before", "after"]].tolist() == ["reproduced", criteria.HOLDS]
    assert table.loc[("S1", "miniature"), ["part", "after"]].tolist() == [PARTS[0], criteria.MISSING]
    assert table.index.is_unique
    assert set(table["before"]) <= {criteria.HOLDS, criteria.FAILS, "undecided"}
    assert (table[["was", "is", "why"]] != "").all(axis=None)


def test_a_change_of_no_claim_is_refused(monkeypatch):
    criteria.claims()  # read before
    wrong = [
        {"date": "2026-11-25", "claims": ["Z9"], "was": "", "is": "", "why": "", "before": {"published": "undecided"}}
    ]
    monkeypatch.setattr(yaml, "safe_load", lambda _: wrong)
    with pytest.raises(ValueError, match="Z9"):
        changes.changes(pd.DataFrame({"claim": [], "layer": [], "part": [], "verdict": []}))
