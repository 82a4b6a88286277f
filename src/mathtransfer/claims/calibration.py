"""Are the intervals honest? Every estimate of the ledger, drawn again from data of which the truth is known.

`_redraw` makes new data of the same kind, size and spread as those behind an estimate, with a true value of our choice,
and returns the same estimate of them. From that follow how often intervals cover the truth, how often the ledger's rule
gives a verdict although nothing is there, and how large an effect must be to be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from scipy import special

from mathtransfer.claims import criteria, intervals
from mathtransfer.claims.intervals import LEVEL, Array, BySeed, Estimate
from mathtransfer.claims.ledger import Evidence

_DRAWS = 1000
_GRID = 12  # sizes of effect that are tried on the way to the smallest that is seen
POWER = 80.0  # percent of studies that must see an effect


def _redraw(estimate: Estimate, truth: float, rng: np.random.Generator) -> Estimate | None:
    """The same estimate from new data whose true value is `truth`; None if nothing was drawn, as with a count.

    Values of models, benchmarks and seeds are drawn from normal distributions with the spread that was found (of their
    logarithms, if ratios are estimated), shares from the binomial.

    Raises:
        TypeError: nobody has said how data for this kind of estimate are drawn.
    """
    method = getattr(estimate, "func", estimate)
    if method in (intervals.exact, intervals.without_interval, intervals.boundless):
        return None
    if method not in _REDRAWS:
        raise TypeError(
            f"no way to draw data for estimates by {getattr(method, '__name__', method)}: add it to calibration.py"
        )
    drawn = _REDRAWS[method](*estimate.args, truth=truth, rng=rng)
    return partial(method, *drawn, **estimate.keywords) if drawn else None


def coverage(evidence: list[Evidence], draws: int = _DRAWS, seed: int = 0) -> pd.DataFrame:
    """How often 95% intervals cover the truth, for every estimate with an interval, at its criterion's threshold.

    Returns:
        `statistic, run, method, coverage, stderr` in percent.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for name, estimate, run in evidence:
        truth = criteria.criterion_of(name)[1].threshold
        if _redraw(estimate, truth, rng) is None:
            continue
        ends = (_redraw(estimate, truth, rng)(level=LEVEL)[1:] for _ in range(draws))
        share = np.mean([low <= truth <= high for low, high in ends])
        rows.append((name, run, estimate.func.__name__, 100 * share, 100 * np.sqrt(share * (1 - share) / draws)))
    return pd.DataFrame(rows, columns=["statistic", "run", "method", "coverage", "stderr"])


def false_verdicts(evidence: list[Evidence], draws: int = _DRAWS, seed: int = 0) -> pd.DataFrame:
    """How often a claim gets a verdict if each of its statistics is at its threshold, where neither verdict is right.

    Statistics are drawn as if independent. Claims that rest on a count alone are left out.

    Returns:
        `claim, statistics` (their number), and in percent one column a verdict.
    """
    rng = np.random.default_rng(seed)
    by_claim: dict[str, list] = {}
    for name, estimate, _ in evidence:
        claim, criterion = criteria.criterion_of(name)
        by_claim.setdefault(claim, []).append((criterion, estimate))
    rows = []
    for claim, own in by_claim.items():
        drawn = [(c, e) for c, e in own if _redraw(e, c.threshold, rng) is not None]
        if not drawn:
            continue
        said = [_claim_verdict(drawn, rng) for _ in range(draws)]
        rows.append((claim, len(drawn), *(100 * np.mean([v == name for v in said]) for name in criteria.VERDICTS)))
    return pd.DataFrame(rows, columns=["claim", "statistics", *criteria.VERDICTS])


def _claim_verdict(own: list[tuple[criteria.Criterion, Estimate]], rng: np.random.Generator) -> str:
    edges = [_edge(criterion) for criterion, _ in own]
    fresh = [_redraw(estimate, edge, rng) for (_, estimate), edge in zip(own, edges, strict=True)]
    return criteria.combine([criteria.verdict(c, e, len(own)) for (c, _), e in zip(own, fresh, strict=True)])


