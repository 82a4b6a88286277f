"""The Transferability Index against hand-computed examples, an independent implementation and its own symmetries."""

import math
import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mathtransfer import GROUPS
from mathtransfer.claims import transfer
from mathtransfer.claims.transfer import transferability


def table(**scores) -> pd.DataFrame:
    """Tidy scores: model=((math...), (other...), (non...)) in percent."""
    rows = [
        {"model": model, "group": group, "benchmark": f"{group} {i}", "value": value}
        for model, groups in scores.items()
        for group, values in zip(GROUPS, groups, strict=False)
        for i, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def lookup(result: pd.DataFrame, model: str, group: str, metric: str = "transferability index") -> pd.Series:
    found = result[(result["model"] == model) & (result["group"] == group) & (result["metric"] == metric)]
    assert len(found) == 1
    return found.iloc[0]


# --- by hand


def test_per_model_by_hand():
    # Gains 4 and 16 on mathematics: spread sqrt(72) = 8.4853; weights 90 and 10 of 100.
    # Other reasoning: gains 9 and -4, spread sqrt(84.5) = 9.1924; weights 60 and 40.
    scores = table(base=((10, 90), (40, 60)), tuned=((14, 106), (49, 56)))
    result = transferability(scores, {"tuned": "base"}, "per_model")
    math_index = (0.9 * 2 + 0.1 * 4) / math.sqrt(math.sqrt(72))
    other_index = (0.6 * 3 - 0.4 * 2) / math.sqrt(math.sqrt(84.5))
    assert lookup(result, "tuned", "math", "domain index")["value"] == pytest.approx(math_index, abs=1e-9)
    assert lookup(result, "tuned", "other", "domain index")["value"] == pytest.approx(other_index, abs=1e-9)
    assert lookup(result, "tuned", "other")["value"] == pytest.approx(100 * other_index / math_index, abs=1e-9)
    assert lookup(result, "tuned", "other", "gain")["value"] == pytest.approx(2.5, abs=1e-9)


def test_pooled_by_hand():
    # Both models' gains share a spread: mathematics 4, 16, 4, 16 -> sqrt(48); other 9, -4, 1, 1 -> sqrt(28.9166...).
    scores = table(base=((10, 90), (40, 60)), a=((14, 106), (49, 56)), b=((14, 106), (41, 61)))
    result = transferability(scores, {"a": "base", "b": "base"}, "pooled")
    ratio = math.sqrt(math.sqrt(48) / statistics.stdev([9, -4, 1, 1]))
    assert lookup(result, "a", "other")["value"] == pytest.approx(100 * (1.0 / 2.2) * ratio, abs=1e-9)
    assert lookup(result, "b", "other")["value"] == pytest.approx(100 * (1.0 / 2.2) * ratio, abs=1e-9)


def test_relative_by_hand():
    # Mathematics 10/25 and 5/50: mean 0.25; other 10/50 and -6/60: mean 0.05.
    scores = table(base=((25, 50), (50, 60)), tuned=((35, 55), (60, 54)))
    assert lookup(transferability(scores, {"tuned": "base"}, "relative"), "tuned", "other")["value"] == pytest.approx(
        20.0, abs=1e-9
    )


# --- an independent implementation, in plain Python from the text of Section 2.1


def plain_index(scores: dict, base: str, tuned: list[str], model: str, group: str, definition: str) -> float:
    def gains(name, part):
        return [new - old for new, old in zip(scores[name][part], scores[base][part], strict=True)]

    def domain(part):
        own, start = gains(model, part), scores[base][part]
        if definition == "relative":
            return sum(g / s for g, s in zip(own, start, strict=True)) / len(own)
        pool = own if definition == "per_model" else [g for name in tuned for g in gains(name, part)]
        sigma = statistics.stdev(pool)
        weights = [100 - s for s in start]
        terms = [w * math.copysign(math.sqrt(abs(g / sigma)), g) for w, g in zip(weights, own, strict=True)]
        return sum(terms) / sum(weights)

    return 100 * domain(group) / domain("math")


def random_scores(seed: int, models: int = 3, benchmarks: int = 4) -> tuple[dict, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    names = ["base", *(f"m{i}" for i in range(models))]
    scores = {n: {g: list(rng.uniform(5, 95, size=benchmarks)) for g in GROUPS} for n in names}
    return scores, table(**{n: tuple(scores[n][g] for g in GROUPS) for n in names})


@pytest.mark.parametrize("definition", transfer.DEFINITIONS)
@pytest.mark.parametrize("seed", range(10))
def test_an_independent_implementation_agrees(definition, seed):
    plain, scores = random_scores(seed)
    tuned = [name for name in plain if name != "base"]
    result = transferability(scores, dict.fromkeys(tuned, "base"), definition)
    for model in tuned:
        for group in transfer.OUTSIDE:
            expected = plain_index(plain, "base", tuned, model, group, definition)
            assert lookup(result, model, group)["value"] == pytest.approx(expected, rel=1e-9, abs=1e-9)


# --- properties


def four(low: float, high: float) -> st.SearchStrategy:
    return st.lists(st.floats(low, high), min_size=4, max_size=4).filter(lambda gains: np.std(gains) > 0.1)


starts = st.lists(st.floats(10, 90), min_size=4, max_size=4)


def index_of(definition, base, math_gains, other_gains, order=None):
    order = order or range(4)
    base, math_gains, other_gains = ([values[i] for i in order] for values in (base, math_gains, other_gains))
    added = [[b + g for b, g in zip(base, gains, strict=True)] for gains in (math_gains, other_gains)]
    result = transferability(table(base=(base, base), tuned=added), {"tuned": "base"}, definition)
    return lookup(result, "tuned", "other")["value"]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(transfer.DEFINITIONS),
    starts,
    four(0.5, 40),
    four(-40, 40),
    st.floats(0.1, 3.0),
    st.permutations(range(4)),
)
def test_symmetries(definition, base, math_gains, other_gains, factor, order):
    value = index_of(definition, base, math_gains, other_gains)
    close = {"rel": 1e-9, "abs": 1e-9}
    # The order of the benchmarks does not matter.
    assert index_of(definition, base, math_gains, other_gains, order) == pytest.approx(value, **close)
    # Gains of the other sign give an index of the other sign.
    assert index_of(definition, base, math_gains, [-g for g in other_gains]) == pytest.approx(-value, **close)
    # Scaling all gains alike cancels; a model's own spread even cancels a scale on one group.
    scaled = [factor * g for g in math_gains], [factor * g for g in other_gains]
    assert index_of(definition, base, *scaled) == pytest.approx(value, **close)
    if definition == "per_model":
        assert index_of(definition, base, math_gains, scaled[1]) == pytest.approx(value, **close)
    # The same gains as on mathematics give 100.
    assert index_of(definition, base, math_gains, math_gains) == pytest.approx(100.0, **close)


def test_a_shared_spread_keeps_the_scale_of_a_group():
    # With sigma from elsewhere, four times the gains give twice the domain index.
    gains, base = np.array([4.0, -1.0, 9.0]), np.array([10.0, 20.0, 30.0])
    once, fourfold = (transfer.domain_index(k * gains, base, 2.0) for k in (1, 4))
    assert fourfold == pytest.approx(2 * once, abs=1e-9)


def test_equal_gains_give_the_root_of_the_standardised_gain():
    assert transfer.domain_index([8.0, 8.0, 8.0], [10.0, 50.0, 90.0], 2.0) == pytest.approx(2.0)


# --- models whose index has no value


def test_a_model_equal_to_its_base_has_no_index():
    scores = table(base=((10, 20), (30, 40)), tuned=((10, 20), (30, 40)))
    for definition, expected in (
        ("relative", "the index of mathematics is zero"),
        ("per_model", "the spread of the gains on other is zero"),
        ("pooled", "the spread of the gains on other is zero"),
    ):
        row = lookup(transferability(scores, {"tuned": "base"}, definition), "tuned", "other")
        assert math.isnan(row["value"]) and row["reason"] == expected and not row["unstable"]
        gain = lookup(transferability(scores, {"tuned": "base"}, definition), "tuned", "other", "gain")
        assert gain["value"] == 0.0 and gain["reason"] == ""


def test_even_gains_have_no_spread_of_their_own():
    scores = table(base=((10, 20), (30.1, 40.2)), tuned=((15, 30), (32.1, 42.2)))
    row = lookup(transferability(scores, {"tuned": "base"}, "per_model"), "tuned", "other")
    assert math.isnan(row["value"]) and row["reason"] == "the spread of the gains on other is zero"


def test_gains_that_cancel_on_mathematics_leave_no_denominator():
    scores = table(base=((50, 50), (30, 40)), tuned=((59, 41), (35, 41)))
    row = lookup(transferability(scores, {"tuned": "base"}, "per_model"), "tuned", "other")
    assert math.isnan(row["value"]) and row["reason"] == "the index of mathematics is zero"


def test_relative_needs_base_scores_above_zero():
    scores = table(base=((0, 20), (30, 40)), tuned=((15, 30), (32, 43)))
    result = transferability(scores, {"tuned": "base"}, "relative")
    assert lookup(result, "tuned", "other")["reason"] == "the base scores 0 on math 0"
    assert lookup(result, "tuned", "other", "domain index")["reason"] == ""


def test_a_missing_benchmark_is_named_and_harms_no_other_model():
    scores = table(base=((10, 20), (30, 40)), a=((15, 30), (32, 43)), b=((12, 29), (36, 49)))
    without = scores[~((scores["model"] == "b") & (scores["benchmark"] == "other 1"))]
    result = transferability(without, {"a": "base", "b": "base"})
    assert lookup(result, "b", "other")["reason"] == "no score on other 1"
    assert math.isnan(lookup(result, "b", "other", "gain")["value"])
    assert lookup(result, "a", "other")["value"] > 0


def test_a_loss_on_mathematics_is_unstable():
    scores = table(base=((50, 50), (30, 40)), tuned=((45, 41), (35, 41)))
    row = lookup(transferability(scores, {"tuned": "base"}), "tuned", "other")
    assert row["value"] < 0 and row["unstable"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: (s, {"tuned": "base"}, "v1"),
            "unknown definition 'v1': expected one of relative, per_model, pooled",
        ),
        (lambda s: (s, {"tuned": "bass"}, "pooled"), "no scores of bass"),
        (lambda s: (s.replace("other", "othr"), {"tuned": "base"}, "pooled"), "unknown group othr"),
        (lambda s: (s[s["group"] == "other"], {"tuned": "base"}, "pooled"), "no scores on mathematics"),
        (lambda s: (pd.concat([s, s[:1]]), {"tuned": "base"}, "pooled"), "occurs twice: base, math 0"),
    ],
)
def test_bad_input_is_refused(change, message):
    scores = table(base=((10, 20), (30, 40)), tuned=((15, 30), (32, 43)))
    with pytest.raises(ValueError, match=message):
        transferability(*change(scores))


