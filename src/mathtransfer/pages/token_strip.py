"""Responses with every token coloured by how far fine-tuning moved the next-token distribution there.

One self-contained element that works without a network, in a notebook, in the book and in a page of its own. It draws
itself in a shadow root, where no theme's style sheet reaches it and no MathJax takes a response's `$` for a formula.
"""

from __future__ import annotations

import json
import math
from html import escape

import numpy as np
import pandas as pd

from mathtransfer.pages.charts import COLOURS

MEASURES = {
    "kl": ("KL divergence", "KL divergence of the tuned model's next-token distribution from the base's, in nats"),
    "js": ("Jensen-Shannon divergence", "Jensen-Shannon divergence of the two next-token distributions, in nats"),
    "rank_shift": ("rank shift", "places by which tuning moved the token up or down; the scale is logarithmic"),
}
RANKS = ("rank_tuned", "rank_base", "rank_shift")
NUMBERS = ("kl", "js", "logp_tuned", "logp_base", "entropy_tuned", "entropy_base")
TOPS = ("top_tuned", "top_base")
COLUMNS = ("text", "position", "piece", "looping", *RANKS, *NUMBERS, *TOPS, *(f"{name}_p" for name in TOPS))
# White and ColorBrewer's YlOrBr, safe for colour-blind readers, without the end that is too dark for text in INK.
SCALE = ("#ffffff", "#fff7bc", "#fee391", "#fec44f", "#fe9929", "#ec7014")
INK = "#111111"
QUANTILE = 0.98  # of all tokens, where the scale ends, so that one extreme value does not bleach the rest

# White in the book's dark mode too, as the charts are: white means "not moved".
STYLE = f"""
:host {{ display: block; color-scheme: light; print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
.card {{ box-sizing: border-box; padding: 0.9rem 1rem; border: 1px solid #d0d0d0; border-radius: 6px; background: white;
  color: {INK}; font: 0.875rem/1.5 system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif;
  text-align: left; }}
p {{ margin: 0; }}
.controls {{ display: flex; flex-wrap: wrap; gap: 0.4rem 1.2rem; margin-bottom: 0.7rem; }}
label {{ display: flex; align-items: baseline; gap: 0.4rem; max-width: 100%; }}
select {{ font: inherit; min-width: 0; max-width: min(34rem, 100%); padding: 0.1rem 0.2rem; }}
.legend {{ margin-bottom: 0.7rem; color: #444; font-size: 0.8125rem; }}
.bar {{ max-width: 22rem; height: 0.7rem; margin-top: 0.3rem; border: 1px solid #999;
  background: linear-gradient(to right, {", ".join(SCALE)}); }}
.ticks {{ position: relative; max-width: 22rem; height: 1.5em; margin: 0 1px; }}
.ticks span {{ position: absolute; transform: translateX(-50%); white-space: nowrap; }}
.ticks span:first-child {{ transform: none; }}
.ticks span:last-child {{ transform: translateX(-100%); }}
.text {{ max-height: min(60vh, 30rem); overflow-y: auto; padding: 0.5rem 0.6rem; border: 1px solid #d0d0d0;
  border-radius: 4px; font-size: 1rem; line-height: 1.75; white-space: pre-wrap; overflow-wrap: anywhere;
  tab-size: 4; }}
.text span {{ padding: 0.12em 0; box-shadow: inset 1px 0 rgb(0 0 0 / 0.07); cursor: pointer;
  -webkit-box-decoration-break: clone; box-decoration-break: clone; }}
.text span[aria-selected=true] {{ outline: 2px solid {COLOURS["on-policy RL"]}; border-radius: 2px; }}
.text span:focus-visible {{ outline-width: 3px; }}
.looping {{ text-decoration: line-through 1px #666; }}
.panel {{ margin-top: 0.8rem; font-variant-numeric: tabular-nums; }}
.said {{ min-height: 3em; }}
.lists {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(15rem, 100%), 1fr)); gap: 0.5rem 2rem;
  margin-top: 0.4rem; }}
h4, thead th {{ margin: 0; padding: 0.1rem 0; font: inherit; font-weight: 600; }}
ol {{ min-height: 9.9em; margin: 0; padding: 0; list-style: none; }}
li {{ display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr) 5.6rem; column-gap: 0.5rem;
  align-items: center; height: 1.6em; }}
li > * {{ overflow: hidden; white-space: pre; text-overflow: ellipsis; }}
li > :last-child {{ text-align: right; }}
i {{ height: 0.7em; background: #999; }}
.observed {{ font-weight: 700; }}
.observed i {{ background: {COLOURS["on-policy RL"]}; }}
.beyond {{ margin-top: 0.2em; border-top: 1px dashed #999; }}
table {{ width: 100%; margin: 0.4rem 0; border-collapse: collapse; table-layout: fixed; }}
th, td {{ padding: 0.1rem 0; border-bottom: 1px solid #e4e4e4; text-align: right; font-weight: normal; }}
th:first-child {{ text-align: left; }}
@media print {{ .text {{ max-height: none; overflow: visible; }} }}
"""

