"""Tables of drift put together: means over tokens, with intervals over texts, and over tensors."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import gammaln

from mathtransfer.benchmarks import shares

_METRICS = ("kl", "kl_reverse", "js", "log_ratio", "rank_shift", "shifted")
_DRAWS = 1000  # resamples of the prompts
SUMS = ["entries", "changed", "changed_bfloat16", "base_square", "update_square"]


def summarise(drift: pd.DataFrame, by: list[str], metrics: tuple[str, ...] = _METRICS, seed: int = 0) -> pd.DataFrame:
    """Means over tokens, with errors and intervals that respect that tokens of one text belong together.

    Args:
        drift: the table of `token_drift`; `text` says which text a token is of.
        by: the columns of a group, none for all tokens.
        metrics: columns; for `rank_shift` the absolute shift is averaged, `shifted` is the percentage of tokens whose
            rank differs.

    Returns:
        `*by, metric, value, stderr, low, high, n` (texts), `tokens`. The standard error is that of a ratio of sums over
        texts (linearised); the 95% interval resamples the texts.
    """
    measured = drift.assign(rank_shift=drift["rank_shift"].abs(), shifted=100.0 * (drift["rank_shift"] != 0))
    groups = measured.groupby(by, sort=False) if by else [((), measured)]
    rows = []
    for key, tokens in groups:
        sums = tokens.groupby("text")[list(metrics)].sum().to_numpy(float)  # (texts, metrics)
        counts = tokens.groupby("text").size().to_numpy(float)  # (texts,)
        for metric, row in zip(metrics, with_interval(sums, counts, seed), strict=True):
            rows.append((*key, metric, *row, len(counts), int(counts.sum())))
    return pd.DataFrame(rows, columns=[*by, "metric", "value", "stderr", "low", "high", "n", "tokens"])


def with_interval(sums: np.ndarray, counts: np.ndarray, seed: int = 0) -> np.ndarray:
    """`shares.ratio_of_sums` over texts, with an interval that resamples them.

    Args:
        sums: `(texts, quantities)`.
        counts: `(texts,)`.

    Returns:
        Value, standard error, low and high end of the 95% interval over texts, `(quantities, 4)`; all but the value nan
        if there is one text.
    """
    value, stderr = shares.ratio_of_sums(sums, counts)
    if (n := len(counts)) < 2:
        return np.stack([value, stderr, stderr, stderr], axis=1)
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=_DRAWS)  # how often each text is drawn
    low, high = np.quantile(times @ sums / (times @ counts)[:, None], [0.025, 0.975], axis=0)
    return np.stack([value, stderr, low, high], axis=1)


def published_kl(drift: pd.DataFrame) -> float:
    """The divergence as the authors' script estimates it, in nats.

    The absolute value of the mean over texts of the mean log-ratio of a text's tokens, its first token left out. Theirs
    reads greedy text, on which the log-ratio estimates nothing: a token is there because it is the tuned model's best.
    """
    return abs(float(drift[drift["position"] > 0].groupby("text")["log_ratio"].mean().mean()))


def summarise_responses(drift: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Means over whole responses: `kl_response`, see `_response_kl`, and `shift_evenness`, see `_shift_evenness`.

    Args:
        drift: the table of `token_drift`, with the columns of `by`, which are the same for all tokens of a text.

    Returns:
        `*by, metric, value, stderr, n` (responses). A group whose responses are all too short for a measure has none.
    """
    measures = {"kl_response": _response_kl(drift), "shift_evenness": _shift_evenness(drift)}
    values = pd.concat(measures, names=["metric", "text"]).rename("value").reset_index()
    of_text = drift.drop_duplicates("text").set_index("text")[by]
    grouped = values.join(of_text, on="text").groupby([*by, "metric"], sort=False)["value"]
    return grouped.agg(value="mean", stderr="sem", n="count").reset_index()


def _response_kl(drift: pd.DataFrame) -> pd.Series:
    """KL(tuned || base) of each whole response in nats: the sum over its tokens, so that length counts."""
    return drift.groupby("text")["kl"].sum()


