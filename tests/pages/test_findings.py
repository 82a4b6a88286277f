"""Sentences about gains by format say what the table says."""

import pandas as pd
import pytest

from mathtransfer.claims import elicitation
from mathtransfer.pages import findings

ENDS = ("value", "low", "high")


def table(gain, by_format, within, margin):
    """What `explained` returns of one gain, from intervals."""
    parts = {"gain": gain, "format": by_format, "within": within}
    row = {(name, end): x for name, own in parts.items() for end, x in zip(ENDS, (sum(own) / 2, *own), strict=True)}
    ends = [(sum(own) / 2, *own) for own in (gain, within, margin)]
    row["verdict", ""] = elicitation._verdict(*ends)
    columns = pd.MultiIndex.from_tuples(row)
    return pd.DataFrame([list(row.values())], pd.MultiIndex.from_tuples([("on-policy RL", "other")]), columns)


@pytest.mark.parametrize(
    ("intervals", "ending"),
    [
        (
            ((20, 28), (26, 34), (-8, -4), (30, 42)),
            "explains more than all of it, since within formats accuracy went the",
        ),
        (((20, 28), (14, 24), (3, 7), (8, 20)), "the change of format explains more than half of it."),
        (((20, 28), (3, 7), (14, 24), (-20, -8)), "less than half of it is a change of format."),
        (((20, 28), (10, 14), (10, 14), (-5, 5)), "the intervals leave open which of the two is larger."),
        (((-8, -2), (-1, 1), (-8, -2), (1, 9)), "less than half of it is a change of format."),
        (
            ((-28, -20), (-34, -26), (4, 8), (-42, -30)),
            "explains more than all of it, since within formats accuracy went the",
        ),
        (((-1, 3), (10, 20), (-20, -8), (18, 38)), "the whole is not clearly different from zero."),
    ],
)
def test_a_sentence_says_only_what_the_intervals_allow(intervals, ending):
    (sentence,) = findings.on_formats(table(*intervals))
    assert ending in sentence
    gain, by_format = ("{:+.1f} [{:+.1f}, {:+.1f}]".format(sum(ends) / 2, *ends) for ends in intervals[:2])
    assert sentence.startswith(f"On-policy RL on other reasoning: {gain} points, of which {by_format} by the change of")