# Draws every strip on the page that is not drawn yet: no strip needs a name of its own.
SCRIPT = """
(function () {
  const marks = { " ": "·", "\\n": "↵", "\\r": "␍", "\\t": "⇥" };
  const visible = piece => piece.replace(/[ \\n\\r\\t]/g, mark => marks[mark]) || "∅";
  const quoted = piece => "“" + visible(piece) + "”";
  const number = value => Number(value.toPrecision(3)).toString().replace("-", "−");
  const whole = value => value.toLocaleString("en");
  const raised = digits => [...digits].map(digit => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(digit)]).join("");
  function share(p) {
    if (p >= 1e-4) return (100 * p).toPrecision(3) + " %";
    const [digits, power] = p.toExponential(1).split("e");
    return p > 0 ? digits + " × 10" + raised(power) : "0";
  }
  function make(name, text, className) {
    return Object.assign(document.createElement(name), { textContent: text, className: className || "" });
  }

  function draw(strip) {
    const root = strip.attachShadow({ mode: "open" });
    root.append(strip.querySelector("template").content.cloneNode(true));
    const data = JSON.parse(strip.querySelector("script[type='application/json']").textContent);
    const find = name => root.querySelector(name), box = find(".text");
    const choice = find("select[name=text]"), measure = find("select[name=measure]");
    let text, spans, current;

    function colour(part) {
      const at = Math.min(part, 1) * (data.scale.length - 1), below = Math.min(Math.floor(at), data.scale.length - 2);
      const mixed = data.scale[below].map((low, i) => low + (at - below) * (data.scale[below + 1][i] - low));
      return "rgb(" + mixed.map(Math.round).join(" ") + ")";
    }
    function paint() {
      const name = measure.value, end = data.ends[name], values = text[name];
      const bent = name === "rank_shift" ? Math.log1p : value => value;
      spans.forEach((span, i) => { span.style.background = colour(bent(Math.abs(values[i])) / bent(end)); });
      root.querySelectorAll("[data-measure]").forEach(legend => { legend.hidden = legend.dataset.measure !== name; });
    }
    function write() {
      text = data.texts[choice ? choice.value : Object.keys(data.texts)[0]];
      spans = text.piece.map((id, i) => {
        const shown = data.strings[id].replace(/\\r?\\n/g, "↵\\n") || "∅";
        const span = make("span", shown, text.looping[i] ? "looping" : "");
        span.setAttribute("role", "option");
        span.dataset.i = i;
        span.tabIndex = -1;
        return span;
      });
      box.replaceChildren(...spans);
      box.scrollTop = 0;
      paint();
      current = undefined;
      show(text.kl.indexOf(text.kl.reduce((a, b) => Math.max(a, b))));
    }

    function likeliest(model, i) {
      const flat = text["top_" + model][i], pairs = [];
      for (let k = 0; k < flat.length; k += 2) pairs.push([data.strings[flat[k]], flat[k + 1]]);
      return pairs;
    }
    // Two tokens may read alike (broken bytes do), so the observed one is sought from its rank on.
    function list(model, i) {
      const piece = data.strings[text.piece[i]], rank = text["rank_" + model][i], pairs = likeliest(model, i);
      const count = pairs.length;
      let observed = pairs.findIndex((pair, k) => k >= rank && pair[0] === piece);
      if (observed < 0) observed = pairs.push([piece, Math.exp(text["logp_" + model][i])]) - 1;
      find("ol[data-model=" + model + "]").replaceChildren(...pairs.map(([other, p], k) => {
        const item = make("li", "", k === observed ? "observed" : ""), bar = make("i", "");
        item.classList.toggle("beyond", k >= count);
        bar.style.width = Math.max(100 * p, 1) + "%";
        item.append(make("span", visible(other)), bar, make("span", share(p)));
        return item;
      }));
    }
    function sentence(i) {
      const [tuned, base] = ["tuned", "base"].map(
        model => share(Math.exp(text["logp_" + model][i])) + " (rank " + whole(text["rank_" + model][i]) + ")");
      const said = likeliest("base", i)[0], same = text.rank_base[i] === 0;
      const other = same ? " The base would have said the same."
        : said ? " The base would have said " + quoted(said[0]) + " (" + share(said[1]) + ")." : "";
      return ", token " + text.position[i] + ": " + tuned + " under the tuned model, " + base + " under the base."
        + other;
    }
    function show(i) {
      if (i === current || !spans[i]) return;
      if (current !== undefined) { spans[current].tabIndex = -1; spans[current].removeAttribute("aria-selected"); }
      current = i;
      spans[i].tabIndex = 0;
      spans[i].setAttribute("aria-selected", "true");
      find(".said").replaceChildren(make("b", quoted(data.strings[text.piece[i]])), sentence(i));
      const shift = text.rank_shift[i];
      const cells = {
        kl: number(text.kl[i]), js: number(text.js[i]),
        rank_shift: shift ? whole(Math.abs(shift)) + (shift > 0 ? " places up" : " places down") : "none",
      };
      for (const model of ["base", "tuned"]) {
        cells["p_" + model] = share(Math.exp(text["logp_" + model][i]));
        cells["rank_" + model] = whole(text["rank_" + model][i]);
        cells["entropy_" + model] = number(text["entropy_" + model][i]);
        list(model, i);
      }
      for (const name in cells) find("[data-name=" + name + "]").textContent = cells[name];
    }

    // The nearest token on the line above (-1) or below (1).
    function beyond(step) {
      const place = i => spans[i].getClientRects()[0], from = place(current), middle = from.left + from.width / 2;
      let best, line;
      for (let i = current + step; spans[i]; i += step) {
        const here = place(i);
        if (Math.abs(here.top - from.top) < from.height / 2) continue;
        line = line === undefined ? here.top : line;
        if (Math.abs(here.top - line) > from.height / 2) break;
        const off = Math.abs(here.left + here.width / 2 - middle);
        if (!best || off < best.off) best = { i, off };
      }
      return best ? best.i : current;
    }
    function press(event) {
      const moves = {
        ArrowRight: () => current + 1, ArrowLeft: () => current - 1, ArrowDown: () => beyond(1),
        ArrowUp: () => beyond(-1), Home: () => 0, End: () => spans.length - 1,
      };
      if (!moves[event.key] || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();
      const to = Math.min(Math.max(moves[event.key](), 0), spans.length - 1);
      spans[to].focus();
    }
    const point = event => { if (event.target.dataset.i) show(Number(event.target.dataset.i)); };
    box.addEventListener("mousemove", point);  // mouseover would also follow the text that keys scroll past the mouse
    box.addEventListener("focusin", point);
    box.addEventListener("keydown", press);
    measure.addEventListener("change", paint);
    if (choice) choice.addEventListener("change", write);
    write();
  }
  document.querySelectorAll(".token-strip").forEach(strip => strip.shadowRoot || draw(strip));
})();
"""