def _edge(criterion: criteria.Criterion) -> float:
    """The truth at which neither verdict is right: the threshold, or the margin's end if the claim is about little."""
    return criterion.high if criterion.side == "within" else criterion.threshold


def detectable(evidence: list[Evidence], draws: int = 100, seed: int = 0) -> pd.DataFrame:
    """The smallest true effect at which a statistic's criterion holds in `POWER` percent of studies like these.

    Effects are tried at multiples of the interval's own half width, as differences from the threshold or, if ratios are
    estimated, as their logarithms.

    Returns:
        `claim, statistic, run, threshold, value` (observed), `detectable`; missing if no size that was tried is enough.
    """
    rows = []
    for name, estimate, run in evidence:
        claim, criterion = criteria.criterion_of(name)
        rng = np.random.default_rng(seed)
        if criterion.side == "within" or _redraw(estimate, criterion.threshold, rng) is None:
            continue
        value, low, high = estimate(level=LEVEL)
        found = next(
            (t for t in _effects(criterion, low, high) if _power(criterion, estimate, t, draws, rng) >= POWER), np.nan
        )
        rows.append((claim, name, run, criterion.threshold, value, found))
    return pd.DataFrame(rows, columns=["claim", "statistic", "run", "threshold", "value", "detectable"])


def _effects(criterion: criteria.Criterion, low: float, high: float) -> list[float]:
    """True values beyond the threshold, on the side that the claim needs, by growing distance."""
    if not np.isfinite([low, high]).all():
        return []
    sign = 1 if criterion.side == "above" else -1
    steps = np.linspace(0.5, 3.0, _GRID)
    if criterion.threshold > 0 and low > 0 and np.isclose(criterion.high * criterion.low, criterion.threshold**2):
        return list(criterion.threshold * (high / low) ** (sign * steps / 2))
    return list(criterion.threshold + sign * steps * (high - low) / 2)


def _power(
    criterion: criteria.Criterion, estimate: Estimate, truth: float, draws: int, rng: np.random.Generator
) -> float:
    held = [criterion.holds(*_redraw(estimate, truth, rng)(level=LEVEL)[1:]) for _ in range(draws)]
    return 100 * float(np.mean(held))


# --- how new data are drawn: the arguments of an estimate, again


def _normal(values: Array, truth: float, rng: np.random.Generator) -> tuple[Array]:
    values = np.asarray(values, dtype=float)
    return (rng.normal(truth, values.std(ddof=1), len(values)),)


def _lognormal(values: Array, truth: float, rng: np.random.Generator) -> tuple[Array]:
    return (np.exp(_normal(np.log(values), np.log(truth), rng)[0]),)


def _stderr(value: float, stderr: float, truth: float, rng: np.random.Generator) -> tuple[float, float]:
    return rng.normal(truth, stderr), stderr


def _seeds(values: Array, variance: float, truth: float, rng: np.random.Generator) -> tuple[Array, float]:
    """Seeds vary each by itself; the questions are the same for all of them."""
    return _normal(values, truth, rng)[0] + rng.normal(0, np.sqrt(variance)), variance


def _two_parts(
    value: float, seed_variance: float, freedom: int, question_variance: float, truth: float, rng: np.random.Generator
) -> tuple[float, float, int, float]:
    """The variance between seeds is that of as many normal values as its degrees of freedom say."""
    value = rng.normal(truth, np.sqrt(seed_variance + question_variance))
    return value, seed_variance * rng.chisquare(freedom) / freedom, freedom, question_variance


def _pooled_seeds(
    pool: list[Array], which: int, variance: float, truth: float, rng: np.random.Generator
) -> tuple[list[Array], int, float]:
    """All samples anew with the spread that they have together; the others' means do not matter."""
    freedom = sum(len(values) - 1 for values in pool)
    spread = np.sqrt(sum(((values - np.mean(values)) ** 2).sum() for values in pool) / max(freedom, 1))
    asked = rng.normal(0, np.sqrt(variance))
    return [rng.normal(truth, spread, len(values)) + asked for values in pool], which, variance


