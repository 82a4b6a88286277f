"""One response, three readings; and what can be told from its text alone.

`strict` wants the answer where it was asked for, after thinking has ended. `lenient` takes the last answer anywhere.
`harness` does what the paper's harness (evalchemy, on lm-evaluation-harness) does. All grading runs in a process of its
own with a time and a memory limit, because a response can hold anything.
"""

from __future__ import annotations

import logging
import multiprocessing
import random
import re
import resource
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
from pebble import ProcessPool

READINGS = ("strict", "lenient", "harness")
CORRECT, WRONG, NO_ANSWER, NOT_GRADED = "correct", "wrong answer", "no answer in the expected format", "not graded"
THINK_OPENS, THINK_CLOSES = "<think>", "</think>"
STOP_STRING = "Problem:"  # hendrycks_math500 of lm-evaluation-harness stops a generation before this
BUDGET = 4096  # tokens, inferred: runs of newlines and the longest responses all end there
MEMORY = 2 * 2**30  # bytes that a grader may take on top of what it starts with
LOOP_TAIL, LOOP_REPEATS, LOOP_LENGTH = 3000, 3, 200  # characters looked at, least repeats, least length of all repeats
ENDS = (*".!?…:।。！？”\"'’»)]}>*_`~$", "\\]", "\\)")  # of a sentence, a formula, a line of Markdown


# --- what the text alone tells


def split_thinking(response: str, thinks: bool) -> tuple[str, str, bool]:
    """A response's thinking, its answer, and whether the thinking was never finished.

    Args:
        thinks: whether the model begins in thought though its prompt shows an empty think block, as can be seen from
            other responses, which close one. Its responses without a closing tag are all thought.
    """
    thought, closed, rest = response.rpartition(THINK_CLOSES)
    if THINK_OPENS in rest:
        before, _, inside = rest.partition(THINK_OPENS)
        return thought + inside, before, True
    if thinks and not closed:
        return response, "", True
    return thought, rest, False


def is_looping(response: str) -> bool:
    """Whether the response ends in the same text repeated at least three times, over at least 200 characters.

    Only the last 3,000 characters are looked at, so a repeated text may have up to 1,000. A loop whose text changes a
    little each time (a counter) is not counted.
    """
    tail = response[-LOOP_TAIL:][::-1]
    match = _matches_with_start(tail)
    return any(
        length >= (LOOP_REPEATS - 1) * period and period + length >= LOOP_LENGTH
        for period, length in enumerate(match)
        if period
    )


def _matches_with_start(text: str) -> list[int]:
    """For each position, how far the text from there agrees with the text's start (the Z function, linear time)."""
    found, left, right = [0] * len(text), 0, 0
    for i in range(1, len(text)):
        if i < right:
            found[i] = min(right - i, found[i - left])
        while i + found[i] < len(text) and text[found[i]] == text[i + found[i]]:
            found[i] += 1
        if i + found[i] > right:
            left, right = i, i + found[i]
    return found


def is_stopped(response: str) -> bool:
    """Whether the harness's stop string probably ended it: bold left open, with "Problem:" to follow.

    As in `**Problem:**` or `**Understanding the Problem:**`. A model's tokens carry the space before a word, so a text
    that ends in a letter and a space was cut inside what the model wrote.
    """
    return response.count("**") % 2 == 1 and re.search(r"(\*\*|[A-Za-z] )$", response) is not None


def is_truncated(response: str, thinks: bool) -> bool:
    """Whether it stopped before an end: at the token budget, or at a stop string.

    The files hold no reason for stopping, so the text decides: thinking never finished, a loop, a stop string, or, for
    a text long enough to have met the budget (a token has at least one byte), a formula left open or a last character
    that ends no sentence, formula or line of Markdown.
    """
    if split_thinking(response, thinks)[2] or is_looping(response) or is_stopped(response):
        return True
    if len(response.encode("utf-8", "replace")) < BUDGET:
        return False
    text = response.rstrip()
    open_formula = text.count("\\[") > text.count("\\]") or (text.endswith("$") and text.count("$") % 2 == 1)
    ends_in_symbol = text and ord(text[-1]) >= 0x2600  # an emoji
    return open_formula or not (text.endswith(ENDS) or ends_in_symbol)


def describe(response: str, thinks: bool) -> dict[str, bool]:
    """`truncated, stopped, looping, answer_in_unfinished_think` of one response."""
    unfinished = split_thinking(response, thinks)[2]
    return {
        "truncated": is_truncated(response, thinks),
        "stopped": is_stopped(response),
        "looping": is_looping(response),
        "answer_in_unfinished_think": unfinished and ("\\boxed" in response or "final answer" in response.lower()),
    }


