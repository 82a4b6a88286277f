"""The reward of a response: 1 if it gives the answer, 0 if not (Appendix A.3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mathtransfer.benchmarks import pool
from mathtransfer.benchmarks.grades import CORRECT


@contextmanager
def grader(benchmark: str) -> Iterator[Callable[[str, str], bool]]:
    """Whether a response gives the answer: word for word in the miniature, in its last box by Math-Verify elsewhere.

    A response that takes too long, takes too much memory or brings its grader down is wrong.

    Args:
        benchmark: `Problems.grader`.
    """
    with pool.open_pool([benchmark]) as grade:
        yield lambda response, answer: grade([pool.Answer(benchmark, response, answer)])[0].status == CORRECT
