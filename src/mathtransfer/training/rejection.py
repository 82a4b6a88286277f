"""A teacher's verified responses to mathematics problems, to fine-tune on (Appendix A.3.2).

The paper's teacher is Qwen3-32B, with thinking and without. It answers every problem several times; a response is
verified if it was finished and its final answer is right (rejection sampling), and the first verified ones are kept.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import pandas as pd
from scipy import stats

from mathtransfer.benchmarks import pool
from mathtransfer.benchmarks.grades import CORRECT, NO_ANSWER, NOT_GRADED, WRONG
from mathtransfer.models import engines
from mathtransfer.models.engines import Completion, Decoding, Engine
from mathtransfer.models.prompting import ChatFormat
from mathtransfer.models.thinking import THINK_OPENS, opens_thinking

VERIFIED, _UNFINISHED = "verified", "unfinished"
_NAMES = {CORRECT: VERIFIED, WRONG: "wrong", NO_ANSWER: "no answer", NOT_GRADED: "not graded"}
_OUTCOMES = (*_NAMES.values(), _UNFINISHED)


def check(samples: int, keep: int, temperature: float, chat: ChatFormat) -> None:
    """Refuse parameters that do not go together.

    Raises:
        ValueError: says which.
    """
    if not 1 <= keep <= samples:
        raise ValueError(f"keep is {keep}: of {samples} samples a problem, from 1 to {samples} can be kept")
    if samples > 1 and temperature == 0:
        raise ValueError(f"at temperature 0 all {samples} samples of a problem are the same: set samples to 1")
    if not chat.chat and (chat.think is not None or chat.system):
        raise ValueError("think and system_prompt are the chat template's: set chat to True, or leave them out")


# --- responses


def sample(
    engine: Engine,
    asked: pd.DataFrame,
    *,
    samples: int,
    grader: str,
    temperature: float,
    top_p: float,
    seed: int,
    folder: Path,
) -> pd.DataFrame:
    """Let the teacher answer every problem several times, and verify what it finished.

    Args:
        asked: from `problems.ask`.
        samples: of each problem.
        grader: a key of `pool.BENCHMARKS`.
        folder: where finished chunks of responses are kept while sampling runs; what is there is not made again.

    Returns:
        One row a sample, a problem's together: `question` (the problem's number), `sample`, `source, level, problem,
        answer, prompt, completion`, `prompt_tokens, tokens`, `extracted` and `status`, such as `verified`.
    """
    decoding = Decoding(engine.budget, temperature, top_p)

    def work(chunk: list[list[int]], start: int) -> list[Completion]:
        made = engine.complete(chunk, decoding, zlib.crc32(f"{seed}|teacher|{start}".encode()))
        return [replace(completion, logprobs=[]) for completion in made]  # as large as all else and of no use here

    requests = [ids for ids in asked["ids"] for _ in range(samples)]
    made = engines.in_chunks(requests, work, folder, "responses")
    table = asked.assign(question=range(len(asked)), prompt_tokens=asked["ids"].map(len)).drop(columns="ids")
    table = table.loc[table.index.repeat(samples)].reset_index(drop=True)
    table["sample"] = table.groupby("question").cumcount()
    table["completion"] = [completion.text for completion in made]
    table["tokens"] = [len(completion.tokens) for completion in made]
    finished = pd.Series([completion.finished for completion in made])
    # A response begins in thought if its own prompt opens the thinking; a tag in another response says nothing.
    opened = table["prompt"].map(opens_thinking)
    answers = table.assign(benchmark=grader, response=table["completion"], gold=table["answer"], thinks=opened)
    graded = pool.grade(answers[finished], ("strict",))
    table["extracted"] = graded["strict_extracted"].reindex(table.index)
    table["status"] = graded["strict"].map(_NAMES).reindex(table.index, fill_value=_UNFINISHED)
    return table


def select(table: pd.DataFrame, keep: int) -> pd.DataFrame:
    """The first `keep` verified responses of each problem: what to fine-tune on.

    Args:
        table: from `sample`.

    Returns:
        `problem, answer, response, source, level, sample, prompt_tokens, tokens`. A response is all that follows the
        problem: if the prompt opens the thinking, the opening tag is part of it.
    """
    kept = table[table["status"] == VERIFIED].groupby("question").head(keep)
    opened = kept["prompt"].map(opens_thinking).astype(bool)
    kept = kept.assign(response=kept["completion"].mask(opened, f"{THINK_OPENS}\n" + kept["completion"]))
    columns = ["problem", "answer", "response", "source", "level", "sample", "prompt_tokens", "tokens"]
    return kept[columns].reset_index(drop=True)


# --- what came of it


def acceptance(table: pd.DataFrame) -> pd.DataFrame:
    """How much was verified of each source and level.

    Args:
        table: from `sample`.

    Returns:
        `source, level, problems, samples`; the numbers of samples that are `verified, wrong, no answer, not graded,
        unfinished`; `solved`, the number of problems with a verified response; `accepted`, the percentage of samples
        that are verified, and `solved_share`, that of problems that are solved, with `accepted_stderr` and
        `solved_stderr`, their standard errors over problems.
    """
    rows = []
    for (source, level), own in table.groupby(["source", "level"]):
        by_problem = own["status"].eq(VERIFIED).groupby(own["question"])
        shares, solved = 100 * by_problem.mean(), by_problem.any()
        rows.append(
            {"source": source, "level": level, "problems": len(solved), "samples": len(own)}
            | {outcome: int((own["status"] == outcome).sum()) for outcome in _OUTCOMES}
            | {"solved": int(solved.sum())}
            | {"accepted": shares.mean(), "accepted_stderr": shares.sem()}
            | {"solved_share": 100 * solved.mean(), "solved_stderr": 100 * solved.astype(float).sem()}
        )
    return pd.DataFrame(rows)


def lengths(table: pd.DataFrame) -> pd.DataFrame:
    """Median and quartiles of the verified responses' tokens and the others', by source and level.

    Args:
        table: from `sample`.

    Returns:
        `row`, `setting` (`verified` before `rejected`), `low, median, high` and `samples`.
    """
    named = pd.DataFrame({"row": labels(table), "setting": _decision(table), "tokens": table["tokens"]})
    grouped = named.groupby(["row", "setting"], sort=False)["tokens"]
    found = grouped.quantile([0.25, 0.5, 0.75]).unstack().set_axis(["low", "median", "high"], axis=1)
    return found.assign(samples=grouped.size()).sort_index(level="setting", ascending=False).reset_index()


def labels(table: pd.DataFrame) -> pd.Series:
    """What charts call a source and level."""
    return table["source"].where(table["level"] == "", table["source"] + ", level " + table["level"])


def selection(table: pd.DataFrame) -> list[str]:
    """What selection does to problems and lengths, in sentences.

    The lengths are compared among responses to the same problem: hard problems have long responses, which would
    otherwise seem to be rejected for their length.

    Args:
        table: from `sample`.
    """
    found = acceptance(table)
    said = [
        f"{found['verified'].sum():,} of {len(table):,} responses are verified, and {found['solved'].sum():,} of "
        f"{found['problems'].sum():,} problems have a verified one."
    ]
    most, least = found.loc[found["solved_share"].idxmax()], found.loc[found["solved_share"].idxmin()]
    if most["solved_share"] > least["solved_share"]:
        names = labels(found)
        said.append(
            f"Selection changes which problems there are: {most['solved_share']:.0f}% of those of {names[most.name]} "
            f"have a verified response, {least['solved_share']:.0f}% of those of {names[least.name]}."
        )
    means = table.groupby(["question", _decision(table)])["tokens"].mean().unstack().dropna()
    if len(means) < 2 or means.shape[1] < 2:
        return [*said, "Too few problems have both a verified and a rejected response to compare their lengths."]
    by_problem = means[VERIFIED] - means["rejected"]
    low, high = stats.ttest_1samp(by_problem, 0).confidence_interval()
    verdict = "shorter" if high < 0 else "longer" if low > 0 else "neither clearly shorter nor clearly longer"
    said.append(
        f"Of the same problem, verified responses are {verdict} than rejected ones: {by_problem.mean():+.1f} tokens "
        f"(95% interval {low:+.1f} to {high:+.1f}; {len(means):,} problems have both)."
    )
    return said


def _decision(table: pd.DataFrame) -> pd.Series:
    return table["status"].where(table["status"] == VERIFIED, "rejected").rename("decision")
