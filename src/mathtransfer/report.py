"""What did my fine-tuning change? One page and one JSON for any two checkpoints with the same tokenizer.

Weights, hidden states, next-token distributions and, if asked for, scores. Every finding is a plain sentence with its
interval; nothing is added up into one score.
"""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from mathtransfer import GROUPS, runs
from mathtransfer.benchmarks import questions
from mathtransfer.benchmarks.evaluate import evaluate
from mathtransfer.claims import transfer
from mathtransfer.drift import summaries
from mathtransfer.drift.comparison import Comparison, compare
from mathtransfer.models import checkpoints, engines
from mathtransfer.models.prompting import ChatFormat
from mathtransfer.pages.findings import Finding, findings
from mathtransfer.pages.report_page import figures, page

_EVERYTHING = "all prompts"  # the group of prompts that have none


def run(
    base: str,
    tuned: str,
    *,
    out: str,
    prompts: str = "",
    suite: str = "",
    n: int = 20,
    scores: bool = False,
    **settings,
) -> tuple[Comparison, list[Finding], dict]:
    """The whole report, from two names to a folder; what was measured, the findings and the figures (see `figures`).

    Args:
        out: the run folder to write: `report.html`, `report.json`, tables and manifest.
        prompts, suite, n: see `_choose_prompts`.
        scores: also score both models on the suite.
        settings: as `compare` takes them.

    Raises:
        FileNotFoundError, ValueError: what was asked for does not exist or does not fit together.
        FileExistsError: `out` is something that must not be replaced, see `run_folder`.
    """
    if scores and not suite:
        raise ValueError("scores need a suite: name one, or leave scores out")
    chosen = _choose_prompts(prompts, suite, n)
    for model in (base, tuned):
        checkpoints.resolve(model)  # refuses what is no checkpoint
    asked = {"base": base, "tuned": tuned, "prompts": prompts, "suite": suite, "n": n, "scores": scores, **settings}
    with runs.run_folder(out, "report", asked, base_fingerprint=checkpoints.fingerprint(base)) as folder:
        found = compare(base, tuned, chosen, **settings)
        tables = _tables(found)
        if scores:
            print(f"scores on the suite {suite}", flush=True)
            tables |= _scores(base, tuned, suite, n, **settings)
        said, drawn = findings(found, tables), figures(found, tables)
        _write(folder, base, tuned, found, tables, said, drawn)
    return found, said, drawn


# --- prompts