# --- intervals


def test_without_errors_there_is_no_interval():
    result = transferability(table(base=((10, 20), (30, 40)), tuned=((15, 30), (32, 43))), {"tuned": "base"})
    assert result[["low", "high"]].isna().all(axis=None)


def test_parametric_interval_of_a_gain_is_the_normal_one():
    scores = table(base=((40, 40), (40, 40)), tuned=((60, 62), (50, 54))).assign(stderr=1.5)
    row = lookup(transferability(scores, {"tuned": "base"}, draws=20_000), "tuned", "other", "gain")
    half = 1.96 * 1.5 * math.sqrt(2 / 2)  # two benchmarks, a model and its base: the errors add, the mean halves them
    assert (row["low"], row["high"]) == pytest.approx((12 - half, 12 + half), abs=0.06)


def test_certain_scores_have_an_interval_without_width():
    scores = table(base=((40, 40), (40, 40)), tuned=((60, 62), (50, 54))).assign(stderr=0.0)
    row = lookup(transferability(scores, {"tuned": "base"}), "tuned", "other")
    assert row["low"] == pytest.approx(row["value"]) and row["high"] == pytest.approx(row["value"])


def test_an_uncertain_denominator_has_no_ends():
    scores = table(base=((40, 40), (40, 40)), tuned=((41, 40.5), (50, 54))).assign(stderr=2.0)
    row = lookup(transferability(scores, {"tuned": "base"}), "tuned", "other")
    assert row["unstable"] and (row["low"], row["high"]) == (-math.inf, math.inf)


