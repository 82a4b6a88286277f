"""Reasoning markers, and paired differences over questions, by hand."""

import math

import pandas as pd
import pytest

from mathtransfer.claims import released
from mathtransfer.paper.reported import CONTROLLED_STUDY

RL, SFT, _ = CONTROLLED_STUDY


@pytest.mark.parametrize(
    ("text", "markers"),
    [
        ("Okay, let's see. First, the boat. But wait, so it was red.\n\nTherefore red.", 4),
        ("- **So** it is red", 1),
        ("Assistant: Let’s break it down", 1),
        ("The answer is A: First grade, but not so far", 0),  # inside a sentence they are ordinary words
        ("He was kind. Let me know if you need more!", 0),
        ("Sofia waited. Butter.", 0),
        ("Hmm... Wait! Alternatively?", 3),
    ],
)
def test_markers_at_the_beginning_of_a_sentence(text, markers):
    found = released.reasoning_markers(pd.DataFrame({"response": [text]}, index=[7]))
    assert found.loc[7].to_dict() == {"words": len(text.split()), "markers": markers}


def table(questions: int = 40) -> pd.DataFrame:
    """SFT writes ten times as many words, a marker on every other question, and is wrong there; RL is always right."""
    rows = [(RL, q, 10 + q % 3, 0, 1.0) for q in range(questions)]
    rows += [(SFT, q, 10 * (10 + q % 3), 2 * (q % 2), 1.0 - q % 2) for q in range(questions)]
    return pd.DataFrame(rows, columns=["model", "question", "words", "markers", "strict_followed"])


def test_differences_are_paired_by_question():
    found = released.marker_differences(table()).set_index("what")
    share, rate, words = found.itertuples()
    assert (share.rl, share.sft, share.value) == (0, 50, 50) and 30 < share.low < 50 < share.high < 70
    assert rate.value == pytest.approx(rate.sft)
    # The ratio is ten on every question, though the questions' lengths differ: pairing leaves no spread.
    assert [words.value, words.low, words.high] == pytest.approx([10, 10, 10])


def test_accuracy_where_there_is_a_marker_and_where_not():
    ungraded = pd.DataFrame({"model": [RL, SFT], "question": 99, "words": 5, "markers": 1, "strict_followed": None})
    found = released.accuracy_by_marker(pd.concat([table(), ungraded]), "strict")
    assert found["questions"].tolist() == [20, 20, 40]
    assert found["sft"].tolist()[:2] == [0, 100] and found["rl"].tolist()[:2] == [100, 100]
    assert found["value"].tolist() == [-100, 0, -100]


def test_difference_on_the_same_problems():
    graded = table().assign(strict=lambda t: t["strict_followed"].map({1.0: "correct", 0.0: "wrong answer"}))
    graded = graded.drop(graded[(graded["model"] == RL) & (graded["question"] == 1)].index)  # SFT was wrong there
    problems, rl, sft, (value, low, high) = released.paired_difference(graded, "strict")
    assert (problems, rl, sft) == (39, 100, pytest.approx(100 * 20 / 39))
    assert value == pytest.approx(rl - sft) and low < value < high


def test_evidence_on_markers_stays_open_without_enough_grades():
    whole = {name: estimate() for name, estimate, _ in released.evidence_on_markers(table(240))}
    value, low, high = whole["sft_less_rl_marked"]
    assert value == 50 and low < 50 < high and high - low < 30
    assert whole["marked_less_unmarked_gap"] == pytest.approx((-100, -100, -100))
    one = table(80).assign(strict_followed=lambda t: t["strict_followed"].where(t["question"] == 0))
    for few in (table(160), one, table(80).assign(strict_followed=None)):
        found = {name: estimate() for name, estimate, _ in released.evidence_on_markers(few)}
        assert math.isnan(found["marked_less_unmarked_gap"][0]) and found["sft_less_rl_marked"][0] == 50
