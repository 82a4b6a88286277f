"""The questions of a suite as they are sent to a model; lm-evaluation-harness makes the prompts of its task files."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import lm_eval.tasks
import pandas as pd
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from transformers import PreTrainedTokenizerBase

from mathtransfer import GROUPS
from mathtransfer.benchmarks import pool
from mathtransfer.models import hub, prompting
from mathtransfer.models.engines import Decoding
from mathtransfer.models.prompting import ChatFormat

SUITES = Path(__file__).parent / "suites"
_PLAIN = ChatFormat()  # a prompt as it is
# Folders of lm-evaluation-harness's own tasks that the suite `paper` uses.
_HARNESS_TASKS = ("acpbench/mcq_cot_2shot", "coqa", "headqa", "ifeval", "mc_taco")


@dataclass(frozen=True)
class Selection:
    """Which questions of a suite are asked.

    `split` is one of the miniature's; `n` is the number of questions of each task, None for all; `data_root` is a
    folder with `benchmarks/*.jsonl` to read them from instead of the hub. `run_code` keeps the benchmark that runs
    model-written code, in a sandbox.
    """

    split: str = "evaluation"
    n: int | None = None
    data_root: str = ""
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

    `grader` is a key of `pool.BENCHMARKS`. If there are `choices`, the likeliest of a question's is the answer and
    nothing is written.
    """

    group: str
    benchmark: str
    name: str
    grader: str
    source: str
    requests: list[Request]
    decoding: Decoding
    choices: list[list[str]]

    def begun(self, words: str, tokenizer: PreTrainedTokenizerBase, n: int | None = None) -> Task:
        """The first `n` questions, each once, with the first words of every answer given; they are part of the answer.

        Raises:
            ValueError: answers are chosen and not written, or the tokenizer does not know the words.
        """
        if self.choices:
            raise ValueError(f"answers to {self.name} are chosen, not written: their first words cannot be given")
        ids = prompting.first_words(tokenizer, words)
        once = [request for request in self.requests if request.sample == 0 and (n is None or request.question < n)]
        return replace(self, requests=once, decoding=replace(self.decoding, begins=tuple(ids)))


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


def tasks(
    suite: str,
    groups: list[str],
    selection: Selection,
    tokenizer: PreTrainedTokenizerBase,
    budget: int,
    chat_format: ChatFormat = _PLAIN,
) -> list[Task]:
    """All tasks of some groups of a suite with their questions, checked before any is answered.

    Args:
        suite: a folder of task files under `suites/`.
        groups: which of `math`, `other`, `non`.
        budget: tokens that a prompt and its completion may have together.

    Raises:
        ValueError: the suite or a group does not exist, a row of data is malformed, or a prompt fills the budget.
        FileNotFoundError, PermissionError, ConnectionError: the data are not there, see `hub.resolve_commit`.
    """
    found = _tasks(suite, groups, selection, chat_format, tokenizer)
    for task in found:
        prompting.check_prompts([request.ids for request in task.requests], budget)
    return found


def prompts(suite: str, groups: list[str], selection: Selection) -> pd.DataFrame:
    """The prompts of a suite without an answer to any: `group, benchmark, question, prompt`.

    Raises:
        ValueError: the suite or a group does not exist.
    """
    rows = [
        {"group": task.group, "benchmark": task.benchmark, "question": request.question, "prompt": request.prompt}
        for task in _tasks(suite, groups, selection, _PLAIN)
        for request in task.requests
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


def _tasks(
    suite: str,
    groups: list[str],
    selection: Selection,
    chat_format: ChatFormat,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> list[Task]:
    """All tasks of some groups; their requests have tokens if there is a tokenizer."""
    check_suite(suite, groups)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    harness = Path(lm_eval.tasks.__file__).parent
    manager = TaskManager(
        include_path=[str(SUITES / suite), *(str(harness / name) for name in _HARNESS_TASKS)],
        include_defaults=False,
        metadata={"split": selection.split, "n": selection.n, "data_root": selection.data_root},
    )
    found = []
    for group in groups:
        loaded = manager.load([group])
        names = loaded["group_map"].get(group, loaded["tasks"])  # a group of benchmarks, or tasks with a tag
        for child in names:
            benchmark = child.removeprefix(f"{suite}_")  # a group of tasks must not have the name of one of them
            for name in loaded["group_map"].get(child, [child]):
                configured = loaded["tasks"][name]
                if configured.config.metadata.get("runs_code") and not selection.run_code:
                    print(f"{benchmark} is left out: it runs code that the model wrote; set run_code to True for it")
                    continue
                requests, decoding, choices = _requests(configured, chat_format, tokenizer)
                grader = benchmark if benchmark in pool.BENCHMARKS else suite
                source = _source(configured.config.dataset_kwargs or {}, selection.data_root)
                found.append(Task(group, benchmark, name, grader, source, requests, decoding, choices))
    return found


def _requests(
    configured: ConfigurableTask, chat_format: ChatFormat, tokenizer: PreTrainedTokenizerBase | None
) -> tuple[list[Request], Decoding, list[list[str]]]:
    """What lm-evaluation-harness asks in a task, how it is to be answered, and the choices if there are any."""
    chat = chat_format.chat
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that would end up in the pages of the book
        configured.build_all_requests(
            system_instruction=chat_format.system or None,
            apply_chat_template=bool(chat),
            fewshot_as_multiturn=False,  # the examples are part of the user's turn, as in the authors' runs
            chat_template=prompting.chat_renderer(tokenizer, chat, chat_format.think) if chat else None,
        )
    by_question: dict[int, list[Instance]] = {}
    for instance in configured.instances:
        by_question.setdefault(instance.doc_id, []).append(instance)
    requests = []
    for question, (instance, *_) in by_question.items():
        prompt, gold = instance.args[0], configured.doc_to_target(instance.doc)
        ids = prompting.encode(tokenizer, [prompt])[0] if tokenizer else []
        requests += [Request(question, sample, prompt, ids, gold) for sample in range(instance.repeats)]
    if configured.OUTPUT_TYPE == "multiple_choice":
        choices = [[instance.args[1] for instance in instances] for instances in by_question.values()]
        longest = max(len(choice) for own in choices for choice in own)  # characters: a token has one or more
        return requests, Decoding(longest), choices
    settings = configured.config.generation_kwargs
    sampled = {"temperature": settings["temperature"], "top_p": settings["top_p"]} if settings["do_sample"] else {}
    return requests, Decoding(settings["max_gen_toks"], stop=tuple(settings["until"]), **sampled), []


def _source(data: dict, data_root: str) -> str:
    """A folder's file, or a hub's repository and commit; what the package makes itself has none."""
    if "hub" not in data:
        return "made by the package"
    if data_root:
        return f"{data['file']} in data_root"
    return f"{data['hub']}@{hub.resolve_commit(data['hub'], data['revision'], 'dataset')}"
