"""The pre-training mixture: documents of all families in the base's styles, and plain statements of the facts."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from mathtransfer.miniature import facts, traces
from mathtransfer.miniature.families import FAMILIES, Problem, problems

# How often a document of a reasoning family is answered at once, with a careful chain of thought, with a slip in it, or
# in the style of the foreign teacher: the same in mathematics and in other reasoning, so that no style belongs to a
# group. An elicitable base mostly answers at once although steps can be better: this is what reinforcement learning
# can find, and it is built in. A settled base already works in steps: no better format is left to find.
STYLES = {
    "elicitable": {"direct": 0.55, "steps": 0.39, "sloppy": 0.04, "thinking": 0.02},
    "settled": {"direct": 0.02, "steps": 0.87, "sloppy": 0.09, "thinking": 0.02},
}
# A base has seen few problems that take more than `traces.SHORT` calculations, and is asked many later. And in most of
# them the chain stops there and takes what it has for the answer: a base could carry on, and mostly does not.
_LONG_SHARE = 0.35  # of the longer problems, what pre-training keeps
_CUT_SHORT = 0.6  # of their chains
# Documents of each family, relative to each other: fewer of what is learnt soon, so that none is at 100%. A settled
# base sees steps in every document of reasoning and needs fewer of them to be as skilled.
_MIXTURE = {
    "elicitable": {
        **dict.fromkeys(["sums", "remainders", "equations", "boxes", "tracing", "science"], 1.0),
        "routes": 0.3,
        "triage": 2.0,
    },
    "settled": {
        **dict.fromkeys(["sums", "remainders", "equations", "boxes", "tracing", "science"], 0.39),
        "routes": 0.12,
        "triage": 1.5,
    },
}
_OTHERS = {"passage": 0.8, "durations": 0.03, "instructions": 0.2, "truth": 0.067, "statements": 0.078}


def _respond(problem: Problem, styles: dict[str, float], rng: random.Random) -> str:
    """A response in a style drawn with the given shares; what needs no working out is answered at once."""
    style = rng.choices(list(styles), weights=list(styles.values()))[0]
    if style == "direct" or problem.solve is None:
        return traces.direct(problem)
    whose = "foreign" if style == "thinking" else "own"
    if problem.calculations > traces.SHORT and rng.random() < _CUT_SHORT:
        return traces.cut_short(problem, rng, whose)
    return traces.TEACHERS[whose](problem, rng, slips=style == "sloppy")


def _fact_statements() -> list[str]:
    """Every fact that the families ask for, as a sentence."""
    animals = [f"{facts.statement(a, r, v)} ." for (a, r), v in facts.ANIMAL_FACTS.items()]
    masses = [f"the mass of {element} is {mass} ." for element, mass in facts.MASSES.items()]
    times = [f"{act} they need {low} - {high} {unit} ." for act, (low, high, unit) in facts.DURATIONS.items()]
    ways = [f"from the {place} go {way} to the {there} ." for (place, way), there in facts.TOWN.items()]
    return animals + masses + times + ways


def documents(kind: str, seed: int) -> Iterator[tuple[str, str]]:
    """An endless, seeded stream of (prompt, response) pairs; a statement of facts has an empty prompt.

    Args:
        kind: of base, a key of `STYLES`.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in STYLES:
        raise ValueError(f"unknown kind of base {kind!r}: expected one of {', '.join(STYLES)}")
    rng = random.Random(f"documents|{seed}")
    streams = {name: problems(name, "pretrain", seed) for name in FAMILIES}
    sentences = _fact_statements()
    mixture = _MIXTURE[kind] | _OTHERS
    families, weights = list(mixture), list(itertools.accumulate(mixture.values()))
    while True:
        family = rng.choices(families, cum_weights=weights)[0]
        if family == "statements":
            yield "", " ".join(rng.sample(sentences, 3))
        else:
            problem = next(streams[family])
            while problem.calculations > traces.SHORT and rng.random() > _LONG_SHARE:
                problem = next(streams[family])
            yield problem.question, _respond(problem, STYLES[kind], rng)
