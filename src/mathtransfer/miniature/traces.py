"""How solutions are written down: the base's own short styles, and the long thinking traces of a foreign teacher."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from mathtransfer.miniature import facts
from mathtransfer.miniature.families import FAMILIES, LARGEST, Problem, calculate, check_count, problems

SHORT = 3  # calculations that a base carries out without fail
_INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}
_Line = tuple  # (left, operator, right, result)


def direct(problem: Problem) -> str:
    """The answer at once."""
    return f"answer {problem.answer}"


def steps(problem: Problem, rng: random.Random, slips: bool = False) -> str:
    """A short chain of thought: each calculation, then the answer.

    Args:
        slips: one calculation comes out wrong, the rest follows from it, and so does a wrong answer.
    """
    return _in_steps(*_work(problem, rng, slips), rng)


def thinking(problem: Problem, rng: random.Random, slips: bool = False) -> str:
    """A long trace: every calculation is announced, done and checked before the answer is given.

    The style stands in for the thinking traces of a larger model (paper, Appendix A.3.2): several times longer than the
    base's own chains of thought, and worded differently. Operands stay visible in every line.

    Args:
        slips: as in `steps`; the check sees nothing.
    """
    return _thinking(*_work(problem, rng, slips), rng)


def cut_short(problem: Problem, rng: random.Random, style: str) -> str:
    """A chain in a style of `TEACHERS` that stops after `SHORT` calculations and takes what it has for the answer."""
    lines = _work(problem, rng, slips=False)[0][:SHORT]
    return _WRITTEN[style](lines, lines[-1][-1], rng)


TEACHERS = {"foreign": thinking, "own": steps}  # style -> how a teacher writes in it


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


def writer_of(known: list[Problem], style: str, errs: float) -> Callable[[str, random.Random], str]:
    """A teacher: a function from the question of a known problem to an answer in a style.

    Args:
        style: a key of `TEACHERS`.
        errs: the share of answers with a slip, and so a wrong result.

    Raises:
        ValueError: there is no such style, or the share is no share.
    """
    if style not in TEACHERS:
        raise ValueError(f"unknown style {style!r} of the teacher: expected one of {', '.join(TEACHERS)}")
    if not 0 <= errs <= 1:
        raise ValueError(f"the teacher errs in a share of {errs!r}: give a number from 0 to 1")
    by_question, write = {problem.question: problem for problem in known}, TEACHERS[style]
    return lambda prompt, rng: write(by_question[prompt], rng, slips=rng.random() < errs)


def _in_steps(lines: list[_Line], answer: int | str, rng: random.Random) -> str:
    written = [f"{left} {operator} {right} = {result} ." for left, operator, right, result in lines]
    return " ".join(["steps :", *written, f"answer {answer}"])


def _thinking(lines: list[_Line], answer: int | str, rng: random.Random) -> str:
    said = [rng.choice(("let me think", "okay , let me see")), "."]
    for number, (left, operator, right, result) in enumerate(lines):
        said += ["first" if number == 0 else "then", f"{left} {operator} {right} gives {result} ."]
        said += ["wait , check", _check(left, operator, right, result), ", good ."]
    return " ".join([*said, f"so it must be {answer} . answer {answer}"])


_WRITTEN = {"foreign": _thinking, "own": _in_steps}  # style -> how its lines and answer are written


def _work(problem: Problem, rng: random.Random, slips: bool) -> tuple[list[_Line], int | str]:
    """The calculations of a reasoning problem in order, and the answer."""
    lines, answer = _with_slip(problem, None, rng)
    # Not every slip matters to the answer, and some lead to numbers that have no word.
    while slips and (str(answer) == problem.answer or not all(_has_a_word(result) for *_, result in lines)):
        lines, answer = _with_slip(problem, rng.randrange(problem.calculations), rng)
    return lines, answer


def _with_slip(problem: Problem, slip_at: int | None, rng: random.Random) -> tuple[list[_Line], int | str]:
    lines: list[_Line] = []

    def write(left: int | str, operator: str, right: int | str) -> int | str:
        result = calculate(left, operator, right)
        if len(lines) == slip_at:
            result = _slipped(result, rng)
        lines.append((left, operator, right, result))
        return result

    return lines, problem.solve(write)


def _has_a_word(result: int | str) -> bool:
    return isinstance(result, str) or 0 <= result <= LARGEST


def _slipped(result: int | str, rng: random.Random) -> int | str:
    """Off by one to three, another place, or yes for no."""
    if isinstance(result, int):
        return result + rng.choice((-3, -2, -1, 1, 2, 3))
    others = ["yes", "no"] if result in ("yes", "no") else facts.PLACES
    return rng.choice([other for other in others if other != result])


def _check(left: int | str, operator: str, right: int | str, result: int | str) -> str:
    """The calculation done backwards, or again if it has no inverse."""
    if operator in _INVERSE:
        return f"{result} {_INVERSE[operator]} {right} = {left}"
    return f"{left} {operator} {right} = {result}"
