"""Paths through gains and costs: read from a record by brute force, compared by interpolation, honest on seeds."""

import made_up_study
import numpy as np
import pytest

from mathtransfer import GROUPS
from mathtransfer.claims import by_base, price
from mathtransfer.claims.price import _Path as Path
from mathtransfer.miniature.families import FAMILIES

RL, SFT = "on-policy RL", "off-policy SFT, foreign style"


def path(math, other, at=(0, 1, 2, 3), noise=0.0, kl=None, draws=300, seed=0) -> Path:
    """A path whose gains vary with the questions by as much as the noise says, at each point by itself."""
    rng, gains = np.random.default_rng(seed), {}
    for group, means in zip(GROUPS, (math, other, other), strict=True):
        gains[group] = np.array(means, float) + noise * rng.normal(size=(1 + draws, len(at))) * (np.array(at) > 0)
        gains[group][0] = means
    nothing = dict.fromkeys(GROUPS, np.zeros(len(at)))
    return Path(np.array(at, float), gains, nothing, 0, np.array(at if kl is None else kl, float), 100.0 * np.array(at))


def test_equal_mathematics_is_where_both_are_as_far_as_the_one_that_came_less_far():
    rl, sft = path([0, 10, 20, 30], [0, 8, 12, 13]), path([0, 4, 16, 24], [0, -2, -10, -11])
    found = price.at_equal({"RL": rl, "SFT": sft}, "RL", "math").set_index("group")
    assert found["far"].unique() == [24]
    expected = np.interp(24, [20, 30], [12, 13]) - (-11)
    for group in ("other", "non"):
        assert found.loc[group, ["value", "low", "high"]].tolist() == pytest.approx([expected] * 3)
    assert found.loc["math", "value"] == pytest.approx(0)


def test_equal_divergence_and_equal_tokens_take_the_costs_as_they_are():
    rl, sft = path([0, 10, 20], [0, 8, 12], (0, 1, 2)), path([0, 4, 16], [0, -2, -10], (0, 2, 4), kl=[0, 0.5, 1.5])
    by_kl = price.at_equal({"RL": rl, "SFT": sft}, "RL", "kl").set_index("group")
    assert by_kl.loc["math", "far"] == 1.5 and by_kl.loc["math", "value"] == pytest.approx(15 - 16)
    by_tokens = price.at_equal({"RL": rl, "SFT": sft}, "RL", "tokens").set_index("group")
    assert by_tokens.loc["other", "far"] == 200 and by_tokens.loc["other", "value"] == pytest.approx(12 - (-2))
    cut = price.at_equal({"RL": rl.until(1), "SFT": sft}, "RL", "tokens").set_index("group")
    assert cut.loc["other", "far"] == 100 and cut.loc["other", "value"] == pytest.approx(8 - (-1))


def test_the_first_time_counts_and_without_a_common_gain_there_is_no_value():
    back = path([0, 20, 10, 5], [0, 1, 2, 3])
    there = path([0, 5], [0, 0], (0, 1))
    first = price.at_equal({"a": back, "b": there}, "a", "math").set_index("group")
    assert first.loc["other", "far"] == 5 and first.loc["other", "value"] == pytest.approx(0.25)
    loses = path([0, -5, -9], [0, 1, 2], (0, 1, 2))
    none = price.at_equal({"a": there, "loses": loses}, "a", "math")
    assert none["value"].isna().all() and np.isinf(none[["low", "high"]]).all(axis=None)
    hardly = path([0, 0.5], [0, 2], (0, 1), noise=1.0)  # in a third of the resamples it loses
    open_ended = price.at_equal({"a": there, "hardly": hardly}, "a", "math").set_index("group").loc["other"]
    assert np.isfinite(open_ended["value"]) and np.isinf([open_ended["low"], open_ended["high"]]).all()


def test_questions_give_the_comparison_a_width():
    """At the last point of both, one of them is at its end and the other is near it: two independent errors."""
    sides = {"a": path([0, 10], [0, 5], (0, 1), 1.0, seed=1), "b": path([0, 10], [0, 2], (0, 1), 1.0, seed=2)}
    found = price.at_equal(sides, "a", "tokens").set_index("group").loc["other"]
    assert found["value"] == pytest.approx(3)
    assert found["high"] - found["value"] == pytest.approx(1.96 * np.sqrt(2), rel=0.1)


@pytest.fixture(scope="module", params=["pilot", "grid"])
def record(request):
    return request.param, made_up_study.make(questions=20, part=request.param)


