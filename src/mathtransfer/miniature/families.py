"""The twelve task families of the miniature world, four in each of the paper's three groups.

A family draws problems. A problem is a question, the way to its answer (a chain of calculations, empty for
non-reasoning families) and the answer. Which split a problem belongs to is a hash of its content, so pre-training,
post-training, validation and evaluation can never share one.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mathtransfer.miniature import facts

_Calculate = Callable[[int, str, int], int]

# Twentieths of all problems, by hash: most for the base, fewer for what is learnt or asked later.
SPLITS = {
    "pretrain": range(0, 12),
    "posttrain": range(12, 15),
    "validation": range(15, 17),
    "evaluation": range(17, 20),
}


@dataclass(frozen=True)
class Problem:
    """One question with its answer.

    `key` is what makes two problems the same one, their numbers or their text: which split a problem is in is a hash of
    it. `solve` works the answer out with a given calculator (None: there is nothing to work out).
    """

    question: str
    key: str
    answer: str
    solve: Callable[[_Calculate], int] | None = field(default=None, compare=False)


def calculate(left: int, operator: str, right: int) -> int:
    """The arithmetic of the world; `min` is the smaller of two numbers, `mod` the remainder."""
    return {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left // right,
        "mod": lambda: left % right,
        "min": lambda: min(left, right),
    }[operator]()


def _worked(question: str, key: tuple, solve: Callable[[_Calculate], int]) -> Problem:
    """A reasoning problem: its answer is what `solve` gives with exact arithmetic."""
    return Problem(question, " ".join(map(str, key)), str(solve(calculate)), solve)


# --- mathematics -----------------------------------------------------------------------------------------------------


def _sums(rng: random.Random) -> Problem:
    """Sums and differences of four numbers up to 39."""
    a, b, d = rng.randint(2, 39), rng.randint(2, 39), rng.randint(2, 20)
    c = rng.randint(1, a + b - 1)
    return _worked(
        f"what is {a} + {b} - {c} + {d} ?",
        (a, b, c, d),
        lambda calc: calc(calc(calc(a, "+", b), "-", c), "+", d),
    )


def _remainders(rng: random.Random) -> Problem:
    """The remainder of a sum."""
    a, b, m = rng.randint(5, 29), rng.randint(5, 29), rng.randint(4, 9)
    return _worked(
        f"what is the remainder of {a} + {b} divided by {m} ?",
        (a, b, m),
        lambda calc: calc(calc(a, "+", b), "mod", m),
    )


def _equations(rng: random.Random) -> Problem:
    """Linear equations in one unknown with a whole solution."""
    a = rng.randint(2, 9)
    x = rng.randint(2, 90 // a)
    b = rng.randint(1, 99 - a * x)
    d = rng.randint(1, a * x + b - 1)
    c = a * x + b - d
    return _worked(
        f"find x if {a} * x + {b} = {c} + {d} .",
        (a, b, c, d),
        lambda calc: calc(calc(calc(c, "+", d), "-", b), "/", a),
    )


def _boxes(rng: random.Random) -> Problem:
    """Word problems: boxes of things, some more, and some given away."""
    k, n = rng.randint(2, 9), rng.randint(2, 9)
    m = rng.randint(1, 99 - k * n)
    g = rng.randint(1, k * n + m - 1)
    name, thing = rng.choice(facts.NAMES), rng.choice(facts.THINGS)
    return _worked(
        f"{name} has {k} boxes of {n} {thing} and {m} more . {name} left {g} . how many {thing} are left ?",
        (k, n, m, g),
        lambda calc: calc(calc(calc(k, "*", n), "+", m), "-", g),
    )


# --- other reasoning -------------------------------------------------------------------------------------------------


def _tracing(rng: random.Random) -> Problem:
    """What a program prints: the sums and differences of mathematics under variable names."""
    x, y, z = rng.sample(facts.VARIABLES, 3)
    a, b = rng.randint(2, 49), rng.randint(2, 49)
    c = rng.randint(1, a + b - 1)
    return _worked(
        f"{x} = {a} ; {y} = {x} + {b} ; {z} = {y} - {c} ; print {z}",
        (a, b, c),
        lambda calc: calc(calc(a, "+", b), "-", c),
    )


def _science(rng: random.Random) -> Problem:
    """The mass of boxed mixtures: two recalled facts, then a sum, a product and a sum."""
    first, second = rng.sample(sorted(facts.MASSES), 2)
    n, pair = rng.randint(2, 6), facts.MASSES[first] + facts.MASSES[second]
    box = rng.randint(1, 99 - n * pair)
    return _worked(
        f"what is the mass of {n} {first} and {second} in a box of {box} ?",
        (n, first, second, box),
        lambda calc: calc(calc(calc(facts.MASSES[first], "+", facts.MASSES[second]), "*", n), "+", box),
    )


def _planning(rng: random.Random) -> Problem:
    """How many moves a robot needs on a grid: two distances and their sum."""
    x, y, dx, dy = rng.randint(0, 30), rng.randint(0, 30), rng.randint(1, 30), rng.randint(1, 30)
    return _worked(
        f"the robot is at {x} , {y} . the goal is at {x + dx} , {y + dy} . how many moves ?",
        (x, y, dx, dy),
        lambda calc: calc(calc(x + dx, "-", x), "+", calc(y + dy, "-", y)),
    )


def _dose(rng: random.Random) -> Problem:
    """What is left to give of a dose by weight with a ceiling."""
    k, weight = rng.randint(2, 9), rng.randint(2, 11)
    limit = rng.randint(max(3, k * weight - 15), min(99, k * weight + 15))
    given = rng.randint(1, min(k * weight, limit) - 1)
    drug = rng.choice(facts.DRUGS)
    return _worked(
        f"give {k} mg of {drug} per kg , at most {limit} mg . the weight is {weight} kg . "
        f"{given} mg are given . what is left ?",
        (k, weight, limit, given),
        lambda calc: calc(calc(calc(k, "*", weight), "min", limit), "-", given),
    )


# --- non-reasoning ---------------------------------------------------------------------------------------------------


def _passage(rng: random.Random) -> Problem:
    """A passage of two sentences and a question that one word of it answers."""
    (name, other), (thing, held) = rng.sample(facts.NAMES, 2), rng.sample(facts.THINGS, 2)
    (place, elsewhere), (colour, shade) = rng.sample(facts.PLACES, 2), rng.sample(facts.COLOURS, 2)
    text = f"{name} left the {colour} {thing} at the {place} . {other} took the {shade} {held} to the {elsewhere} ."
    asked, answer = rng.choice(
        [
            (f"who left the {thing} ?", name),
            (f"where are the {thing} ?", place),
            (f"what colour are the {thing} ?", colour),
            (f"who took the {held} ?", other),
            (f"where are the {held} ?", elsewhere),
            (f"what colour are the {held} ?", shade),
        ]
    )
    return Problem(f"{text} {asked}", f"{text} {asked}", answer)


def _durations(rng: random.Random) -> Problem:
    """Is this a usual time for an activity? Half of the answers are yes; a wrong time has another unit or is long."""
    activity = rng.choice(sorted(facts.DURATIONS))
    low, high, unit = facts.DURATIONS[activity]
    usual = rng.random() < 0.5
    number = rng.randint(low, high)
    if not usual and rng.random() < 0.5:
        unit = rng.choice([other for other in facts.UNITS if other != unit])
    elif not usual:
        number = rng.randint(high + 1, min(99, 3 * high + 3))
    asked = rng.choice(facts.USUAL_WORDINGS).format(activity=activity, number=number, unit=unit)
    return Problem(asked, asked, "yes" if usual else "no")


def _instructions(rng: random.Random) -> Problem:
    """Say words in a given way; every word counts."""
    words = rng.sample(facts.COLOURS + facts.THINGS, rng.randint(4, 8))
    ask, do = rng.choice(
        [
            ("say {} backwards", lambda w: w[::-1]),
            ("say {} twice", lambda w: w + w),
            ("say {} without the first word", lambda w: w[1:]),
            ("say {} with a comma between words", lambda w: " , ".join(w).split()),
            ("say the last word of {}", lambda w: w[-1:]),
        ]
    )
    question = ask.format(" ".join(words))
    return Problem(question, question, " ".join(do(words)))


def _truth(rng: random.Random) -> Problem:
    """Is a statement about an animal true? Half of the answers are yes."""
    animal, (relation, values) = rng.choice(facts.ANIMALS), rng.choice(sorted(facts.RELATIONS.items()))
    right = facts.ANIMAL_FACTS[animal, relation]
    true = rng.random() < 0.5
    value = right if true else rng.choice([v for v in values if v != right])
    asked = rng.choice(facts.TRUE_WORDINGS).format(statement=facts.statement(animal, relation, value))
    return Problem(asked, asked, "yes" if true else "no")


@dataclass(frozen=True)
class _Family:
    """A task family: its name, group, how to draw a problem, and the benchmark of the paper that it stands for.

    `likeness` says what the two have in common.
    """

    name: str
    group: str
    draw: Callable[[random.Random], Problem]
    counterpart: str
    likeness: str


FAMILIES = {
    f.name: f
    for f in (
        _Family("sums", "math", _sums, "math500", "short problems with one numeric answer"),
        _Family("remainders", "math", _remainders, "aime24", "number theory, a small whole number as the answer"),
        _Family("equations", "math", _equations, "aime25", "algebra, a whole number as the answer"),
        _Family("boxes", "math", _boxes, "olympiadbench", "a problem in words that must be put into arithmetic"),
        _Family("tracing", "other", _tracing, "livecodebench_v2", "what a program does"),
        _Family("science", "other", _science, "gpqa_diamond", "recalled science, then a calculation"),
        _Family("planning", "other", _planning, "acpbench_mcq", "states, moves and a goal"),
        _Family("dose", "other", _dose, "headqa", "a question from a health-care examination"),
        _Family("passage", "non", _passage, "coqa", "a question about a passage, answered with its words"),
        _Family("durations", "non", _durations, "mc_taco", "is this time plausible, yes or no"),
        _Family("instructions", "non", _instructions, "ifeval", "a form that can be checked, all or nothing"),
        _Family("truth", "non", _truth, "halueval", "is this statement right, yes or no"),
    )
}


def _split_of(family: str, problem: Problem) -> str:
    """The one split a problem belongs to: a hash of its family and content, the same on every machine."""
    digest = hashlib.sha256(f"{family}|{problem.key}".encode()).digest()
    twentieth = int.from_bytes(digest[:4], "big") % 20
    return next(name for name, part in SPLITS.items() if twentieth in part)


def problems(family: str, split: str, seed: int) -> Iterator[Problem]:
    """An endless, seeded stream of the problems of one family and split.

    Raises:
        ValueError: the family or the split does not exist.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}: expected one of {', '.join(FAMILIES)}")
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    rng = random.Random(f"{family}|{split}|{seed}")
    while True:
        problem = FAMILIES[family].draw(rng)
        if _split_of(family, problem) == split:
            yield problem


def check_count(n: int | None) -> None:
    """Refuse to draw all problems, which elsewhere n = None asks for.

    Raises:
        ValueError: `n` is None.
    """
    if n is None:
        raise ValueError("the miniature's problems have no end: give a number of problems of each family")


def distinct_problems(family: str, split: str, n: int | None, seed: int) -> list[Problem]:
    """The first `n` problems with different questions of a stream.

    Raises:
        ValueError: the family or the split does not exist, or has fewer than `n` different questions; or `n` is None.
    """
    check_count(n)
    found: dict[str, Problem] = {}
    for tries, problem in enumerate(problems(family, split, seed)):
        found.setdefault(problem.question, problem)
        if len(found) == n:
            return list(found.values())
        if tries > 200 * n:
            raise ValueError(f"{family}/{split} has only {len(found)} different questions, {n} were asked for")
    raise AssertionError("the stream of problems is endless")


def chance_level(family: str, split: str, n: int) -> float:
    """What always giving the commonest answer scores on the first `n` problems of a split, as a share."""
    answers = Counter(problem.answer for problem in distinct_problems(family, split, n, seed=0))
    return answers.most_common(1)[0][1] / n
