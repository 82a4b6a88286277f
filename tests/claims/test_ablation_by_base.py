"""The ablation by base: by hand, against loops over models, and on a study whose effects are known."""

import math

import made_up_study
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mathtransfer.claims import ablation, ablation_by_base, by_base, ledger
from mathtransfer.claims.by_base import Scores
from mathtransfer.study.record import Record

RL, RL_KL, POSITIVE = "on-policy RL", "on-policy RL with KL", "on-policy RL without negatives"
ON_SFT, OFF_RL, REJECTION = "on-policy SFT", "off-policy RL", "off-policy SFT, rejection"
FOREIGN, OWN = "off-policy SFT, foreign style", "off-policy SFT, own style"
GROUPS = ("math", "other", "non")
# Setting -> score in each group, to which a base adds the same for all.
SCORES = {
    "base": (30, 40, 60),
    RL: (50, 60, 61),
    RL_KL: (49, 58, 63),
    POSITIVE: (47, 57, 60),
    ON_SFT: (45, 52, 62),
    OFF_RL: (52, 50, 55),
    REJECTION: (54, 47, 53),
    FOREIGN: (55, 45, 51),
    OWN: (56, 53, 58),
}


def by_hand(*, bases=("settled-0", "settled-1"), without=(), changes=(), noise=0.0) -> Scores:
    """Scores of two seeds on each base, one benchmark a group; questions drawn again change nothing."""
    seeds = {name: [-1] if name == "base" else [0, 1] for name in SCORES}
    cells = [(base, name, seed, "") for base in bases for name in SCORES for seed in seeds[name]]
    models = pd.DataFrame([*cells, *changes], columns=["base", "setting", "seed", "changes"])
    models = models[~models["setting"].isin(without)].reset_index(drop=True)
    scores = np.array([SCORES[name] for name in models["setting"]], dtype=float)
    scores += 10.0 * models["base"].str[-1].astype(int).to_numpy()[:, None]
    scores += np.random.default_rng(0).normal(0, noise, scores.shape)
    benchmarks = pd.DataFrame({"group": GROUPS, "benchmark": ("sums", "routes", "truth")})
    return Scores(models.assign(run=models.index.astype(str)), benchmarks, np.stack([scores] * 4))


def values(found: list[ledger.Evidence]) -> dict[tuple[str, str], float]:
    return {(statistic, where): estimate()[0] for statistic, estimate, where in found}


def test_every_statistic_by_hand():
    """Bases and seeds add nothing to a contrast, so the intervals have no width."""
    found = ablation_by_base.evidence(by_hand(), "settled")
    assert all(estimate()[1:] == pytest.approx((estimate()[0],) * 2) for _, estimate, _ in found)
    own = ", own style"
    sft, rl = "SFT: on-policy minus off-policy", "RL: on-policy minus off-policy"
    off, on = "off-policy: RL minus SFT", "on-policy: RL minus SFT"
    kl, mechanism = "on-policy RL: with KL minus without", "on-policy SFT minus off-policy RL"
    positive, negatives = "on-policy: RL without negatives minus SFT", "on-policy RL: with negatives minus without"
    levers, like = "sampling, weights, KL, negatives", "on-policy SFT minus on-policy RL"
    # Crossed, other reasoning: sampling (52 - 47 + 60 - 50) / 2 = 7.5, weights (50 - 47 + 60 - 52) / 2 = 5.5, KL -2,
    # negatives 3. Non-reasoning: sampling (62 - 53 + 61 - 55) / 2 = 7.5, weights (55 - 53 + 61 - 62) / 2 = 0.5, KL 2,
    # negatives 1.
    expected = {
        ("on_less_off_policy_other", sft): 52 - 45,
        ("on_less_off_policy_non", sft): 62 - 51,
        ("on_less_off_policy_other", sft + own): 52 - 53,
        ("on_less_off_policy_non", sft + own): 62 - 58,
        ("on_less_off_policy_other", rl): 60 - 50,
        ("on_less_off_policy_non", rl): 61 - 55,
        ("credit_other", off): 50 - 47,
        ("credit_non", off): 55 - 53,
        ("credit_other", on): 60 - 52,
        ("credit_non", on): 61 - 62,
        ("kl_penalty_other", kl): 58 - 60,
        ("kl_penalty_non", kl): 63 - 61,
        ("on_sft_less_off_rl_other", mechanism): 52 - 50,
        ("on_sft_less_off_rl_non", mechanism): 62 - 55,
        ("positive_advantage_other", positive): 57 - 52,
        ("positive_advantage_non", positive): 60 - 62,
        ("negatives_other", negatives): 60 - 57,
        ("negatives_non", negatives): 61 - 60,
        ("off_rl_less_sft_other", "RL minus SFT"): 50 - 47,
        ("off_rl_less_sft_non", "RL minus SFT"): 55 - 53,
        ("on_rl_less_sft_math", "RL minus SFT"): 50 - 45,
        ("on_rl_less_sft_other", "RL minus SFT"): 60 - 52,
        ("on_rl_less_sft_non", "RL minus SFT"): 61 - 62,
        ("sampling_lead_other", levers): 7.5 - 5.5,
        ("sampling_lead_non", levers): 7.5 - 2,
        ("on_sft_less_on_rl_other", like): 52 - 60,
        ("on_sft_less_on_rl_non", like): 62 - 61,
        ("off_rl_gain_non", "off-policy RL"): 55 - 60,
        ("off_rl_less_on_rl_other", "off-policy RL"): 50 - 60,
    }
    assert values(found) == pytest.approx(expected)


