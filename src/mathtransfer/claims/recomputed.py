"""Which of the paper's printed numbers follow from which: Table 1's averages, the indices of Tables 1 and 5."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mathtransfer.claims import transfer
from mathtransfer.claims.intervals import Array, Interval
from mathtransfer.claims.transfer import OUTSIDE
from mathtransfer.paper import reported

CLOSE = 0.3  # an index within this many points of the printed one counts as reproduced: three times the rounding
_DRAWS = 2000


# --- the averages of Table 1


def group_averages() -> pd.DataFrame:
    """Table 1's averages and what Tables 9 to 11 give: `model, group, printed, recomputed, difference` in percent."""
    printed = reported.table("group_averages_reported").drop(columns="table")
    printed = printed.melt("model", var_name="group", value_name="printed")
    means = reported.table("scores").groupby(["model", "group"])["score"].mean().rename("recomputed").reset_index()
    joined = printed.merge(means, on=["model", "group"])
    return joined.assign(difference=joined["printed"] - joined["recomputed"])


# --- the indices of Tables 1 and 5


def indices(definition: str = "pooled", draws: int = _DRAWS) -> pd.DataFrame:
    """Every tuned model's indices beside what the paper prints.

    Returns:
        `model, method, table, group, value, low, high, reason, unstable, printed, difference` in percent; the intervals
        are over evaluation items, from each score's standard error.
    """
    found = transfer.transferability(reported.scores(), reported.bases(), definition, draws)
    found = found[found["metric"] == "transferability index"]
    printed = reported.table("transferability_reported").rename(columns={"ti_other": "other", "ti_non": "non"})
    printed = printed.melt(["model", "table"], var_name="group", value_name="printed")
    joined = found.merge(printed, on=["model", "group"]).merge(reported.tuned()[["model", "method"]], on="model")
    return joined.assign(difference=joined["value"] - joined["printed"])


def pooled_spreads() -> dict[str, Array]:
    """sigma_g of the paper's gains, pooled over its tuned models: group -> `(1,)`, percentage points."""
    gains = reported.gains().pivot(index="model", columns=["group", "benchmark"], values="gain")
    return transfer.spreads(gains.to_numpy(), list(gains.columns.get_level_values("group")), "pooled")


def fitted_spreads() -> dict[str, Interval]:
    """sigma_g / sigma_math that the printed indices imply: group -> (fit, low, high).

    With one spread a group, TI_g = sqrt(sigma_math / sigma_g) * X, and X is the index without spreads. The factor
    is the median of printed / X over the 18 rows, which rows that follow from other scores cannot move far. The ends
    are the ratios between which no row is lost or won that the fit reproduces within `CLOSE`.
    """
    printed = reported.table("transferability_reported").set_index("model")
    plain = _plain_indices()
    found = {}
    for group in OUTSIDE:
        target, start = printed[f"ti_{group}"], plain[group][printed.index]
        factor = (target / start).median()
        reproduced = (factor * start - target).abs() <= CLOSE
        centre, reach = (target / start)[reproduced], CLOSE / start[reproduced].abs()
        found[group] = (float(factor) ** -2, float((centre + reach).min()) ** -2, float((centre - reach).max()) ** -2)
    return found


def _plain_indices() -> pd.DataFrame:
    """The indices with all spreads taken for one, percent: a row a model, a column a group."""
    own = {model: part for model, part in reported.gains().groupby("model")}
    rows = {m: {g: 100 * _domain(part, g) / _domain(part, "math") for g in OUTSIDE} for m, part in own.items()}
    return pd.DataFrame(rows).T


def fitted_indices() -> pd.DataFrame:
    """The indices with the fitted spread ratios: `model, table, group, printed, fitted, difference, close`."""
    plain, ratios = _plain_indices(), fitted_spreads()
    printed = reported.table("transferability_reported").rename(columns={"ti_other": "other", "ti_non": "non"})
    rows = printed.melt(["model", "table"], var_name="group", value_name="printed")
    fitted = [plain.loc[row.model, row.group] * ratios[row.group][0] ** -0.5 for row in rows.itertuples()]
    rows = rows.assign(fitted=fitted, difference=np.array(fitted) - rows["printed"])
    return rows.assign(close=rows["difference"].abs() <= CLOSE)


def disagreeing() -> list[str]:
    """The models whose printed indices do not follow from Tables 9 to 11, in the paper's order."""
    close = fitted_indices().groupby("model", sort=False)["close"].all()
    return list(close.index[~close])


def reconciling_scores() -> pd.DataFrame:
    """For every disagreeing row, each single score that would reconcile it with its printed indices.

    Returns:
        `model, benchmark, group, reconciles, printed, needed, change`: with `needed` instead of the `printed` score
        (percent), the columns in `reconciles` come out. A score on mathematics enters both columns; it is listed if it
        reconciles all columns that are off and spoils none.
    """
    gains, rows = reported.gains(), fitted_indices()
    factors = {group: 100 * ratio**-0.5 for group, (ratio, *_) in fitted_spreads().items()}
    found = []
    for model in disagreeing():
        own = gains[gains["model"] == model].set_index("benchmark")
        printed = rows[rows["model"] == model].set_index("group")
        for benchmark, row in own.iterrows():
            entered = OUTSIDE if row["group"] == "math" else (row["group"],)
            off = [group for group in entered if not printed.loc[group, "close"]]
            candidates = [
                _needed(own, benchmark, group, printed.loc[group, "printed"] / factors[group]) for group in off
            ]
            misses = [
                max(abs(factors[g] * _quotient(own, g, benchmark, score) - printed.loc[g, "printed"]) for g in entered)
                for score in candidates
            ]
            if off and min(misses) <= CLOSE and 0 <= (needed := candidates[int(np.argmin(misses))]) <= 100:
                found.append((model, benchmark, row["group"], ", ".join(off), row["score"], needed))
    table = pd.DataFrame(found, columns=["model", "benchmark", "group", "reconciles", "printed", "needed"])
    return table.assign(change=table["needed"] - table["printed"])


def _domain(own: pd.DataFrame, group: str) -> float:
    part = own[own["group"] == group]
    return float(transfer.domain_index(part["gain"], part["base_score"], 1.0))


def _quotient(own: pd.DataFrame, group: str, benchmark: str, score: float) -> float:
    """DI_g / DI_math of one model, without spreads, with another score (percent) on one benchmark."""
    gain = own["gain"].where(own.index != benchmark, score - own["base_score"])
    changed = own.assign(gain=gain)
    return _domain(changed, group) / _domain(changed, "math")


def _needed(own: pd.DataFrame, benchmark: str, group: str, quotient: float) -> float:
    """The score on one benchmark that makes DI_g / DI_math this quotient: the index solved for one of its terms."""
    within = own.loc[benchmark, "group"]
    target = quotient * _domain(own, "math") if within == group else _domain(own, group) / quotient
    part = own[own["group"] == within]
    headroom = 100 - part["base_score"]
    terms = headroom * np.sign(part["gain"]) * part["gain"].abs() ** 0.5
    root = (target * headroom.sum() - terms.drop(benchmark).sum()) / headroom[benchmark]
    return float(own.loc[benchmark, "base_score"] + np.sign(root) * root**2)
