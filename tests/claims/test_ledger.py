"""Verdicts follow from intervals and criteria alone."""

import math
from functools import partial

import pandas as pd
import pytest

from mathtransfer.claims import by_base, criteria, ledger
from mathtransfer.claims.intervals import exact, normal_interval
from mathtransfer.pages.ledger_table import ledger_html
from mathtransfer.paper import reported

PARTS = list(by_base.PARTS)


def between(low, high, value=None):
    """An estimate with these ends at every level."""
    return lambda level=0.95: ((low + high) / 2 if value is None else value, low, high)


def criterion(side, margin=1.0):
    return criteria.Criterion("", side, 0.0, -margin, margin, (-margin, margin))


@pytest.mark.parametrize(
    ("side", "low", "high", "expected"),
    [
        ("above", 0.5, 2.0, criteria.HOLDS),
        ("above", -0.5, 2.0, criteria._TOO_LITTLE),
        ("above", -0.5, 0.5, criteria._NO_EFFECT),
        ("above", -2.0, -0.5, criteria.FAILS),
        ("below", -2.0, -0.5, criteria.HOLDS),
        ("below", 0.5, 2.0, criteria.FAILS),
        ("within", -0.5, 0.9, criteria.HOLDS),
        ("within", -0.5, 1.1, criteria._TOO_LITTLE),
        ("within", 1.1, 3.0, criteria.FAILS),
        ("within", -3.0, -1.1, criteria.FAILS),
        ("above", float("nan"), float("nan"), criteria._TOO_LITTLE),
        ("above", float("-inf"), float("inf"), criteria._TOO_LITTLE),
    ],
)
def test_verdict_of_an_interval(side, low, high, expected):
    assert criteria.verdict(criterion(side), between(low, high)) == expected


def test_near_no_effect_is_about_nothing_and_not_about_the_threshold():
    third = criteria.criterion_of("rl_over_sft_rank_shift")[1]  # below a third
    assert criteria.verdict(third, between(0.3, 0.36)) == criteria._TOO_LITTLE
    most = criteria.criterion_of("share_failing")[1]  # above half: a share has no value that means nothing
    assert criteria.verdict(most, between(45.0, 55.0)) == criteria._TOO_LITTLE
    at_least = criteria.criterion_of("rl_less_sft_math")[1]  # above -3
    assert criteria.verdict(at_least, between(-4.0, -2.0)) == criteria._TOO_LITTLE


def test_what_cannot_fail_by_chance_is_not_counted():
    estimate = partial(normal_interval, -2.2, 1.0)
    counted = [("second_pair_rl_lower_rank_shifts", partial(exact, 100.0), "here")]
    rows = ledger.judge("published", [("second_pair_rl_over_sft_rank_shift", estimate, "here"), *counted])
    assert not rows["criterion"].str.contains("fails").any()


def test_one_of_several_statistics_fails_by_a_wider_interval():
    """2.2 standard errors below zero: beyond the ends at 95%, not beyond those at 1 - 0.05 / 2."""
    estimate = partial(normal_interval, -2.2, 1.0)
    assert criteria.verdict(criterion("above"), estimate) == criteria.FAILS
    assert criteria.verdict(criterion("above"), estimate, comparisons=2) == criteria._TOO_LITTLE
    assert criteria.verdict(criterion("below"), estimate, comparisons=2) == criteria.HOLDS
    rows = ledger.judge("published", [("credit_other", estimate, "a"), ("credit_non", estimate, "b")])
    assert set(rows["verdict"]) == {criteria._TOO_LITTLE}
    assert set(rows["criterion"]) == {"interval above 0; fails at 97.5%"}


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([criteria.HOLDS, criteria.HOLDS], criteria.HOLDS),
        ([criteria.HOLDS, criteria._NO_EFFECT], criteria._NO_EFFECT),
        ([criteria.HOLDS, criteria._NO_EFFECT, criteria._TOO_LITTLE], criteria._TOO_LITTLE),
        ([criteria.HOLDS, criteria._TOO_LITTLE, criteria.FAILS], criteria.FAILS),
    ],
)
def test_a_claim_needs_all_its_statistics(verdicts, expected):
    assert criteria.combine(verdicts) == expected


def test_every_claim_of_the_paper_says_what_is_asked_or_needed():
    assert list(criteria.claims()) == list(reported.table("claims")["claim"])
    for name, claim in criteria.claims().items():
        assert claim.criteria or claim.needs, name
        assert claim.criteria or not set(claim.layers) & {"published"}, name


def test_one_margin_for_little():
    """What keeps, stagnates, is at least as good or matters little is within three percentage points everywhere."""
    written = {name: c for claim in criteria.claims().values() for name, c in claim.criteria.items()}
    little = {name: c for name, c in written.items() if "percentage points" in c.about}
    assert {c.high - c.threshold for c in little.values()} == {3.0}
    assert {abs(c.threshold) for c in little.values()} == {0.0, 3.0}


