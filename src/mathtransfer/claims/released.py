"""The released layer: what the authors' own generations and results say."""

from __future__ import annotations

import math
import re
from functools import partial

import numpy as np
import pandas as pd

from mathtransfer.benchmarks.grades import CORRECT
from mathtransfer.claims.intervals import (
    Array,
    Interval,
    mean_difference_interval,
    quantile_interval,
    resample_questions,
    t_interval,
    without_interval,
)
from mathtransfer.claims.ledger import Evidence, from_table
from mathtransfer.claims.token_drift import cost_of_markers, kl_ratio, reasoning_markers_share
from mathtransfer.paper import reported

_RL, _THINK, _ = reported.CONTROLLED_STUDY
_DRAWS = 2000
LEAST_GRADED = 100  # of either kind of answer, before accuracies are compared
# What opens a sentence of someone who thinks aloud. But and So are the paper's examples (Section 4.2, Figure 5); the
# others are ours, the words by which long chains of thought are known. Inside a sentence they are ordinary words, so
# they count at its beginning only, and "Let me know" offers help. "Assistant:" is how RL opens many responses.
_MARKER = re.compile(
    r"(?:^(?:Assistant:)?|[.!?\n])\W*(?:wait|let me(?! know)|let['’]s|first|so|but|therefore|hmm|alternatively|okay)\b",
    re.IGNORECASE,
)


def paired_difference(graded: pd.DataFrame, reading: str) -> tuple[int, float, float, Interval]:
    """RL against SFT by one reading of the responses to the same problems.

    Args:
        graded: `model, question`, and a status in the column `reading`. Problems that one model has no row for are left
            out.

    Returns:
        The number of problems, the percentages that RL and SFT solved, and RL minus SFT with a bootstrap over problems.
    """
    accuracy = _by_question(graded.assign(hit=100.0 * (graded[reading] == CORRECT)), "hit", [_RL, _THINK])
    difference = quantile_interval(*_resampled_difference(accuracy))
    return accuracy.shape[1], *accuracy.mean(1), difference


def _by_question(table: pd.DataFrame, column: str, models: list[str]) -> Array:
    """One value a question of each of two models, `(2, questions)`; a question that one of them lacks is left out."""
    wide = table.pivot(index="model", columns="question", values=column).reindex(models)
    return wide.dropna(axis=1).to_numpy(float)


def _resampled_difference(values: Array, seed: int = 0) -> tuple[float, Array]:
    """The first model's mean minus the second's, and the same in a bootstrap over questions, `(draws,)`."""
    drawn = resample_questions([values], _DRAWS, seed)[..., 0]
    return float(values[0].mean() - values[1].mean()), drawn[:, 0] - drawn[:, 1]


def reasoning_markers(responses: pd.DataFrame) -> pd.DataFrame:
    """How many words and reasoning markers a response has: `words, markers`, with the index of `responses`."""
    text = responses["response"]
    markers = text.map(lambda own: len(_MARKER.findall(own)))
    return pd.DataFrame({"words": text.str.split().str.len(), "markers": markers})


def marker_differences(table: pd.DataFrame) -> pd.DataFrame:
    """Reasoning markers and length of SFT's responses against RL's to the same prompts, for T7.

    Args:
        table: `model, question, words, markers` of one benchmark.

    Returns:
        `what, sft, rl, value, low, high`: the means, and SFT minus RL with a bootstrap over questions. Of the number of
        words it is the geometric mean, and SFT over RL.
    """
    counted = table.assign(
        holds=100.0 * (table["markers"] > 0),
        rate=100.0 * table["markers"] / table["words"],
        log_words=np.log(table["words"]),
    )
    rows = []
    for what, column in [
        ("responses with a marker (%), difference", "holds"),
        ("markers per hundred words, difference", "rate"),
        ("words, ratio", "log_words"),
    ]:
        values = _by_question(counted, column, [_THINK, _RL])
        found = [*values.mean(1), *quantile_interval(*_resampled_difference(values))]
        rows.append((what, *(np.exp(found) if column == "log_words" else found)))
    return pd.DataFrame(rows, columns=["what", "sft", "rl", "value", "low", "high"])


def accuracy_by_marker(table: pd.DataFrame, reading: str) -> pd.DataFrame:
    """Whether SFT does worse on the questions that it answers with a reasoning marker, for T7.

    RL's accuracy on the same questions stands for how hard they are. The last row is the difference of the differences.

    Args:
        table: `model, question, markers, <reading>_followed` of one benchmark; of both models and both kinds of
            question.

    Returns:
        `where, questions, sft, rl, value, low, high`: accuracies in percent, and SFT minus RL in points with a
        bootstrap over the questions of each kind.
    """
    rows, gaps = [], []
    for seed, (where, values) in enumerate(_by_marker(table, reading).items()):
        gaps.append(_resampled_difference(values, seed))
        rows.append((where, values.shape[1], *values.mean(1), *quantile_interval(*gaps[-1])))
    rows.append(("difference", rows[0][1] + rows[1][1], np.nan, np.nan, *quantile_interval(*_less(*gaps))))
    return pd.DataFrame(rows, columns=["where", "questions", "sft", "rl", "value", "low", "high"])


def _by_marker(table: pd.DataFrame, reading: str) -> dict[str, Array]:
    """SFT's and RL's accuracy in percent, `(2, questions)`, where SFT's response has a marker and where it has none."""
    table = table.dropna(subset=f"{reading}_followed")
    table = table.assign(accuracy=100.0 * table[f"{reading}_followed"].astype(float))
    marked = table["question"].isin(table.loc[(table["model"] == _THINK) & (table["markers"] > 0), "question"])
    parts = {"SFT's response has a marker": table[marked], "it has none": table[~marked]}
    return {where: _by_question(part, "accuracy", [_THINK, _RL]) for where, part in parts.items()}


def _less(a: tuple[float, Array], b: tuple[float, Array]) -> tuple[float, Array]:
    return a[0] - b[0], a[1] - b[1]


def evidence() -> list[Evidence]:
    """T1 on the divergences in the authors' files: one prompt set, so one ratio, which leaves no interval."""
    kl = reported.table("kl_reported")
    kl = kl[kl["where"].str.startswith("released")].set_index("model")["kl"]
    return from_table("released KL on IFEval, think (SFT)", kl_ratio(kl[[_THINK]].to_numpy(), kl[[_RL]].to_numpy()))


def evidence_on_markers(table: pd.DataFrame) -> list[Evidence]:
    """T7 on CoQA: whether SFT's answers hold more markers, and, if enough are graded, whether that costs accuracy.

    Args:
        table: as for `accuracy_by_marker` with the reading `strict`, of CoQA alone.
    """
    sft, rl = _by_question(table.assign(holds=100.0 * (table["markers"] > 0)), "holds", [_THINK, _RL])
    found = from_table(f"CoQA, {len(sft)} questions", reasoning_markers_share(partial(t_interval, sft - rl)))
    kinds = list(_by_marker(table, "strict").values()) if table["strict_followed"].notna().any() else []
    graded = [values.shape[1] for values in kinds]
    if len(graded) == 2 and min(graded) >= LEAST_GRADED:
        cost = partial(mean_difference_interval, *(of_sft - of_rl for of_sft, of_rl in kinds))
    else:
        cost = partial(without_interval, math.nan)
    return found + from_table(f"CoQA, {sum(graded)} graded questions", cost_of_markers(cost))