def _quantity(quantity: BySeed, truth: float, rng: np.random.Generator) -> tuple[BySeed] | None:
    if len(quantity.values) == 1:  # shows no spread
        return None
    values, _ = _seeds(quantity.values, float(quantity.variance.mean()), truth, rng)
    return (BySeed(values, quantity.variance),)


def _ratio(a: BySeed, b: BySeed, truth: float, rng: np.random.Generator) -> tuple[BySeed, ...] | None:
    drawn = _ratios([a.log(), b.log()], 1.0, rng)
    if not drawn:
        return None
    values = [np.exp(logs.values) * centre for logs, centre in zip(drawn[0], (truth, 1.0), strict=True)]
    return tuple(BySeed(own, logs.variance * own**2) for own, logs in zip(values, drawn[0], strict=True))


def _two_groups(a: Array, b: Array, truth: float, rng: np.random.Generator) -> tuple[Array, Array]:
    spreads = [np.std(side, ddof=1) if len(side) > 1 else np.nan for side in (a, b)]
    of_a, of_b = (np.nanmean(spreads) if np.isnan(spread) else spread for spread in spreads)
    return rng.normal(truth, of_a, len(a)), rng.normal(0.0, of_b, len(b))


def _two_ratios(a: Array, b: Array, truth: float, rng: np.random.Generator) -> tuple[Array, Array]:
    of_a, of_b = _two_groups(np.log(a), np.log(b), np.log(truth), rng)
    return np.exp(of_a), np.exp(of_b)


def _overlap(a: Array, b: Array, truth: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Two normal groups of which a random value of the first is above one of the second in `truth` percent of cases."""
    spread = np.hypot(np.std(a, ddof=1), np.std(b, ddof=1))
    return _two_groups(a, b, special.ndtri(truth / 100) * spread, rng)


def _share(hits: int, n: int, truth: float, rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.binomial(n, truth / 100)), n


def _correlated(
    x: Array, y: Array, given: int = 0, *, truth: float, rng: np.random.Generator
) -> tuple[Array, Array, int]:
    pair = rng.multivariate_normal([0, 0], [[1, truth], [truth, 1]], size=len(x) - given)
    return pair[:, 0], pair[:, 1], 0


def _spreads(a: Array, b: Array, truth: float, rng: np.random.Generator) -> tuple[Array, Array]:
    return rng.normal(0, truth, len(a)), rng.normal(0, 1, len(b))


def _logarithm(estimate: Estimate, truth: float, rng: np.random.Generator) -> tuple[Estimate] | None:
    drawn = _redraw(estimate, np.log(truth), rng)
    return (drawn,) if drawn else None


def _all_of(estimates: list[Estimate], truth: float, rng: np.random.Generator) -> tuple[list[Estimate]] | None:
    drawn = [_redraw(estimate, truth, rng) for estimate in estimates]
    return None if None in drawn else (drawn,)


def _ratios(logs: list[BySeed], truth: float, rng: np.random.Generator) -> tuple[list[BySeed]] | None:
    drawn = [_quantity(own, np.log(truth), rng) for own in logs]
    return None if None in drawn else ([own for (own,) in drawn],)


_REDRAWS: dict[Callable, Callable] = {
    intervals.t_interval: _normal,
    intervals.geometric_interval: _lognormal,
    intervals.normal_interval: _stderr,
    intervals.ratio: _logarithm,
    intervals.seed_interval: _seeds,
    intervals.pooled_seed_interval: _pooled_seeds,
    intervals.two_part_interval: _two_parts,
    intervals.by_seed_interval: _quantity,
    intervals.ratio_by_seed: _ratio,
    intervals.mean_difference_interval: _two_groups,
    intervals.mean_ratio_interval: _two_ratios,
    intervals.superiority_interval: _overlap,
    intervals.share_interval: _share,
    intervals.correlation_interval: _correlated,
    intervals.spread_ratio_interval: _spreads,
    intervals.least: _all_of,
    intervals.largest: _all_of,
    intervals.least_ratio: _ratios,
}
