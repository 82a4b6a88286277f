"""The survey of thirty models run again: which models there are, what was measured of them, and the paper beside it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from mathtransfer.benchmarks import grades
from mathtransfer.claims import published, transfer
from mathtransfer.claims.published import Evidence
from mathtransfer.paper import reported
from mathtransfer.runs import TIDY, read_manifest, tidy

SUITE = "paper"
# The answer with thinking stripped, the answer as the paper's harness reads it, and how often there was none.
ACCURACY, AS_PUBLISHED, UNANSWERED = "accuracy", "accuracy as published", "no answer"
COVERAGE = MEASURED, MISSING, NO_RELEASE = "measured", "missing", "no public release"
METHODS = ("base", "instruct", "SFT", "RL")
INDEX_COLUMNS = [
    "model",
    "base",
    "method",
    "group",
    "value",
    "low",
    "high",
    "reason",
    "unstable",
    "printed",
    "published",
]
Z = 1.96  # standard errors to either end of a 95% interval


# --- the models


@dataclass(frozen=True)
class Model:
    """A model of the paper and how it is asked; see `config/models.yaml` for where each setting comes from."""

    hub_id: str  # empty where no public release is known
    base: str  # the name of the model it was tuned from, empty for a base
    family: str
    params_b: float  # billions
    method: str
    chat_template: bool  # whether prompts go through the tokenizer's own
    enable_thinking: bool | None  # what the template is told; None leaves it to its default
    budget: int  # tokens, prompt and response together


def read_models(path: str | Path) -> dict[str, Model]:
    """The models of a file such as `config/models.yaml`: name -> model, in the file's order.

    Raises:
        ValueError: the file is no list of models, or a model has an unknown or missing field, a base that is not in the
            file, or an unknown method.
    """
    written = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(written, dict) or set(written) != {"defaults", "models"}:
        raise ValueError(f"{path} is no list of models: expected the keys defaults and models, and no others")
    known = [field.name for field in fields(Model)]
    models = {}
    for name, own in written["models"].items():
        entry = written["defaults"] | own
        if unknown := [field for field in entry if field not in known]:
            raise ValueError(f"{path}: {name} has the unknown field {', '.join(unknown)}: expected {', '.join(known)}")
        if missing := [field for field in known if field not in entry]:
            raise ValueError(f"{path}: {name} has no {', '.join(missing)}: write it there or among the defaults")
        models[name] = Model(**entry)
    for name, model in models.items():
        if model.method not in METHODS:
            raise ValueError(f"{path}: {name} has the method {model.method!r}: expected one of {', '.join(METHODS)}")
        if (model.base or model.method != "base") and model.base not in models:
            raise ValueError(
                f"{path}: {name} has the base {model.base!r}, which is no model of this file: add it there"
            )
    return models


def folder_name(name: str) -> str:
    """A model's name as the name of a folder."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-")


def evaluation(name: str, models: dict[str, Model]) -> dict:
    """What `notebooks/runs/evaluate.ipynb` is given to evaluate one of the models, besides `out`.

    Raises:
        ValueError: there is no such model, or no release of it or its base is known.
    """
    if name not in models:
        raise ValueError(f"unknown model {name!r}: expected one of {'; '.join(models)}")
    model = models[name]
    if not (model.hub_id and (base := models[model.base or name].hub_id)):
        raise ValueError(f"no public release of {name} or of its base is known: it cannot be evaluated")
    return {
        "model": model.hub_id,
        "base": base,
        "label": name,
        "suite": SUITE,
        "n": None,
        "chat": model.chat_template,
        "think": model.enable_thinking,
        "budget": model.budget,
        "engine": "vllm",
        "tier": "full",
    }


def command(name: str) -> str:
    """The shell command that evaluates one of the models."""
    return f"make survey MODELS={shlex.quote(name)}"


# --- what was measured


def read_scores(folders: list[str]) -> pd.DataFrame:
    """The scores of every finished evaluation of the suite `paper` below some folders: tidy, and `run`, its folder.

    Of two runs of one model on one benchmark the one with more questions counts, of equals the one found first. A
    folder that does not exist has no runs.
    """
    manifests = [path for folder in folders for path in sorted(Path(folder).rglob("manifest.json"))]
    found = [path.parent for path in manifests if path.parent.suffix != ".partial"]
    runs = [run for run in found if read_manifest(run)["notebook"] == "evaluate"]
    tables = [tidy(pd.read_csv(run / "scores.csv")).assign(run=str(run)) for run in runs]
    tables = [table[table["suite"] == SUITE] for table in tables]
    if not (tables := [table for table in tables if len(table)]):
        return pd.DataFrame(columns=[*TIDY, "run"]).astype({"value": float, "stderr": float, "n": int})
    scores = pd.concat(tables, ignore_index=True)
    largest = scores[scores["metric"] == ACCURACY].sort_values("n", ascending=False, kind="stable")
    return scores.merge(largest.drop_duplicates(["model", "benchmark"])[["model", "benchmark", "run"]])


