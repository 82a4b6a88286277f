"""A benchmark suite on a model: lm-evaluation-harness makes the prompts, an engine answers, every answer is graded.

Tidy scores and every sample come back. Each answer is graded twice: with thinking stripped and the answer wanted where
it was asked for, and as the paper's harness grades; see `graders`.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import lm_eval.tasks
import pandas as pd
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from transformers import PreTrainedTokenizerBase

from mathtransfer import GROUPS
from mathtransfer.benchmarks import pool
from mathtransfer.benchmarks.grades import NO_ANSWER
from mathtransfer.models import engines, hub, prompting, readout
from mathtransfer.models.engines import Completion, Decoding, Engine

SUITES = Path(__file__).parent / "suites"
# Folders of lm-evaluation-harness's own tasks that the suite `paper` uses.
HARNESS_TASKS = ("acpbench/mcq_cot_2shot", "coqa", "headqa", "ifeval", "mc_taco")


@dataclass(frozen=True)
class Asking:
    """How questions are put to a model, and which.

    `split` and `n` (questions a benchmark, None for all) choose the questions; `data_root` is a folder with
    `benchmarks/*.jsonl` to read them from instead of the hub. `chat` and `think` are as `generate.chat_renderer` takes
    them, `system` is a system prompt. `run_code` allows model-written code to run, in a sandbox.
    """

    split: str = "evaluation"
    n: int | None = None
    data_root: str = ""
    chat: bool | str = False
    think: bool | None = None
    system: str = ""
    run_code: bool = False


@dataclass(frozen=True)
class Request:
    """One completion to make, and what it will be graded against."""

    question: int
    sample: int
    prompt: str
    ids: list[int]  # its tokens
    gold: object


@dataclass(frozen=True)
class Task:
    """One task of a benchmark, and where its data come from.

    With `choices`, the likeliest of a question's is the answer and nothing is written.
    """

    group: str
    benchmark: str
    name: str
    grader: str
    source: str
    requests: list[Request]
    decoding: Decoding
    choices: list[list[str]]


def check_suite(suite: str, groups: list[str]) -> None:
    """Refuse a suite or a group that does not exist.

    Raises:
        ValueError: with the names there are.
    """
    suites = sorted(path.parent.name for path in SUITES.glob("*/tasks.py"))
    if suite not in suites:
        raise ValueError(f"unknown suite {suite!r}: expected one of {', '.join(suites)}")
    if unknown := [group for group in groups if group not in GROUPS]:
        raise ValueError(f"unknown group {', '.join(unknown)}: expected {', '.join(GROUPS)}")


def questions(
    suite: str, groups: list[str], asking: Asking, tokenizer: PreTrainedTokenizerBase, budget: int
) -> list[Task]:
    """All questions of some groups of a suite as they are sent to a model, checked before any is answered.

    Args:
        suite: a folder of task files under `suites/`.
        groups: which of `math`, `other`, `non`.
        budget: tokens that a prompt and its completion may have together.

    Raises:
        ValueError: the suite or a group does not exist, a row of data is malformed, or a prompt leaves no room in the
            budget.
        FileNotFoundError, PermissionError, ConnectionError: the data are not there, see `hub.resolve_commit`.
    """
    parts = _parts(suite, groups, asking, tokenizer)
    for part in parts:
        prompting.completion_limits([request.ids for request in part.requests], part.decoding.max_tokens, budget)
    return parts


def evaluate(engine: Engine, parts: list[Task], *, seed: int, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Answer and grade all questions.

    Args:
        parts: from `questions`.
        seed: for the sampled completions. The questions are always the same.
        folder: where finished chunks of completions are kept while the evaluation runs; what is there is not made
            again.

    Returns:
        Scores, one row a benchmark and metric: `group, benchmark, metric, value, stderr, n`; percentages, the standard
        error over questions. Metrics: `accuracy`; `accuracy as published`; `no answer`, the share of completions
        without an answer in the expected format; `unfinished`, the share that the token budget ended. And samples, one
        row a completion: `group, benchmark, part` (its task), `question` (its number), `sample`, `prompt`,
        `completion`, `tokens`, `logprobs`, `finished`, `extracted`, `answer`, `status`, `score` (0 to 1), `asked` (how
        many instructions; else 1), `published_status`, `published_score`.
    """
    samples = []
    for part in parts:
        answer = _choose if part.choices else _complete
        samples.append(answer(engine, part, seed, folder / part.name))
    samples = pd.concat(samples, ignore_index=True)
    samples = samples.join(pool.grade_samples(samples)).drop(columns=["gold", "ids", "grader"])
    return scores(samples), samples


