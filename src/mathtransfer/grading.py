"""Grading many responses safely; and what can be told from a response's text alone.

All grading runs in a process of its own with a time and a memory limit, because a response can hold anything.
"""

from __future__ import annotations

import logging
import multiprocessing
import re
import resource
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from pebble import ProcessPool

from mathtransfer import graders
from mathtransfer.graders import NOT_GRADED, READINGS, THINK_CLOSES, THINK_OPENS, split_thinking
from mathtransfer.livecodebench import grade_code
from mathtransfer.repeats import repeated_ending

STOP_STRING = "Problem:"  # hendrycks_math500 of lm-evaluation-harness stops a generation before this
BUDGET = 4096  # tokens, prompt and response together; inferred: runs of newlines fill it up to the prompt's length
MEMORY = 2 * 2**30  # bytes that a grader may take on top of what it starts with
LOOP_TAIL, LOOP_LENGTH = 3000, 200  # characters: the part looked at, and the least that all repeats cover
# A word with the character before it, a digit, a run of punctuation, a break: no token of Qwen's holds two of them.
PIECE = re.compile(r"(?:[^\n\w]|_)?[^\W\d_]+|\d|(?:[^\w\s]|_)+\n*|\n\s*")
# Where the stop string would follow: "**Understanding the ", cut from "**Understanding the Problem:**" and open; or the
# break after "Let me check the problem again." or "The user wrote:".
BEFORE_STOP = re.compile(r"(?<!\*)\*\*(?:[A-Z][\w-]* (?:\w+ ){0,3})?$|(?:problem|wrote)[^\n]*\n\n\"?$")
EXPLICIT_ANSWER = re.compile(r"\\boxed\s*\{|final answer(?: is|:)", re.IGNORECASE)
ENDINGS, EMOJI = set(".!?…。！？।\"'”’»)]}>"), "\u2600"  # characters that can end a text; emoji begin there


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


# --- what the text alone tells


def is_looping(response: str) -> bool:
    """Whether the last 3,000 characters end in one text three times in a row or more, over 200 characters or more.

    Or, with all numbers made equal, whether such repeats fill all of the 3,000: a counter that runs on ("[811] [812]
    [813]"), unlike a list of cases that are worked through.
    """
    tail = response[-LOOP_TAIL:]
    if repeated_ending(tail) >= LOOP_LENGTH:
        return True
    masked = re.sub(r"\d+", "0", tail)
    return len(tail) == LOOP_TAIL and repeated_ending(masked) == len(masked)


def is_stopped(response: str) -> bool:
    """Whether the harness's stop string, "Problem:", probably ended it."""
    line = response[response.rfind("\n") + 1 :]
    is_open = line in ("", '"') or line.count("**") % 2 == 1
    return is_open and BEFORE_STOP.search(response[-200:]) is not None


def is_truncated(response: str, thinks: bool) -> bool:
    """Whether it stopped before an end: at the token budget, or at a stop string.

    The files hold no reason for stopping, so the text decides: thinking that was never finished; a stop string; or, if
    it is long enough to have met the token budget, a loop or an unfinished last sentence or block. Long enough: half
    the budget in bytes for a loop (a token has one or more), else in pieces (of one token or more, mostly below two).
    """
    if split_thinking(response, thinks)[2] or is_stopped(response):
        return True
    if is_looping(response):
        return len(response.encode(errors="replace")) >= BUDGET // 2
    return sum(1 for _ in PIECE.finditer(response)) >= BUDGET // 2 and not _ends(response)


def _ends(response: str) -> bool:
    """Whether the last character can end a text, and no code, formula or emphasis is left open."""
    line = response[response.rfind("\n") + 1 :]
    is_open = (
        any(response.count(mark) % 2 == 1 for mark in ("```", "$$"))
        or any(line.count(mark) % 2 == 1 for mark in ("**", "$"))
        or response.rfind("\\[") > response.rfind("\\]")
    )
    last = response.rstrip("*_`$\n")[-1:]
    return not (is_open or response[-1:].isspace()) and (last in ENDINGS or last >= EMOJI)


def describe(response: str, thinks: bool) -> dict[str, bool]:
    """`truncated, stopped, looping, answer_in_unfinished_think` of one response."""
    unfinished = split_thinking(response, thinks)[2]
    return {
        "truncated": is_truncated(response, thinks),
        "stopped": is_stopped(response),
        "looping": is_looping(response),
        "answer_in_unfinished_think": unfinished and EXPLICIT_ANSWER.search(response) is not None,
    }


# --- all of them, safely


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