def _read_prompts(path: str | Path) -> pd.DataFrame:
    """Prompts from a text file, one a line; a line that begins with `# ` names the group of those below it.

    Returns:
        `group, prompt`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no prompt is in it, or it is not text.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file of prompts {str(path)!r}: give a text file with one prompt a line")
    group, rows = _EVERYTHING, []
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not in UTF-8: give a text file with one prompt a line") from error
    for line in text.split("\n"):
        if line.startswith("# "):
            group = line[2:].strip()
        elif line.strip():
            rows.append((group, line.strip()))
    if not rows:
        raise ValueError(f"{path} holds no prompt: write one a line")
    return pd.DataFrame(rows, columns=["group", "prompt"])


def _choose_prompts(file: str, suite: str, n: int) -> pd.DataFrame:
    """`group, prompt` from a file or from a suite, whichever is named.

    Args:
        n: prompts of each task of a suite; a benchmark may have several.

    Raises:
        ValueError: neither or both are named, or there is no such suite.
    """
    if bool(file) == bool(suite):
        raise ValueError("name either a suite or a text file of prompts, and not both")
    return _read_prompts(file) if file else questions.prompts(suite, list(GROUPS), questions.Selection(n=n))


# --- what was measured, summed up


def _tables(found: Comparison) -> dict[str, pd.DataFrame]:
    """The tables that the sentences and figures are made of, by their names in `report.json`."""
    tokens = found.tokens
    tenths = tokens.assign(tenth=10 * tokens["position"] // tokens["length"])
    percent = tokens.assign(looping=100.0 * tokens["looping"])
    made = {
        "all_weights": summaries.summarise_changes(found.weights, []),
        "weights_by_kind": summaries.summarise_changes(found.weights, ["kind"]),
        "weights": summaries.summarise_changes(found.weights, ["layer", "kind"]),
        "latent": found.latent,
        "tokens_by_group": summaries.summarise(tokens, ["group"]),
        "tokens_by_class": summaries.summarise(tokens[~tokens["looping"]], ["class"], ("kl",)),
        "tokens_by_tenth": summaries.summarise(tenths, ["group", "tenth"], ("kl",)),
        "looping": summaries.summarise(percent, [], ("looping",)),
    }
    return made if tokens["looping"].all() else made | {"most_moved": summaries.most_moved(tokens)}


# --- scores


def _scores(
    base: str,
    tuned: str,
    suite: str,
    n: int,
    *,
    batch_size: int = 16,
    chat: bool = False,
    seed: int = 0,
    **_,
) -> dict[str, pd.DataFrame]:
    """Both models on a suite: `gains` (`group, benchmark, base_score, tuned_score, gain, low, high`) and `indices`.

    Args:
        n: questions of each task.
        batch_size, chat, seed: as `compare` takes them; its other settings change no score.
    """
    tokenizer = checkpoints.load_tokenizer(tuned)
    scores, answers = {}, []
    for name, model in {"base": base, "tuned": tuned}.items():
        engine = engines.Transformers(checkpoints.load_model(model), tokenizer, batch_size)
        tasks = questions.tasks(
            suite, list(GROUPS), questions.Selection(n=n), tokenizer, engine.budget, ChatFormat(chat)
        )
        with tempfile.TemporaryDirectory() as unfinished:
            found, samples = evaluate(engine, tasks, seed=seed, folder=Path(unfinished))
        scores[name] = found[found["metric"] == "accuracy"].set_index("benchmark")["value"]
        answers.append(_answers(samples, scores[name]).assign(model=name))
    answers = pd.concat(answers, ignore_index=True)
    pairs = answers.pivot(index=["group", "benchmark", "question"], columns="model", values="value").reset_index()
    rows = []
    for (group, benchmark), own in pairs.groupby(["group", "benchmark"], sort=False):
        difference = (own["tuned"] - own["base"]).to_numpy()[:, None]
        gain, _, low, high = summaries.with_interval(difference, np.ones(len(own)))[0]
        rows.append((group, benchmark, scores["base"][benchmark], scores["tuned"][benchmark], gain, low, high))
    columns = ["group", "benchmark", "base_score", "tuned_score", "gain", "low", "high"]
    indices = transfer.transferability(answers, {"tuned": "base"}, "per_model")
    return {"gains": pd.DataFrame(rows, columns=columns), "indices": indices}


def _answers(samples: pd.DataFrame, scores: pd.Series) -> pd.DataFrame:
    """What each question says about its benchmark's score: values whose mean is the score.

    The score of a benchmark is the mean of its tasks' scores, and IFEval's is over instructions, of which prompts have
    different numbers. So a question's value is not its own score: it is the benchmark's, plus what the question adds
    to it (linearised). If a benchmark has one task and each question asks one thing, the two are the same.

    Args:
        samples: from `evaluate`.
        scores: percent, by benchmark.

    Returns:
        `group, benchmark, question, value` (percent), questions numbered over all tasks of a benchmark.
    """
    key = ["group", "benchmark", "task", "question"]
    done = samples.assign(done=samples["score"] * samples["asked"])
    own = done.groupby(key, sort=False)[["done", "asked"]].sum().reset_index()
    task, benchmark = own.groupby(["benchmark", "task"])[["done", "asked"]].transform("sum"), own.groupby("benchmark")
    added = (own["done"] - own["asked"] * task["done"] / task["asked"]) / task["asked"]  # to the task's score
    a_task = benchmark["task"].transform("size") / benchmark["task"].transform("nunique")  # questions
    value = own["benchmark"].map(scores) + 100.0 * a_task * added
    return own.assign(question=benchmark.cumcount(), value=value)[["group", "benchmark", "question", "value"]]


# --- the files


def _write(
    folder: Path, base: str, tuned: str, found: Comparison, tables: dict, said: list[Finding], drawn: dict
) -> None:
    """`report.html`, `report.json` and the tables behind them."""
    (folder / "report.html").write_text(page(base, tuned, found, said, drawn), encoding="utf-8")
    data = {"base": base, "tuned": tuned, "findings": [asdict(finding) for finding in said], "left_out": found.left_out}
    data |= {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
    (folder / "report.json").write_text(json.dumps(_without_nan(data), indent=1, ensure_ascii=False), encoding="utf-8")
    found.tokens.to_parquet(folder / "tokens.parquet", index=False)
    found.layers.to_csv(folder / "layers.csv", index=False)


def _without_nan(data):
    """JSON has no number that is not finite: null instead."""
    if isinstance(data, dict):
        return {key: _without_nan(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_without_nan(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
