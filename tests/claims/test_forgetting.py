"""Predictors of forgetting against plain loops of scikit-learn, and their intervals on simulated studies."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from made_up_study import make
from sklearn.linear_model import LinearRegression

from mathtransfer.claims import by_base, forgetting, ledger
from mathtransfer.claims.by_base import PARTS


@pytest.fixture(scope="module")
def record():
    return make(questions=10)


@pytest.fixture(scope="module")
def cells(record):
    return forgetting.cells(record, by_base.given(record, by_base.EQUAL_FORMAT, draws=2))


def test_a_cell_is_a_mean_over_its_seeds(record, cells):
    """Loss at equal format and each kind of predictor, by hand."""
    assert len(cells) == len(cells.drop_duplicates(["base", "setting", "changes", "group"]))
    base, chosen = "settled-1", "setting == 'off-policy SFT, own style' and base == 'settled-1' and changes == ''"
    row = cells.query(f"{chosen} and group == 'other'").iloc[0]
    own = record.runs.query(chosen)["run"]
    formats = record.formats[record.formats["format"] == "in steps"].merge(
        record.scores[["benchmark", "group"]].drop_duplicates(), on="benchmark"
    )
    right = formats[formats["group"] == "other"].groupby("run")["right"].mean()
    assert row["loss"] == pytest.approx(100 * (right[base] - right[own].mean()))

    def logs(group, metric):
        rows = record.shifts[(record.shifts["group"] == group) & (record.shifts["metric"] == metric)]
        means = rows.groupby("run")["value"].mean()[own]
        return np.log10(1 - means if metric == "cka" else means).mean()

    for name, (of, metric) in forgetting._PREDICTORS.items():
        if "unchanged" not in metric:
            assert row[name] == pytest.approx(logs("other" if of == "own" else of, metric)), name
    unchanged = record.shifts[record.shifts["run"].isin(own) & (record.shifts["metric"] == "unchanged")]["value"]
    assert row["weights unchanged"] == pytest.approx(unchanged.mean())
    on_policy = set(cells[cells["on_policy"]]["setting"])
    assert {"on-policy RL", "on-policy SFT, foreign style"} <= on_policy
    assert not on_policy & {"SFT on RL's samples", "off-policy RL"}


def by_sklearn(own: pd.DataFrame, names: list[str]) -> float:
    """R² in settings left out, in percent, against the bases' means."""
    wrong = before = 0.0
    for setting in own["setting"].unique():
        out, rest = own[own["setting"] == setting], own[own["setting"] != setting]

        def columns(table):
            return np.column_stack([*(table["base"] == base for base in own["base"].unique()), table[names]])

        line = LinearRegression(fit_intercept=False).fit(columns(rest), rest["loss"])
        level = out["base"].map(rest.groupby("base")["loss"].mean())
        wrong += ((out["loss"] - line.predict(columns(out))) ** 2).sum()
        before += ((out["loss"] - level) ** 2).sum()
    return 100 * (1 - wrong / before)


def test_explained_is_what_settings_left_out_say(cells):
    ranked = forgetting.ranking(cells)
    assert len(ranked) == 2 * 2 * len(forgetting._PREDICTORS)
    for (kind, group), own in cells.groupby(["kind", "group"]):
        found = ranked[(ranked["kind"] == kind) & (ranked["group"] == group)].set_index("predictor")
        for name in ("KL(base || tuned), per token", "weights unchanged"):
            assert found.loc[name, "value"] == pytest.approx(by_sklearn(own, [name]))
            without = [by_sklearn(own[own["setting"] != setting], [name]) for setting in own["setting"].unique()]
            spread = np.std(np.log(1 - np.array(without) / 100)) * len(without) ** 0.5 * (1 - 1 / len(without)) ** 0.5
            assert spread > 0 and found.loc[name, "low"] < found.loc[name, "value"] < found.loc[name, "high"] < 100
    assert not forgetting.ranking(cells[cells["setting"].isin(["on-policy RL", "on-policy SFT", "off-policy RL"])]).size


def test_a_setting_is_given_another_ones_drifts(cells):
    own = cells.query("kind == 'settled' and group == 'other'").reset_index(drop=True)
    givers = forgetting._givers(own)
    for row, cell in own.iterrows():
        for column, setting in enumerate(own["setting"].unique()):
            giver = own.loc[givers[row, column]]
            assert (giver["base"], giver["setting"]) == (cell["base"], setting)
            there = (own["base"] == cell["base"]) & (own["setting"] == setting)
            assert giver["changes"] == (cell["changes"] if cell["changes"] in set(own[there]["changes"]) else "")
    lacking = own[(own["setting"] != "on-policy RL") | (own["base"] != "settled-1")]
    assert (forgetting._givers(lacking) == -1).sum() == (lacking["base"] == "settled-1").sum()


