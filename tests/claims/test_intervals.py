"""Intervals and exact tests against closed forms, brute force, scipy and simulation."""

import math
from itertools import permutations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from mathtransfer.claims import intervals


def test_seed_interval_without_question_variance_is_the_t_interval():
    values = [3.0, 5.0, 4.5]
    mean, low, high = intervals.seed_interval(values, 0.0)
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (low, high) == pytest.approx(expected)
    assert mean == pytest.approx(np.mean(values))


def test_seed_interval_with_question_variance_alone_is_normal():
    _, low, high = intervals.seed_interval([4.0, 4.0, 4.0], 0.25)
    assert (low, high) == pytest.approx(stats.norm.interval(0.95, loc=4.0, scale=0.5))


def test_seed_interval_needs_two_seeds():
    with pytest.raises(ValueError, match="at least two"):
        intervals.seed_interval([1.0], 0.0)


def test_seed_interval_covers_what_it_says():
    """Simulated studies: seeds scatter around a mean that the drawn questions shift."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        shift = rng.normal(0, 0.5)
        _, low, high = intervals.seed_interval(shift + rng.normal(0, 1.0, size=3), 0.25)
        hits += low <= 0 <= high
    assert 0.93 < hits / 2000 < 0.985


def test_resampled_questions_have_the_variance_of_a_mean():
    rng = np.random.default_rng(1)
    accuracies = [100.0 * rng.integers(0, 2, size=(2, 200))]
    drawn = intervals.resample_questions(accuracies, draws=4000, seed=0)
    assert drawn.shape == (4000, 2, 1)
    expected = accuracies[0].var(axis=1) / 200
    np.testing.assert_allclose(drawn.var(axis=0)[:, 0], expected, rtol=0.08)
    # Both models answered the same drawn questions: a model minus itself has no variance.
    same = intervals.resample_questions([np.repeat(accuracies[0][:1], 2, axis=0)], draws=50, seed=0)
    assert np.ptp(same[:, 0] - same[:, 1]) == 0


def test_all_benchmark_resamples():
    resamples = intervals.benchmark_resamples(4)
    assert resamples.shape == (256, 4)
    assert len({tuple(r) for r in resamples}) == 256
    values = np.array([1.0, 2.0, 4.0, 9.0])
    assert values[resamples].mean(1).var() == pytest.approx(values.var() / 4)  # the bootstrap's exact variance


def test_resamples_without_a_value_widen_the_interval():
    value, low, high = intervals.quantile_interval(1.0, [1.0] * 90 + [math.nan] * 10)
    assert (value, low, high) == (1.0, -math.inf, math.inf)
    assert intervals.quantile_interval(1.0, [1.0] * 199 + [math.nan])[1:] == (1.0, 1.0)


def test_geometric_interval_is_the_t_interval_of_logarithms():
    value, low, high = intervals.geometric_interval([2.0, 4.0, 1.0])
    logs = np.log([2.0, 4.0, 1.0])
    assert value == pytest.approx(2.0)  # the cube root of 8
    assert (low, high) == pytest.approx(np.exp(stats.t.interval(0.95, 2, loc=logs.mean(), scale=stats.sem(logs))))


def test_share_interval_inverts_the_binomial():
    value, low, high = intervals.share_interval(9, 10)
    assert value == pytest.approx(90.0)
    assert stats.binom.sf(8, 10, low / 100) == pytest.approx(0.025)
    assert stats.binom.cdf(9, 10, high / 100) == pytest.approx(0.025)
    assert intervals.share_interval(10, 10)[2] == 100.0


def test_superiority_is_the_share_of_pairs():
    assert intervals.superiority([3.0, 1.0], [2.0, 1.0]) == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=7), rng.normal(size=11)
    assert intervals.superiority(a, b) == pytest.approx(stats.mannwhitneyu(a, b).statistic / 77)


def test_superiority_interval_covers_the_truth():
    """Normal groups whose true probability is 0.76: the bootstrap is somewhat narrow, as it is known to be."""
    rng = np.random.default_rng(0)
    truth, hits = 100 * stats.norm.cdf(1 / math.sqrt(2)), 0
    for seed in range(200):
        a, b = rng.normal(1.0, 1.0, size=10), rng.normal(0.0, 1.0, size=10)
        _, low, high = intervals.superiority_interval(a, b, draws=400, seed=seed)
        hits += low <= truth <= high
    assert 0.85 < hits / 200 <= 1.0


def brute_force_p(a, b):
    together, count, total = [*a, *b], 0, 0
    observed = abs(np.mean(a) - np.mean(b))
    for order in permutations(range(len(together))):
        dealt = [together[i] for i in order]
        total += 1
        count += abs(np.mean(dealt[: len(a)]) - np.mean(dealt[len(a) :])) >= observed - 1e-9
    return count / total


def test_permutation_p_is_exact():
    rng = np.random.default_rng(2)
    a, b = rng.normal(1, 1, size=3), rng.normal(0, 1, size=4)
    assert intervals.permutation_p(a, b) == pytest.approx(brute_force_p(a, b))
    a, b = rng.normal(1, 1, size=7), rng.normal(0, 1, size=9)
    library = stats.permutation_test((a, b), lambda x, y: np.mean(x) - np.mean(y), n_resamples=np.inf)
    # For the two sides scipy doubles the smaller tail; the tails of a nearly symmetric distribution are nearly alike.
    assert intervals.permutation_p(a, b) == pytest.approx(library.pvalue, abs=0.01)


def test_permutation_interval_holds_the_shifts_that_are_not_rejected():
    rng = np.random.default_rng(3)
    a, b = rng.normal(2, 1, size=6), rng.normal(0, 1, size=7)
    value, low, high = intervals.permutation_interval(a, b)
    assert low < value < high
    for end, out in ((low, -1e-3), (high, 1e-3)):
        assert intervals.permutation_p(a - end - out, b) <= 0.05
        assert intervals.permutation_p(a - end + out, b) > 0.05
    # Shifting the data shifts the interval.
    shifted = intervals.permutation_interval(a + 10, b)
    assert np.array(shifted) - 10 == pytest.approx(np.array([value, low, high]), abs=1e-6)


def test_too_few_values_have_no_interval():
    assert intervals.permutation_interval([1.0], [5.0, 6.0, 7.0, 8.0, 9.0])[1:] == (-math.inf, math.inf)


def test_leave_one_out_agrees_with_scikit_learn():
    rng = np.random.default_rng(4)
    size = rng.uniform(0, 2, size=12)
    outcome = 3 * size + rng.normal(size=12)
    expected = cross_val_predict(LinearRegression(), size[:, None], outcome, cv=LeaveOneOut())
    np.testing.assert_allclose(intervals.leave_one_out(outcome, size), expected)
    labels = np.array(list("aaaabbbbbbcc"))
    dummies = (labels[:, None] == np.unique(labels)).astype(float)
    expected = cross_val_predict(LinearRegression(fit_intercept=False), dummies, outcome, cv=LeaveOneOut())
    np.testing.assert_allclose(intervals.leave_one_out(outcome, labels), expected)


def test_a_category_of_one_is_predicted_by_all_others():
    assert intervals.leave_one_out([1.0, 3.0, 10.0], np.array(["a", "a", "b"])).tolist() == [3.0, 1.0, 2.0]


def test_difference_of_independent_normal_values():
    a, b = intervals.normal_interval(5.0, 3.0), intervals.normal_interval(1.0, 4.0)
    assert intervals.difference_interval(a, b) == pytest.approx(intervals.normal_interval(4.0, 5.0))  # 3, 4, 5


def test_the_size_of_an_estimate_near_zero_is_that_of_a_half_normal():
    value, low, high = intervals.absolute_interval(0.0, 1.0, draws=100_000)
    assert value == 0.0
    assert (low, high) == pytest.approx(stats.halfnorm.interval(0.95), abs=0.03)


def test_quantities_by_seed_subtract_with_their_errors():
    a = intervals.BySeed(np.array([3.0, 5.0]), np.array([0.1, 0.3]))
    b = intervals.BySeed(np.array([1.0, 6.0]), np.array([0.2, 0.2]))
    assert (a - b).interval() == intervals.seed_interval([2.0, -1.0], 0.4)
    both = intervals.larger(a, b)
    assert both.values.tolist() == [3.0, 6.0] and both.variance.tolist() == [0.1, 0.3]  # a: 4.0 on average, b: 3.5