def prompts(suite: str, groups: list[str], asking: Asking) -> pd.DataFrame:
    """The prompts of a suite without an answer to any: `group, benchmark, question, prompt`.

    Raises:
        ValueError: the suite or a group does not exist.
    """
    rows = [
        {"group": part.group, "benchmark": part.benchmark, "question": request.question, "prompt": request.prompt}
        for part in _parts(suite, groups, asking)
        for request in part.requests
        if request.sample == 0
    ]
    return pd.DataFrame(rows)


def notes(suite: str) -> dict[str, str]:
    """What the task file of each benchmark of a suite says in its head: source, licence, differences from the paper.

    Raises:
        ValueError: there is no such suite.
    """
    check_suite(suite, [])
    heads = {}
    for path in sorted((SUITES / suite).glob("[a-z]*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        heads[path.stem] = " ".join(line[2:] for line in itertools.takewhile(lambda line: line.startswith("# "), lines))
    return heads


# --- questions


def _parts(
    suite: str, groups: list[str], asking: Asking, tokenizer: PreTrainedTokenizerBase | None = None
) -> list[Task]:
    """All tasks of some groups, with their requests."""
    check_suite(suite, groups)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    harness = Path(lm_eval.tasks.__file__).parent
    manager = TaskManager(
        include_path=[str(SUITES / suite), *(str(harness / name) for name in HARNESS_TASKS)],
        include_defaults=False,
        metadata={"split": asking.split, "n": asking.n, "data_root": asking.data_root},
    )
    parts = []
    for group in groups:
        loaded = manager.load([group])
        names = loaded["group_map"].get(group, loaded["tasks"])  # a group of benchmarks, or tasks with a tag
        for child in names:
            benchmark = child.removeprefix(f"{suite}_")  # a group of tasks must not have the name of one of them
            for name in loaded["group_map"].get(child, [child]):
                task = loaded["tasks"][name]
                if task.config.metadata.get("runs_code") and not asking.run_code:
                    print(f"{benchmark} is left out: it runs code that the model wrote; set run_code to True for it")
                    continue
                grader = benchmark if benchmark in pool.GRADERS else suite
                parts.append(_part(group, benchmark, name, grader, task, asking, tokenizer))
    return parts


def _part(group, benchmark, name, grader, task: ConfigurableTask, asking: Asking, tokenizer) -> Task:
    render = prompting.chat_renderer(tokenizer, asking.chat, asking.think) if asking.chat else None
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that would end up in the pages of the book
        task.build_all_requests(
            system_instruction=asking.system or None,
            apply_chat_template=bool(asking.chat),
            fewshot_as_multiturn=False,  # the examples are part of the user's turn, as in the authors' runs
            chat_template=render,
        )
    by_question: dict[int, list[Instance]] = {}
    for instance in task.instances:
        by_question.setdefault(instance.doc_id, []).append(instance)
    requests = []
    for question, (instance, *_) in by_question.items():
        prompt, gold = instance.args[0], task.doc_to_target(instance.doc)
        ids = prompting.encode(tokenizer, [prompt])[0] if tokenizer else []
        requests += [Request(question, sample, prompt, ids, gold) for sample in range(instance.repeats)]
    source = _source(task.config.dataset_kwargs or {}, asking.data_root)
    if task.OUTPUT_TYPE == "multiple_choice":
        choices = [[instance.args[1] for instance in instances] for instances in by_question.values()]
        longest = max(len(choice) for own in choices for choice in own)  # characters: a token has one or more
        return Task(group, benchmark, name, grader, source, requests, Decoding(longest), choices)
    settings = task.config.generation_kwargs
    sampled = {"temperature": settings["temperature"], "top_p": settings["top_p"]} if settings["do_sample"] else {}
    decoding = Decoding(settings["max_gen_toks"], stop=tuple(settings["until"]), **sampled)
    return Task(group, benchmark, name, grader, source, requests, decoding, [])


def _source(data: dict, data_root: str) -> str:
    """A folder's file, or a hub's repository and commit; what the package makes itself has none."""
    if "hub" not in data:
        return "made by the suite"
    if data_root:
        return f"{data['file']} in data_root"
    return f"{data['hub']}@{hub.resolve_commit(data['hub'], data['revision'], 'dataset')}"


# --- answers


def _complete(engine: Engine, part: Task, seed: int, folder: Path) -> pd.DataFrame:
    """Samples of a task whose answers are written."""

    def work(chunk: list[list[int]], start: int) -> list[Completion]:
        return engine.complete(chunk, part.decoding, zlib.crc32(f"{seed}|{part.name}|{start}".encode()))

    completions = engines.in_chunks([request.ids for request in part.requests], work, folder, part.name)
    table = _rows(part)
    table["completion"] = [completion.text for completion in completions]
    for column in ("tokens", "logprobs", "finished"):
        table[column] = [getattr(completion, column) for completion in completions]
    return table


def _choose(engine: Engine, part: Task, seed: int, folder: Path) -> pd.DataFrame:
    """Samples of a task whose answer is the choice with the highest log-likelihood."""
    sequences = [
        _split(engine.tokenizer, request, choice)
        for request, choices in zip(part.requests, part.choices, strict=True)
        for choice in choices
    ]

    def work(chunk: list, start: int) -> list[Completion]:
        found = engine.loglikelihoods(chunk)
        return [Completion(ids, [value], "", True) for (_, ids), value in zip(chunk, found, strict=True)]

    values = iter(engines.in_chunks(sequences, work, folder, part.name))
    best, golds = [], []
    for request, choices in zip(part.requests, part.choices, strict=True):
        scored = [(next(values), choice) for choice in choices]
        best.append(max(scored, key=lambda pair: pair[0].logprobs[0]))
        golds.append(choices[request.gold])
    table = _rows(part).assign(gold=golds, completion=[choice for _, choice in best], finished=True)
    table["tokens"], table["logprobs"] = zip(*[(found.tokens, found.logprobs) for found, _ in best], strict=True)
    return table


def _split(tokenizer: PreTrainedTokenizerBase, request: Request, choice: str) -> readout.Sequence:
    """Token ids of a prompt and of the choice after it, cut from their joint tokens as lm-evaluation-harness does."""
    prompt, ids = request.prompt.rstrip(), request.ids
    if prompt != request.prompt:  # a blank belongs to the word after it
        choice, ids = request.prompt[len(prompt) :] + choice, prompting.encode(tokenizer, [prompt])[0]
    return ids, prompting.encode(tokenizer, [prompt + choice])[0][len(ids) :]


def _rows(part: Task) -> pd.DataFrame:
    task = {"group": part.group, "benchmark": part.benchmark, "part": part.name, "grader": part.grader}
    return pd.DataFrame([task | vars(request) for request in part.requests])


# --- scores


def scores(samples: pd.DataFrame) -> pd.DataFrame:
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
            parts = [
                summarise(values[task.index], weights[task.index], task["question"]) for _, task in own.groupby("part")
            ]
            value = sum(value for value, _ in parts) / len(parts)
            stderr = math.sqrt(sum(error**2 for _, error in parts)) / len(parts)
            n = own[["part", "question"]].drop_duplicates().shape[0]
            rows.append((group, benchmark, metric, value, stderr, n))
    return pd.DataFrame(rows, columns=["group", "benchmark", "metric", "value", "stderr", "n"])


def summarise(values: pd.Series, weights: pd.Series, questions: pd.Series) -> tuple[float, float]:
    """Weighted mean and its standard error over questions (a question's completions are added first), in percent."""
    done = (values * weights).groupby(questions).sum()
    possible = weights.groupby(questions).sum()
    mean, n = done.sum() / possible.sum(), len(done)
    residuals = done - mean * possible
    variance = n / (n - 1) * (residuals**2).sum() / possible.sum() ** 2 if n > 1 else math.nan
    return 100 * mean, 100 * math.sqrt(variance)
