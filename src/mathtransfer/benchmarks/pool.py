"""Grading many responses safely; and what can be told from a response's text alone.

All grading runs in a process of its own with a time and a memory limit, because a response can hold anything.
"""

from __future__ import annotations

import logging
import multiprocessing
import resource
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from pebble import ProcessPool

from mathtransfer.benchmarks import graders
from mathtransfer.benchmarks.grades import NOT_GRADED, READINGS
from mathtransfer.benchmarks.livecodebench import grade_code
from mathtransfer.models.thinking import THINK_CLOSES, THINK_OPENS
from mathtransfer.paper.endings import describe

MEMORY = 2 * 2**30  # bytes that a grader may take on top of what it starts with


# A benchmark's grader, or a suite's.
GRADERS: dict[str, Callable[..., dict]] = {
    "math500": graders.grade_math,
    "aime24": graders.grade_math,
    "aime25": graders.grade_math,
    "olympiadbench": graders.grade_olympiad,
    "gpqa_diamond": graders.grade_choice,
    "livecodebench_v2": grade_code,
    "acpbench_mcq": graders.grade_planning,
    "headqa": graders.grade_likeliest,
    "coqa": graders.grade_coqa,
    "mc_taco": graders.grade_likeliest,
    "ifeval": graders.grade_ifeval,
    "halueval": graders.grade_judgement,
    "miniature": graders.grade_miniature,
}
SECONDS = {"livecodebench_v2": 900.0}  # for one response, where that is not 5: a program may have a hundred tests


def _prepare_worker(names: set[str]) -> None:
    """In a worker: let some graders import what they need and build their tables, and cap the memory.

    Every one grades something here, because no response should pay for that with its time.
    """
    logging.disable(logging.WARNING)
    if "ifeval" in names:
        graders.offline_ifeval()
    for name in names - {"ifeval", "livecodebench_v2"}:
        for reading in READINGS:
            GRADERS[name]("\\boxed{0.5}", ["0.5"] if name == "coqa" else "\\frac{1}{2}", False, reading)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _grade_one(task: tuple) -> dict:
    benchmark, *arguments = task
    return GRADERS[benchmark](*arguments)


def grade(responses: pd.DataFrame, seconds: float = 5.0) -> pd.DataFrame:
    """Every response by every reading.

    Args:
        responses: `model, benchmark, question, response, gold`, see `released.responses`.
        seconds: the time for one response and reading. One that takes longer, takes too much memory or brings its
            process down is `not graded`, and the next goes on in a new process.

    Returns:
        One row a response: `model, benchmark, question`, the columns of `describe`, `asked` (instructions; 1 for
        mathematics), and for each reading its status and `<reading>_followed` (instructions; 1 for correct).
    """
    key = ["model", "benchmark"]
    thinks = responses.groupby(key)["response"].transform(lambda own: own.str.contains(THINK_CLOSES, regex=False).any())
    table = responses[[*key, "question"]].copy()
    described = [describe(text, flag) for text, flag in zip(responses["response"], thinks, strict=True)]
    table = table.join(pd.DataFrame(described, index=table.index))
    table["asked"] = [len(gold["instruction_id_list"]) if isinstance(gold, dict) else 1 for gold in responses["gold"]]
    arguments = list(zip(responses["benchmark"], responses["response"], responses["gold"], thinks, strict=True))
    for reading in READINGS:
        graded = _grade_safely([(*argument, reading) for argument in arguments], seconds)
        table[reading] = [row["status"] for row in graded]
        table[f"{reading}_followed"] = [row["followed"] for row in graded]
        print(f"{reading}: {len(graded)} responses graded, {sum(table[reading] == NOT_GRADED)} not", flush=True)
    return table


def grade_samples(samples: pd.DataFrame) -> pd.DataFrame:
    """Every completion of one model by two readings: with thinking stripped (strict), and as published (harness).

    Args:
        samples: `part, grader` (a key of `GRADERS`), `prompt, completion, gold`.

    Returns:
        With the same index: `extracted`, `answer`, `status`, `score` (0 to 1), `asked` (instructions; else 1),
        `published_status`, `published_score`.
    """
    opens = samples["prompt"].str.rstrip().str.endswith(THINK_OPENS)
    closes = samples["completion"].str.contains(THINK_CLOSES, regex=False)
    thinks = (opens | closes).groupby(samples["part"]).transform("any")
    asked = [len(gold.get("instruction_id_list", "1")) if isinstance(gold, dict) else 1 for gold in samples["gold"]]
    table = pd.DataFrame({"asked": asked}, index=samples.index)
    table["answer"] = [None if isinstance(gold, dict) else str(gold) for gold in samples["gold"]]
    columns = [samples["grader"], samples["completion"], samples["gold"], thinks]
    tasks = [(*task, reading) for reading in ("strict", "harness") for task in zip(*columns, strict=True)]
    graded = _grade_safely(tasks)
    for prefix, own in {"": graded[: len(table)], "published_": graded[len(table) :]}.items():
        table[f"{prefix}status"] = [row["status"] for row in own]
        table[f"{prefix}score"] = [row["followed"] / n for row, n in zip(own, asked, strict=True)]
    table["extracted"] = [row["extracted"] for row in graded[: len(table)]]
    return table


def verify(samples: pd.DataFrame, grader: str) -> pd.DataFrame:
    """Every completion by the strict reading alone, as rejection sampling wants it.

    Args:
        samples: `prompt, completion, gold`. A completion begins in thought where its own prompt ends with the opening
            tag; unlike for `grade_samples`, a tag in another completion says nothing about it.
        grader: a key of `GRADERS`.

    Returns:
        With the same index: `status` and `extracted`.
    """
    thinks = samples["prompt"].str.rstrip().str.endswith(THINK_OPENS)
    tasks = [
        (grader, text, gold, begins, "strict")
        for text, gold, begins in zip(samples["completion"], samples["gold"], thinks, strict=True)
    ]
    graded = _grade_safely(tasks)
    return pd.DataFrame(graded, columns=["status", "extracted"], index=samples.index)


def _grade_safely(tasks: list[tuple], seconds: float = 5.0) -> list[dict]:
    """`_grade_one` of every task; one that is killed is `not graded`, and the next goes on in a new process."""
    spawn = multiprocessing.get_context("spawn")  # a notebook has threads, which a fork would break
    names = {name for name, *_ in tasks}
    graded = []
    with ProcessPool(max_workers=1, initializer=_prepare_worker, initargs=[names], context=spawn) as pool:
        # Not `pool.map`: its time limit also runs while a response waits for a new process.
        futures = [pool.schedule(_grade_one, args=[task], timeout=SECONDS.get(task[0], seconds)) for task in tasks]
        for future in futures:
            try:
                graded.append(future.result())
            except Exception:  # out of time or memory, a dead worker, or whatever a parser raises on hostile text
                graded.append({"status": NOT_GRADED, "followed": 0, "extracted": None})
    return graded