PANEL = """
<div class="panel"><p class="said" aria-live="polite"></p>
<div class="lists"><div><h4>the base would have said</h4><ol data-model="base"></ol></div>
<div><h4>the tuned model would have said</h4><ol data-model="tuned"></ol></div></div>
<table><thead><tr><th></th><th scope="col">probability</th><th scope="col">rank (0 is likeliest)</th>
<th scope="col">entropy (nats)</th></tr></thead><tbody>
<tr><th scope="row">base</th><td data-name="p_base"></td><td data-name="rank_base"></td>
<td data-name="entropy_base"></td></tr>
<tr><th scope="row">tuned</th><td data-name="p_tuned"></td><td data-name="rank_tuned"></td>
<td data-name="entropy_tuned"></td></tr></tbody></table>
<p>KL(tuned ‖ base) <b data-name="kl"></b> nats, Jensen-Shannon <b data-name="js"></b> nats,
rank shift <b data-name="rank_shift"></b></p></div>
"""


def token_strip(tokens: pd.DataFrame, titles: dict[int, str], alt: str) -> str:
    """Responses whose tokens are coloured by how far tuning moved them; pointing at one shows what the base would say.

    Args:
        tokens: one row a token, in order: `text` (number of the response), `position`, `piece` (its text), `kl`
            (KL(tuned || base), nats), `js` (nats), `rank_tuned` and `rank_base` (0 for the likeliest), `rank_shift`
            (base less tuned), `logp_tuned`, `logp_base` (natural logarithms), `entropy_tuned`, `entropy_base` (nats),
            `top_tuned`, `top_base` (lists of pieces, likeliest first), `top_tuned_p`, `top_base_p` (their
            probabilities) and `looping` (whether it stands in text that repeats itself).
        titles: what to call each response, in the order to offer them; a response without a title is left out.
        alt: what the strip shows, for those who cannot see it.

    Raises:
        ValueError: a column or a piece is missing, a number is not finite, or there are no tokens, no titles, or no
            tokens for a title.
    """
    _check(tokens, titles)
    shown = tokens[tokens["text"].isin(list(titles))]
    ends = {name: _end(shown[name].abs()) for name in MEASURES}
    legends = "".join(_legend(name, shown[name].abs().max(), ends[name], len(titles)) for name in MEASURES)
    if shown["looping"].any():
        legends += '<p><span class="looping">Struck through</span>: text that repeats itself.</p>'
    measures = _options({name: title for name, (title, _) in MEASURES.items()})
    responses = f'<label>response <select name="text">{_options(titles)}</select></label>'
    if len(titles) == 1:
        responses = f"<b>{escape(next(iter(titles.values())))}</b>"
    # JupyterLab leaves the keys alone inside an element that says so.
    return (
        f'<div class="token-strip" role="group" aria-label="{escape(alt)}" data-lm-suppress-shortcuts="true">\n'
        f'<template><style>{STYLE}</style><div class="card"><div class="controls">{responses}\n'
        f'<label>colour <select name="measure">{measures}</select></label></div>\n'
        f'<div class="legend">{legends}</div>\n'
        f'<div class="text" role="listbox" aria-label="tokens" aria-orientation="horizontal"></div>\n'
        f"{PANEL}</div></template>\n"
        f"<p>{escape(alt)}</p>\n"
        f'<script type="application/json">{_json(shown, list(titles), ends)}</script>\n'
        f"<script>{SCRIPT}</script></div>"
    )


