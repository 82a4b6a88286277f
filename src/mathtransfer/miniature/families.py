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

LARGEST = 99  # the vocabulary has the numbers 0 to 99
_FEWEST, _MOST = 2, 6  # calculations that a reasoning problem takes

_Value = int | str  # a number, a place, or yes and no
_Calculate = Callable[[_Value, str, _Value], _Value]

# Twentieths of all problems, by hash: most for the base, fewer for what is learnt or asked later.
_SPLITS = {
    "pretrain": range(0, 12),
    "posttrain": range(12, 15),
    "validation": range(15, 17),
    "evaluation": range(17, 20),
}


@dataclass(frozen=True)
class Problem:
    """One question with its answer.

    `key` is what makes two problems the same one, their numbers or their text: which split a problem is in is a hash of
    it. `solve` works the answer out with a given calculator (None: there is nothing to work out), in so many
    `calculations`.
    """

    question: str
    key: str
    answer: str
    solve: Callable[[_Calculate], _Value] | None = field(default=None, compare=False)
    calculations: int = 0


_OPERATIONS: dict[str, _Calculate] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left // right,
    "mod": lambda left, right: left % right,
    "go": lambda left, right: facts.TOWN[left, right],
    "and": lambda left, right: _yes_or_no(left == "yes" and right == "yes"),
    "or": lambda left, right: _yes_or_no(left == "yes" or right == "yes"),
    "without": lambda left, right: _yes_or_no(left == "yes" and right == "no"),
}


def calculate(left: _Value, operator: str, right: _Value) -> _Value:
    """One step of working something out: arithmetic, a way through the town, or logic; `mod` is the remainder."""
    return _OPERATIONS[operator](left, right)


def _yes_or_no(true: bool) -> str:
    return "yes" if true else "no"


def _worked(question: str, key: tuple, solve: Callable[[_Calculate], _Value]) -> Problem:
    """A reasoning problem: its answer is what `solve` gives without a slip."""
    done: list[str] = []

    def counted(left: _Value, operator: str, right: _Value) -> _Value:
        done.append(operator)
        return calculate(left, operator, right)

    answer = str(solve(counted))
    return Problem(question, " ".join(map(str, key)), answer, solve, len(done))


def _fold(calc: _Calculate, start: _Value, operations: list[tuple[str, _Value]]) -> _Value:
    """Work operations off from left to right."""
    for operator, right in operations:
        start = calc(start, operator, right)
    return start


def _terms(rng: random.Random, total: int, count: int) -> list[tuple[str, int]]:
    """Numbers to add and to take away, so that the total stays from 1 to `LARGEST`."""
    terms = []
    for _ in range(count):
        operator = rng.choice("+-")
        if total < 4 or total > LARGEST - 2:
            operator = "+" if total < 4 else "-"
        number = rng.randint(2, min(49, LARGEST - total if operator == "+" else total - 1))
        total = calculate(total, operator, number)
        terms.append((operator, number))
    return terms


def _joined(terms: list[tuple[str, _Value]]) -> str:
    return " ".join(f"{operator} {number}" for operator, number in terms)


