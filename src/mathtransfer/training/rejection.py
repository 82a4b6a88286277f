"""A teacher's verified responses to mathematics problems, to fine-tune on (Appendix A.3.2).

The paper's teacher is Qwen3-32B, with thinking and without. It answers every problem several times; a response is
verified where it was finished and its final answer is right (rejection sampling), and the first verified ones are kept.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet
from datasets import load_dataset
from scipy import stats
from transformers import PreTrainedTokenizerBase

from mathtransfer.benchmarks import pool
from mathtransfer.benchmarks.grades import CORRECT, NO_ANSWER, NOT_GRADED, WRONG
from mathtransfer.miniature.families import FAMILIES, distinct_problems
from mathtransfer.models import engines, hub, prompting
from mathtransfer.models.engines import Completion, Decoding, Engine
from mathtransfer.models.thinking import THINK_OPENS

MINIATURE = "miniature"
# As Qwen3's model cards recommend, and as evalchemy asks but for the braces (suites/paper/_evalchemy_math.yaml).
INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
# What a field goes by in public data; SimpleRL's sets have several, of which `gt_answer` is the final answer alone.
FIELDS = {"problem": ("problem", "question"), "answer": ("gt_answer", "expected_answer", "answer")}
VERIFIED, UNFINISHED = "verified", "unfinished"
NAMES = {CORRECT: VERIFIED, WRONG: "wrong", NO_ANSWER: "no answer", NOT_GRADED: "not graded"}
OUTCOMES = (*NAMES.values(), UNFINISHED)

Source = str | dict


@dataclass(frozen=True)
class Problems:
    """Problems to ask, where they come from, and how many were left out.

    `table` has `source, level, problem, answer`, the level empty where the data have none; `origins` maps files and hub
    ids to what identifies their content; `removed` counts problems that were there before, and those in each benchmark.
    `instruction` follows each problem, `grader` is a key of `pool.BENCHMARKS`.
    """

    table: pd.DataFrame
    origins: dict[str, str]
    removed: dict[str, int]
    instruction: str
    grader: str


@dataclass(frozen=True)
class Asking:
    """How a problem is put to the teacher; `chat` and `think` are as `generate.chat_renderer` takes them."""

    chat: bool | str = False
    think: bool | None = None
    system: str = ""


def check(samples: int, keep: int, temperature: float, asking: Asking) -> None:
    """Refuse parameters that do not go together.

    Raises:
        ValueError: says which.
    """
    if not 1 <= keep <= samples:
        raise ValueError(f"keep is {keep}: of {samples} samples a problem, from 1 to {samples} can be kept")
    if samples > 1 and temperature == 0:
        raise ValueError(f"at temperature 0 all {samples} samples of a problem are the same: set samples to 1")
    if not asking.chat and (asking.think is not None or asking.system):
        raise ValueError("think and system_prompt are the chat template's: set chat to True, or leave them out")


# --- problems


def read_problems(sources: Source | list[Source], n: int | None, overlap: list[str]) -> Problems:
    """The first `n` problems of each source, each problem once, without those that are in a benchmark.

    Two problems are the same where their texts are, white space aside.

    Args:
        sources: `miniature` for the miniature world's mathematics; or files (`.jsonl`, `.parquet`) and hub ids, each a
            string or a dictionary with `path` and what else `datasets.load_dataset` needs, such as `revision`. Their
            rows have `problem` or `question`; `gt_answer`, `expected_answer` or `answer`; and perhaps `level`.
        n: None for all.
        overlap: files of benchmarks whose problems must not be trained on.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError: a file or a hub data set is not there.
        ValueError: a row lacks a field or has an empty one, or no problem is left.
    """
    if sources == MINIATURE:
        instruction, grader, rows, origins = "", MINIATURE, _miniature(n), {MINIATURE: "made by the package"}
    else:
        instruction, grader, rows, origins = INSTRUCTION, "math500", [], {}  # Math-Verify on the last box
        for source in sources if isinstance(sources, list) else [sources]:
            path, origin, found = _read(source)
            origins[path] = origin
            rows += found
    table = pd.DataFrame(rows, columns=["source", "level", "problem", "answer"])
    texts = table["problem"].map(_bare)
    repeated = texts.duplicated()
    drop, removed = repeated, {"repeated": int(repeated.sum())}
    for path in overlap:
        origins[path] = _origin(path)
        known = {_bare(_field(row, "problem", f"row {i} of {path}")) for i, row in enumerate(_rows(path))}
        removed[path] = int((texts.isin(known) & ~repeated).sum())
        drop = drop | texts.isin(known)
    left = table[~drop].groupby("source", sort=False).head(len(table) if n is None else n)
    if left.empty:
        raise ValueError(f"no problem is left of {len(table)}: removed {removed}, n is {n}")
    return Problems(left.reset_index(drop=True), origins, removed, instruction, grader)


def _miniature(n: int | None) -> list[tuple]:
    if n is None:
        raise ValueError("the miniature's problems have no end: set n to a number")
    families = [name for name, family in FAMILIES.items() if family.group == "math"]
    return [(name, "", p.question, p.answer) for name in families for p in distinct_problems(name, "posttrain", n, 0)]


def _read(source: Source) -> tuple[str, str, list[tuple]]:
    """A source's path or hub id, what identifies its content, and its rows: source, level, problem, answer."""
    options = {"path": source} if isinstance(source, str) else dict(source)
    path = options.pop("path")
    if path.endswith((".jsonl", ".parquet")):
        name, origin, rows = Path(path).stem, _origin(path), _rows(path)
    else:
        commit = hub.resolve_commit(path, options.pop("revision", None), "dataset")
        name, origin = path, f"{path}@{commit}"
        rows = load_dataset(path, revision=commit, **{"split": "train", **options})
    found = []
    for i, row in enumerate(rows):
        problem, answer = (_field(row, field, f"row {i} of {path}") for field in FIELDS)
        level = row.get("level")
        found.append((name, "" if level is None else str(level), problem, answer))
    return path, origin, found


