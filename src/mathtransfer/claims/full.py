"""The full layer: what was measured of the paper's thirty models, run again, and the paper beside it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mathtransfer.benchmarks import grades
from mathtransfer.claims import controlled_study, recomputed, transfer
from mathtransfer.claims.intervals import normal_interval
from mathtransfer.claims.ledger import Evidence
from mathtransfer.paper import reported
from mathtransfer.paper.survey import SUITE, Model
from mathtransfer.runs import TIDY, finished, read_manifest, tidy

_ACCURACY, _UNANSWERED = "accuracy", "no answer"
# Metric -> how the same answers were graded: with thinking stripped, and as the paper's harness reads the whole output.
GRADINGS = {_ACCURACY: "thinking stripped", "accuracy as published": "as published"}
COVERAGE = _MEASURED, _MISSING, _NO_RELEASE = "measured", "missing", "no public release"
_INDEX_COLUMNS = ["model", "base", "method", "group", "value", "low", "high", "reason", "unstable"]
_INDEX_COLUMNS += ["printed", "published"]


# --- what was measured


def read_scores(folders: list[str]) -> pd.DataFrame:
    """The scores of every finished evaluation of the suite `paper` below some folders: tidy, and `run`, its folder.

    Of two runs of one model on one benchmark the one with more questions counts, of equals the one found first. A
    folder that does not exist has no runs.
    """
    found = [run for folder in folders for run in finished(folder)]
    runs = [run for run in found if read_manifest(run)["notebook"] == "evaluate"]
    tables = [tidy(pd.read_csv(run / "scores.csv")).assign(run=str(run)) for run in runs]
    tables = [table[table["suite"] == SUITE] for table in tables]
    if not (tables := [table for table in tables if len(table)]):
        return pd.DataFrame(columns=[*TIDY, "run"]).astype({"value": float, "stderr": float, "n": int})
    scores = pd.concat(tables, ignore_index=True)
    largest = scores[scores["metric"] == _ACCURACY].sort_values("n", ascending=False, kind="stable")
    return scores.merge(largest.drop_duplicates(["model", "benchmark"])[["model", "benchmark", "run"]])


def coverage(models: dict[str, Model], scores: pd.DataFrame) -> pd.DataFrame:
    """`model, group, benchmark, status` for every model and benchmark; the status is one of `COVERAGE`."""
    measured = set(scores[["model", "benchmark"]].itertuples(index=False, name=None))
    benchmarks = reported.table("benchmarks")[["group", "benchmark"]]
    grid = pd.DataFrame({"model": list(models)}).merge(benchmarks, how="cross")
    status = [
        _MEASURED if (row.model, row.benchmark) in measured else _MISSING if models[row.model].hub_id else _NO_RELEASE
        for row in grid.itertuples()
    ]
    return grid.assign(status=status)


def answers(scores: pd.DataFrame) -> pd.DataFrame:
    """What the answers were: `model, group, benchmark, status, share`, the status as in `benchmarks.grades`, percent.

    Benchmarks without a share of missing answers are left out.
    """
    key = ["model", "group", "benchmark"]
    shares = scores.pivot_table(index=key, columns="metric", values="value", sort=False)
    shares = shares.reindex(columns=[_ACCURACY, _UNANSWERED]).dropna()
    shares = shares.set_axis([grades.CORRECT, grades.NO_ANSWER], axis=1)
    shares[grades.WRONG] = (100 - shares.sum(axis=1)).clip(lower=0)
    return shares.reset_index().melt(key, var_name="status", value_name="share")


# --- beside the paper


def beside_paper(scores: pd.DataFrame) -> pd.DataFrame:
    """Every measured score of a model of the paper beside the printed one, by either grading.

    Returns:
        `model, group, benchmark, metric, n, value, stderr, paper, paper_stderr, difference, low, high, inside`, in
        percent and percentage points. `low` and `high` end a 95% interval of the difference, with both standard errors
        as if they were independent: it is the same questions, so this errs on the wide side. `inside` says whether it
        holds zero, which is to say whether the paper's value lies inside ours; it is missing without a standard error.
    """
    ours = scores[scores["metric"].isin(GRADINGS)]
    ours = ours[["model", "group", "benchmark", "metric", "n", "value", "stderr"]]
    paper = reported.scores().rename(columns={"value": "paper", "stderr": "paper_stderr"}).drop(columns="n")
    table = ours.merge(paper, on=["model", "group", "benchmark"])
    stderr = np.hypot(table["stderr"], table["paper_stderr"])
    table["difference"], table["low"], table["high"] = normal_interval(table["value"] - table["paper"], stderr)
    inside = (table["low"] <= 0) & (table["high"] >= 0)
    return table.assign(inside=inside.astype("boolean").mask(table["low"].isna()))


def indices(scores: pd.DataFrame, metric: str = _ACCURACY) -> pd.DataFrame:
    """The Transferability Index of every tuned model of which, as of its base, something was measured.

    The spread of the gains is that of the paper's own (`recomputed.pooled_spreads`), so that an index does not depend
    on which other models were measured.

    Returns:
        `model, base, method, group, value, low, high, reason, unstable, printed, published` in percent, see
        `transfer.transferability`; `printed` is what Tables 1 and 5 say, `published` what follows from Tables 9 to 11.
    """
    paper = recomputed.indices(draws=1)[["model", "method", "group", "printed", "value"]]
    paper = paper.rename(columns={"value": "published"})
    ours = scores[scores["metric"] == metric]
    measured = set(ours["model"])
    bases = {model: base for model, base in reported.bases().items() if {model, base} <= measured}
    if not bases:
        return pd.DataFrame(columns=_INDEX_COLUMNS)
    grid = reported.scores()[["model", "group", "benchmark"]]
    grid = grid[grid["model"].isin({*bases, *bases.values()})]
    filled = grid.merge(ours[["model", "group", "benchmark", "value", "stderr"]], how="left")
    found = transfer.transferability(filled, bases, "pooled", sigma=recomputed.pooled_spreads())
    found = found[found["metric"] == "transferability index"]
    return found.merge(paper, on=["model", "group"])[_INDEX_COLUMNS]


def evidence(scores: pd.DataFrame) -> list[Evidence]:
    """S1 to S4 as in `controlled_study.from_gains`; none before RL, an SFT model and their base are whole."""
    rl, *sft = reported.CONTROLLED_STUDY
    ours = scores[scores["metric"] == _ACCURACY].rename(columns={"value": "score"})
    gains = reported.gains(ours[["model", "group", "benchmark", "score"]])
    counts = gains["model"].value_counts()
    whole = set(counts.index[counts == len(reported.table("benchmarks"))])
    if rl not in whole or not whole & set(sft):
        return []
    compared = {reported.bases()[rl], rl, *(whole & set(sft))}
    asked = ours.loc[ours["model"].isin(compared), "n"].min()
    gains = gains[gains["model"].isin(whole)]
    return controlled_study.from_gains(gains, f"{asked} questions or more a benchmark")
