"""How solutions are written down: the base's own short styles, and the long thinking traces that SFT learns from."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from mathtransfer.miniature.families import FAMILIES, Problem, calculate, check_count, problems

LARGEST = 99  # the vocabulary has the numbers 0 to 99
_INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}


def direct(problem: Problem) -> str:
    """The answer at once."""
    return f"answer {problem.answer}"


def steps(problem: Problem) -> str:
    """A short chain of thought: each calculation, then the answer."""
    return _written_out(problem, slip_at=None, rng=None)


def sloppy_steps(problem: Problem, rng: random.Random) -> str:
    """A chain of thought in which one calculation slips by one to three and the rest follows from it."""
    return _written_out(problem, slip_at=rng.randrange(len(_chain(problem))), rng=rng)


def thinking(problem: Problem, rng: random.Random) -> str:
    """A long trace: every calculation is announced, done and checked before the answer is given.

    The style stands in for the thinking traces of a larger model (paper, Appendix A.3.2): correct, several times
    longer than the base's own chains of thought, and worded differently. Operands stay visible in every line.
    """
    said = [rng.choice(("let me think", "okay , let me see")), "."]
    for number, (left, operator, right, result) in enumerate(_chain(problem)):
        said += ["first" if number == 0 else "then", f"{left} {operator} {right} gives {result} ."]
        said += ["wait , check", _check(left, operator, right, result), ", good ."]
    return " ".join([*said, f"so it must be {problem.answer} . answer {problem.answer}"])


def mathematics(each: int | None, seed: int) -> list[tuple[str, Problem]]:
    """Post-training problems with their families: `each` of every family of mathematics, shuffled.

    Raises:
        ValueError: `each` is None, which elsewhere asks for all.
    """
    check_count(each)
    math = [name for name, family in FAMILIES.items() if family.group == "math"]
    drawn = [(name, problem) for name in math for problem in itertools.islice(problems(name, "posttrain", seed), each)]
    random.Random(f"mathematics|{seed}").shuffle(drawn)
    return drawn


def writer_of(known: list[Problem]) -> Callable[[str, random.Random], str]:
    """A function from the question of a known problem to a thinking trace that answers it."""
    by_question = {problem.question: problem for problem in known}
    return lambda prompt, rng: thinking(by_question[prompt], rng)


def _chain(problem: Problem) -> list[tuple[int, str, int, int]]:
    """The calculations (left, operator, right, result) of a reasoning problem in order."""
    chain: list[tuple[int, str, int, int]] = []

    def record(left: int, operator: str, right: int) -> int:
        chain.append((left, operator, right, calculate(left, operator, right)))
        return chain[-1][-1]

    problem.solve(record)
    return chain


def _written_out(problem: Problem, slip_at: int | None, rng: random.Random | None) -> str:
    lines: list[str] = []

    def write(left: int, operator: str, right: int) -> int:
        result = calculate(left, operator, right)
        if len(lines) == slip_at:
            result += rng.choice((-3, -2, -1, 1, 2, 3))
        result = min(max(result, 0), LARGEST)
        lines.append(f"{left} {operator} {right} = {result} .")
        return result

    answer = problem.solve(write)
    return " ".join(["steps :", *lines, f"answer {answer}"])


def _check(left: int, operator: str, right: int, result: int) -> str:
    """The calculation done backwards, or again if it has no inverse."""
    if operator in _INVERSE:
        return f"{result} {_INVERSE[operator]} {right} = {left}"
    return f"{left} {operator} {right} = {result}"
