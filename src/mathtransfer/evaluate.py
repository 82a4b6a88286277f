"""A benchmark suite on a model: lm-evaluation-harness runs it, tidy scores and every sample come back."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pandas as pd
import torch
from lm_eval import evaluator
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mathtransfer import GROUPS
from mathtransfer.suites.miniature.tasks import correct, extract

SUITES_FOLDER = Path(__file__).parent / "suites"


def check_suite(suite: str, groups: list[str]) -> None:
    """Refuse a suite or a group that does not exist.

    Raises:
        ValueError: with the names there are.
    """
    suites = sorted(path.parent.name for path in SUITES_FOLDER.glob("*/_greedy.yaml"))
    if suite not in suites:
        raise ValueError(f"unknown suite {suite!r}: expected one of {', '.join(suites)}")
    if unknown := [group for group in groups if group not in GROUPS]:
        raise ValueError(f"unknown group {', '.join(unknown)}: expected {', '.join(GROUPS)}")


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    suite: str,
    groups: list[str],
    *,
    split: str,
    n: int,
    seed: int,
    batch_size: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run all benchmarks of some groups of a suite.

    Args:
        suite: a folder of task files under `suites/`.
        groups: which of `math`, `other`, `non`.
        split: the split the questions come from; `evaluation` for results, `validation` for choices.
        n: questions a benchmark.
        seed: for the sampled completions. The questions are always the same.
        batch_size: completions made at once.

    Returns:
        Scores, one row a benchmark: `group, benchmark, metric, value, stderr, n`; percentages, the standard error over
        questions (a question's completions are averaged first). And samples, one row a completion: `group, benchmark,
        question` (its number), `sample`, `prompt`, `completion`, `extracted`, `answer`, `correct`.

    Raises:
        ValueError: the suite or a group does not exist.
    """
    by_group = _tasks(suite, groups, split, n)
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    torch.manual_seed(seed)
    tasks = {name: task for found in by_group.values() for name, task in found.items()}
    results = evaluator.evaluate(harness, {"tasks": tasks, "groups": {}}, bootstrap_iters=0)
    scores, samples = [], []
    for group, found in by_group.items():
        for name in found:
            documents = sorted(results["samples"][name], key=lambda document: document["doc_id"])
            scores.append({"group": group, "benchmark": name, **summarise([d["accuracy"] for d in documents])})
            samples += [row for document in documents for row in _completions(document, group, name)]
    return pd.DataFrame(scores), pd.DataFrame(samples)


def prompts(suite: str, groups: list[str], *, split: str, n: int) -> pd.DataFrame:
    """The prompts of a suite without an answer to any: `group, benchmark, question, prompt`.

    Raises:
        ValueError: the suite or a group does not exist.
    """
    rows = [
        {"group": group, "benchmark": name, "question": number, "prompt": task.doc_to_text(document)}
        for group, found in _tasks(suite, groups, split, n).items()
        for name, task in found.items()
        for number, document in enumerate(task.eval_docs)
    ]
    return pd.DataFrame(rows)


def _tasks(suite: str, groups: list[str], split: str, n: int) -> dict[str, dict]:
    """Group -> benchmark -> lm-evaluation-harness's task."""
    check_suite(suite, groups)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager = TaskManager(
        include_path=str(SUITES_FOLDER / suite), include_defaults=False, metadata={"split": split, "n": n}
    )
    return {group: manager.load([group])["tasks"] for group in groups}  # the task files' tags are our groups


def summarise(accuracies: list[float]) -> dict[str, float | str | int]:
    """Mean accuracy and its standard error over questions, both in percent."""
    n = len(accuracies)
    mean = sum(accuracies) / n
    variance = sum((a - mean) ** 2 for a in accuracies) / (n - 1) if n > 1 else math.nan
    return {"metric": "accuracy", "value": 100 * mean, "stderr": 100 * math.sqrt(variance / n), "n": n}


def _completions(document: dict, group: str, benchmark: str) -> list[dict]:
    """One row for each completion of a question, as lm-evaluation-harness logged it."""
    task = {"group": group, "benchmark": benchmark, "question": document["doc_id"]}
    return [
        {
            **task,
            "sample": number,
            "prompt": document["arguments"][0][0],
            "completion": completion,
            "extracted": extract(completion),
            "answer": document["target"],
            "correct": correct(completion, document["target"]),
        }
        for number, completion in enumerate(document["resps"][0])
    ]
