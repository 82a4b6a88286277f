"""The claim ledger: evidence with intervals, judged by its criteria, recorded, read back and joined."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pandas.io.formats.style import Styler

from mathtransfer import shipped
from mathtransfer.claims.by_base import PARTS
from mathtransfer.claims.criteria import (
    LAYERS,
    MISSING,
    NOT_APPLICABLE,
    claims,
    combine,
    criterion_of,
    fail_level,
    verdict,
)
from mathtransfer.claims.intervals import LEVEL, Estimate
from mathtransfer.paper import reported

Evidence = tuple[str, Estimate, str]  # a statistic's name, its estimate, and where it comes from
_IN_PARTS = {"miniature": list(PARTS)}  # layer -> its parts; any other layer has one, without a name
_COLUMNS = ["claim", "layer", "part", "statistic", "value", "low", "high", "criterion", "verdict", "run", "cell"]


def from_table(where: str, found: dict[str, Estimate]) -> list[Evidence]:
    """Statistics as evidence from one place."""
    return [(name, estimate, where) for name, estimate in found.items()]


def judge(layer: str, found: list[Evidence], part: str = "") -> pd.DataFrame:
    """Evidence as rows of the ledger, in the order of the claims file: all that one part of a layer has for a claim.

    Claim, criterion and verdict follow from each statistic's name and estimate.

    Args:
        part: which of the layer's parts, if it has any.

    Raises:
        ValueError: no criterion was written down for a statistic, the layer or the part does not exist, or the layer
            cannot answer.
    """
    if layer not in LAYERS:
        raise ValueError(f"unknown layer {layer!r}: expected one of {', '.join(LAYERS)}")
    if part not in (parts := _parts(layer)):
        raise ValueError(f"unknown part {part!r} of the layer {layer!r}: expected one of {'; '.join(map(repr, parts))}")
    spoken = [(*criterion_of(statistic), statistic, estimate, run) for statistic, estimate, run in found]
    # What is counted, and what has no interval yet, cannot fail by chance.
    uncertain = [claim for claim, _, _, estimate, _ in spoken if estimate(level=LEVEL)[1] < estimate(level=LEVEL)[2]]
    counted = pd.Series(uncertain, dtype=str).value_counts()
    rows = []
    for claim, criterion, statistic, estimate, run in spoken:
        if layer not in claims()[claim].layers:
            raise ValueError(f"{claim} is not applicable to the layer {layer!r} by claims.yaml")
        comparisons = counted.get(claim, 1)
        said = verdict(criterion, estimate, comparisons)
        asked = f"{criterion}; fails at {100 * fail_level(comparisons):.1f}%" if comparisons > 1 else str(criterion)
        rows.append((claim, layer, part, statistic, *estimate(level=LEVEL), asked, said, run))
    return _in_order(pd.DataFrame(rows, columns=_COLUMNS[:-1]))


def judge_parts(layer: str, found: dict[str, list[Evidence]]) -> pd.DataFrame:
    """Evidence by part, each judged by itself as `judge` does it."""
    return _in_order(pd.concat([judge(layer, own, part) for part, own in found.items()], ignore_index=True))


def record(study: str | Path, chapter: str, judged: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Write a chapter's evidence to `<study>/evidence/<chapter>.csv` and return it, in the order of the claims file.

    Args:
        judged: section -> rows from `judge`. The section is the address of the heading above the cell that computed
            them, such as `evidence-for-s1-to-s4`; the ledger links to it.
    """
    rows = [part.assign(cell=f"{chapter}#{section}") for section, part in judged.items()]
    table = _in_order(pd.concat(rows, ignore_index=True))
    folder = Path(study, "evidence")
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / f"{chapter}.csv", index=False)
    return table


def show(table: pd.DataFrame) -> Styler:
    """Evidence as a table to print on a chapter's page; what has parts has a column for each."""
    about = table["statistic"].map(lambda name: criterion_of(name)[1].about)
    if not table["part"].any():
        columns = ["claim", "statistic", "value", "low", "high", "criterion", "verdict", "run"]
        return table.assign(statistic=about)[columns].style.hide().format(precision=2)
    ends = [table[name].map("{:z.2f}".format) for name in ("value", "low", "high")]
    cell = ends[0] + " [" + ends[1] + ", " + ends[2] + "]<br>" + table["verdict"]
    # A statistic may occur once for each of several models; the level at which it fails is that of the part.
    names = ["claim", "statistic", "criterion", "run"]
    short = table["criterion"].str.partition(";")[0]
    rows = table.assign(statistic=about, criterion=short, cell=cell)
    wide = rows.pivot_table(index=names, columns="part", values="cell", aggfunc="first", sort=False).reset_index()
    return wide[[*names[:3], *wide.columns[len(names) :], "run"]].style.hide().format(na_rep="")


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    order = list(claims())
    return table.sort_values("claim", key=lambda names: names.map(order.index), kind="stable", ignore_index=True)


def read_evidence(folder: str | Path) -> pd.DataFrame:
    """All evidence that the chapters recorded in a folder, in the order of the claims file.

    Raises:
        FileNotFoundError: no chapter has recorded any.
    """
    files = shipped.find_all(folder, "*.csv")
    if not files:
        raise FileNotFoundError(f"no evidence in {folder}: run the chapters first")
    tables = [table for table in map(read, files) if len(table)]  # a chapter may have found nothing to judge
    return _in_order(pd.concat(tables, ignore_index=True)[_COLUMNS])


def read(file: str | Path) -> pd.DataFrame:
    """A table of evidence as it was written."""
    return pd.read_csv(shipped.find(file), dtype={"part": str}).fillna({"part": ""})


def verdicts(ledger: pd.DataFrame) -> pd.DataFrame:
    """The combined verdict of every claim and statement (rows) in every part of every layer (columns).

    What could speak and has not is told from what cannot: a layer that the claim does not name, and a part without
    evidence of a layer that has some.
    """
    said = ledger.groupby(["claim", "layer", "part"])["verdict"].agg(list)
    spoken = set(zip(ledger["claim"], ledger["layer"], strict=True))
    stated = reported.table("claims").set_index("claim")["statement"]
    columns = [(layer, part) for layer in LAYERS for part in _parts(layer)]

    def cell(name: str, layer: str, part: str) -> str:
        if (name, layer, part) in said:
            return combine(said[name, layer, part])
        return MISSING if layer in claims()[name].layers and (name, layer) not in spoken else NOT_APPLICABLE

    rows = {(name, stated[name]): [cell(name, *column) for column in columns] for name in claims()}
    table = pd.DataFrame(rows, index=pd.MultiIndex.from_tuples(columns, names=["layer", "part"])).T
    return table.rename_axis(["claim", "statement"])


def _parts(layer: str) -> list[str]:
    return _IN_PARTS.get(layer, [""])


def needs(ledger: pd.DataFrame) -> pd.DataFrame:
    """What would give evidence for the claims that have none on any layer: `claim, statement, needs`."""
    open_claims = [name for name in claims() if name not in set(ledger["claim"])]
    stated = reported.table("claims").set_index("claim")["statement"]
    rows = [(name, stated[name], claims()[name].needs) for name in open_claims]
    return pd.DataFrame(rows, columns=["claim", "statement", "needs"])
