"""The picture of all verdicts, and the way from a mark to the evidence behind it."""

import re
from collections import Counter
from functools import partial
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest

from mathtransfer.claims import criteria, ledger
from mathtransfer.claims.by_base import PARTS
from mathtransfer.claims.intervals import normal_interval
from mathtransfer.pages.ledger_table import ledger_html
from mathtransfer.pages.verdict_grid import grid_html


@pytest.fixture(scope="module")
def evidence():
    sure, unsure = (partial(normal_interval, 9.0, stderr) for stderr in (1.0, 50.0))
    rows = [
        ledger.judge("published", [("rl_less_sft_other", unsure, "here")]),
        ledger.judge("miniature", [("rl_less_sft_other", sure, "here")], next(iter(PARTS))),
        ledger.judge("miniature", [("rl_less_sft_other", unsure, "here")], list(PARTS)[1]),
    ]
    return pd.concat(rows, ignore_index=True).assign(cell="controlled_study#evidence")


def test_every_verdict_is_a_mark_and_evidence_is_a_link(evidence):
    verdicts = ledger.verdicts(evidence)
    html = grid_html(verdicts)
    assert html.count('<th scope="row">') == len(verdicts)
    said = re.findall(r'class="sign" data-said="([^"]*)"', html)
    marked = verdicts.stack([0, 1], future_stack=True)
    marked = marked[marked != criteria.NOT_APPLICABLE]
    in_legend = criteria.MISSING, *criteria.VERDICTS
    assert Counter(said) == Counter(marked) + Counter(in_legend)
    links = [unescape(link) for link in re.findall(r'href="([^"]*)"', html)]
    assert [parse_qs(urlsplit(link).query) for link in links] == [
        {"claim": ["S2"], "layer": ["published"]},
        {"claim": ["S2"], "layer": ["miniature"], "part": [next(iter(PARTS))]},
        {"claim": ["S2"], "layer": ["miniature"], "part": [list(PARTS)[1]]},
    ]
    assert f'aria-label="S2, miniature, {next(iter(PARTS))}: reproduced"' in html


def test_a_mark_leads_to_its_evidence_alone(evidence, browser, tmp_path):
    (tmp_path / "ledger.html").write_text(f"<!doctype html><title>ledger</title>{ledger_html(evidence)}")
    (tmp_path / "front.html").write_text(f"<!doctype html><title>front</title>{grid_html(ledger.verdicts(evidence))}")
    page = browser.new_page()
    page.goto((tmp_path / "front.html").as_uri())
    page.get_by_label(f"S2, miniature, {next(iter(PARTS))}: reproduced").click()
    assert page.locator("#ledger tbody tr:visible").count() == 1
    assert page.locator("#ledger output").inner_text() == f"1 of {len(evidence)}"
    assert page.locator("#ledger select[name=part]").input_value() == next(iter(PARTS))
    page.close()
