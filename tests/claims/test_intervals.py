"""Intervals and exact tests against closed forms, brute force, scipy and simulation."""

import math
from functools import partial
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


def test_a_spread_of_several_samples_is_that_of_a_regression_on_them():
    """Ordinary least squares on one indicator a sample: the interval of a coefficient."""
    pool = [[1.0, 2.0, 4.0], [7.0, 6.5], [3.0]]
    values = np.concatenate(pool)
    design = np.repeat(np.eye(3), [3, 2, 1], axis=0)
    coefficients, residual, _, _ = np.linalg.lstsq(design, values, rcond=None)
    stderr = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * residual / (6 - 3))
    for i in range(3):
        expected = stats.t.interval(0.9, 3, loc=coefficients[i], scale=stderr[i])
        assert intervals.pooled_seed_interval(pool, i, 0.0, level=0.9)[1:] == pytest.approx(expected)
    assert intervals.pooled_seed_interval([[1.0], [2.0]], 1, 0.3) == (2.0, -math.inf, math.inf)


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


def test_quantities_by_seed_subtract_and_divide_with_their_errors():
    a = intervals.BySeed(np.array([3.0, 5.0]), np.array([0.1, 0.3]))
    b = intervals.BySeed(np.array([1.0, 6.0]), np.array([0.2, 0.2]))
    assert intervals.by_seed_interval(a - b) == intervals.seed_interval([2.0, -1.0], 0.4)
    # Of a ratio whose parts are known well: relative variances add.
    exact, noisy = intervals.BySeed(np.full(2, 4.0), np.zeros(2)), intervals.BySeed(np.full(2, 2.0), np.full(2, 0.01))
    value, low, high = intervals.ratio_by_seed(exact, noisy)
    assert value == pytest.approx(2.0)
    assert (low, high) == pytest.approx((2 * math.exp(-1.96 * 0.05), 2 * math.exp(1.96 * 0.05)), rel=1e-4)


def test_welch_as_in_scipy():
    a, b = [3.0, 5.0, 9.0], [1.0, 1.5, 2.0, 2.5, 1.0]
    value, low, high = intervals.mean_difference_interval(a, b, level=0.9)
    expected = stats.ttest_ind(a, b, equal_var=False)
    assert value == pytest.approx(np.mean(a) - np.mean(b))
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval(0.9)))
    assert intervals.mean_difference_interval([1.0], b)[1:] == (-math.inf, math.inf)


def test_the_ratio_of_means_is_the_difference_of_logarithms():
    a, b = np.array([3.0, 5.0, 9.0]), np.array([1.0, 1.5, 2.0, 2.5])
    logs = intervals.mean_difference_interval(np.log(a), np.log(b))
    assert intervals.mean_ratio_interval(a, b) == pytest.approx(np.exp(logs))
    assert intervals.mean_ratio_interval([2.0], b)[1:] == (0.0, math.inf)


def test_correlation_as_in_scipy():
    rng = np.random.default_rng(5)
    x = rng.normal(size=14)
    y = x + rng.normal(size=14)
    library = stats.pearsonr(x, y)
    ends = library.confidence_interval()
    assert intervals.correlation_interval(x, y) == pytest.approx((library.statistic, ends.low, ends.high))
    assert intervals.correlation_interval(x, y, given=1)[1] < ends.low
    with pytest.raises(ValueError, match="no interval"):
        intervals.correlation_interval(x[:3], y[:3])


def test_correlation_p_is_exact():
    x, y = np.array([1.0, 2.0, 4.0, 3.0, 7.0]), np.array([2.0, 1.0, 3.0, 5.0, 6.0])
    observed = abs(np.corrcoef(x, y)[0, 1])
    orders = [abs(np.corrcoef(x, y[list(order)])[0, 1]) >= observed - 1e-9 for order in permutations(range(5))]
    assert intervals.correlation_p(x, y) == pytest.approx(np.mean(orders))


def test_spread_ratio_inverts_the_f_test():
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=5), rng.normal(size=7)
    _, low, high = intervals.spread_ratio_interval(a, b)
    for end, tail in ((low, stats.f.sf), (high, stats.f.cdf)):
        assert tail((a / end).var(ddof=1) / b.var(ddof=1), 4, 6) == pytest.approx(0.025)


def test_superiority_interval_has_a_width_without_overlap():
    assert intervals.superiority_interval([5.0, 6.0, 7.0], [1.0, 2.0, 3.0, 4.0])[1] < 60
    low = intervals.superiority_interval(np.arange(20) + 0.5, np.arange(20))[1]
    assert 0 < low < 50


def test_the_least_of_several_has_the_sidak_level():
    estimates = [partial(intervals.normal_interval, value, 1.0) for value in (5.0, 1.0, 3.0)]
    half = stats.norm.ppf(0.5 + 0.95 ** (1 / 3) / 2)
    assert intervals.least(estimates) == pytest.approx((1.0, 1.0 - half, 1.0 + half))
    assert intervals.least(estimates, rank=1) == pytest.approx((3.0, 3.0 - half, 3.0 + half))
    assert intervals.largest(estimates) == pytest.approx((5.0, 5.0 - half, 5.0 + half))


def least_of(values, variance=0.0):
    """The least ratio from logarithms, `(ratios, bases)`."""
    return intervals.least_ratio([intervals.BySeed(own, np.full(len(own), variance)) for own in values])


def test_the_least_ratio_by_hand():
    """Two ratios with the same spread; then one whose spread is taken for the root mean square of both."""
    log = np.array([[1.0, 1.2, 1.4], [0.1, 0.3, 0.5]])
    half = stats.t.ppf(0.975, 2) * 0.2 / 3**0.5
    assert least_of(log) == pytest.approx(np.exp([0.3, 0.3 - half, 0.3 + half]))
    close = np.array([[1.0, 1.2, 1.4], [0.3, 0.3, 0.3]])
    half /= 2**0.5
    assert least_of(close) == pytest.approx(np.exp([0.3, 0.3 - half, 0.3 + half]))
    assert least_of(log[:, :1]) == (pytest.approx(np.exp(0.1)), 0.0, np.inf)
    alike = np.repeat([[1.0], [0.3]], 3, axis=1)  # what is left are the questions, at the level for both at once
    half = stats.norm.ppf(0.5 + 0.95**0.5 / 2) * 0.2
    assert least_of(alike, 0.04) == pytest.approx(np.exp([0.3, 0.3 - half, 0.3 + half]))


@pytest.mark.parametrize("bases", [2, 3, 5])
@pytest.mark.parametrize("together", [0.0, 0.6, 1.0])  # how much of the variance the ratios share
@pytest.mark.parametrize("spreads", [[1.0] * 12, [5.0] + [1.0] * 11, [3.0] * 6 + [1.0] * 6])
def test_the_interval_of_the_least_ratio_covers_zero_if_all_are_one(bases, together, spreads):
    rng, hits = np.random.default_rng(0), 0
    for _ in range(500):
        own = rng.normal(0, (1 - together) ** 0.5, (12, bases))
        low, high = least_of(np.array(spreads)[:, None] * (own + rng.normal(0, together**0.5, bases)))[1:]
        hits += low <= 1 <= high
    assert hits / 500 >= 0.95 - 3 * (0.95 * 0.05 / 500) ** 0.5


def test_a_ratio_without_bound_has_an_infinite_end():
    """Two seeds whose ratios are worlds apart."""
    _, low, high = intervals.geometric_interval([1e-40, 1e40], level=0.999)
    assert (low, high) == (0.0, math.inf)
