"""Every sample of an evaluation as one self-contained element: prompt, completion and grade, to filter and to search.

It works without a network, in a notebook and in the book, and draws itself in a shadow root as `strip` does, where no
style sheet of a theme reaches it and no MathJax takes a completion's `$` for a formula.
"""

from __future__ import annotations

import json
from html import escape

import pandas as pd

from mathtransfer.benchmarks.grades import CORRECT, NO_ANSWER, WRONG
from mathtransfer.pages.charts import COLOURS

LIMIT = 2_000_000  # bytes of embedded data
FIELDS = ("benchmark", "question", "sample", "status", "prompt", "completion", "answer")
TEXTS = {
    "prompt": "prompt",
    "completion": "completion",
    "extracted": "extracted answer",
    "answer": "expected answer",
}

# White in the book's dark mode too, as the charts and the token strip are.
STYLE = f"""
:host {{ display: block; color-scheme: light; }}
.card {{ box-sizing: border-box; padding: 0.9rem 1rem; border: 1px solid #d0d0d0; border-radius: 6px; background: white;
  color: #111111; font: 0.875rem/1.5 system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif;
  text-align: left; }}
.card:focus-visible {{ outline: 2px solid {COLOURS["on-policy RL"]}; }}
.controls {{ display: flex; flex-wrap: wrap; gap: 0.4rem 1rem; align-items: baseline; margin-bottom: 0.6rem; }}
label {{ display: flex; align-items: baseline; gap: 0.4rem; max-width: 100%; }}
select, input, button {{ font: inherit; min-width: 0; max-width: 100%; padding: 0.1rem 0.4rem; }}
p, h4 {{ margin: 0 0 0.2rem; font: inherit; }}
h4 {{ margin-top: 0.6rem; font-weight: 600; }}
.text {{ min-height: 1.5em; max-height: min(50vh, 24rem); overflow-y: auto; padding: 0.4rem 0.6rem;
  border: 1px solid #d0d0d0; border-radius: 4px; white-space: pre-wrap; overflow-wrap: anywhere; tab-size: 4; }}
@media print {{ .text {{ max-height: none; overflow: visible; }} }}
"""

# Draws every browser on the page that is not drawn yet. All text is set as text and never parsed.
SCRIPT = """
(function () {
  function draw(box) {
    const root = box.attachShadow({ mode: "open" });
    root.append(box.querySelector("template").content.cloneNode(true));
    const data = JSON.parse(box.querySelector("script[type='application/json']").textContent);
    const find = name => root.querySelector("[name=" + name + "]"), card = root.querySelector(".card");
    const filters = ["benchmark", "status"];
    let found, at;

    function show(to) {
      at = Math.min(Math.max(to, 0), found.length - 1);
      const row = found[at] || {};
      find("place").textContent = found.length ? at + 1 + " of " + found.length : "none found";
      find("which").textContent = found.length
        ? row.benchmark + ", question " + row.question + ", sample " + row.sample + ": " + row.status : "";
      root.querySelectorAll(".text").forEach(place => {
        const name = place.dataset.name;
        place.textContent = (name === "prompt" ? data.prompts[row.prompt] : row[name]) || "";
        place.scrollTop = 0;
      });
      find("previous").disabled = at <= 0;
      find("next").disabled = at >= found.length - 1;
    }
    function search() {
      const wanted = find("search").value.toLowerCase();
      found = data.rows.filter(row => filters.every(name => !find(name).value || row[name] === find(name).value)
        && (data.prompts[row.prompt] + "\\n" + row.completion).toLowerCase().includes(wanted));
      show(0);
    }

    filters.forEach(name => find(name).addEventListener("change", search));
    find("search").addEventListener("input", search);
    find("previous").addEventListener("click", () => show(at - 1));
    find("next").addEventListener("click", () => show(at + 1));
    card.addEventListener("keydown", event => {
      const moves = { ArrowLeft: at - 1, ArrowRight: at + 1 };
      if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.target.matches("input, select")) return;
      event.preventDefault();
      event.stopPropagation();
      show(moves[event.key]);
    });
    search();
  }
  document.querySelectorAll(".samples").forEach(box => box.shadowRoot || draw(box));
})();
"""