# --- mathematics


def last_boxed(text: str) -> str | None:
    """What stands in the last complete \\boxed{...} or \\fbox{...}, or None."""
    for start in reversed([match.end() for match in re.finditer(r"\\f?box(?:ed)?\s*\{", text)]):
        depth = 1
        for end in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                return text[start:end]
    return None


def grade_math(response: str, gold: str, thinks: bool, reading: str) -> dict:
    """One response to a mathematics problem by one reading: `status, followed` (1 if correct)."""
    if reading == "harness":
        status = _harness_math(response, gold)
    else:
        answer = split_thinking(response, thinks)[1]
        if reading == "lenient" and not answer.strip():
            answer = response
        boxed = last_boxed(answer)
        text = answer if boxed is None else f"\\boxed{{{boxed}}}"
        status = NO_ANSWER if boxed is None and reading == "strict" else _verify(text, gold)
    return {"status": status, "followed": int(status == CORRECT)}


def _verify(text: str, gold: str) -> str:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    found = parse(text, [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()], parsing_timeout=None)
    if not found:
        return NO_ANSWER
    return CORRECT if verify(_parsed_gold(gold), found, timeout_seconds=None) else WRONG


@cache
def _parsed_gold(gold: str) -> list:
    from math_verify import parse

    return parse(f"\\boxed{{{gold}}}", parsing_timeout=None)


def _harness_math(response: str, gold: str) -> str:
    """As evalchemy's MATH500: the last \\boxed of the whole output, compared as normalised text."""
    from lm_eval.tasks.hendrycks_math.utils import is_equiv, last_boxed_only_string, remove_boxed

    try:
        answer = remove_boxed(last_boxed_only_string(response))
    except (AssertionError, TypeError):  # what evalchemy catches: nothing boxed, or boxed without braces
        return NO_ANSWER
    return CORRECT if is_equiv(gold, answer) else WRONG


# --- following instructions


def offline_ifeval():
    """lm-evaluation-harness's IFEval checkers, imported so that nothing is downloaded.

    They ask NLTK for its sentence splitter. Where its trained parameters (`punkt_tab`) are not installed, ours stand
    in: the same algorithm with a short list of English abbreviations.
    """
    import langdetect
    import nltk

    ours = str(Path(__file__).parent / "nltk_data")
    if ours not in nltk.data.path:
        nltk.data.path.append(ours)
    langdetect.DetectorFactory.seed = 0
    from lm_eval.tasks.ifeval import utils

    return utils


def grade_ifeval(response: str, gold: dict, thinks: bool, reading: str) -> dict:
    """One response to an IFEval prompt by one reading: `status` (correct if all are) and instructions `followed`.

    The checkers draw an argument at random where a record's own is missing or not what they expect (one asks how often
    the letter "#" stands in the text), so the draw is seeded by the record's key.
    """
    checkers = offline_ifeval()
    random.seed(gold["key"])
    text = response if reading == "harness" else split_thinking(response, thinks)[1]
    loose, strict = checkers.test_instruction_following_loose, checkers.test_instruction_following_strict
    check = loose if reading == "lenient" else strict
    given = checkers.InputExample(gold["key"], gold["instruction_id_list"], gold["prompt"], gold["kwargs"])
    followed = check(given, text).follow_instruction_list
    status = CORRECT if all(followed) else WRONG if text.strip() else NO_ANSWER
    return {"status": status, "followed": sum(followed)}


GRADERS: dict[str, Callable[..., dict]] = {"math500": grade_math, "ifeval": grade_ifeval}


# --- all of them, safely


def _prepare_worker() -> None:
    """In a worker: import what grading needs, so that it counts for no response, and cap the memory."""
    import math_verify  # noqa: F401

    logging.disable(logging.WARNING)
    offline_ifeval()
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
    context = multiprocessing.get_context("spawn")  # safe from a notebook, which has threads
    with ProcessPool(max_workers=1, initializer=_prepare_worker, context=context) as pool:
        for reading in READINGS:
            tasks = [(*argument, reading) for argument in arguments]
            results = pool.map(_grade_one, tasks, timeout=seconds).result()
            graded = [_next_grade(results) for _ in tasks]
            table[reading] = [row["status"] for row in graded]
            table[f"{reading}_followed"] = [row["followed"] for row in graded]
            print(f"{reading}: {len(graded)} responses graded, {sum(table[reading] == NOT_GRADED)} not", flush=True)
    return table


def _next_grade(results) -> dict:
    try:
        return next(results)
    except StopIteration:
        raise
    except Exception:  # out of time or memory, a dead worker, or whatever a parser raises on hostile text
        return {"status": NOT_GRADED, "followed": 0}