def _origin(path: str) -> str:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}: give a .jsonl or .parquet file, or a hub id (owner/name)")
    return f"sha256 {hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]}"


def _rows(path: str) -> list[dict]:
    if path.endswith(".parquet"):
        return pyarrow.parquet.read_table(path).to_pylist()
    rows = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").split("\n")):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"line {number} of {path} is no JSON: {error}") from error
    return rows


def _field(row: dict, field: str, where: str) -> str:
    """A field of a row, by the first of its names that the row has."""
    name = next((name for name in FIELDS[field] if name in row), None)
    if name is None:
        raise ValueError(f"{where} lacks the field {' or '.join(FIELDS[field])}; it has {', '.join(row)}")
    if not isinstance(row[name], str | int | float) or not str(row[name]).strip():
        raise ValueError(f"{where} has an empty {name}: expected text, found {row[name]!r}; leave such rows out")
    return str(row[name])


def _bare(text: str) -> str:
    return "".join(text.split())


def ask(problems: Problems, asking: Asking, tokenizer: PreTrainedTokenizerBase, budget: int) -> pd.DataFrame:
    """`Problems.table` as it is sent to the teacher: with the columns `prompt` and `ids`, its tokens.

    Args:
        budget: tokens that a prompt and its response may have together.

    Raises:
        FileNotFoundError, ValueError: there is no such chat template, or a prompt fills the budget.
    """
    prompts = [f"{problem}\n{problems.instruction}".strip() for problem in problems.table["problem"]]
    if asking.chat:
        render = prompting.chat_renderer(tokenizer, asking.chat, asking.think)
        system = [{"role": "system", "content": asking.system}] if asking.system else []
        prompts = [render([*system, {"role": "user", "content": prompt}]) for prompt in prompts]
    ids = prompting.encode(tokenizer, prompts)
    prompting.completion_limits(ids, budget, budget)
    return problems.table.assign(prompt=prompts, ids=ids)


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
        asked: from `ask`.
        samples: of each problem.
        grader: a key of `pool.BENCHMARKS`.
        folder: where finished chunks of responses are kept while sampling runs; what is there is not made again.

    Returns:
        One row a sample, a problem's together: `question` (the problem's number), `sample`, `source, level, problem,
        answer, prompt, completion`, `prompt_tokens, tokens`, `extracted` and `status`, one of `OUTCOMES`.
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
    opened = table["prompt"].str.rstrip().str.endswith(THINK_OPENS)
    answers = table.assign(benchmark=grader, response=table["completion"], gold=table["answer"], thinks=opened)[
        finished
    ]
    graded = pool.grade(answers, ("strict",))
    table["extracted"] = graded["strict_extracted"].reindex(table.index)
    table["status"] = graded["strict"].map(NAMES).reindex(table.index, fill_value=UNFINISHED)
    return table


def select(table: pd.DataFrame, keep: int) -> pd.DataFrame:
    """The first `keep` verified responses of each problem: what to fine-tune on.

    Args:
        table: from `sample`.

    Returns:
        `problem, answer, response, source, level, sample, prompt_tokens, tokens`. A response is all that follows the
        problem: where the prompt opens the thinking, the opening tag is part of it.
    """
    kept = table[table["status"] == VERIFIED].groupby("question").head(keep)
    opened = kept["prompt"].str.rstrip().str.endswith(THINK_OPENS)
    kept = kept.assign(response=kept["completion"].mask(opened, f"{THINK_OPENS}\n" + kept["completion"]))
    columns = ["problem", "answer", "response", "source", "level", "sample", "prompt_tokens", "tokens"]
    return kept[columns].reset_index(drop=True)


# --- what came of it


def acceptance(table: pd.DataFrame) -> pd.DataFrame:
    """How much was verified of each source and level.

    Args:
        table: from `sample`.

    Returns:
        `source, level, problems, samples`, a count for each of `OUTCOMES`, `solved` (problems with a verified
        response); and in percent with standard errors over problems `accepted, accepted_stderr` (of samples),
        `solved_share, solved_stderr` (of problems).
    """
    rows = []
    for (source, level), own in table.groupby(["source", "level"], sort=False):
        by_problem = own["status"].eq(VERIFIED).groupby(own["question"])
        shares, solved = 100 * by_problem.mean(), by_problem.any()
        rows.append(
            {"source": source, "level": level, "problems": len(solved), "samples": len(own)}
            | {outcome: int((own["status"] == outcome).sum()) for outcome in OUTCOMES}
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

    The lengths are compared among responses to the same problem, for long responses may be rejected because hard
    problems have them.

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
