"""The pre-training mixture: documents of all families in the base's styles, and plain statements of the facts."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from mathtransfer.miniature import facts, traces
from mathtransfer.miniature.families import FAMILIES, Problem, problems

# How often a document of a group is answered at once, with a careful chain of thought, with a slip in it, or in the
# teacher's style. Mathematics is mostly answered at once, so that the base can do better than it does: this share is
# what reinforcement learning can find, and it is built in.
STYLES = {
    "math": {"direct": 0.67, "steps": 0.22, "sloppy": 0.10, "thinking": 0.01},
    "other": {"direct": 0.55, "steps": 0.35, "sloppy": 0.10},
    "non": {"direct": 1.0},
}
# Documents of each kind, relative to each other.
_MIXTURE = {
    **{name: 1.0 for name, family in FAMILIES.items() if family.group != "non"},
    "passage": 1.2,
    "durations": 0.4,
    "instructions": 0.2,
    "truth": 0.7,
    "statements": 0.2,
}


def _respond(problem: Problem, group: str, rng: random.Random) -> str:
    """A response in one of the styles of the group, drawn with the shares of `STYLES`."""
    styles = STYLES[group]
    style = rng.choices(list(styles), weights=list(styles.values()))[0]
    if style == "direct":
        return traces.direct(problem)
    if style == "steps":
        return traces.steps(problem)
    if style == "sloppy":
        return traces.sloppy_steps(problem, rng)
    return traces.thinking(problem, rng)


def _fact_statements() -> list[str]:
    """Every fact that the families ask for, as a sentence."""
    animals = [f"{facts.statement(a, r, v)} ." for (a, r), v in facts.ANIMAL_FACTS.items()]
    masses = [f"the mass of {element} is {mass} ." for element, mass in facts.MASSES.items()]
    times = [f"{act} they need {low} - {high} {unit} ." for act, (low, high, unit) in facts.DURATIONS.items()]
    return animals + masses + times


def documents(seed: int) -> Iterator[tuple[str, str]]:
    """An endless, seeded stream of (prompt, response) pairs; a statement of facts has an empty prompt."""
    rng = random.Random(f"documents|{seed}")
    streams = {name: problems(name, "pretrain", seed) for name in FAMILIES}
    sentences = _fact_statements()
    kinds, weights = list(_MIXTURE), list(itertools.accumulate(_MIXTURE.values()))
    while True:
        kind = rng.choices(kinds, cum_weights=weights)[0]
        if kind == "statements":
            yield "", " ".join(rng.sample(sentences, 3))
        else:
            problem = next(streams[kind])
            yield problem.question, _respond(problem, FAMILIES[kind].group, rng)
