"""Drift by base against loops over a record's rows, and intervals against closed forms."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from made_up_study import make
from scipy import stats

from mathtransfer.claims import by_base, drift_by_base, ledger, miniature
from mathtransfer.claims.by_base import PARTS
from mathtransfer.claims.intervals import BySeed

SFT, RL = miniature.SETTINGS


@pytest.fixture(scope="module")
def record():
    return make(questions=10)


def settled(record) -> list[str]:
    """The settled bases of the record."""
    return sorted(set(record.runs.query("kind == 'settled'")["base"]))


def rows_of(record, metric: str, setting: str, base: str) -> pd.DataFrame:
    """A measure of a setting's unchanged runs on a base."""
    runs = record.runs.query("setting == @setting and base == @base and changes == ''")["run"]
    return record.shifts[record.shifts["run"].isin(runs) & (record.shifts["metric"] == metric)]


def mean_of(record, metric: str, setting: str, base: str, **only) -> tuple[float, float]:
    """By hand: the mean over a base's runs of the mean over benchmarks, and its variance over questions."""
    rows = rows_of(record, metric, setting, base)
    for column, value in only.items():
        rows = rows[rows[column] == value]
    of_runs = [own for _, own in rows.groupby("run")]
    values = [sum(own["value"]) / len(own) for own in of_runs]
    variances = [sum(error**2 for error in own["stderr"]) / len(own) ** 2 for own in of_runs]
    return sum(values) / len(values), sum(variances) / len(variances)


@pytest.mark.parametrize(("answers", "metric"), [("natural", "kl"), ("equal format", "begun_kl")])
def test_a_bases_value_is_the_mean_over_its_seeds(record, answers, metric):
    table = drift_by_base.measured(record, "kl", ["group"]).query("answers == @answers")
    assert set(table["group"]) == ({"math", "other", "non"} if answers == "natural" else {"math", "other"})
    for setting, base, group in ((SFT, "settled-0", "math"), (RL, "elicitable-0", "other")):
        row = table.query("setting == @setting and base == @base and group == @group").iloc[0]
        expected = mean_of(record, metric, setting, base, group=group)
        assert (row["value"], row["variance"]) == pytest.approx(expected)
    cells = record.runs.query("seed >= 0 and changes == ''")[["setting", "base"]].drop_duplicates()
    assert len(table) == len(cells) * table["group"].nunique()


def test_a_benchmark_that_a_run_did_not_measure_is_left_out(record):
    run = record.runs.query("setting == @RL and base == 'settled-1'")["run"].iloc[0]
    gone = (record.shifts["run"] == run) & (record.shifts["benchmark"] == "truth")
    without = dataclasses.replace(record, shifts=record.shifts[~(gone & (record.shifts["metric"] == "shift_evenness"))])
    table = drift_by_base.measured(without, "shift_evenness", ["benchmark"], (SFT, RL)).query("answers == 'natural'")
    counts = table.groupby("kind")["benchmark"].agg(["nunique", lambda names: "truth" in set(names)])
    assert counts.to_numpy().tolist() == [[12, True], [11, False]]  # elicitable, settled
    others = drift_by_base.measured(without, "shift_evenness", [], ("off-policy RL",))
    assert len(others) == 6 * 2  # bases, ways of asking: it lacks nothing


def test_means_over_bases_are_geometric_with_student_and_the_questions(record):
    table = drift_by_base.measured(record, "kl", ["group"])
    found = drift_by_base.over_bases(table).query("kind == 'settled' and answers == 'natural' and group == 'non'")
    row = found[found["setting"] == SFT].iloc[0]
    of_bases = [mean_of(record, "kl", SFT, base, group="non") for base in settled(record)]
    logs = np.log([value for value, _ in of_bases])
    relative = np.mean([variance / value**2 for value, variance in of_bases])
    half = math.hypot(stats.t.ppf(0.975, 2) * logs.std(ddof=1) / 3**0.5, stats.norm.ppf(0.975) * relative**0.5)
    expected = [math.exp(logs.mean() + step) for step in (0.0, -half, half)]
    assert row[["value", "low", "high"]].tolist() == pytest.approx(expected)


def test_one_base_has_an_interval_without_ends(record):
    only = dataclasses.replace(record, runs=record.runs[record.runs["base"] == "settled-0"])
    table = drift_by_base.over_bases(drift_by_base.measured(only, "kl", ["group"]))
    assert (table["low"] == 0).all() and np.isinf(table["high"]).all() and (table["value"] > 0).all()


