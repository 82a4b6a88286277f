"""Every sample of an evaluation as one self-contained element: prompt, completion and grade, to filter and to search.

It works without a network, in a notebook and in the book. Like the token strip, it draws itself in a shadow root: no
theme's style sheet reaches into it, and MathJax does not take a completion's `$` for a formula.
"""

from __future__ import annotations

import pandas as pd

from mathtransfer.pages.templating import fill, to_json

_LIMIT = 2_000_000  # bytes of embedded data, of one element on a page
_REQUIRED = ("benchmark", "question", "sample", "status", "prompt", "completion", "answer")
_TITLES = {
    "prompt": "prompt",
    "completion": "completion",
    "extracted": "extracted answer",
    "answer": "expected answer",
}


def samples_html(samples: pd.DataFrame, where: str, limit: int = _LIMIT) -> str:
    """All samples of an evaluation, to browse by benchmark, by status and by free text.

    At most `limit` bytes are embedded. If the samples are more, only the first of each benchmark are shown, and a line
    says how many of how many. Every benchmark shows equally many, at least one, and a question's second sample only
    after the first sample of all questions.

    Args:
        samples: one row a completion, see `evaluate.evaluate`: `benchmark, question, sample, prompt, completion,
            answer, status`, and perhaps `extracted`. An answer that is missing shows as nothing.
        where: the place of all samples, in words.
        limit: bytes; a page with several elements gives each a smaller one.

    Raises:
        ValueError: a column is missing, or there is no sample.
    """
    if missing := [name for name in _REQUIRED if name not in samples]:
        raise ValueError(f"no column {', '.join(missing)}: samples to browse need {', '.join(_REQUIRED)}")
    if samples.empty:
        raise ValueError("no sample to show: the table of samples is empty")
    titles = {name: title for name, title in _TITLES.items() if name in samples}
    shown = _first(samples[list(dict.fromkeys([*_REQUIRED, *titles]))], limit)
    filters = {name: {"": "all"} | {value: value for value in shown[name]} for name in ("benchmark", "status")}
    counts = {"shown": len(shown), "total": len(samples)}
    return fill("samples.html", **counts, where=where, filters=filters, titles=titles, data=_data(shown))


def _first(table: pd.DataFrame, limit: int) -> pd.DataFrame:
    """The first samples of each benchmark, as many as fit into the limit, in the table's order."""
    # 1. Benchmarks take turns: in each turn every benchmark shows one more sample.
    turns = table.reset_index(drop=True).sort_values(["sample", "question"], kind="stable")
    turns = turns.assign(turn=turns.groupby("benchmark").cumcount()).sort_values("turn", kind="stable")
    # 2. Bytes of each sample: its row, and its prompt unless an earlier sample has brought it.
    prompts = turns["prompt"].map(_size).mask(turns["prompt"].duplicated(), 0)
    sizes = prompts + [_size(record) + 20 for record in _records(turns.drop(columns=["turn", "prompt"]))]
    # 3. As many whole turns as fit, but at least one.
    fits = sizes.cumsum().groupby(turns["turn"]).max() <= limit
    return turns[turns["turn"] < max(1, fits.sum())].sort_index().drop(columns="turn")


def _size(value: object) -> int:
    return len(to_json(value))


def _records(table: pd.DataFrame) -> list[dict[str, str]]:
    names, texts = list(table.columns), table.astype(object).where(table.notna(), "")
    return [dict(zip(names, map(str, row), strict=True)) for row in texts.itertuples(index=False)]


def _data(shown: pd.DataFrame) -> dict:
    """The samples as the script reads them: every prompt is kept once, and a row has its number."""
    numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(shown["prompt"]))}
    rows = [record | {"prompt": numbers[record["prompt"]]} for record in _records(shown)]
    return {"prompts": list(numbers), "rows": rows}
