"""Mathematics problems, in one place for all who train on them (Appendix A.3.1, A.3.2).

RL, rejection sampling and SFT read the same problems, put them to a model in the same words, and leave out the same
ones. The miniature's problems come from its own world; all others are rows of files or of data sets on the hub.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet
from transformers import PreTrainedTokenizerBase

from mathtransfer.json_lines import read_lines
from mathtransfer.miniature import traces
from mathtransfer.miniature.families import Problem
from mathtransfer.models import hub, prompting
from mathtransfer.models.prompting import ChatFormat

Writer = Callable[[str, random.Random], str]  # from a prompt, and a generator that draws one of several responses
_Source = str | dict  # a path, or a dictionary with `path` and more

_MINIATURE = "miniature"
# As Qwen3's model cards recommend, and as evalchemy asks but for the braces (suites/paper/_evalchemy_math.yaml).
_INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
# What a column goes by in public data. SimpleRL's files have several answers: `gt_answer` is the final answer alone.
_COLUMNS = {
    "problem": ("problem", "question"),
    "answer": ("gt_answer", "expected_answer", "answer"),
    "level": ("level",),
    "response": ("response",),
}
_PROMPT = {"max_tokens": 2048, "think": None, "end_of_turn": None}  # a recipe's `prompt`, by default


@dataclass(frozen=True)
class Problems:
    """Problems to train on, where they come from, and how many rows were left out.

    `table` has a row for each problem: `source, level, problem, answer`, and `responses` (a list) if a teacher has
    answered; the level is empty if the data have none. `origins` maps files and hub ids to what identifies their
    content, and `removed` maps reasons to numbers of rows. `instruction` follows each problem, `grader` is a key of
    `pool.BENCHMARKS`, and `known` are the miniature's problems, which its teacher can answer.
    """

    table: pd.DataFrame
    origins: dict[str, str]
    removed: dict[str, int]
    instruction: str
    grader: str
    known: list[Problem] | None = None


# --- reading


def read_problems(sources: _Source | list[_Source], n: int | None, overlap: Collection[str] = ()) -> Problems:
    """The first `n` problems of each source, each once, without those that are in a benchmark.

    Two problems are the same if their texts are, white space aside. Rows without a problem or an answer are left out:
    nothing can be learnt from them. The miniature's problems stay as they were drawn, repeats included, in an order of
    their own; they share none with its benchmarks.

    Args:
        sources: `miniature`; or files (`.jsonl`, `.parquet`) and hub ids, each a string or a dictionary with `path`
            and, if needed, `columns` (our name -> the source's, beyond `_COLUMNS`) and what else
            `datasets.load_dataset` takes, such as `revision`.
        n: None for all; the miniature takes `n` of each family.
        overlap: files of benchmarks whose problems must not be trained on.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError: a file or a hub data set is not there.
        ValueError: a row lacks a column or has no text in it, only some rows have responses, or no problem is left.
    """
    if sources == _MINIATURE:
        return _draw_miniature(n)
    # 1. All rows of all sources, under our names.
    rows, origins = [], {}
    for source in sources if isinstance(sources, list) else [sources]:
        given = {"path": source} if isinstance(source, str) else dict(source)
        path, own = given.pop("path"), given.pop("columns", {})
        columns = _COLUMNS | {column: (name,) for column, name in own.items()}
        name, origins[path], found = _read_source(path, given)
        rows += [{"source": name} | _pick(row, columns, f"row {i} of {path}") for i, row in enumerate(found)]
    table = pd.DataFrame(rows, columns=["source", *_COLUMNS])
    if (answered := table["response"] != "").any() and not answered.all():
        raise ValueError("some problems have a teacher's response and some have none: give data of one kind")
    # 2. Those that nothing can be learnt from, that were there before, or that a benchmark asks.
    table["bare"] = table["problem"].map(_bare)
    empty = (table["problem"] == "") | (table["answer"] == "")
    repeated = table.duplicated(["bare", "response"]) & ~empty
    drop, removed = empty | repeated, {"empty": int(empty.sum()), "repeated": int(repeated.sum())}
    for path in overlap:
        origins[path] = _hash(path)
        asked = {_bare(_pick(row, {"problem": _COLUMNS["problem"]}, path)["problem"]) for row in _read_rows(path)}
        removed[path] = int((table["bare"].isin(asked) & ~empty & ~repeated).sum())
        drop = drop | table["bare"].isin(asked)
    # 3. The first n problems of each source, with all their responses.
    left = table[~drop]
    chosen = left.drop_duplicates("bare").groupby("source", sort=False).head(len(left) if n is None else n)
    if chosen.empty:
        raise ValueError(f"no problem is left of {len(table)}: removed {removed}, n is {n}")
    if answered.any():
        chosen = chosen.assign(responses=chosen["bare"].map(left.groupby("bare")["response"].agg(list)))
    chosen = chosen.drop(columns=["bare", "response"]).reset_index(drop=True)
    return Problems(chosen, origins, removed, _INSTRUCTION, "math500")  # Math-Verify on the last box


def _draw_miniature(n: int | None) -> Problems:
    drawn = traces.mathematics(n, seed=0)
    rows = [(family, "", problem.question, problem.answer) for family, problem in drawn]
    table = pd.DataFrame(rows, columns=["source", "level", "problem", "answer"])
    known = [problem for _, problem in drawn]
    return Problems(table, {_MINIATURE: "made by the package"}, {}, "", _MINIATURE, known)


def _read_source(path: str, options: dict) -> tuple[str, str, Iterable[dict]]:
    """A source's short name, what identifies its content, and its rows."""
    if path.endswith((".jsonl", ".parquet")):
        return Path(path).stem, _hash(path), _read_rows(path)
    from datasets import load_dataset

    commit = hub.resolve_commit(path, options.pop("revision", None), "dataset")
    return path, f"{path}@{commit}", load_dataset(path, revision=commit, **{"split": "train", **options})


def _hash(path: str) -> str:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}: give a .jsonl or .parquet file, or a hub id (owner/name)")
    return f"sha256 {hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]}"