def test_shuffled_drifts_explain_little(cells):
    own = cells.query("kind == 'settled' and group == 'other'")
    names = list(forgetting._PREDICTORS)
    explained = forgetting._explained_by_each(own, own[names].to_numpy(dtype=float))
    assert explained == pytest.approx([by_sklearn(own, [name]) for name in names])
    found = forgetting.chance(own, shuffles=40).set_index("predictor")
    best = found.loc[forgetting.BEST, ["value", "low", "high"]]
    assert (best >= found.drop(forgetting.BEST)[["value", "low", "high"]].max()).all()
    assert best["value"] < explained.max()


def test_chance_is_passed_where_much_is_to_be_found_and_seldom_where_nothing_is():
    rng, name = np.random.default_rng(2), "KL(base || tuned), per token"

    def passed(slope):
        own = simulated(rng, slope).assign(changes="")
        own = own.assign(**{other: own[name] for other in forgetting._PREDICTORS})
        chance = forgetting.chance(own, shuffles=40).set_index("predictor").loc[name, "high"]
        return by_sklearn(own, [name]) > chance

    assert np.mean([passed(0.0) for _ in range(30)]) <= 0.1
    assert np.mean([passed(4.0) for _ in range(6)]) >= 0.8


def test_the_step_of_on_policy_settings(cells):
    name = "KL(tuned || base), per response"
    own = cells.query("kind == 'settled' and group == 'other'")
    found = forgetting.beyond_kl(own).query("predictor == @name").set_index("measure")["value"]
    assert found["more"] == pytest.approx(by_sklearn(own, [name, "on_policy"]) - by_sklearn(own, [name]))
    centred = own[[name, "on_policy", "loss"]].astype(float)
    centred = centred - centred.groupby(own["base"]).transform("mean")
    step = np.linalg.lstsq(centred[[name, "on_policy"]], centred["loss"], rcond=None)[0][1]
    assert found["at equal KL"] == pytest.approx(step)


def simulated(rng, slope: float, step: float = 0.0, settings: int = 11) -> pd.DataFrame:
    """Losses with a part of each setting and of each base of their own, three bases."""
    name = "KL(base || tuned), per token"
    table = pd.MultiIndex.from_product([range(settings), range(3)], names=["setting", "base"]).to_frame(index=False)
    of_setting, of_base = rng.normal(size=(2, settings)), rng.normal(0, 5, 3)
    table[name] = of_setting[0][table["setting"]] + rng.normal(0, 0.3, len(table))
    table["on_policy"] = table["setting"] < settings // 2
    noise = of_setting[1][table["setting"]] + of_base[table["base"]] + rng.normal(0, 0.3, len(table))
    return table.assign(loss=slope * table[name] + step * table["on_policy"] + noise, kind="settled", group="other")


def test_nothing_is_found_where_nothing_is_and_much_where_much_is():
    rng, name = np.random.default_rng(0), "KL(base || tuned), per token"

    def low(slope):
        own = simulated(rng, slope)
        return -forgetting._jackknife(own, forgetting._log_unexplained(own, name))()[2]  # above zero: something is

    assert np.mean([low(0.0) > 0 for _ in range(100)]) <= 0.05
    assert np.mean([low(4.0) > 0 for _ in range(40)]) >= 0.8


def test_intervals_of_the_step_cover():
    rng, names = np.random.default_rng(1), ["KL(base || tuned), per token", "on_policy"]
    hits = 0
    for _ in range(200):
        own = simulated(rng, 1.0, step=-2.0)
        _, low, high = forgetting._jackknife(own, forgetting._last_slope(own, names))()
        hits += low <= -2.0 <= high
    assert hits / 200 >= 0.95 - 3 * (0.95 * 0.05 / 200) ** 0.5


def test_evidence_is_the_least_lead_over_the_weights(record, cells):
    found = forgetting.evidence(record)
    assert list(found) == list(PARTS)
    own = cells.query("kind == 'settled' and group == 'non'")
    shift = by_sklearn(own, ["latent shift, the group's questions"])
    weights = ("size of the update", "weights unchanged", "weights unchanged in bfloat16")
    least = min(shift - by_sklearn(own, [name]) for name in weights)
    values = {name: estimate()[0] for name, estimate, _ in found["settled bases, equal format"]}
    assert values["shift_less_weights_non"] == pytest.approx(least)
    judged = ledger.judge_parts("miniature", found)
    assert set(judged["claim"]) == {"L9"} and len(judged) == 8
    few = dataclasses.replace(record, runs=record.runs[record.runs["setting"].isin(["base", "on-policy RL"])])
    assert ledger.judge_parts("miniature", forgetting.evidence(few)).empty


def test_a_drift_of_nothing_has_a_logarithm():
    values = forgetting._scaled(pd.Series([1.0, 1.0 + 1e-9, 0.9]), "cka")
    assert values.tolist() == pytest.approx([-6, -6, math.log10(0.1)])
