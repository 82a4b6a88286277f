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

from mathtransfer.repeats import repeated_ending

READINGS = ("strict", "lenient", "harness")
CORRECT, WRONG, NO_ANSWER, NOT_GRADED = "correct", "wrong answer", "no answer in the expected format", "not graded"
THINK_OPENS, THINK_CLOSES = "<think>", "</think>"
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
    """In a worker: import what grading needs and cap the memory.

    One answer is graded here, because Math-Verify's parser builds its tables then, and no response should pay for that.
    """
    logging.disable(logging.WARNING)
    offline_ifeval()
    _verify("\\boxed{0.5}", "\\frac{1}{2}")
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


def _grade_safely(tasks: list[tuple], seconds: float) -> list[dict]:
    """`_grade_one` of every task; one that is killed is `not graded`, and the next goes on in a new process."""
    spawn = multiprocessing.get_context("spawn")  # a notebook has threads, which a fork would break
    graded = []
    with ProcessPool(max_workers=1, initializer=_prepare_worker, context=spawn) as pool:
        # Not `pool.map`: its time limit also runs while a response waits for a new process.
        futures = [pool.schedule(_grade_one, args=[task], timeout=seconds) for task in tasks]
        for future in futures:
            try:
                graded.append(future.result())
            except Exception:  # out of time or memory, a dead worker, or whatever a parser raises on hostile text
                graded.append({"status": NOT_GRADED, "followed": 0})
    return graded
