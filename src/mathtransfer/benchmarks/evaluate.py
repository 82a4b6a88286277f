"""A benchmark suite on a model: an engine answers its questions, and every answer is graded twice.

Once with thinking stripped and the answer wanted where it was asked for, and once as the paper's harness grades; see
`grades`. Tidy scores and every sample come back.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import pandas as pd
from transformers import PreTrainedTokenizerBase

from mathtransfer.benchmarks import pool, shares
from mathtransfer.benchmarks.grades import NO_ANSWER, NOT_GRADED
from mathtransfer.benchmarks.questions import Request, Task
from mathtransfer.models import engines, prompting, readout
from mathtransfer.models.engines import Completion, Engine
from mathtransfer.models.thinking import THINK_CLOSES, opens_thinking


def evaluate(engine: Engine, tasks: list[Task], *, seed: int, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Answer and grade all questions; says on standard output how many completions could not be graded.

    Args:
        tasks: from `questions.tasks`.
        seed: for the sampled completions. The questions are always the same.
        folder: where finished chunks of completions are kept while the evaluation runs; what is there is not made
            again.

    Returns:
        Scores, one row a benchmark and metric: `group, benchmark, metric, value, stderr, n`; percentages, the standard
        error over questions. Metrics: `accuracy`; `accuracy as published`; `no answer`, the share of completions
        without an answer in the expected format; `unfinished`, the share that the token budget ended. And samples, one
        row a completion: `group, benchmark, task`, `question` (its number), `sample`, `prompt`, `completion`, `tokens`,
        `logprobs`, `finished`, `asked` (how many instructions; else 1), `answer`, `status`, `score` (0 to 1),
        `published_status`, `published_score`, `extracted`.
    """
    samples = []
    for task in tasks:
        answer = _choose if task.choices else _complete
        samples.append(answer(engine, task, seed, folder / task.name))
    samples = pd.concat(samples, ignore_index=True)
    samples = samples.join(_grades(samples)).drop(columns=["gold", "ids", "grader"])
    for benchmark, status in samples.groupby("benchmark", sort=False)["status"]:
        if lost := (status == NOT_GRADED).sum():
            print(
                f"{benchmark}: {lost} of {len(status)} completions could not be graded and count as wrong", flush=True
            )
    return _scores(samples), samples


# --- answers


def _complete(engine: Engine, task: Task, seed: int, folder: Path) -> pd.DataFrame:
    """Samples of a task whose answers are written."""

    def work(chunk: list[list[int]], start: int) -> list[Completion]:
        return engine.complete(chunk, task.decoding, zlib.crc32(f"{seed}|{task.name}|{start}".encode()))

    completions = engines.in_chunks([request.ids for request in task.requests], work, folder, task.name)
    table = _rows(task)
    table["completion"] = [completion.text for completion in completions]
    for column in ("tokens", "logprobs", "finished"):
        table[column] = [getattr(completion, column) for completion in completions]
    return table


def _choose(engine: Engine, task: Task, seed: int, folder: Path) -> pd.DataFrame:
    """Samples of a task whose answer is the choice with the highest log-likelihood."""
    sequences = [
        _split(engine.tokenizer, request, choice)
        for request, choices in zip(task.requests, task.choices, strict=True)
        for choice in choices
    ]

    def work(chunk: list, start: int) -> list[Completion]:
        found = engine.loglikelihoods(chunk)
        return [Completion(ids, [value], "", True) for (_, ids), value in zip(chunk, found, strict=True)]

    values = iter(engines.in_chunks(sequences, work, folder, task.name))
    best, golds = [], []
    for request, choices in zip(task.requests, task.choices, strict=True):
        scored = [(next(values), choice) for choice in choices]
        best.append(max(scored, key=lambda pair: pair[0].logprobs[0]))
        golds.append(choices[request.gold])
    table = _rows(task).assign(gold=golds, completion=[choice for _, choice in best], finished=True)
    table["tokens"], table["logprobs"] = zip(*[(found.tokens, found.logprobs) for found, _ in best], strict=True)
    return table


def _split(tokenizer: PreTrainedTokenizerBase, request: Request, choice: str) -> readout.Continuation:
    """Token ids of a prompt and of the choice after it, cut from their joint tokens as lm-evaluation-harness does."""
    prompt, ids = request.prompt.rstrip(), request.ids
    if prompt != request.prompt:  # a blank belongs to the word after it
        choice, ids = request.prompt[len(prompt) :] + choice, prompting.encode(tokenizer, [prompt])[0]
    return ids, prompting.encode(tokenizer, [prompt + choice])[0][len(ids) :]


def _rows(task: Task) -> pd.DataFrame:
    same = {"group": task.group, "benchmark": task.benchmark, "task": task.name, "grader": task.grader}
    return pd.DataFrame([same | vars(request) for request in task.requests])


# --- grades and scores


def _grades(samples: pd.DataFrame) -> pd.DataFrame:
    """The columns of samples that say how good they are, from the strict reading and the harness's.

    A model thinks before it answers in a task if its prompt opens a think block or any completion closes one.
    """
    opens = samples["prompt"].map(opens_thinking)
    closes = samples["completion"].str.contains(THINK_CLOSES, regex=False)
    answers = pd.DataFrame(
        {
            "benchmark": samples["grader"],
            "response": samples["completion"],
            "gold": samples["gold"],
            "thinks": (opens | closes).groupby(samples["task"]).transform("any"),
        }
    )
    found = pool.grade(answers, ("strict", "harness"))
    return pd.DataFrame(
        {
            "asked": found["asked"],
            "answer": [None if isinstance(gold, dict) else str(gold) for gold in samples["gold"]],
            "status": found["strict"],
            "score": found["strict_followed"] / found["asked"],
            "published_status": found["harness"],
            "published_score": found["harness_followed"] / found["asked"],
            "extracted": found["strict_extracted"],
        }
    )


def _scores(samples: pd.DataFrame) -> pd.DataFrame:
    """Scores from samples, as `evaluate` returns them.

    A benchmark of several tasks scores their mean (ACPBench, HaluEval); IFEval's score is over instructions.
    """
    metrics = {
        "accuracy": samples["score"],
        "accuracy as published": samples["published_score"],
        "no answer": (samples["status"] == NO_ANSWER).astype(float),
        "unfinished": 1.0 - samples["finished"].astype(float),
    }
    rows = []
    for (group, benchmark), own in samples.groupby(["group", "benchmark"], sort=False):
        for metric, values in metrics.items():
            weights = own["asked"] if metric.startswith("accuracy") else pd.Series(1, index=own.index)
            tasks = [
                _summarise(values[task.index], weights[task.index], task["question"]) for _, task in own.groupby("task")
            ]
            value = sum(value for value, _ in tasks) / len(tasks)
            stderr = math.sqrt(sum(error**2 for _, error in tasks)) / len(tasks)
            n = own[["task", "question"]].drop_duplicates().shape[0]
            rows.append((group, benchmark, metric, value, stderr, n))
    return pd.DataFrame(rows, columns=["group", "benchmark", "metric", "value", "stderr", "n"])


def _summarise(values: pd.Series, weights: pd.Series, questions: pd.Series) -> tuple[float, float]:
    """Weighted mean and its standard error over questions (a question's completions are added first), in percent."""
    done = (values * weights).groupby(questions).sum().to_numpy(float)
    possible = weights.groupby(questions).sum().to_numpy(float)
    mean, stderr = shares.ratio_of_sums(done, possible)
    return 100 * float(mean), 100 * float(stderr)