def _shift_evenness(drift: pd.DataFrame) -> pd.Series:
    """How evenly the rank shifts lie along each text, percent of what random placement would give. Ours.

    The tenths of a text that hold a shifted token, over the number to be expected if the same number of shifted tokens
    lay anywhere in a text of that length. Thus a short text, or one with few shifts, is not taken for a concentrated
    one. Texts of fewer than ten tokens or fewer than two shifted ones are left out.
    """
    counts = (drift["rank_shift"] != 0).groupby(drift["text"]).transform("sum")
    long = drift[(drift["length"] >= 10) & (counts >= 2)]
    tenth = (10 * long["position"] // long["length"]).rename("tenth")
    cells = (long["rank_shift"] != 0).groupby([long["text"], tenth]).agg(["sum", "size"])
    of_text = cells.groupby("text")[["sum", "size"]].transform("sum")
    # A tenth holds none of m shifted tokens among n with probability C(n - its size, m) / C(n, m).
    n, m = of_text["size"], of_text["sum"]
    none = np.exp(_log_ways(n - cells["size"], m) - _log_ways(n, m))
    sums = cells.assign(held=cells["sum"] > 0, expected=1 - none).groupby("text")[["held", "expected"]].sum()
    return 100.0 * sums["held"] / sums["expected"]


def _log_ways(n: pd.Series, m: pd.Series) -> pd.Series:
    """The logarithm of C(n, m), minus infinity if m is larger than n."""
    ways = gammaln(n + 1) - gammaln(m + 1) - gammaln((n - m).clip(lower=0) + 1)
    return ways.where(m <= n, -np.inf)


def most_moved(drift: pd.DataFrame, n: int = 15, around: int = 6) -> pd.DataFrame:
    """The tokens that carry most of the divergence, each with an example: the place at which it moved most.

    Text that loops is left out.

    Args:
        drift: the table of `token_drift`, described.
        n: how many tokens at most.
        around: tokens of context on either side.

    Returns:
        `piece, class, share` (percent of all divergence), `count, kl` (mean, nats), `example`.
    """
    told = drift[~drift["looping"]].assign(piece=drift["piece"].replace("", "\ufffd").str.strip().replace("", "↵"))
    by_piece = told.groupby("piece").agg(**{"class": ("class", "first"), "kl": ("kl", "mean"), "count": ("kl", "size")})
    by_piece["share"] = 100.0 * told.groupby("piece")["kl"].sum() / max(told["kl"].sum(), 1e-300)
    top = by_piece.nlargest(n, "share")
    examples = []
    for piece in top.index:
        place = told[told["piece"] == piece]["kl"].idxmax()
        own = drift.loc[drift["text"] == drift.loc[place, "text"]]
        near = own[(own["position"] - drift.loc[place, "position"]).abs() <= around]
        examples.append("".join(f"[{p}]" if i == place else p for i, p in near["piece"].items()))
    return top.assign(example=examples).reset_index()[["piece", "class", "share", "count", "kl", "example"]]


def summarise_changes(changes: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The changes of groups of tensors.

    Args:
        changes: from `weight_changes`.
        by: the columns that make a group, as `["layer"]` or `["layer", "kind"]`; `[]` for one row over all tensors.

    Returns:
        One row a group, sorted by the columns of `by`, with `entries` (a count) and three columns in percent:
        `unchanged` (of the entries), `unchanged_bfloat16` (of the entries, both rounded to bfloat16) and
        `relative_update`, the norm of the update over the norm of the base's weights. That is infinite if a base of
        zeros changed, and NaN if it did not or if a weight is NaN.
    """
    groups = changes.groupby(by if by else lambda _: 0)
    total = groups[SUMS].agg(lambda column: column.sum(skipna=False))  # a NaN must not drop out of the sum
    summary = pd.DataFrame(
        {
            "entries": total["entries"],
            "unchanged": 100.0 * (total["entries"] - total["changed"]) / total["entries"],
            "unchanged_bfloat16": 100.0 * (total["entries"] - total["changed_bfloat16"]) / total["entries"],
            "relative_update": 100.0 * (total["update_square"] / total["base_square"]) ** 0.5,
        }
    )
    return summary.reset_index(drop=not by)
