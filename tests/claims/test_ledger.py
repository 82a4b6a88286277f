"""Verdicts follow from intervals and criteria alone."""

import math

import pandas as pd
import pytest

from mathtransfer.claims import ledger
from mathtransfer.pages.ledger_table import ledger_html


@pytest.mark.parametrize(
    ("side", "low", "high", "expected"),
    [
        ("above", 0.5, 2.0, ledger._HOLDS),
        ("above", -0.5, 2.0, ledger._OPEN),
        ("above", -2.0, -0.5, ledger._FAILS),
        ("below", -2.0, -0.5, ledger._HOLDS),
        ("below", 0.5, 2.0, ledger._FAILS),
        ("above", float("nan"), float("nan"), ledger._OPEN),
        ("above", float("-inf"), float("inf"), ledger._OPEN),
    ],
)
def test_verdict_of_an_interval(side, low, high, expected):
    assert ledger._Criterion("", side, 0.0).verdict(low, high) == expected


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([ledger._HOLDS, ledger._HOLDS], ledger._HOLDS),
        ([ledger._HOLDS, ledger._OPEN], ledger._OPEN),
        ([ledger._HOLDS, ledger._OPEN, ledger._FAILS], ledger._FAILS),
    ],
)
def test_a_claim_needs_all_its_statistics(verdicts, expected):
    assert ledger._combine(verdicts) == expected


def test_every_claim_of_the_study_has_criteria():
    assert set(ledger._criteria()) >= {"S1", "S2", "S3", "S4", "L1", "L5", "T1", "T2"}


def test_evidence_needs_a_criterion_and_a_layer():
    with pytest.raises(ValueError, match="write it down before"):
        ledger.judge("miniature", [("made_up", (1, 0, 2), "here")])
    with pytest.raises(ValueError, match="unknown layer 'minature'"):
        ledger.judge("minature", [("rl_less_sft_math", (1, 0, 2), "here")])


def test_evidence_is_read_back_in_the_order_of_the_claims(tmp_path):
    late = ledger.judge("miniature", [("sft_less_rl_kl", (1.0, 0.5, 1.5), "a")])
    early = ledger.judge("published", [("rl_less_sft_math", (-3.0, -4.0, -2.0), "b")])
    recorded = ledger.record(tmp_path, "a_chapter", {"late": late, "early": early})
    assert list(recorded["cell"]) == ["a_chapter#early", "a_chapter#late"]
    joined = ledger.read_evidence(tmp_path / "evidence")
    assert list(joined["claim"]) == ["S1", "T1"]
    pd.testing.assert_frame_equal(joined, recorded)
    verdicts = ledger.verdicts(joined).droplevel("statement")
    assert verdicts.loc["S1", "published"] == ledger._FAILS and verdicts.loc["T1", "miniature"] == ledger._HOLDS
    assert verdicts.loc["T1", "published"] == "no evidence yet"
    with pytest.raises(FileNotFoundError, match="no evidence"):
        ledger.read_evidence(tmp_path / "nowhere")


def test_the_page_shows_every_row_whatever_its_interval(tmp_path):
    intervals = {"plain": (1.0, 0.5, 1.5), "open": (1.0, -math.inf, math.inf), "none": (2.0, math.nan, math.nan)}
    rows = ledger.judge("published", [("sft_over_rl_kl", ends, f"<{name}>") for name, ends in intervals.items()])
    html = ledger_html(ledger.record(tmp_path, "a_chapter", {"here": rows}))
    assert html.count("<tr data-claim") == 3
    assert html.count('href="a_chapter.html#here"') == 3
    assert "&lt;open&gt;" in html and "<open>" not in html
    assert "1.00 [−∞, ∞]" in html and "2.00 [none, none]" in html and "nan" not in html