def _check(tokens: pd.DataFrame, titles: dict[int, str]) -> None:
    if missing := [name for name in COLUMNS if name not in tokens]:
        raise ValueError(f"no column {', '.join(missing)}: a token strip needs {', '.join(COLUMNS)}")
    if tokens.empty or not titles:
        raise ValueError(f"no {'tokens' if tokens.empty else 'titles'}: a token strip needs at least one response")
    there = tokens["text"].unique().tolist()
    if absent := [text for text in titles if text not in there]:
        raise ValueError(f"no tokens for the title of text {absent[0]}: the table has texts {there}")
    if tokens["piece"].isna().any():  # pandas reads a token such as "null" from a CSV file as no value
        raise ValueError("piece has a missing value: every token needs its text")
    for name in (*RANKS, *NUMBERS):
        if not np.isfinite(tokens[name].astype(float)).all():
            raise ValueError(f"{name} has a value that is not finite: every token needs its number")


def _end(sizes: pd.Series) -> float:
    """Where the scale ends: a high quantile that leaves out at least the largest of several, but never zero."""
    return float(sizes.quantile(QUANTILE, interpolation="lower") or sizes.max() or 1.0)


def _legend(name: str, largest: float, end: float, responses: int) -> str:
    """The scale with its numbers, and what it means."""
    if name == "rank_shift":
        values = [0, *(10**power for power in range(7) if math.log1p(10**power) < 0.85 * math.log1p(end)), end]
        places = [math.log1p(value) / math.log1p(end) for value in values]
    else:
        values, places = [0, end / 2, end], [0, 0.5, 1]
    labels = [_number(value) for value in values]
    beyond = ""
    if largest > end:
        labels[-1] = f"≥ {labels[-1]}"
        beyond = f" The scale ends at the {QUANTILE:.0%} quantile of all tokens; the largest is {_number(largest)}."
    ticks = "".join(
        f'<span style="left: {place:.1%}">{label}</span>' for place, label in zip(places, labels, strict=True)
    )
    shared = " All responses share the scale." if responses > 1 else ""
    return (
        f'<div data-measure="{name}">{MEASURES[name][1]}<div class="bar"></div><div class="ticks">{ticks}</div>'
        f"<p>White: not moved.{beyond}{shared}</p></div>"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _options(titles: dict) -> str:
    return "".join(f'<option value="{value}">{escape(title)}</option>' for value, title in titles.items())


def _json(tokens: pd.DataFrame, texts: list[int], ends: dict[str, float]) -> str:
    """The data as the script reads them: `texts` holds lists as long as the response, every string is kept once."""
    strings: dict[str, int] = {}

    def number_of(piece: str) -> int:
        return strings.setdefault(piece, len(strings))

    def columns(part: pd.DataFrame) -> dict[str, list]:
        tops = {
            name: [
                [x for piece, p in zip(top, probabilities, strict=True) for x in (number_of(piece), _round(p, 3))]
                for top, probabilities in zip(part[name], part[f"{name}_p"], strict=True)
            ]
            for name in TOPS
        }
        return {
            "piece": [number_of(piece) for piece in part["piece"]],
            **{name: part[name].astype(int).tolist() for name in ("position", "looping", *RANKS)},
            **{name: [_round(value, 4) for value in part[name]] for name in NUMBERS},
            **tops,
        }

    drawn = {str(text): columns(tokens[tokens["text"] == text]) for text in texts}
    scale = [list(bytes.fromhex(colour[1:])) for colour in SCALE]
    data = {"texts": drawn, "strings": list(strings), "ends": ends, "scale": scale}
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")  # so that no piece can end the script element


def _round(value: float, digits: int) -> float:
    """To significant digits; whole numbers without a decimal point."""
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() else rounded
