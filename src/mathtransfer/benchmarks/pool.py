"""The one way to a grade: all responses are graded here, in a process of their own if they could hang or crash it.

A response can hold anything, so that process has a limit on time and on memory.
"""

from __future__ import annotations

import logging
import multiprocessing
import resource
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from pebble import ProcessExpired, ProcessPool

from mathtransfer.benchmarks import choices, code, conversation, instructions, mathematics, miniature
from mathtransfer.benchmarks.grades import NOT_GRADED, Grade

BENCHMARKS = (
    mathematics.BENCHMARKS
    | choices.BENCHMARKS
    | conversation.BENCHMARKS
    | instructions.BENCHMARKS
    | code.BENCHMARKS
    | miniature.BENCHMARKS
)
_MEMORY = 2 * 2**30  # bytes that a grader may take on top of what it starts with


class Answer(NamedTuple):
    """A response to grade, as a benchmark's grader takes it; `benchmark` is a key of `BENCHMARKS`."""

    benchmark: str
    response: str
    gold: object
    thinks: bool = False
    reading: str = "strict"


@contextmanager
def open_pool(benchmarks: Iterable[str]) -> Iterator[Callable[[Iterable[Answer]], list[Grade]]]:
    """A function that grades answers to these benchmarks, in their order.

    An answer that takes too long, takes too much memory, brings its process down or is more than a parser can bear is
    `not graded`, and the next goes on, if need be in a new process.

    Raises:
        RuntimeError: a process could not be made ready, as when a library of a grader is missing.
    """
    spawn = multiprocessing.get_context("spawn")  # a notebook and a trainer have threads, which a fork would break
    # The process starts with the first answer that needs one.
    with ProcessPool(max_workers=1, initializer=_prepare, initargs=[set(benchmarks)], context=spawn) as processes:

        def submit(answer: Answer) -> Future | Grade:
            seconds = BENCHMARKS[answer.benchmark].seconds
            # Not `processes.map`: its time limit also runs while an answer waits for a new process.
            return _grade(answer) if seconds is None else processes.schedule(_try_to_grade, [answer], timeout=seconds)

        yield lambda answers: [_result(submitted) for submitted in [submit(answer) for answer in answers]]


def grade(answers: pd.DataFrame, readings: Sequence[str]) -> pd.DataFrame:
    """Every answer by some readings.

    Args:
        answers: `benchmark, response, gold, thinks`, see `Answer`.

    Returns:
        With the same index: `asked` (instructions; 1 for all but IFEval), and for each reading its status under the
        reading's name, `<reading>_followed` and `<reading>_extracted`, see `Grade`.
    """
    rows = answers[["benchmark", "response", "gold", "thinks"]].itertuples(index=False, name=None)
    asked = [Answer(*row, reading) for row in rows for reading in readings]
    with open_pool(set(answers["benchmark"])) as grade_all:
        graded = grade_all(asked)
    table = pd.DataFrame({"asked": [_instructions(gold) for gold in answers["gold"]]}, index=answers.index)
    for number, reading in enumerate(readings):
        own = graded[number :: len(readings)]
        table[reading] = [found.status for found in own]
        table[f"{reading}_followed"] = [found.followed for found in own]
        table[f"{reading}_extracted"] = pd.Series([found.extracted for found in own], table.index, dtype=object)
    return table


def _instructions(gold: object) -> int:
    return len(gold.get("instruction_id_list", "1")) if isinstance(gold, dict) else 1


def _prepare(benchmarks: set[str]) -> None:
    """In a new process: let the graders import what they need and build their tables, then cap the memory."""
    logging.disable(logging.WARNING)  # Math-Verify warns that others have to watch the time
    for benchmark in benchmarks:
        if (example := BENCHMARKS[benchmark].example) is not None:
            for reading in ("strict", "harness"):
                _grade(Answer(benchmark, *example, reading=reading))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _grade(answer: Answer) -> Grade:
    return BENCHMARKS[answer.benchmark].grade(*answer[1:])


def _try_to_grade(answer: Answer) -> Grade:
    try:
        return _grade(answer)
    except Exception:  # out of memory, or whatever a parser raises on hostile text
        return Grade(NOT_GRADED)


def _result(submitted: Future | Grade) -> Grade:
    try:
        return submitted if isinstance(submitted, Grade) else submitted.result()
    except (TimeoutError, ProcessExpired):
        return Grade(NOT_GRADED)
    except BrokenProcessPool as error:
        raise RuntimeError(
            "no process could be made ready to grade: its error message on standard error says why"
        ) from error
