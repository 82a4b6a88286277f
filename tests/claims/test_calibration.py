"""Coverage, false verdicts and power of the ledger's own estimates, by simulation."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from mathtransfer.claims import (
    ablation,
    audit,
    calibration,
    controlled_study,
    criteria,
    intervals,
    latent_drift,
    ledger,
    released,
    token_drift,
)
from mathtransfer.claims.intervals import BySeed
from mathtransfer.paper import reported

RL, SFT, _ = reported.CONTROLLED_STUDY
LEAST = 93.0  # percent of 95% intervals that must cover


@pytest.fixture(scope="module")
def published():
    return [row for part in (audit, controlled_study, latent_drift, token_drift, ablation) for row in part.published()]


@pytest.fixture(scope="module")
def miniature():
    """Evidence of a study with three seeds: seeds and questions matter about as much as in the miniature one."""
    rng = np.random.default_rng(0)

    def quantity(centre, of_seeds=0.1, of_questions=0.1):
        return BySeed(centre * np.exp(rng.normal(0, of_seeds, 3)), np.full(3, (of_questions * centre) ** 2))

    groups, benchmarks = ("math", "other", "non"), [f"benchmark {i}" for i in range(12)]
    sft, rl = ({g: quantity(c, spread) for g in groups} for c, spread in ((2.0, 0.5), (1.0, 0.05)))
    sft_kl, rl_kl = ({b: quantity(0.05) for b in benchmarks} for _ in range(2))
    scores = [
        (name, partial(intervals.seed_interval, rng.normal(0, 1, 3), variance))
        for name, variance in zip(
            ("rl_less_sft_math", "rl_less_sft_other", "rl_less_sft_non", "rl_gain_non", "sft_gain_non"),
            (0.05, 0.2, 1.0, 2.0, 0.0),
            strict=True,
        )
    ]
    pool = [rng.normal(0, 1, seeds) for seeds in (5, 2, 2)]
    each = [partial(intervals.pooled_seed_interval, pool, i, 0.2) for i in range(3)]
    lead = partial(intervals.least, [partial(intervals.two_part_interval, 0.0, 4.0, 10, 0.0)] * 3)
    found = (
        dict(scores)
        | controlled_study.every_base(each, each)
        | latent_drift.shifts(sft, rl)
        | latent_drift.shift_on_non(sft)
        | latent_drift.functional_change(lead, lead)
        | token_drift.least_kl_ratio(sft_kl, rl_kl)
        | token_drift.rank_shift_ratio(partial(intervals.ratio_by_seed, quantity(0.5), quantity(1.0)))
        | token_drift.shifted_share_ratio(quantity(5.0), quantity(4.0))
        | token_drift.shift_evenness(quantity(80.0, 0.02, 0.02), quantity(80.0, 0.02, 0.02))
        | ablation.gradient_norms(*(partial(intervals.ratio, estimate) for _, estimate in scores[:3]))
    )
    return ledger.from_table("here", found)


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["published", "miniature"])
def test_every_interval_covers_the_truth(layer, request):
    table = calibration.coverage(request.getfixturevalue(layer), draws=1000)
    assert len(table) > 10
    # What is known of a coverage from 1000 draws: with a hundred of them some are three standard errors off.
    low = table[table["coverage"] + 3 * table["stderr"] < LEAST]
    assert low.empty, low.to_string()
    by_method = table.groupby("method")["coverage"].mean()
    assert (by_method >= LEAST).all(), by_method.to_string()


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["published", "miniature"])
def test_no_rule_gives_a_verdict_too_often_if_nothing_is_there(layer, request):
    table = calibration.false_verdicts(request.getfixturevalue(layer), draws=1000)
    bound = 5 + 2 * 100 * np.sqrt(0.05 * 0.95 / 1000)  # what a thousand draws tell of a rate
    for verdict in (criteria.HOLDS, criteria.FAILS):
        assert (table[verdict] <= bound).all(), table.to_string()
        assert table[verdict].mean() <= 5


def test_nothing_happens_to_either_model():
    """SFT = RL = base on the published layer: only the scores' own noise, drawn jointly, with the paper's bases."""
    rng = np.random.default_rng(0)
    gains = reported.gains()
    study = gains[gains["model"].isin(reported.CONTROLLED_STUDY)].copy()
    said = []
    for _ in range(200):
        noise = {
            benchmark: rng.normal(0, 2, 4) for benchmark in study["benchmark"].unique()
        }  # three models and the base
        place = {model: 1 + i for i, model in enumerate(reported.CONTROLLED_STUDY)}
        study["gain"] = [noise[row.benchmark][place[row.model]] - noise[row.benchmark][0] for row in study.itertuples()]
        rows = ledger.judge("published", controlled_study.from_gains(study, "nothing"))
        said.append(rows.groupby("claim")["verdict"].agg(lambda own: criteria.combine(list(own))))
    table = pd.DataFrame(said)
    bound = 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    for claim in ("S2", "S3", "S4"):
        assert (table[claim] == criteria.HOLDS).mean() <= bound and (table[claim] == criteria.FAILS).mean() <= bound
    assert (table["S1"] == criteria.FAILS).mean() <= bound  # that RL reaches at least SFT's scores is true here


def test_every_interval_of_the_released_layer_covers_the_truth():
    rng = np.random.default_rng(0)
    hits = rng.random((2, 500)) < [[0.36], [0.13]]
    rows = [(m, q, 50, int(hits[i, q]), float(rng.random() < 0.6)) for i, m in enumerate((SFT, RL)) for q in range(500)]
    table = pd.DataFrame(rows, columns=["model", "question", "words", "markers", "strict_followed"])
    found = calibration.coverage(released.evidence_on_markers(table), draws=1000)
    assert len(found) == 2 and (found["coverage"] + 2 * found["stderr"] >= LEAST).all()


def test_the_old_intervals_would_not_pass():
    """Zero lies outside the exact bootstrap over four benchmarks in a fifth of studies in which nothing happens."""
    rng = np.random.default_rng(0)
    drawn = np.stack(np.meshgrid(*[range(4)] * 4), -1).reshape(-1, 4)
    outside = 0
    for values in rng.normal(size=(1000, 4)):
        _, low, high = intervals.quantile_interval(0.0, values[drawn].mean(1))
        outside += not low <= 0 <= high
    assert 0.15 < outside / 1000 < 0.25
    # The worst of twelve benchmarks, each with an interval of its own.
    values = rng.normal(size=(1000, 12))
    assert (values.min(1) + 1.96 < 0).mean() > 0.15


def test_a_redrawn_estimate_has_the_size_and_spread_of_its_data():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    rng = np.random.default_rng(0)
    fresh = [calibration._redraw(partial(intervals.t_interval, values), 7.0, rng).args[0] for _ in range(4000)]
    assert np.shape(fresh) == (4000, 4)
    assert np.mean(fresh) == pytest.approx(7.0, abs=0.1)
    assert np.std(fresh) == pytest.approx(values.std(ddof=1), rel=0.03)
    assert calibration._redraw(partial(intervals.exact, 3), 1.0, rng) is None
    several = [partial(intervals.normal_interval, 0.0, 1.0), partial(intervals.boundless, 2.0)]
    one_base = BySeed(np.array([2.0]), np.array([0.1]))
    several = [
        partial(intervals.least, several),
        partial(intervals.by_seed_interval, one_base),
        partial(intervals.ratio_by_seed, one_base, one_base),
        partial(intervals.least_ratio, [one_base, one_base]),
    ]
    assert [calibration._redraw(estimate, 1.0, rng) for estimate in several] == [None] * 4
    with pytest.raises(TypeError, match="add it to calibration"):
        calibration._redraw(partial(np.mean, values), 1.0, rng)


def test_an_effect_of_the_size_that_is_detectable_is_seen():
    """Of a normal estimate that is 1.96 + 0.84 standard errors: the textbook's number."""
    evidence = [("rl_less_sft_other", partial(intervals.normal_interval, 0.0, 2.0), "here")]
    (row,) = calibration.detectable(evidence, draws=2000).to_dict("records")
    assert row["detectable"] == pytest.approx(2 * (1.96 + 0.84), abs=2 * 0.45)  # the grid's step


def test_a_claim_on_little_is_tried_at_the_end_of_its_margin():
    evidence = [("kl_penalty_other", partial(intervals.normal_interval, 0.0, 0.1), "here")]
    (row,) = calibration.false_verdicts(evidence, draws=2000).to_dict("records")
    assert row[criteria.HOLDS] == pytest.approx(2.5, abs=1.2)
    assert row[criteria.FAILS] == pytest.approx(2.5, abs=1.2)


def test_tables_repeat(published):
    some = published[:3]
    pd.testing.assert_frame_equal(calibration.coverage(some, draws=20), calibration.coverage(some, draws=20))
