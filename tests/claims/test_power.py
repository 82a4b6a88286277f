"""Power against closed forms, and spreads against made-up studies whose spreads are known."""

import numpy as np
import pytest
from scipy import stats

from mathtransfer.claims.by_base import ByBase
from mathtransfer.claims.criteria import Criterion
from mathtransfer.claims.power import Design, Spreads, power, spreads

ABOVE = Criterion("", "above", 0.0, -3.0, 3.0, (-3.0, 3.0))
LITTLE = Criterion("", "within", 0.0, -3.0, 3.0, (-3.0, 3.0))
EFFECTS = [0.0, 1.0, 2.0, 3.0, 5.0, 10.0]
STUDIES = 4000
NOISE = 3.5 * 50 / np.sqrt(STUDIES)  # percent: of a share of simulated studies, at most


def test_with_spread_between_bases_alone_it_is_that_of_the_t_test():
    """The interval's low end is above zero as often as a noncentral t is above its critical value."""
    sd, bases = 2.0, 3
    found = power(Spreads(sd**2, 0, 0, 0), Design((5, 2, 2), 400), ABOVE, EFFECTS, STUDIES)
    critical = stats.t.ppf(0.975, bases - 1)
    expected = [stats.nct.sf(critical, bases - 1, effect * np.sqrt(bases) / sd) for effect in EFFECTS]
    assert found["holds"].to_numpy() == pytest.approx(100 * np.array(expected), abs=NOISE)
    against = [stats.nct.cdf(-critical, bases - 1, effect * np.sqrt(bases) / sd) for effect in EFFECTS]
    assert found["fails"].to_numpy() == pytest.approx(100 * np.array(against), abs=NOISE)


def test_seeds_count_as_many_bases_do_if_bases_do_not_differ():
    found = power(Spreads(0, 9.0, 0, 0), Design((4, 4, 4, 4), 400), ABOVE, EFFECTS, STUDIES)
    expected = [stats.nct.sf(stats.t.ppf(0.975, 3), 3, effect * np.sqrt(4 * 4) / 3.0) for effect in EFFECTS]
    assert found["holds"].to_numpy() == pytest.approx(100 * np.array(expected), abs=NOISE)


def test_with_shared_questions_alone_it_is_the_normal_with_known_variance():
    error = np.sqrt(900 / 400)
    z = stats.norm.ppf(0.975)
    found = power(Spreads(0, 0, 900.0, 0), Design((2, 2, 2), 400), ABOVE, EFFECTS, STUDIES)
    assert found["holds"].to_numpy() == pytest.approx(
        [100 * stats.norm.sf(z - effect / error) for effect in EFFECTS], abs=NOISE
    )
    found = power(Spreads(0, 0, 900.0, 0), Design((2, 2, 2), 1600), LITTLE, EFFECTS, STUDIES)
    error = np.sqrt(900 / 1600)
    inside = [
        max(0.0, stats.norm.cdf((3 - effect) / error - z) - stats.norm.cdf((-3 - effect) / error + z))
        for effect in EFFECTS
    ]
    assert found["holds"].to_numpy() == pytest.approx(100 * np.array(inside), abs=NOISE)
    outside = [stats.norm.sf((3 - effect) / error + z) for effect in EFFECTS]
    assert found["fails"].to_numpy() == pytest.approx(100 * np.array(outside), abs=NOISE)


def study(rng, of: Spreads, design: Design, truth=4.0, draws=200) -> ByBase:
    """A contrast whose questions are resampled, from normal effects of bases, seeds and questions."""
    weights = rng.multinomial(design.questions, np.full(design.questions, 1 / design.questions), size=draws)
    weights = np.vstack([np.ones(design.questions), weights]) / design.questions
    shared = rng.normal(0, np.sqrt(of.shared), design.questions)
    values = {}
    for number, seeds in enumerate(design.seeds):
        mean = truth + rng.normal(0, np.sqrt(of.bases)) + rng.normal(0, np.sqrt(of.seeds), seeds)
        by_question = mean + shared[:, None] + rng.normal(0, np.sqrt(of.own), (design.questions, seeds))
        values[f"settled-{number}"] = weights @ by_question  # (1 + draws, seeds)
    return ByBase(values | {"elicitable-0": np.zeros((1 + draws, 2))})


def test_spreads_that_are_known_are_found():
    rng, truth, design = np.random.default_rng(0), Spreads(9.0, 4.0, 400.0, 300.0), Design((3, 3, 3, 3), 100)
    found = [vars(spreads(study(rng, truth, design), "settled", design.questions)) for _ in range(400)]
    for name, value in vars(truth).items():
        estimates = [own[name] for own in found]
        error = np.std(estimates) / np.sqrt(len(estimates))
        # Resampling n questions finds (n - 1) / n of their variance, and a variance below zero counts as zero.
        assert np.mean(estimates) == pytest.approx(value, abs=3 * error + 0.03 * value), name


def test_what_a_small_study_cannot_tell_is_nan():
    rng, truth = np.random.default_rng(0), Spreads(9.0, 4.0, 400.0, 300.0)
    one = spreads(study(rng, truth, Design((1,), 100)), "settled", 100)
    assert np.isnan([one.bases, one.seeds]).all() and one.own == 0 and one.shared == pytest.approx(700, rel=0.4)
    two_seeds = spreads(study(rng, truth, Design((2,), 100)), "settled", 100)
    assert np.isnan(two_seeds.bases) and np.isfinite(two_seeds.seeds)
    with pytest.raises(ValueError, match="the spread between bases is not known: assume one"):
        power(two_seeds, Design((2, 2), 100), ABOVE, EFFECTS)
    without_seeds = [spreads(study(rng, truth, Design((1, 1, 1), 100)), "settled", 100) for _ in range(300)]
    assert all(np.isnan(own.seeds) for own in without_seeds)
    assert np.mean([own.bases for own in without_seeds]) == pytest.approx(9.0 + 4.0, rel=0.15)