def test_a_statistic_without_one_of_its_settings_is_left_out():
    scores = by_hand(without=[POSITIVE, REJECTION])
    found = {name for name, _, _ in ablation_by_base.evidence(scores, "settled")}
    whole = {name for name, _, _ in ablation_by_base.evidence(by_hand(), "settled")}
    lost = ("positive_", "negatives_", "sampling_lead", "credit_", "off_rl_less_sft", "on_rl_less_sft")
    # Weights on-policy need neither of the two.
    assert found == {name for name in whole if not name.startswith(lost)} | {"credit_other", "credit_non"}
    assert not ablation_by_base.evidence(scores, "elicitable")
    assert not len(ablation_by_base.effects(scores, "elicitable-0"))


def test_one_base_leaves_the_next_one_open():
    scores = by_hand(bases=["settled-0"], noise=1.0)
    ends = {estimate()[1:] for _, estimate, _ in ablation_by_base.evidence(scores, "settled")}
    assert ends == {(-math.inf, math.inf)}
    assert np.isfinite(ablation_by_base.effects(scores, "settled-0")[["low", "high"]]).all(axis=None)


def test_effects_are_those_of_a_loop_with_intervals_over_bases_or_seeds():
    scores = by_hand(bases=["settled-0", "settled-1", "settled-2"], noise=2.0)
    score = {
        (row.base, row.setting, row.seed): scores.values[0, row.Index] for row in scores.models.itertuples()
    }  # of each group
    minus = {(base, seed): score[base, RL, seed] - score[base, ON_SFT, seed] for base, _, seed in score if seed >= 0}
    means = np.array([(minus[base, 0] + minus[base, 1]) / 2 for base in ("settled-0", "settled-1", "settled-2")])
    for where, samples in {"settled": means, "settled-1": [minus["settled-1", 0], minus["settled-1", 1]]}.items():
        found = ablation_by_base.effects(scores, where).query("change == 'on-policy: RL minus SFT'")
        assert list(found["group"]) == list(GROUPS)
        half = stats.t.ppf(0.975, len(samples) - 1) * stats.sem(samples)
        assert found["value"].to_numpy() == pytest.approx(np.mean(samples, axis=0))
        assert ((found["high"] - found["low"]) / 2).to_numpy() == pytest.approx(half)


def test_table_4_has_its_changes_under_the_same_names():
    ours = set(ablation_by_base.effects(by_hand(), "settled")["change"])
    assert set(ablation.differences()["change"]) <= ours


