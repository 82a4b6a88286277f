"""The reward of a response: 1 if it gives the answer, 0 if not (Appendix A.3.1)."""

from __future__ import annotations

import logging
import multiprocessing
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from pebble import ProcessPool

from mathtransfer.benchmarks.graders import grade_math
from mathtransfer.benchmarks.miniature import correct as gives_the_answer

_Correct = Callable[[str, str], bool]
_MEMORY = 2 * 2**30  # bytes that the grader may take on top of what it starts with


def grader(name: str, seconds: float = 5.0) -> AbstractContextManager[_Correct]:
    """Whether a response gives the answer: word for word in the miniature, by Math-Verify elsewhere.

    Args:
        name: `Problems.grader`.
        seconds: a response that takes Math-Verify longer is wrong.
    """
    return nullcontext(gives_the_answer) if name == "miniature" else _math_grader(seconds)


@contextmanager
def _math_grader(seconds: float) -> Iterator[_Correct]:
    """Math-Verify on the last box, in a process of its own, because a response can hold anything.

    A response that takes too long or too much memory, or that kills the process, is wrong; the next one is graded in a
    new process.
    """
    spawn = multiprocessing.get_context("spawn")  # a trainer has threads, which a fork would break
    with ProcessPool(max_workers=1, initializer=_prepare_grader, context=spawn) as pool:

        def correct(response: str, answer: str) -> bool:
            task = pool.schedule(grade_math, args=[response, answer, False, "strict"], timeout=seconds)
            try:
                return bool(task.result()["followed"])
            except Exception:  # out of time or memory, a dead process, or whatever a parser raises on hostile text
                return False

        yield correct


def _prepare_grader() -> None:
    """Grade one response, which builds the parser's tables, then cap the memory."""
    logging.disable(logging.WARNING)  # Math-Verify warns that others have to watch the time
    grade_math("\\boxed{0.5}", "\\frac{1}{2}", False, "strict")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