def answers(seed: int, questions: int = 150) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    chance = {"base": (0.3, 0.5), "tuned": (0.6, 0.6)}
    rows = [
        {"model": m, "group": g, "benchmark": f"{g} {b}", "question": q, "value": 100.0 * (rng.random() < p)}
        for m, by_group in chance.items()
        for g, p in zip(("math", "other"), by_group, strict=True)
        for b in range(2)
        for q in range(questions)
    ]
    return pd.DataFrame(rows)


def test_bootstrap_over_items_has_the_width_of_a_mean():
    items = answers(0)
    row = lookup(transferability(items, {"tuned": "base"}, draws=4000), "tuned", "other", "gain")
    wide = items[items["group"] == "other"].pivot(index=["benchmark", "question"], columns="model", values="value")
    paired = wide["tuned"] - wide["base"]
    stderr = math.sqrt(sum(part.var() / len(part) for _, part in paired.groupby("benchmark"))) / 2
    assert row["value"] == pytest.approx(paired.mean())
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * stderr, rel=0.08)


def test_resampling_repeats_by_seed():
    items = answers(1)
    once, again = (transferability(items, {"tuned": "base"}, draws=50, seed=7) for _ in range(2))
    pd.testing.assert_frame_equal(once, again)


def test_drawing_the_pool_again_widens_the_interval():
    _, scores = random_scores(5, models=6)
    scores = scores.assign(stderr=0.5)
    bases = {f"m{i}": "base" for i in range(6)}
    plain = transferability(scores, bases)
    pooled = transferability(scores, bases, over_models=True)
    of_index = (plain["metric"] == "transferability index") & ~plain["unstable"]
    width = {n: (t["high"] - t["low"])[of_index].median() for n, t in {"plain": plain, "pooled": pooled}.items()}
    assert width["pooled"] > 1.2 * width["plain"]
