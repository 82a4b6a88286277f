"""CoQA: the last question of a conversation about a story, answered in a few words."""

from __future__ import annotations

import re

from mathtransfer.benchmarks.grades import CORRECT, NO_ANSWER, WRONG, Benchmark, Grade
from mathtransfer.models.thinking import split_thinking


def coqa_row(row: dict) -> dict:
    """A conversation with its turns as columns, as the hub has them."""
    others = {annotator: _columns(turns) for annotator, turns in (row.get("additional_answers") or {}).items()}
    turns = {name: _columns(row[name]) for name in ("questions", "answers")}
    return {"story": row["story"], **turns, "additional_answers": others or None}


def _columns(turns: dict | list[dict]) -> dict[str, list]:
    return turns if isinstance(turns, dict) else {name: [turn[name] for turn in turns] for name in turns[0]}


def _grade_coqa(response: str, gold: list[str], thinks: bool, reading: str) -> Grade:
    """One response to the last question of a CoQA conversation.

    Strict: the first line of the answer is one of the annotators' answers, case, articles and punctuation aside
    (SQuAD's exact match). Lenient: one of them stands, as whole words, in what follows the last "A:", or in the last
    paragraph if there is none, taken from the thinking if nothing follows it. The harness reading is the benchmark's
    own: the mean over annotators of the match with any of the others' answers, as a person's answer would be scored, so
    that the best there is can be below 1.
    """
    from lm_eval.tasks.coqa.utils import em
    from transformers.data.metrics.squad_metrics import compute_exact

    answer = response if reading == "harness" else split_thinking(response, thinks)[1]
    if reading == "lenient":
        said = _last_answer(answer if answer.strip() else response)
        followed = float(any(_holds(said, words) for words in gold))
    else:
        said = answer.strip().split("\n")[0]
        followed = em(gold, said) if reading == "harness" else max(compute_exact(words, said) for words in gold)
    if not re.search(r"\w", said):
        return Grade(NO_ANSWER)
    return Grade(CORRECT if followed else WRONG, followed, said)


def _last_answer(text: str) -> str:
    _, marked, rest = text.rpartition("A:")
    return rest.strip() if marked else text.strip().split("\n\n")[-1]


def _holds(text: str, words: str) -> bool:
    """Whether the words stand in the text one after the other, both normalised as in SQuAD's exact match."""
    from transformers.data.metrics.squad_metrics import normalize_answer

    return f" {normalize_answer(words)} " in f" {normalize_answer(text)} "


BENCHMARKS = {"coqa": Benchmark(_grade_coqa, example=("boat", ["boat"]))}
