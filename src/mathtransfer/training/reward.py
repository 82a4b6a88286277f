"""The reward of a response: 1 if it gives the answer, 0 if not (Appendix A.3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mathtransfer.benchmarks import pool
from mathtransfer.benchmarks.grades import CORRECT

Correct = Callable[[str, str, bool], bool]  # (response, answer, whether the response begins in thought)


@contextmanager
def open_reward(benchmark: str) -> Iterator[Correct]:
    """A function of response, answer and whether the response begins in thought: whether it gives the answer.

    Word for word in the miniature, in its last box by Math-Verify elsewhere. A response whose thinking never ends gives
    none. One that takes too long, takes too much memory or brings its grader down is wrong.

    Args:
        benchmark: `Problems.grader`.
    """
    with pool.open_pool([benchmark]) as grade:

        def correct(response: str, answer: str, thinks: bool) -> bool:
            return grade([pool.Answer(benchmark, response, answer, thinks)])[0].status == CORRECT

        yield correct