def coverage(models: dict[str, Model], scores: pd.DataFrame) -> pd.DataFrame:
    """`model, group, benchmark, status` for every model and benchmark; the status is one of `COVERAGE`."""
    measured = set(scores[["model", "benchmark"]].itertuples(index=False, name=None))
    benchmarks = reported.table("benchmarks")[["group", "benchmark"]]
    grid = pd.DataFrame({"model": list(models)}).merge(benchmarks, how="cross")
    status = [
        MEASURED if (row.model, row.benchmark) in measured else MISSING if models[row.model].hub_id else NO_RELEASE
        for row in grid.itertuples()
    ]
    return grid.assign(status=status)


def answers(scores: pd.DataFrame) -> pd.DataFrame:
    """What the answers were: `model, group, benchmark, status, share`, the status as in `grading`, percent.

    Benchmarks without a share of missing answers are left out.
    """
    key = ["model", "group", "benchmark"]
    shares = scores.pivot_table(index=key, columns="metric", values="value", sort=False)
    shares = shares.reindex(columns=[ACCURACY, UNANSWERED]).dropna()
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
    ours = scores[scores["metric"].isin([ACCURACY, AS_PUBLISHED])]
    ours = ours[["model", "group", "benchmark", "metric", "n", "value", "stderr"]]
    paper = reported.scores().rename(columns={"value": "paper", "stderr": "paper_stderr"}).drop(columns="n")
    table = ours.merge(paper, on=["model", "group", "benchmark"])
    half = Z * np.hypot(table["stderr"], table["paper_stderr"])
    table["difference"] = table["value"] - table["paper"]
    table["low"], table["high"] = table["difference"] - half, table["difference"] + half
    inside = (table["low"] <= 0) & (table["high"] >= 0)
    return table.assign(inside=inside.astype("boolean").mask(table["low"].isna()))


def indices(scores: pd.DataFrame, metric: str = ACCURACY) -> pd.DataFrame:
    """The Transferability Index of every tuned model of which, as of its base, something was measured.

    The spread of the gains is that of the paper's own (`audit.pooled_spreads`), so that an index does not depend on
    which other models were measured.

    Returns:
        `model, base, method, group, value, low, high, reason, unstable, printed, published` in percent, see
        `transfer.transferability`; `printed` is what Tables 1 and 5 say, `published` what follows from Tables 9 to 11.
    """
    paper = published.indices(draws=1)[["model", "method", "group", "printed", "value"]]
    paper = paper.rename(columns={"value": "published"})
    ours = scores[scores["metric"] == metric]
    measured = set(ours["model"])
    bases = {model: base for model, base in reported.bases().items() if {model, base} <= measured}
    if not bases:
        return pd.DataFrame(columns=INDEX_COLUMNS)
    grid = reported.scores()[["model", "group", "benchmark"]]
    grid = grid[grid["model"].isin({*bases, *bases.values()})]
    filled = grid.merge(ours[["model", "group", "benchmark", "value", "stderr"]], how="left")
    found = transfer.transferability(filled, bases, "pooled", sigma=published.pooled_spreads())
    found = found[found["metric"] == "transferability index"]
    return found.merge(paper, on=["model", "group"])[INDEX_COLUMNS]


def evidence(scores: pd.DataFrame) -> list[Evidence]:
    """S1 to S4 as `audit.controlled_evidence` has them; none before RL, an SFT model and their base are whole."""
    ours = scores[scores["metric"] == ACCURACY].rename(columns={"value": "score"})
    gains = reported.gains(ours[["model", "group", "benchmark", "score"]])
    counts = gains["model"].value_counts()
    whole = set(counts.index[counts == len(reported.table("benchmarks"))]) & {published.RL_14B, *published.SFT_14B}
    if published.RL_14B not in whole or len(whole) < 2:
        return []
    asked = ours.loc[ours["model"].isin(whole), "n"].min()
    return published.controlled_evidence(gains[gains["model"].isin(whole)], f"{asked} questions or more a benchmark")
