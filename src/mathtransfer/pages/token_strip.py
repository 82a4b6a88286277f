"""Responses with every token coloured by how far fine-tuning moved the next-token distribution there.

One self-contained element that works without a network, in a notebook, in the book and in a page of its own. It draws
itself in a shadow root: no theme's style sheet reaches into it, and MathJax does not take a response's `$` for a
formula.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from mathtransfer.pages.templating import fill

# Measure -> title, meaning.
_MEASURES = {
    "kl": ("KL divergence", "KL divergence of the tuned model's next-token distribution from the base's, in nats"),
    "js": ("Jensen-Shannon divergence", "Jensen-Shannon divergence of the two next-token distributions, in nats"),
    "rank_shift": ("rank shift", "places by which tuning moved the token up or down; the scale is logarithmic"),
}
_RANKS = ("rank_tuned", "rank_base", "rank_shift")
_NUMBERS = ("kl", "js", "logp_tuned", "logp_base", "entropy_tuned", "entropy_base")
_TOPS = ("top_tuned", "top_base")
_COLUMNS = ("text", "position", "piece", "looping", *_RANKS, *_NUMBERS, *_TOPS, *(f"{name}_p" for name in _TOPS))
# White and ColorBrewer's YlOrBr, safe for colour-blind readers, without the end that is too dark to read text on.
_SCALE = ("#ffffff", "#fff7bc", "#fee391", "#fec44f", "#fe9929", "#ec7014")
_QUANTILE = 0.98  # of all tokens: the scale ends there, so that one extreme value does not bleach the rest


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
    ends = {measure: _end(shown[measure].abs()) for measure in _MEASURES}
    return fill(
        "token_strip.html",
        alt=alt,
        titles=titles,
        measures={measure: title for measure, (title, _) in _MEASURES.items()},
        legends=[_legend(measure, shown[measure].abs().max(), end) for measure, end in ends.items()],
        quantile=f"{_QUANTILE:.0%}",
        scale=_SCALE,
        looping=shown["looping"].any(),
        data=_data(shown, list(titles), ends),
    )


def _check(tokens: pd.DataFrame, titles: dict[int, str]) -> None:
    if missing := [name for name in _COLUMNS if name not in tokens]:
        raise ValueError(f"no column {', '.join(missing)}: a token strip needs {', '.join(_COLUMNS)}")
    if tokens.empty or not titles:
        raise ValueError(f"no {'tokens' if tokens.empty else 'titles'}: a token strip needs at least one response")
    there = tokens["text"].unique().tolist()
    if absent := [text for text in titles if text not in there]:
        raise ValueError(f"no tokens for the title of text {absent[0]}: the table has texts {there}")
    if tokens["piece"].isna().any():  # pandas reads a token such as "null" from a CSV file as no value
        raise ValueError("piece has a missing value: every token needs its text")
    for name in (*_RANKS, *_NUMBERS):
        if not np.isfinite(tokens[name].astype(float)).all():
            raise ValueError(f"{name} has a value that is not finite: every token needs its number")


def _end(sizes: pd.Series) -> float:
    """Where the scale ends: a high quantile that leaves out at least the largest of several, but never zero."""
    return float(sizes.quantile(_QUANTILE, interpolation="lower") or sizes.max() or 1.0)


def _legend(measure: str, largest: float, end: float) -> dict:
    """What the measure means, the numbers below its scale as (percent of its width, label), and what lies beyond it."""
    if measure == "rank_shift":
        values = [0, *(10**power for power in range(7) if math.log1p(10**power) < 0.85 * math.log1p(end)), end]
        places = [100 * math.log1p(value) / math.log1p(end) for value in values]
    else:
        values, places = [0, end / 2, end], [0, 50, 100]
    labels = [_number(value) for value in values]
    if largest > end:
        labels[-1] = f"≥ {labels[-1]}"
    return {
        "measure": measure,
        "meaning": _MEASURES[measure][1],
        "ticks": list(zip(places, labels, strict=True)),
        "largest": _number(largest) if largest > end else "",
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _data(tokens: pd.DataFrame, texts: list[int], ends: dict[str, float]) -> dict:
    """The tokens as the script reads them: for each text lists as long as it, and every string once, by its number."""
    strings: dict[str, int] = {}

    def number_of(piece: str) -> int:
        return strings.setdefault(piece, len(strings))

    def likeliest(pieces: list[str], probabilities: list[float]) -> list[float]:
        """Pieces and probabilities in turn."""
        pairs = zip(pieces, probabilities, strict=True)
        return [number for piece, p in pairs for number in (number_of(piece), _round(p, 3))]

    def columns(part: pd.DataFrame) -> dict[str, list]:
        return {
            "piece": [number_of(piece) for piece in part["piece"]],
            **{name: part[name].astype(int).tolist() for name in ("position", "looping", *_RANKS)},
            **{name: [_round(value, 4) for value in part[name]] for name in _NUMBERS},
            **{name: list(map(likeliest, part[name], part[f"{name}_p"])) for name in _TOPS},
        }

    drawn = {str(text): columns(tokens[tokens["text"] == text]) for text in texts}
    scale = [list(bytes.fromhex(colour[1:])) for colour in _SCALE]
    return {"texts": drawn, "strings": list(strings), "ends": ends, "scale": scale}


def _round(value: float, digits: int) -> int | float:
    """The value to so many significant digits; a whole number is an int, which JSON writes without a decimal point."""
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() else rounded