def samples_html(samples: pd.DataFrame, where: str) -> str:
    """All samples of an evaluation to browse by benchmark, status and free text.

    Where they are more than `LIMIT` allows, there are only the first of each benchmark, as many as fit and at least
    one, a question's first sample before any question's second; a line says how many of how many.

    Args:
        samples: one row a completion, see `evaluate.evaluate`: `benchmark, question, sample, prompt, completion,
            answer`, either `status` or `correct`, and perhaps `extracted`. Without a status, a completion from which
            nothing was extracted has no answer.
        where: where all samples are, in words.

    Raises:
        ValueError: a column is missing, or there is no sample.
    """
    table = samples if "status" in samples else _with_status(samples)
    if missing := [name for name in FIELDS if name not in table]:
        raise ValueError(f"no column {', '.join(missing)}: samples to browse need {', '.join(FIELDS)}")
    if table.empty:
        raise ValueError("no sample to show: the table of samples is empty")
    texts = {name: title for name, title in TEXTS.items() if name in table}
    shown = _first(table[[*FIELDS, *(name for name in texts if name not in FIELDS)]])
    note = ""
    if len(shown) < len(table):
        note = (
            f"<p>{len(shown):,} of {len(table):,} samples, the first of each benchmark. All are in {escape(where)}.</p>"
        )
    drop_downs = "".join(_drop_down(name, list(dict.fromkeys(shown[name]))) for name in ("benchmark", "status"))
    panels = "".join(
        f'<h4>{title}</h4><div class="text" data-name="{name}" tabindex="0" role="region" aria-label="{title}"></div>'
        for name, title in texts.items()
    )
    # JupyterLab leaves the keys alone inside an element that says so.
    return (
        '<div class="samples" data-lm-suppress-shortcuts="true">\n'
        f'<template><style>{STYLE}</style><div class="card" role="group" aria-label="samples" tabindex="0">{note}\n'
        f'<div class="controls">{drop_downs}<label>search <input type="search" name="search"></label></div>\n'
        '<div class="controls"><button name="previous">previous</button><button name="next">next</button>\n'
        '<output name="place" aria-live="polite"></output><b><output name="which"></output></b></div>\n'
        f"{panels}</div></template>\n"
        f'<script type="application/json">{_json(shown)}</script>\n'
        f"<script>{SCRIPT}</script></div>"
    )


def _with_status(samples: pd.DataFrame) -> pd.DataFrame:
    if "correct" not in samples:
        raise ValueError("no column status or correct: samples to browse need one of them")
    silent = samples["extracted"] == "" if "extracted" in samples else False
    status = pd.Series(WRONG, index=samples.index).mask(silent, NO_ANSWER).mask(samples["correct"], CORRECT)
    return samples.assign(status=status)


def _first(table: pd.DataFrame) -> pd.DataFrame:
    """As many of each benchmark as fit into `LIMIT`, in the table's order."""
    turns = table.reset_index(drop=True).sort_values(["sample", "question"], kind="stable")
    turns = turns.assign(turn=turns.groupby("benchmark").cumcount()).sort_values("turn", kind="stable")
    prompt = turns["prompt"].map(_dump).str.len().mask(turns["prompt"].duplicated(), 0)
    size = prompt + [len(_dump(record)) + 20 for record in _records(turns.drop(columns=["turn", "prompt"]))]
    fits = size.cumsum().groupby(turns["turn"]).max() <= LIMIT
    return turns[turns["turn"] < max(1, fits.sum())].sort_index().drop(columns="turn")


def _records(table: pd.DataFrame) -> list[dict[str, str]]:
    names = list(table.columns)
    return [dict(zip(names, map(str, row), strict=True)) for row in table.itertuples(index=False)]


def _drop_down(name: str, values: list[str]) -> str:
    options = "".join(f'<option value="{escape(value)}">{escape(value)}</option>' for value in values)
    return f'<label>{name} <select name="{name}"><option value="">all</option>{options}</select></label>'


def _json(shown: pd.DataFrame) -> str:
    """The data as the script reads them: every prompt is kept once."""
    numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(shown["prompt"]))}
    rows = [record | {"prompt": numbers[record["prompt"]]} for record in _records(shown)]
    return _dump({"prompts": list(numbers), "rows": rows})


def _dump(value: object) -> str:
    """JSON in ASCII, where a lone surrogate can be written, and without `<`, so that no text can end its element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