def test_ratios_and_spreads_by_hand(record):
    """L1, L7 and L8 of settled bases at equal format, with values alone."""
    part = "settled bases, equal format"
    found = {name: estimate()[0] for name, estimate, _ in drift_by_base.latent_drift(record)[part]}
    bases, metric = settled(record), "begun_centroid_distance"

    def by_benchmark(setting, base):
        names = rows_of(record, metric, setting, base)["benchmark"].unique()
        return np.array([mean_of(record, metric, setting, base, benchmark=name)[0] for name in sorted(names)])

    def mean_log(quantity, first, second):
        return math.exp(np.mean([math.log(quantity(first, base) / quantity(second, base)) for base in bases]))

    of_math = mean_log(lambda s, b: mean_of(record, metric, s, b, group="math")[0], SFT, RL)
    assert found["sft_over_rl_shift_math"] == pytest.approx(of_math)
    spread = mean_log(lambda s, b: by_benchmark(s, b).std(ddof=1), SFT, RL)
    assert found["sft_over_rl_shift_spread"] == pytest.approx(spread)
    log_spread = mean_log(lambda s, b: np.log(by_benchmark(s, b)).std(ddof=1), SFT, RL)
    assert found["sft_over_rl_log_shift_spread"] == pytest.approx(log_spread)
    traces = mean_log(lambda s, b: stats.gmean(by_benchmark(s, b)), "off-policy SFT, own style", SFT)
    assert found["no_think_over_think_shift"] == pytest.approx(traces)
    assert not {"sft_over_rl_shift_non", "sft_shift_non_over_rest", "shift_with_gain_non"} & set(found)


def test_the_error_of_a_spread_is_that_of_simulated_benchmarks():
    rng = np.random.default_rng(0)
    values, errors = rng.normal(3, 1, (12, 1)), rng.uniform(0.02, 0.06, (12, 1))
    found = drift_by_base._spread({str(n): BySeed(values[n], errors[n] ** 2) for n in range(12)})
    again = (values + errors * rng.normal(size=(12, 20_000))).std(0, ddof=1)
    assert found.values.item() == pytest.approx(values.std(ddof=1))
    assert found.variance.item() ** 0.5 == pytest.approx(again.std(), rel=0.05)


def test_correlations_are_over_cells(record):
    found = {name: estimate() for name, estimate, _ in drift_by_base.latent_drift(record)["settled bases, natural"]}
    scores, points = by_base.natural(record, draws=2), []
    trained = record.runs.query("kind == 'settled' and seed >= 0")
    cells = trained.groupby(["base", "setting", "changes"])["run"].agg(list)
    accuracy = record.answers.groupby(["run", "benchmark"])["right"].mean().unstack()
    other = [name for name, group in scores.benchmarks.set_index("benchmark")["group"].items() if group == "other"]
    mean = 100 * accuracy[other].mean(axis=1)
    shifts = record.shifts.query("metric == 'centroid_distance' and group == 'other'").groupby("run")["value"].mean()
    for (base, setting, _), own in cells.items():
        points.append((setting, math.log10(shifts[own].mean()), mean[own].mean() - mean[base]))
    table = pd.DataFrame(points, columns=["setting", "shift", "gain"])
    assert found["shift_with_gain_other"][0] == pytest.approx(table["shift"].corr(table["gain"]))
    near = table[["shift", "gain"]] - table.groupby("setting")[["shift", "gain"]].transform("mean")
    assert found["shift_with_gain_other_within"][0] == pytest.approx(near["shift"].corr(near["gain"]))


def test_token_statistics_by_hand(record):
    evidence = drift_by_base.token_drift(record)["elicitable bases, natural"]
    found = {name: estimate()[0] for name, estimate, _ in evidence}
    bases = sorted(record.runs.loc[record.runs["kind"] == "elicitable", "base"].unique())

    def over(metric, first, second, **only):
        """The geometric mean over bases of one mean over another."""
        ratio = [
            mean_of(record, metric, first[0], base, **first[1], **only)[0]
            / mean_of(record, metric, second[0], base, **second[1], **only)[0]
            for base in bases
        ]
        return stats.gmean(ratio)

    benchmarks = record.shifts.query("metric == 'kl' and group in ['math', 'other', 'non']")["benchmark"].unique()
    least = min(over("kl", (SFT, {}), (RL, {}), benchmark=name) for name in benchmarks)
    on_non = min(over("kl", (SFT, {"group": "non"}), (SFT, {"group": group})) for group in ("math", "other"))
    evenness = [mean_of(record, "shift_evenness", SFT, base)[0] for base in bases]
    assert {"training", "weights"} <= set(record.shifts["group"])  # whose rows must not enter
    assert found["sft_over_rl_kl_least"] == pytest.approx(least)
    assert found["sft_kl_non_over_rest"] == pytest.approx(on_non)
    assert found["rl_over_sft_rank_shift"] == pytest.approx(over("rank_shift", (RL, {}), (SFT, {})))
    assert found["sft_over_rl_shifted_share"] == pytest.approx(over("shifted", (SFT, {}), (RL, {})))
    assert found["sft_shift_evenness"] == pytest.approx(np.mean(evenness))


@pytest.mark.parametrize("evidence", [drift_by_base.latent_drift, drift_by_base.token_drift])
def test_every_part_is_judged_and_a_slice_says_what_it_can(record, evidence):
    judged = ledger.judge_parts("miniature", evidence(record))
    assert set(judged["part"]) == set(PARTS)
    slice_ = record.runs[(record.runs["base"] == "settled-0") & record.runs["setting"].isin([SFT, RL, "base"])]
    small = dataclasses.replace(record, runs=slice_[slice_["changes"] == ""])
    few = ledger.judge_parts("miniature", evidence(small))
    assert set(few["part"]) == {"settled bases, natural", "settled bases, equal format"}
    assert set(few["verdict"]) == {"too little data"}
    alone = dataclasses.replace(record, runs=slice_[slice_["setting"] != RL])
    assert ledger.judge_parts("miniature", evidence(alone)).empty