def test_evidence_needs_a_criterion_and_a_layer():
    one = between(0, 2)
    with pytest.raises(ValueError, match="write it down before"):
        ledger.judge("miniature", [("made_up", one, "here")], PARTS[0])
    with pytest.raises(ValueError, match="unknown layer 'minature'"):
        ledger.judge("minature", [("rl_less_sft_math", one, "here")])
    with pytest.raises(ValueError, match="P1 is not applicable"):
        ledger.judge("miniature", [("share_failing", one, "here")], PARTS[0])
    with pytest.raises(ValueError, match="unknown part '' of the layer 'miniature': expected one of 'elicitable bases"):
        ledger.judge("miniature", [("rl_less_sft_math", one, "here")])
    with pytest.raises(
        ValueError, match="unknown part 'settled bases, natural' of the layer 'full': expected one of ''"
    ):
        ledger.judge("full", [("rl_less_sft_math", one, "here")], PARTS[2])


def test_evidence_is_read_back_in_the_order_of_the_claims(tmp_path):
    late = ledger.judge("miniature", [("sft_over_rl_kl_least", between(1.5, 2.5), "a")], PARTS[1])
    early = ledger.judge("published", [("rl_less_sft_math", between(-8.0, -4.0), "b")])
    recorded = ledger.record(tmp_path, "a_chapter", {"late": late, "early": early})
    assert list(recorded["cell"]) == ["a_chapter#early", "a_chapter#late"]
    joined = ledger.read_evidence(tmp_path / "evidence")
    assert list(joined["claim"]) == ["S1", "T1"]
    pd.testing.assert_frame_equal(joined, recorded)
    with pytest.raises(FileNotFoundError, match="no evidence"):
        ledger.read_evidence(tmp_path / "nowhere")


def test_no_claim_vanishes_and_what_cannot_be_asked_is_told_from_what_is_missing():
    rows = ledger.judge("published", [("rl_less_sft_math", between(-8.0, -4.0), "b")])
    verdicts = ledger.verdicts(rows).droplevel("statement")
    assert list(verdicts.index) == list(reported.table("claims")["claim"])
    assert list(verdicts["miniature"]) == PARTS
    assert verdicts.loc["S1", ("published", "")] == criteria.FAILS
    assert set(verdicts.loc["S1", "miniature"]) == {criteria.MISSING}
    assert verdicts.loc["S1", ("released", "")] == criteria.NOT_APPLICABLE
    needs = ledger.needs(rows).set_index("claim")["needs"]
    assert {"A7", "T6"} <= set(needs.index) and "S1" not in needs.index
    assert needs["A7"]


def test_parts_of_a_layer_are_judged_apart():
    """Comparisons are counted within a part; a part that a claim was not asked in cannot answer."""
    estimate = partial(normal_interval, -2.2, 1.0)  # beyond the ends at 95%, not beyond those at 1 - 0.05 / 2
    several = [("rl_less_sft_non", estimate, "here"), ("rl_gain_non", partial(normal_interval, 9.0, 1.0), "here")]
    rows = ledger.judge_parts("miniature", {PARTS[0]: several, PARTS[3]: several[:1]})
    assert list(rows["part"]) == [PARTS[0], PARTS[0], PARTS[3]]
    verdicts = ledger.verdicts(rows).droplevel("statement").loc["S3", "miniature"]
    expected = [criteria._TOO_LITTLE, criteria.NOT_APPLICABLE, criteria.NOT_APPLICABLE, criteria.FAILS]
    assert list(verdicts) == expected
    shown = ledger.show(rows).data
    assert shown.loc[0, PARTS[0]] == f"-2.20 [-4.16, -0.24]<br>{criteria._TOO_LITTLE}"
    assert list(shown[PARTS[3]].notna()) == [True, False]


def test_nothing_that_happens_reproduces_s3_or_s2():
    """SFT = RL = base, known as well as can be: the old S3 held."""
    none = between(-0.1, 0.1)
    found = [(name, none, "here") for name in ("sft_gain_non", "rl_gain_non", "rl_less_sft_non", "rl_less_sft_other")]
    rows = ledger.judge("miniature", found, PARTS[0])
    verdicts = ledger.verdicts(rows).droplevel("statement")["miniature", PARTS[0]]
    assert verdicts["S3"] == verdicts["S2"] == criteria._NO_EFFECT


def test_at_least_is_not_more():
    """RL as good as SFT reaches at least its scores; the old S1 asked for more."""
    rows = ledger.judge("miniature", [("rl_less_sft_math", between(-1.0, 1.0), "here")], PARTS[0])
    (row,) = rows.to_dict("records")
    assert row["verdict"] == criteria.HOLDS


def test_the_page_shows_every_row_whatever_its_interval(tmp_path):
    estimates = {
        "plain": between(0.5, 1.5),
        "open": between(-math.inf, math.inf, 1.0),
        "none": between(math.nan, math.nan, 2.0),
    }
    rows = ledger.judge("published", [("sft_over_rl_kl", ends, f"<{name}>") for name, ends in estimates.items()])
    of_a_part = ledger.judge("miniature", [("sft_over_rl_kl_least", between(0.5, 1.5), "here")], PARTS[0])
    html = ledger_html(ledger.record(tmp_path, "a_chapter", {"here": pd.concat([rows, of_a_part])}))
    assert html.count("<tr data-claim") == 4
    assert html.count(f'data-part="{PARTS[0]}"') == 1 and f'<option value="{PARTS[0]}">' in html
    assert html.count('<option value="">') == 4  # a drop-down has "all" once, also that of parts
    assert html.count('href="a_chapter.html#here"') == 4
    assert "&lt;open&gt;" in html and "<open>" not in html
    assert "1.00 [−∞, ∞]" in html and "2.00 [none, none]" in html and "nan" not in html