def _read_rows(path: str) -> list[dict]:
    if path.endswith(".parquet"):
        return pyarrow.parquet.read_table(path).to_pylist()  # pandas would make 4 a 4.0 beside an empty cell
    return list(read_lines(path))


def _pick(row: dict, columns: dict[str, Iterable[str]], place: str) -> dict[str, str]:
    """The columns of a row as text, each by the first of its names that the row has; empty text for nothing."""
    picked = {}
    for column, names in columns.items():
        name = next((name for name in names if name in row), None)
        if name is None and column in ("problem", "answer"):
            raise ValueError(f"{place} lacks the column {' or '.join(names)}; it has {', '.join(row)}")
        value = row.get(name)
        if value is not None and not isinstance(value, str | int | float):
            raise ValueError(f"{place} has no text in {name}: found {value!r}")
        picked[column] = "" if pd.isna(value) or not str(value).strip() else str(value)
    return picked


def _bare(text: str) -> str:
    return "".join(text.split())


# --- asking


def ask(
    problems: Problems, tokenizer: PreTrainedTokenizerBase, chat: ChatFormat, budget: int | None = None
) -> pd.DataFrame:
    """`Problems.table` as it is put to a model: with the columns `prompt` (text) and `ids` (its tokens).

    Args:
        budget: tokens that a prompt and its response may have together, if no prompt may fill them.

    Raises:
        FileNotFoundError, ValueError: there is no such chat template, or a prompt fills the budget.
    """
    asked = [f"{problem}\n{problems.instruction}".strip() for problem in problems.table["problem"]]
    prompts = prompting.render(tokenizer, asked, chat)
    ids = prompting.encode(tokenizer, prompts)
    if budget is not None:
        prompting.check_prompts(ids, budget)
    return problems.table.assign(prompt=prompts, ids=ids)


def prompt_options(prompt: dict) -> dict:
    """A recipe's `prompt` with what it leaves open filled in, see `_PROMPT`.

    `max_tokens` is the longest prompt, `think` switches thinking in the chat template, and `end_of_turn` is the token
    that ends a response if it is not the tokenizer's own.

    Raises:
        ValueError: there is an entry that is none of these.
    """
    if unknown := sorted(set(prompt) - set(_PROMPT)):
        raise ValueError(f"unknown prompt entry {', '.join(unknown)}: expected {', '.join(_PROMPT)}")
    return _PROMPT | prompt


def response_ids(tokenizer: PreTrainedTokenizerBase, response: str) -> list[int]:
    """The tokens of a teacher's response, which go on after a prompt's, and the one that ends it."""
    return [*tokenizer(response, add_special_tokens=False).input_ids, tokenizer.eos_token_id]


def training_rows(
    problems: Problems,
    tokenizer: PreTrainedTokenizerBase,
    prompt: dict,
    max_completion: int,
    style: str = "foreign",
    errs: float = 0.0,
) -> tuple[list[dict[str, str]], Writer | None]:
    """What the trainer takes: prompts with answers, and who writes the responses if q is the teacher.

    Args:
        prompt: see `prompt_options`; problems with a longer prompt are left out. Only the miniature's are put to the
            model without its chat template.
        max_completion: response tokens; a teacher's longer responses are left out.
        style, errs: how the miniature's teacher writes, and how often it errs, see `traces.writer_of`.

    Returns:
        Rows with `prompt` and `answer`; and the teacher, None if the problems have no responses. Of several responses
        to a problem it draws one.

    Raises:
        ValueError: the tokenizer has no chat template, no problem is left, or there is no such style.
    """
    prompt = prompt_options(prompt)
    table = ask(problems, tokenizer, ChatFormat(chat=problems.known is None, think=prompt["think"]))
    fits = table["ids"].map(len) <= prompt["max_tokens"]
    if "responses" in table:
        table["responses"] = [
            [text for text in responses if len(response_ids(tokenizer, text)) <= max_completion]
            for responses in table["responses"]
        ]
        fits &= table["responses"].map(len) > 0
    print(f"{fits.sum()} of {len(table)} problems are short enough", flush=True)
    if not fits.any():
        raise ValueError(f"no problem is short enough: prompts up to {prompt['max_tokens']} tokens, see `prompt`")
    rows = table.loc[fits, ["prompt", "answer"]].to_dict("records")
    if "responses" not in table:
        return rows, traces.writer_of(problems.known, style, errs) if problems.known else None
    responses = dict(zip(table["prompt"], table["responses"], strict=True))
    return rows, lambda asked, rng: rng.choice(responses[asked])
