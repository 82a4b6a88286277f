"""What is folded is there, and what a section shows first is what its evidence says."""

from functools import partial
from html.parser import HTMLParser

import pandas as pd
import pytest
from elements import HOSTILE

from mathtransfer.claims import ledger
from mathtransfer.claims.by_base import PARTS
from mathtransfer.claims.intervals import normal_interval
from mathtransfer.pages import folding
from mathtransfer.paper import reported


class Tables(HTMLParser):
    """The cells of every table, each with whether it is folded."""

    def __init__(self, html: str):
        super().__init__()
        self.found, self.folded, self.in_cell = [], False, False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "details":
            self.folded = True
        elif tag == "table":
            self.found.append((self.folded, []))
        elif tag in ("td", "th"):
            self.found[-1][1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.in_cell:
            self.found[-1][1][-1] += data.strip()


def sure(value):
    return partial(normal_interval, value, 0.1)


def test_the_verdict_is_in_sight_and_the_numbers_are_folded():
    rows = ledger.judge("published", [("rl_less_sft_other", sure(9.0), "here")])
    (in_sight, claims), (folded, numbers) = Tables(folding.evidence(rows).data).found
    assert (in_sight, folded) == (False, True)
    statement = reported.table("claims").set_index("claim").loc["S2", "statement"]
    assert claims == ["claim", "statement", "verdict", "S2", statement, "reproduced"]
    assert "9.00" in numbers and "8.80" in numbers


def test_every_part_has_its_own_verdict():
    parts = list(PARTS)[:2]
    found = {part: [("rl_less_sft_other", sure(value), "here")] for part, value in zip(parts, (9.0, -9.0), strict=True)}
    (_, claims), _ = Tables(folding.evidence(ledger.judge_parts("miniature", found)).data).found
    said = dict(zip(claims[2 : len(claims) // 2], claims[len(claims) // 2 + 2 :], strict=True))
    assert [said[part] for part in parts] == ["reproduced", "not reproduced"]


def test_no_evidence_is_said():
    rows = ledger.judge("published", [("rl_less_sft_other", sure(9.0), "here")])
    assert not Tables(folding.evidence(rows.iloc[:0]).data).found


@pytest.mark.parametrize("text", HOSTILE)
def test_a_title_stays_a_title(text):
    html = folding.folded(text, pd.DataFrame({"a": [1]})).data
    assert html.count("<") == folding.folded("plain", pd.DataFrame({"a": [1]})).data.count("<")