def test_an_erring_teacher_with_a_spread_pooled_over_settings():
    changes = [("settled-0", FOREIGN, seed, "teacher_errs=0.5") for seed in (0, 1)]
    changes += [("settled-0", OFF_RL, 0, "teacher=own"), ("settled-0", FOREIGN, 0, "steps=300")]
    scores = by_hand(bases=["settled-0"], changes=changes, noise=2.0)
    objective = {FOREIGN: "off-policy SFT", OWN: "off-policy SFT"}
    runs = scores.models.assign(
        objective=[objective.get(name, name) for name in scores.models["setting"]],
        teacher=scores.models["setting"].map({FOREIGN: "foreign", OWN: "own", OFF_RL: "foreign", REJECTION: "foreign"}),
        teacher_errs=[0.5 if name in (OFF_RL, REJECTION) else 0.0 for name in scores.models["setting"]],
    ).fillna({"teacher": ""})
    runs.loc[runs["changes"] == "teacher_errs=0.5", "teacher_errs"] = 0.5
    runs.loc[runs["changes"] == "teacher=own", "teacher"] = "own"
    record = Record(runs, *[pd.DataFrame()] * 5)
    found = ablation_by_base.with_an_erring_teacher(record, scores, "settled-0").query("group == 'other'")
    own = scores.values[0, :, 1]
    gains = {
        ("off-policy SFT", "foreign", 0): (FOREIGN, ""),
        ("off-policy SFT", "foreign", 50): (FOREIGN, "teacher_errs=0.5"),
        ("off-policy SFT", "own", 0): (OWN, ""),
        (REJECTION, "foreign", 50): (REJECTION, ""),
        (OFF_RL, "foreign", 50): (OFF_RL, ""),
        (OFF_RL, "own", 50): (OFF_RL, "teacher=own"),
    }
    base = own[runs["setting"] == "base"]
    gains = {
        about: own[(runs["setting"] == name) & (runs["changes"] == changed)] - base
        for about, (name, changed) in gains.items()
    }
    freedom = 5  # five settings with two seeds, and one with one
    spread = math.sqrt(sum(np.var(values, ddof=1) for values in gains.values() if len(values) == 2) / freedom)
    rows = found.set_index(["setting", "style", "errs"])
    assert set(rows.index) == set(gains)
    for about, gained in gains.items():
        row = rows.loc[about]
        half = stats.t.ppf(0.975, freedom) * spread / math.sqrt(len(gained))
        assert row["seeds"] == len(gained)
        assert tuple(row[["value", "low", "high"]]) == pytest.approx(
            (gained.mean(), gained.mean() - half, gained.mean() + half)
        )


def test_what_negatives_do_is_found_and_told_from_what_advantages_do_not(monkeypatch):
    """On settled bases wrong answers teach other reasoning, and advantages alone do nothing."""
    adds = {RL: 1.6, POSITIVE: 0.5, ON_SFT: 0.5}
    effects = {name: ((0.0, 1.0, 0.0), (other, other, 0.0)) for name, other in adds.items()}
    cells = {
        name: cell
        for name, cell in made_up_study.cells().items()
        if cell.setting in effects and cell.base.startswith("settled") and cell.seed < 2 and not cell.changes
    }
    monkeypatch.setattr(made_up_study, "cells", lambda part: cells)
    record = made_up_study.make(effects, questions=200, spread={"base": 0.1, "seed": 0.05})
    for scores in (by_base.natural(record), by_base.given(record, by_base.EQUAL_FORMAT)):
        judged = ledger.judge("miniature", ablation_by_base.evidence(scores, "settled"), "settled bases, natural")
        said = judged.set_index("statistic")[["low", "high", "verdict"]]
        assert said.loc["negatives_other", "verdict"] == "reproduced"
        assert said.loc["positive_advantage_other", "low"] < 0 < said.loc["positive_advantage_other", "high"]
        assert said.loc["negatives_non", "verdict"] != "reproduced"
