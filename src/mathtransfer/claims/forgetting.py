"""What predicts forgetting: measures of drift against what models lose on families that they were not trained on.

A measure predicts a loss by a straight line: the loss in percentage points over the logarithm of the measure (a share
of the weights as it is), with a level of its own for each base. How well is asked of settings that the line has not
seen. One setting at a time is left out, the line is fitted to the others, and the squares of its errors are compared
with those of the bases' levels alone:

    R² = 1 - sum of (loss - line)² / sum of (loss - level)², over the cells of the settings left out.

It is 100% if nothing is left to explain, and below zero if the levels alone predict better. The settings are the
sample: intervals are those of the jackknife, which leaves out a setting with all of its cells, and Student's t.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mathtransfer.claims import latent_drift as latent
from mathtransfer.claims.by_base import Scores, in_parts
from mathtransfer.claims.drift_by_base import by_run, gains
from mathtransfer.claims.intervals import Array, Estimate, least, two_part_interval
from mathtransfer.claims.ledger import Evidence, from_table
from mathtransfer.claims.transfer import OUTSIDE
from mathtransfer.study.record import Record
from mathtransfer.training.settings import SETTINGS

_OWN = "own"  # stands for the group whose loss is predicted
_KL = {  # divergences on training prompts -> group and metric
    "KL(tuned || base), per token": ("training", "kl"),
    "KL(tuned || base), per response": ("training", "kl_response"),
    "KL(base || tuned), per token": ("training", "base_kl"),
    "KL(base || tuned), per response": ("training", "base_kl_response"),
}
_SHIFT = "latent shift, the group's questions"
_STATES_AND_RANKS = {
    "latent shift, mathematics": ("math", "centroid_distance"),
    _SHIFT: (_OWN, "centroid_distance"),
    "1 - CKA, mathematics": ("math", "cka"),
    "1 - CKA, the group's questions": (_OWN, "cka"),
    "rank shift, mathematics": ("math", "rank_shift"),
    "rank shift, the group's questions": (_OWN, "rank_shift"),
}
_WEIGHTS = {
    "size of the update": ("weights", "relative_update"),
    "weights unchanged": ("weights", "unchanged"),
    "weights unchanged in bfloat16": ("weights", "unchanged_bfloat16"),
}
_PREDICTORS = _KL | _STATES_AND_RANKS | _WEIGHTS
BEST = "the best, if drifts are shuffled"
_LEAST = 1e-6  # stands for a drift of nothing, or less by a chance of the estimate, which has no logarithm
_NOTHING = 1e-20  # a sum of squares that is rounding
_FEWEST = 4  # settings from which anything can be predicted of others
_Statistic = Callable[[NDArray[np.bool_]], float]  # of the cells that are kept, `(cells,)`


def cells(record: Record, scores: Scores) -> pd.DataFrame:
    """Every cell of the study with what it lost in each group outside mathematics and how far it drifted.

    Args:
        scores: of the record, natural or at equal format.

    Returns:
        A row a cell and group, means over training seeds: `kind, base, setting, changes, on_policy, group, loss`
        (percentage points, positive for a loss), and each predictor, log10 but for shares of the weights.
    """
    runs = record.runs[record.runs["seed"] >= 0].set_index("run")
    lost = -gains(scores).loc[runs.index]
    on_policy = runs["objective"].map(lambda name: SETTINGS[name].sampling == "policy")
    drifts = {metric: by_run(record, metric) for _, metric in _PREDICTORS.values()}
    tables = []
    for group in OUTSIDE:
        of_group = {
            name: _scaled(drifts[metric][group if of == _OWN else of], metric)
            for name, (of, metric) in _PREDICTORS.items()
        }
        about = runs[["kind", "base", "setting", "changes"]].assign(on_policy=on_policy, group=group, loss=lost[group])
        tables.append(about.join(pd.DataFrame(of_group)))
    keys = ["kind", "base", "setting", "changes", "on_policy", "group"]
    return pd.concat(tables).groupby(keys, sort=False).mean().reset_index()


def ranking(table: pd.DataFrame) -> pd.DataFrame:
    """How much of the losses each predictor explains by itself, R² in percent.

    Args:
        table: from `cells`; a kind with fewer than four settings is left out.

    Returns:
        `kind, group, predictor, value, low, high`.
    """
    rows = []
    for key, own in _enough(table):
        for name in _PREDICTORS:
            value, low, high = _jackknife(own, _log_unexplained(own, name))()
            rows.append((*key, name, *(100 * (1 - np.exp(end)) for end in (value, high, low))))
    return pd.DataFrame(rows, columns=["kind", "group", "predictor", "value", "low", "high"])


def chance(table: pd.DataFrame, shuffles: int = 200, seed: int = 0) -> pd.DataFrame:
    """How much of the losses is explained by drifts that were dealt out to the settings at random.

    A setting is given the drifts of another one, on every base and for every change the same one's; where that one has
    no such change, those of its unchanged cell. Losses keep their places.

    Args:
        table: as in `ranking`.

    Returns:
        `kind, group, predictor, value, low, high`: median and middle 95% of R² in percent, of each predictor and, under
        `BEST`, of the one that is best in a shuffle.
    """
    rng, names, rows = np.random.default_rng(seed), list(_PREDICTORS), []
    for key, own in _enough(table):
        givers, drifts, found = _givers(own), own[names].to_numpy(dtype=float), []
        for _ in range(shuffles):
            giver = givers[np.arange(len(own)), rng.permutation(givers.shape[1])[pd.factorize(own["setting"])[0]]]
            found.append(_explained_by_each(own[giver >= 0], drifts[giver[giver >= 0]]))
        values = np.column_stack([found, np.max(found, axis=1)])
        rows += [
            (*key, *row) for row in zip([*names, BEST], *np.quantile(values, [0.5, 0.025, 0.975], axis=0), strict=True)
        ]
    return pd.DataFrame(rows, columns=["kind", "group", "predictor", "value", "low", "high"])


def _givers(own: pd.DataFrame) -> NDArray[np.int_]:
    """The row of the cell that stands for each cell in each setting, `(cells, settings)`; -1 if there is none.

    It is on the same base and has the same changes, or else none.
    """
    at = {cell: row for row, cell in enumerate(own[["base", "setting", "changes"]].itertuples(index=False, name=None))}
    unchanged = {cell[:2]: row for cell, row in at.items() if not cell[2]}
    return np.array(
        [
            [
                at.get((base, setting, changes), unchanged.get((base, setting), -1))
                for setting in own["setting"].unique()
            ]
            for base, changes in own[["base", "changes"]].itertuples(index=False, name=None)
        ]
    )


def _explained_by_each(own: pd.DataFrame, drifts: Array) -> Array:
    """R² in percent of each column of drifts, `(cells, predictors)`, by itself: 100 (1 - `_unexplained`)."""
    levels, columns = _levels(own), np.column_stack([own["loss"], drifts])
    left, before = np.zeros(drifts.shape[1]), 0.0
    for setting in own["setting"].unique():
        out = (own["setting"] == setting).to_numpy()
        of_bases = _fit(levels[~out], columns[~out])
        rest, away = (columns[rows] - levels[rows] @ of_bases for rows in (~out, out))
        spread = (rest[:, 1:] ** 2).sum(0)
        slopes = rest[:, 0] @ rest[:, 1:] / np.where(spread > _NOTHING, spread, np.inf)
        left += ((away[:, :1] - slopes * away[:, 1:]) ** 2).sum(0)
        before += (away[:, 0] ** 2).sum()
    return 100 * (1 - left / before)


def beyond_kl(table: pd.DataFrame) -> pd.DataFrame:
    """What is left for "on-policy" to explain once a divergence is known.

    Args:
        table: as in `ranking`.

    Returns:
        Two rows a divergence: `kind, group, predictor, measure, value, low, high`. The `measure` is `more`, by
        how many points R² rises if the line also has a step for on-policy settings; or `at equal KL`, that step: what
        on-policy settings lose more than the others, in percentage points.
    """
    rows = []
    for key, own in _enough(table):
        for name in _KL:
            both = [name, "on_policy"]
            more = _jackknife(own, _lead(own, both, [name]))
            rows.append((*key, name, "more", *more()))
            rows.append((*key, name, "at equal KL", *_jackknife(own, _last_slope(own, both))()))
    return pd.DataFrame(rows, columns=["kind", "group", "predictor", "measure", "value", "low", "high"])


def evidence(record: Record) -> dict[str, list[Evidence]]:
    """Part -> L9: of losses in a group, what the PCA shift on its questions explains and what the weights do.

    A part with fewer than four settings has none.
    """
    found: dict[str, list[Evidence]] = {}
    for part, (kind, scores) in in_parts(record, draws=2).items():
        table = cells(record, scores)
        own = table[table["kind"] == kind]
        leads = {group: _least_lead(of_group) for (_, group), of_group in _enough(own)}
        where = f"{own['setting'].nunique()} settings on {own['base'].nunique()} bases"
        found[part] = from_table(where, latent.functional_change(leads["other"], leads["non"])) if leads else []
    return found


def _scaled(values: pd.Series, metric: str) -> pd.Series:
    if metric.startswith("unchanged"):
        return values
    return np.log10((1 - values if metric == "cka" else values).clip(lower=_LEAST))


def _enough(table: pd.DataFrame) -> list[tuple[tuple, pd.DataFrame]]:
    """The cells by kind and group, if there are enough settings."""
    parts = table.groupby(["kind", "group"], sort=False)
    return [(key, own) for key, own in parts if own["setting"].nunique() >= _FEWEST]


def _least_lead(own: pd.DataFrame) -> Estimate:
    """What the PCA shift explains minus what a measure of the weights does, the least of these, points."""
    return partial(least, [_jackknife(own, _lead(own, [_SHIFT], [name])) for name in _WEIGHTS])


def _jackknife(own: pd.DataFrame, statistic: _Statistic) -> Estimate:
    """A statistic with an interval over settings: it is computed again without each of them."""
    settings = own["setting"].unique()
    again = np.array([statistic((own["setting"] != setting).to_numpy()) for setting in settings])
    variance = (len(settings) - 1) * float(again.var())
    return partial(two_part_interval, statistic(np.ones(len(own), dtype=bool)), variance, len(settings) - 1, 0.0)


def _log_unexplained(own: pd.DataFrame, name: str) -> _Statistic:
    """The logarithm of 1 - R², which is nearer to normal than R² is."""
    unexplained = _unexplained(own, [name])
    return lambda kept: float(np.log(unexplained(kept)))


def _lead(own: pd.DataFrame, names: list[str], rivals: list[str]) -> _Statistic:
    """R² of some predictors together less that of others, points."""
    ours, theirs = _unexplained(own, names), _unexplained(own, rivals)
    return lambda kept: 100 * (theirs(kept) - ours(kept))


def _unexplained(own: pd.DataFrame, names: list[str]) -> _Statistic:
    """What predictors leave of the squares in settings that are left out, 1 - R²."""
    levels, lines, loss = _designs(own, names)
    setting = pd.factorize(own["setting"])[0]

    def of(kept: NDArray[np.bool_]) -> float:
        squares = np.zeros(2)
        for left_out in np.unique(setting[kept]):
            out, rest = kept & (setting == left_out), kept & (setting != left_out)
            for number, design in enumerate((lines, levels)):
                errors = loss[out] - design[out] @ _fit(design[rest], loss[rest])
                squares[number] += (errors**2).sum()
        return float(squares[0] / squares[1])

    return of


def _last_slope(own: pd.DataFrame, names: list[str]) -> _Statistic:
    """The slope of the last of some predictors in the line through all settings."""
    _, lines, loss = _designs(own, names)
    return lambda kept: float(_fit(lines[kept], loss[kept])[-1])


def _designs(own: pd.DataFrame, names: list[str]) -> tuple[Array, Array, Array]:
    """Columns for the bases' levels, the same with those of predictors, `(cells, columns)`; and the losses."""
    levels = _levels(own)
    return levels, np.column_stack([levels, own[names].to_numpy(dtype=float)]), own["loss"].to_numpy()


def _levels(own: pd.DataFrame) -> Array:
    """A column for each base's level, `(cells, bases)`."""
    return pd.get_dummies(own["base"]).to_numpy(dtype=float)


def _fit(design: Array, loss: Array) -> Array:
    """Least squares of a loss or of several, `(columns, ...)`; a column that says nothing gets the coefficient zero."""
    return np.linalg.lstsq(design, loss, rcond=None)[0]