def test_paths_are_the_means_of_the_answers_in_the_record(record):
    part, of = record
    along = {"pilot": "learning_rate", "grid": "steps"}[part]
    found = price.paths(of, by_base.natural(of, draws=5), "settled-0", along)
    assert set(found) == set(of.runs["setting"]) - {"base"}
    right = of.answers.astype({"benchmark": str}).groupby(["run", "benchmark"])["right"].mean()
    groups = {group: [name for name, family in FAMILIES.items() if family.group == group] for group in GROUPS}
    score = {group: 100 * right.unstack()[names].mean(axis=1) for group, names in groups.items()}
    kl = of.shifts.query("group == 'math' and metric == 'kl'").groupby("run")["value"].mean()
    for setting in (RL, SFT, "on-policy SFT"):
        own = of.runs[(of.runs["base"] == "settled-0") & (of.runs["setting"] == setting)]
        own = own[(own["changes"] == "") | own["changes"].str.startswith(along)]
        path = found[setting]
        assert path.at.tolist() == [0, *sorted(set(own[along]))]
        for point, at in enumerate(path.at[1:], start=1):
            runs = own.loc[own[along] == at, "run"]
            assert path.kl[point] == pytest.approx(kl[runs].mean())
            assert path.tokens[point] == own.loc[own[along] == at, "response_tokens"].mean()
            for group in GROUPS:
                gain = score[group][runs].mean() - score[group]["settled-0"]
                assert path.gains[group][0, point] == pytest.approx(gain)
    # RL's own spread, if its seeds tell it, else that of all settings and bases.
    trained = of.runs[of.runs["seed"] >= 0].assign(score=lambda t: t["run"].map(score["other"]))
    own = trained.query("setting == @RL and base == 'settled-0' and changes == ''")["score"]
    cells = trained.groupby(["base", "setting", "changes"])["score"]
    freedom = {"grid": 4, "pilot": 4}[part]
    assert found[RL].freedom == freedom
    of_all = (cells.var() * (cells.size() - 1)).sum() / (cells.size() - 1).sum()
    assert (cells.size() - 1).sum() == freedom or part == "grid"
    expected = {"grid": own.var(), "pilot": of_all}[part] / len(own)
    at_own = list(found[RL].at).index({"pilot": 0.0003, "grid": 75}[part])
    assert found[RL].variance["other"][at_own] == pytest.approx(expected)
    assert found[RL].variance["other"][0] == 0


def test_a_frontier_has_every_point_and_the_base(record):
    part, of = record
    along = {"pilot": "learning_rate", "grid": "steps"}[part]
    table = price.frontier(price.paths(of, by_base.natural(of, draws=50), "settled-0", along))
    own = table[(table["setting"] == RL) & (table["group"] == "math")]
    assert len(own) == 5 and own.iloc[0][["at", "kl", "tokens", "value", "low", "high"]].tolist() == [0] * 6
    assert (own["low"] <= own["value"]).all() and (own["value"] <= own["high"]).all()


def lengths(rng, means, spread=2.0, seeds=(1, 5, 1, 1)) -> Path:
    """A path over lengths, of which one has several seeds."""
    by_point = [mean + rng.normal(0, spread, n) for mean, n in zip(means, seeds, strict=True)]
    observed = np.tile([0.0, *(own.mean() for own in by_point)], (3, 1))
    variance, freedom = price._spread(by_point, [])
    of_points = variance / np.array([np.inf, *seeds])
    at = np.array([0, 25, 75, 150, 300.0])
    return Path(at, dict.fromkeys(GROUPS, observed), dict.fromkeys(GROUPS, of_points), freedom, at, at)


def test_intervals_of_dip_and_recovery_cover_with_the_spread_of_the_one_length_that_has_seeds():
    rng, means = np.random.default_rng(0), [-4.0, -2.0, 0.0, 3.0]
    found = [price.dip_and_recovery(lengths(rng, means)).loc["other"] for _ in range(1500)]
    for name, truth in (("first", -4.0), ("later", 7.0)):
        covered = np.mean([row[name, "low"] <= truth <= row[name, "high"] for row in found])
        assert covered == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ([-9, -5, 0, 5], "a dip, then a rise"),
        ([-9, -12, -20, -30], "a dip, then a fall"),
        ([9, 9, 9, 9], "a gain, then no clear change"),
        ([0, 1, 5, 9], "no clear change, then a rise"),
        ([0, 0, 0, 0], "no clear change"),
    ],
)
def test_dip_and_recovery_in_words(means, verdict):
    found = price.dip_and_recovery(lengths(np.random.default_rng(1), means, spread=0.5))
    assert set(found["verdict", ""]) == {verdict}
