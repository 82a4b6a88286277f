"""The report's figures and its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import pandas as pd

from mathtransfer.pages import charts
from mathtransfer.pages.findings import Finding, group_name
from mathtransfer.pages.templating import fill
from mathtransfer.pages.token_strip import token_strip

if TYPE_CHECKING:
    from mathtransfer.drift.comparison import Comparison

_SHOWN_TEXTS = 6  # responses in the token strip


def figures(found: Comparison, tables: dict[str, pd.DataFrame]) -> dict[str, alt.TopLevelMixin | str]:
    """Heading -> chart or HTML element, in the order of the page.

    Args:
        tables: summaries by the names of `report.json`.
    """
    alternative = "Responses coloured by how far tuning moved them."
    drawn: dict[str, alt.TopLevelMixin | str] = {
        "Where the weights changed": _weights_chart(tables["weights"]),
        "Token by token": token_strip(found.tokens, _texts_to_show(found.tokens), alternative),
    }
    if "most_moved" in tables:
        drawn["The tokens that moved most"] = _tokens_chart(tables["most_moved"])
    drawn["Along the response"] = _positions_chart(tables["tokens_by_tenth"])
    return drawn | (_layer_charts(found.layers) if len(found.layers) else {})


def _weights_chart(by_matrix: pd.DataFrame) -> alt.Chart:
    most = by_matrix.loc[by_matrix["relative_update"].idxmax()]
    place = f" in layer {most['layer']}" if most["layer"] >= 0 else ""
    return charts.update_map(
        by_matrix,
        f"Most changed: {most['kind']}{place}, by {most['relative_update']:.3g}% of the base"
        if most["relative_update"] > 0
        else "No weight changed",
        "Norm of the update relative to the base's weights, by layer and kind of matrix.",
    )


def _texts_to_show(tokens: pd.DataFrame) -> dict[int, str]:
    """Text -> title: of each group in turn the response that moved most, then of each the next, and so on."""
    means = tokens.groupby(["group", "text"], sort=False)["kl"].mean().reset_index()
    means["place"] = means.groupby("group")["kl"].rank(ascending=False, method="first")
    chosen = means.sort_values("place", kind="stable").head(_SHOWN_TEXTS)
    return {row["text"]: f"{group_name(row['group'])}, prompt {row['text'] + 1}" for _, row in chosen.iterrows()}


def _tokens_chart(moved: pd.DataFrame) -> alt.FacetChart:
    return charts.shifted_tokens(
        moved.assign(setting="tuned model"),
        f"{len(moved)} tokens carry {moved['share'].sum():.0f}% of the divergence"
        if moved["kl"].max() > 0
        else "No token moved",
        "The tokens with the largest share of the KL divergence, with an example each.",
    )


def _positions_chart(by_tenth: pd.DataFrame) -> alt.FacetChart:
    return charts.lines(
        by_tenth.assign(setting="tuned", seed=0),
        "tenth",
        "tenth of the response",
        "value",
        "KL (nats per token)",
        "KL divergence along the response, with 95% intervals over prompts",
        "Mean KL divergence in each tenth of the responses, one panel a group.",
    )


def _layer_charts(by_layer: pd.DataFrame) -> dict[str, alt.FacetChart]:
    tables = by_layer.assign(setting="tuned", seed=0).set_index("metric")
    similarity = tables.loc["cka"]
    apart = similarity.assign(value=1 - similarity["value"], low=1 - similarity["high"], high=1 - similarity["low"])
    shown = {"centroid shift (standard deviations of the base)": tables.loc["centroid_shift"], "1 - CKA": apart}
    return {
        f"Layer by layer: {what}": charts.lines(
            table,
            "layer",
            "layer (0 is the embedding)",
            "value",
            what.partition(" (")[0],  # all of it is longer than the axis
            "Zero is no change; bands are 95% intervals over prompts",
            f"{what} of the tuned model against the base in every layer, one panel a group.",
        )
        for what, table in shown.items()
    }


def page(base: str, tuned: str, found: Comparison, said: list[Finding], drawn: dict) -> str:
    """The report as one HTML page that needs no network."""
    topics: dict[str, list[str]] = {}
    for finding in said:
        topics.setdefault(finding.topic, []).append(finding.sentence)
    return fill(
        "report_page.html",
        base=base,
        tuned=tuned,
        vega=charts.vega_bundle().replace("</script", "<\\/script"),
        topics=topics,
        left_out=found.left_out,
        prompts=found.tokens["text"].nunique(),
        most_tokens=found.tokens["length"].max(),
        figures={name: drawing if isinstance(drawing, str) else drawing.to_dict() for name, drawing in drawn.items()},
    )
