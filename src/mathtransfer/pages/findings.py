"""Findings of the report, and of gains by format: plain sentences, each with its numbers and their 95% intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from mathtransfer import GROUP_TITLES

if TYPE_CHECKING:
    from mathtransfer.drift.comparison import Comparison

_LEAST_TOKENS = 20  # of a kind, to be compared with the others
_EXPLAINED = {  # by the verdict of `claims.elicitation.explained`
    "all": "the change of format explains more than all of it, since within formats accuracy went the other way",
    "most": "the change of format explains more than half of it",
    "less": "less than half of it is a change of format",
    "open": "the intervals leave open which of the two is larger",
    "none": "the whole is not clearly different from zero",
}


@dataclass(frozen=True)
class Finding:
    """A sentence and the number in it, with its 95% interval (nan if everything is counted)."""

    topic: str
    group: str
    measure: str
    unit: str
    value: float
    low: float
    high: float
    sentence: str


def _finding(topic: str, group: str, measure: str, unit: str, row: dict, sentence: str, digits: str = ".3g") -> Finding:
    """A finding whose sentence has the number with its interval at `{x}`."""
    low, high = row["low"], row["high"]
    if math.isnan(low):
        interval = "[no interval from one prompt]"
    else:
        ends = [f"{end:{digits}}" if math.isfinite(end) else "unbounded" for end in (low, high)]
        interval = f"[{', '.join(ends)}]"
    text = sentence.replace("{x}", f"{row['value']:{digits}} {interval}")  # a group's name may hold other braces
    return Finding(topic, group, measure, unit, row["value"], low, high, text)


def findings(found: Comparison, tables: dict[str, pd.DataFrame]) -> list[Finding]:
    """All findings, in the order of the page.

    Args:
        tables: summaries by the names of `report.json`; if there are no `indices`, nothing is said of scores.
    """
    on_scores = _on_scores(tables["indices"]) if "indices" in tables else []
    return [*_on_weights(tables), *_on_tokens(tables), *_on_states(found), *on_scores]


def group_name(group: str) -> str:
    """A group as the book calls it, or as a file of prompts does."""
    return GROUP_TITLES.get(group, group)


def points(value: float, low: float, high: float) -> str:
    """A difference with its interval, as a sentence has it; or that it has none, because one base tells of no other."""
    return f"{value:+z.1f} [{low:+z.1f}, {high:+z.1f}]" if math.isfinite(low) else f"{value:+z.1f} [no ends]"


def on_formats(explained: pd.DataFrame) -> pd.Series:
    """What the change of format explains of every gain: a sentence by setting and group.

    Args:
        explained: from `claims.elicitation`.
    """
    said = {}
    for (setting, group), row in explained.iterrows():
        what = f"{setting[0].upper()}{setting[1:]} on {group_name(group)}"
        gain, by_format, within = (
            points(*row[part][["value", "low", "high"]]) for part in ("gain", "format", "within")
        )
        said[setting, group] = (
            f"{what}: {gain} points, of which {by_format} by the change of format and {within} within formats; "
            f"{_EXPLAINED[row['verdict', '']]}."
        )
    return pd.Series(said)


def _share(percent: float) -> str:
    """The percentage to three digits; only a share of everything is called 100."""
    return "over 99.9" if 99.95 <= percent < 100 else f"{percent:.3g}"


def _on_weights(tables: dict[str, pd.DataFrame]) -> Iterator[Finding]:
    whole = tables["all_weights"].iloc[0]
    kinds = tables["weights_by_kind"].set_index("kind")["relative_update"]
    changed, changed_bfloat16 = 100 - whole["unchanged"], 100 - whole["unchanged_bfloat16"]
    update, most = whole["relative_update"], kinds.idxmax()
    yield Finding(
        "weights",
        "all",
        "changed weights",
        "%",
        changed,
        math.nan,
        math.nan,
        f"{_share(changed)}% of the {int(whole['entries']):,} weights changed; rounded to bfloat16, "
        f"{_share(changed_bfloat16)}% still differ. All weights are counted, so there is no interval.",
    )
    sentence = f"The change is {update:.3g}% as large as the base's weights (ratio of norms)."
    if update > 0:
        sentence += f" Relative to their size, the weights of the kind {most} changed most ({kinds[most]:.3g}%)."
    yield Finding("weights", "all", "relative update", "%", update, math.nan, math.nan, sentence)


def _on_tokens(tables: dict[str, pd.DataFrame]) -> Iterator[Finding]:
    means = tables["tokens_by_group"].set_index(["group", "metric"])
    for group in means.index.unique("group"):
        on = f"On {group_name(group)}, "
        kl = means.loc[(group, "kl")]
        sentence = (
            f"{on}the tuned model's next-token distribution is {{x}} nats per token from the base's "
            f"(exact KL, on its own samples): knowing both models, one {_told_apart(kl['value'])}."
        )
        yield _finding("tokens", group, "kl", "nats per token", kl, sentence)
        sentence = on + "{x} percent of the tokens that it writes have another rank under the base."
        yield _finding("tokens", group, "shifted", "%", means.loc[(group, "shifted")], sentence)
    yield from _on_kinds_of_tokens(tables["tokens_by_class"])
    looping = tables["looping"].iloc[0]
    if looping["value"] > 0:
        sentence = (
            "{x} percent of the tokens are in text that repeats itself, where both models are sure of the next token "
            "and every mean is drawn towards zero."
        )
        yield _finding("tokens", "all", "looping", "%", looping, sentence)


def _told_apart(kl: float) -> str:
    """How soon one can tell which model writes, from the divergence in nats per token."""
    # Evidence of 20 to 1 is a log-likelihood ratio of log 20, and grows by the KL divergence with every token.
    if kl <= math.log(20) / 1e6:
        return "cannot tell from a million tokens which one writes"
    needed = math.ceil(math.log(20) / kl)
    return f"can tell at odds of 20 to 1 which one writes after about {needed:,} token{'s' * (needed > 1)}"


def _on_kinds_of_tokens(means: pd.DataFrame) -> Iterator[Finding]:
    """The kind that moved most against the others, unless there is only one kind or none moved."""
    kinds = means[means["tokens"] >= _LEAST_TOKENS].sort_values("value", ascending=False)
    if len(kinds) > 1 and kinds["value"].max() > 0:
        most, rest = kinds.iloc[0], kinds.iloc[1:]
        others = ", ".join(f"{name} {value:.3g}" for name, value in zip(rest["class"], rest["value"], strict=True))
        sentence = f"Tokens of the kind {most['class']} moved most: {{x}} nats each, against {others}."
        yield _finding("tokens", "all", f"kl of {most['class']}", "nats per token", most, sentence)


def _on_states(found: Comparison) -> Iterator[Finding]:
    table = found.latent.set_index(["group", "metric"])
    for group in found.latent["group"].unique():
        layers = found.layers[(found.layers["group"] == group) & (found.layers["metric"] == "centroid_shift")]
        start, furthest = f"On {group_name(group)}, ", layers.loc[layers["value"].idxmax()]
        most = f", most in layer {furthest['layer']}" if furthest["value"] > 0 else ""
        yield _finding(
            "hidden states",
            group,
            "centroid_shift",
            "standard deviations",
            table.loc[(group, "centroid_shift")],
            start + "the mean over prompts moved by {x} of the base's own standard deviations along its two main "
            f"directions (average over layers){most}.",
        )
        yield _finding(
            "hidden states",
            group,
            "cka",
            "",
            table.loc[(group, "cka")],
            start + "the similarity of the two models' arrangements of the prompts is {x} (debiased CKA, average over "
            "layers: 1 is the same arrangement, 0 an unrelated one).",
            ".4g",
        )


def _on_scores(indices: pd.DataFrame) -> Iterator[Finding]:
    for row in indices.query("metric == 'gain'").to_dict("records"):
        sentence = f"On {group_name(row['group'])}, accuracy changed by {{x}} percentage points."
        yield _finding("scores", row["group"], "gain", "percentage points", row, sentence, "+.1f")
    for row in indices.query("metric == 'transferability index'").to_dict("records"):
        what = f"The Transferability Index on {group_name(row['group'])}"
        sentence = what + " is {x} percent."
        if row["unstable"]:
            sentence += " It says little: the gain on mathematics, which it is divided by, is not clearly above zero."
        if row["reason"]:
            sentence = f"{what} has no value: {row['reason']}."
        elif math.isinf(row["low"]) and math.isinf(row["high"]):
            sentence = f"{what} could be anything: the gain on mathematics, which it is divided by, may be zero."
        yield _finding("scores", row["group"], "transferability index", "%", row, sentence, ".0f")
