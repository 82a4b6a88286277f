"""Mathematics problems to train on: their prompts, a teacher's responses and the reward (Appendix A.3.1, A.3.2).

The miniature's problems come from its own world. All others are read from files or hub data sets with the columns
`problem` and `answer`, and `response` where a teacher has answered them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from transformers import PreTrainedTokenizerBase

from mathtransfer.benchmarks import pool
from mathtransfer.benchmarks.grades import CORRECT
from mathtransfer.miniature import traces

Teacher = Callable[[str, random.Random], str]
Sources = str | list[str | dict]
MINIATURE = "miniature"
COLUMNS = ("problem", "answer")
PROMPT = {"instruction": "", "max_tokens": 2048, "template": {}, "end_of_turn": None}  # a recipe's `prompt`, by default


def check_prompt(prompt: dict) -> dict:
    """A recipe's `prompt` with what it leaves open filled in, see `PROMPT`.

    `instruction` follows the problem, `max_tokens` is the longest prompt, `template` goes to the chat template, and
    `end_of_turn` is the token that ends a response where this is not the tokenizer's own.

    Raises:
        ValueError: there is an entry that is none of these.
    """
    if unknown := sorted(set(prompt) - set(PROMPT)):
        raise ValueError(f"unknown prompt entry {', '.join(unknown)}: expected {', '.join(PROMPT)}")
    return PROMPT | prompt


def load_problems(
    data: Sources, tokenizer: PreTrainedTokenizerBase, *, problems_each: int, prompt: dict, max_completion: int
) -> tuple[list[dict[str, str]], Teacher | None]:
    """The problems to train on, and who writes the responses where q is the teacher.

    Args:
        data: `miniature`, or sources, see `read_problems`.
        problems_each: problems of each of the miniature's mathematical families.
        prompt: see `check_prompt`. Problems with a longer prompt are left out.
        max_completion: response tokens; a teacher's longer responses are left out.

    Returns:
        Rows with `prompt` and `answer`, each prompt once; and the teacher, None where the sources have no responses. Of
        several responses to a problem it draws one.

    Raises:
        ValueError: no problem is left.
    """
    if data == MINIATURE:
        made = traces.mathematics(problems_each, seed=0)
        return [{"prompt": p.question, "answer": p.answer} for p in made], traces.teacher_of(made)
    prompt = check_prompt(prompt)
    table = read_problems(data)
    found = len(table)
    table["prompt"] = chat_prompts(tokenizer, list(table["problem"]), prompt["instruction"], prompt["template"])
    table = table[_token_counts(tokenizer, table["prompt"]) <= prompt["max_tokens"]]
    if "response" in table:
        table = table[_token_counts(tokenizer, table["response"]) < max_completion]  # one more token ends it
    print(f"{len(table)} of {found} rows are short enough, {table['prompt'].nunique()} different prompts", flush=True)
    if table.empty:
        raise ValueError(f"no problem is short enough: prompts up to {prompt['max_tokens']} tokens, see `prompt`")
    rows = table[["prompt", "answer"]].drop_duplicates("prompt").to_dict("records")
    if "response" not in table:
        return rows, None
    responses = table.groupby("prompt")["response"].agg(list).to_dict()
    return rows, lambda asked, rng: rng.choice(responses[asked])


def read_problems(sources: Sources) -> pd.DataFrame:
    """`problem`, `answer` and, where a teacher has answered them, `response`: all sources, one below the other.

    Args:
        sources: each a parquet or JSON-lines file, a hub data set's id, or a dictionary with either as `path`, with
            `columns` (our name -> the source's) and, for the hub, what else `datasets.load_dataset` needs.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: there is no source, a column is missing, or only some sources have responses.
    """
    if not sources:
        raise ValueError("no data: give parquet or JSON-lines files or hub ids with problem and answer")
    tables = [_read_source(source) for source in ([sources] if isinstance(sources, str) else sources)]
    if len({"response" in table for table in tables}) > 1:
        raise ValueError("some sources have a teacher's responses and some have not: give sources of one kind")
    return pd.concat(tables, ignore_index=True)


def _read_source(source: str | dict) -> pd.DataFrame:
    given = {"path": source} if isinstance(source, str) else dict(source)
    path, columns = given.pop("path"), given.pop("columns", {})
    table = _read_file(Path(path)) if Path(path).suffix in (".parquet", ".jsonl") else _read_hub(path, given)
    table = table.rename(columns={theirs: ours for ours, theirs in columns.items()})
    if missing := [name for name in COLUMNS if name not in table]:
        raise ValueError(f"{path} has no column {' and '.join(missing)}: it has {', '.join(table.columns)}")
    return table[[name for name in (*COLUMNS, "response") if name in table]].astype(str)


def _read_file(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"no data file {path}: give a parquet or JSON-lines file or a hub id")
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_json(path, lines=True, dtype=False)


def _read_hub(name: str, more: dict) -> pd.DataFrame:
    from datasets import load_dataset

    return load_dataset(name, split="train", **more).to_pandas()


def chat_prompts(
    tokenizer: PreTrainedTokenizerBase, problems: list[str], instruction: str, template: dict
) -> list[str]:
    """Each problem with the instruction below it, as a user's turn in the tokenizer's chat template.

    Raises:
        ValueError: the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise ValueError("the tokenizer has no chat template: take a model that has one")
    turns = [[{"role": "user", "content": f"{problem}\n{instruction}".strip()}] for problem in problems]
    return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **template)


def _token_counts(tokenizer: PreTrainedTokenizerBase, texts: pd.Series) -> pd.Series:
    return texts.map(lambda text: len(tokenizer(text).input_ids))


@contextmanager
def grader(data: Sources) -> Iterator[Callable[[str, str], bool]]:
    """Whether a response gives the answer: word for word in the miniature, in its last box by Math-Verify elsewhere.

    A response that takes too long, takes too much memory or brings its grader down is wrong.
    """
    benchmark = MINIATURE if data == MINIATURE else "math500"
    with pool.open_pool([benchmark]) as grade:
        yield lambda response, answer: grade([pool.Answer(benchmark, response, answer)])[0].status == CORRECT