def _products(rng: random.Random) -> list[tuple[int, int]]:
    """One to three pairs of numbers to multiply, whose products add up to `LARGEST` at most."""
    pairs: list[tuple[int, int]] = []
    for left in range(rng.randint(1, 3), 0, -1):  # products that are still to come, this one too
        room = (LARGEST - sum(a * b for a, b in pairs)) // left
        a = rng.randint(2, 9 if room >= 18 else room // 2)
        pairs.append((a, rng.randint(2, min(9, room // a))))
    return pairs


def _summed(calc: _Calculate, pairs: list[tuple[int, int]]) -> _Value:
    """The sum of products, one product after the other."""
    total = calc(pairs[0][0], "*", pairs[0][1])
    for a, b in pairs[1:]:
        total = calc(total, "+", calc(a, "*", b))
    return total


# --- mathematics -----------------------------------------------------------------------------------------------------


def _sums(rng: random.Random) -> Problem:
    """Sums and differences of three to seven numbers."""
    start = rng.randint(2, 49)
    terms = _terms(rng, start, rng.randint(_FEWEST, _MOST))
    return _worked(f"what is {start} {_joined(terms)} ?", (start, *terms), lambda calc: _fold(calc, start, terms))


def _remainders(rng: random.Random) -> Problem:
    """The remainder of a product, with up to four numbers added to it and taken away."""
    a, b, m = rng.randint(2, 9), rng.randint(2, 9), rng.randint(4, 9)
    terms = _terms(rng, a * b, rng.randint(_FEWEST - 2, _MOST - 2))
    return _worked(
        f"what is the remainder of {' '.join(filter(None, [f'{a} * {b}', _joined(terms)]))} divided by {m} ?",
        (a, b, *terms, m),
        lambda calc: calc(_fold(calc, a, [("*", b), *terms]), "mod", m),
    )


def _equations(rng: random.Random) -> Problem:
    """Linear equations in one unknown with a whole solution; the right side has one number to five."""
    a = rng.randint(2, 9)
    x = rng.randint(2, 90 // a)
    b = rng.randint(2, LARGEST - a * x)
    back = _terms(rng, a * x + b, rng.randint(_FEWEST - 2, _MOST - 2))  # from the left side's value to the first number
    start = _fold(calculate, a * x + b, back)
    terms = [("-" if operator == "+" else "+", number) for operator, number in reversed(back)]
    return _worked(
        f"find x if {a} * x + {b} = {' '.join(filter(None, [str(start), _joined(terms)]))} .",
        (a, b, start, *terms),
        lambda calc: calc(_fold(calc, start, [*terms, ("-", b)]), "/", a),
    )


def _boxes(rng: random.Random) -> Problem:
    """Word problems: boxes of one to three sizes, and some things given away."""
    pairs = _products(rng)
    given = rng.randint(1, sum(a * b for a, b in pairs) - 1)
    name, thing = rng.choice(facts.NAMES), rng.choice(facts.THINGS)
    boxes = " and ".join([f"{pairs[0][0]} boxes of {pairs[0][1]} {thing}", *(f"{a} of {b}" for a, b in pairs[1:])])
    return _worked(
        f"{name} has {boxes} . {name} left {given} . how many {thing} are left ?",
        (*pairs, given),
        lambda calc: calc(_summed(calc, pairs), "-", given),
    )


# --- other reasoning -------------------------------------------------------------------------------------------------


def _tracing(rng: random.Random) -> Problem:
    """What a program prints: the sums and differences of mathematics under variable names."""
    start = rng.randint(2, 49)
    terms = _terms(rng, start, rng.randint(_FEWEST, _MOST))
    names = rng.sample(facts.VARIABLES, len(terms) + 1)
    lines = [f"{names[0]} = {start}"]
    for (operator, number), before, after in zip(terms, names, names[1:], strict=False):
        lines.append(f"{after} = {before} {operator} {number}")
    return _worked(f"{' ; '.join(lines)} ; print {names[-1]}", (start, *terms), lambda calc: _fold(calc, start, terms))


def _science(rng: random.Random) -> Problem:
    """The mass of a box with one to three substances: recalled facts, products and sums."""
    count = rng.randint(1, 3)
    names, numbers = rng.sample(sorted(facts.MASSES), count), [rng.randint(2, 12 // count) for _ in range(count)]
    pairs = [(number, facts.MASSES[name]) for number, name in zip(numbers, names, strict=True)]
    box = rng.randint(1, LARGEST - sum(a * b for a, b in pairs))
    things = " and ".join(f"{number} {name}" for number, name in zip(numbers, names, strict=True))
    return _worked(
        f"what is the mass of {things} in a box of {box} ?",
        (*zip(numbers, names, strict=True), box),
        lambda calc: calc(_summed(calc, pairs), "+", box),
    )


def _routes(rng: random.Random) -> Problem:
    """Where a walk through the town ends: a map that only memory has, and walls."""
    start, ways = rng.choice(facts.PLACES), rng.choices(facts.DIRECTIONS, k=rng.randint(_FEWEST, _MOST))
    return _worked(
        f"from the {start} go {' , '.join(ways)} . where are you ?",
        (start, *ways),
        lambda calc: _fold(calc, start, [("go", way) for way in ways]),
    )


def _triage(rng: random.Random) -> Problem:
    """Whether a patient is given a drug: logic on symptoms, from left to right. Half of the answers are yes."""
    wanted, count = rng.choice(["yes", "no"]), rng.randint(_FEWEST, _MOST) + 1
    while True:
        symptoms = rng.sample(facts.SYMPTOMS, count)
        has = {symptom: rng.choice(["yes", "no"]) for symptom in symptoms}
        rule = [(rng.choice(["and", "or", "without"]), symptom) for symptom in rng.sample(symptoms, len(symptoms))]
        start, operations = has[rule[0][1]], [(operator, has[symptom]) for operator, symptom in rule[1:]]
        if _fold(calculate, start, operations) == wanted:
            break
    patient = " , ".join(f"{symptom} {value}" for symptom, value in has.items())
    return _worked(
        f"{patient} . give {rng.choice(facts.DRUGS)} if {rule[0][1]} {_joined(rule[1:])} ?",
        (*has.items(), rule[0][1], *rule[1:]),
        lambda calc: _fold(calc, start, operations),
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
    """Which of two times is usual for an activity? The wrong one has another unit or another number."""
    activity = rng.choice(sorted(facts.DURATIONS))
    low, high, unit = facts.DURATIONS[activity]
    number = rng.randint(low, high)
    if rng.random() < 0.5:
        wrong = f"{number} {rng.choice([other for other in facts.UNITS if other != unit])}"
    else:
        wrong = f"{rng.choice([*range(1, low), *range(high + 1, min(LARGEST, 3 * high + 3) + 1)])} {unit}"
    first, second = rng.sample([right := f"{number} {unit}", wrong], 2)
    asked = rng.choice(facts.USUAL_WORDINGS).format(activity=activity, first=first, second=second)
    return Problem(asked, asked, right)


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
    """Which of two statements about an animal is true?"""
    animal, (relation, values) = rng.choice(facts.ANIMALS), rng.choice(sorted(facts.RELATIONS.items()))
    right = facts.ANIMAL_FACTS[animal, relation]
    first, second = rng.sample([right, rng.choice([value for value in values if value != right])], 2)
    asked = rng.choice(facts.TRUE_WORDINGS).format(statement=facts.statement(animal, relation, f"{first} or {second}"))
    return Problem(asked, asked, right)


@dataclass(frozen=True)
class _Family:
    """A task family: its name, group, how to draw a problem, and the benchmark of the paper that it stands for.

    `likeness` says what the two have in common, and `offered` how many answers a question offers, if it does. A family
    of other reasoning is `near` mathematics if it shares operations with it, `far` if it shares none (`distance`).
    """

    name: str
    group: str
    draw: Callable[[random.Random], Problem]
    counterpart: str
    likeness: str
    offered: int = 0
    distance: str = ""


FAMILIES = {
    f.name: f
    for f in (
        _Family("sums", "math", _sums, "math500", "short problems with one numeric answer"),
        _Family("remainders", "math", _remainders, "aime24", "number theory, a small whole number as the answer"),
        _Family("equations", "math", _equations, "aime25", "algebra, a whole number as the answer"),
        _Family("boxes", "math", _boxes, "olympiadbench", "a problem in words that must be put into arithmetic"),
        _Family("tracing", "other", _tracing, "livecodebench_v2", "what a program does", distance="near"),
        _Family("science", "other", _science, "gpqa_diamond", "recalled science, then a calculation", distance="near"),
        _Family("routes", "other", _routes, "acpbench_mcq", "states, moves and where they lead", distance="far"),
        _Family("triage", "other", _triage, "headqa", "a question from a health-care examination", 2, distance="far"),
        _Family("passage", "non", _passage, "coqa", "a question about a passage, answered with its words"),
        _Family("durations", "non", _durations, "mc_taco", "which time is plausible", 2),
        _Family("instructions", "non", _instructions, "ifeval", "a form that can be checked, all or nothing"),
        _Family("truth", "non", _truth, "halueval", "what is true and what is made up", 2),
    )
}


def _split_of(family: str, problem: Problem) -> str:
    """The one split a problem belongs to: a hash of its family and content, the same on every machine."""
    digest = hashlib.sha256(f"{family}|{problem.key}".encode()).digest()
    twentieth = int.from_bytes(digest[:4], "big") % 20
    return next(name for name, part in _SPLITS.items() if twentieth in part)


def problems(family: str, split: str, seed: int) -> Iterator[Problem]:
    """An endless, seeded stream of the problems of one family and split.

    Raises:
        ValueError: the family or the split does not exist.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}: expected one of {', '.join(FAMILIES)}")
    if split not in _SPLITS:
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(_SPLITS)}")
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
    """The larger share of two: what guessing one of the offered answers scores, or always giving the commonest answer.

    Args:
        n: the problems of the split to count the answers of.
    """
    answers = Counter(problem.answer for problem in distinct_problems(family, split, n, seed=0))
    offered = FAMILIES[family].offered
    return max(answers.most_common(1)[0][1] / n, 1 / offered if offered else 0.0)
