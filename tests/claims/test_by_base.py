"""Scores by base: against loops over questions, and intervals against simulated studies of which the truth is known."""

import itertools

import numpy as np
import pandas as pd
import pytest

from mathtransfer.claims import by_base
from mathtransfer.claims.by_base import ByBase
from mathtransfer.study.record import Record

RL, SFT = "on-policy RL", "off-policy SFT, foreign style"
MODELS = [(base, "base", -1, "") for base in ("elicitable-0", "settled-0", "settled-1")]
MODELS += [(base, setting, seed, "") for base, _, _, _ in MODELS for setting in (RL, SFT) for seed in (1, 0)]
MODELS += [("settled-0", RL, 0, "steps=300")]
BENCHMARKS = {"sums": "math", "boxes": "math", "routes": "other", "truth": "non"}
LEAST = 0.95 - 3 * (0.95 * 0.05 / 400) ** 0.5  # of 400 intervals at 95%
FORMATS = {"at once": 30, "in steps": 30, "as the teacher": 20}  # format -> questions


@pytest.fixture(scope="module")
def small() -> Record:
    """Random answers of a few models; their rows in no order that helps."""
    rng = np.random.default_rng(0)
    rows = [(f"run {i:02d}", base, by_base.kind_of(base), *rest) for i, (base, *rest) in enumerate(MODELS)]
    models = pd.DataFrame(rows, columns=["run", "base", "kind", "setting", "seed", "changes"])
    answers, formats = [], []
    for run, benchmark in itertools.product(models["run"], BENCHMARKS):
        about = {"run": run, "benchmark": benchmark}
        answers.append(
            pd.DataFrame(about | {"question": range(30), "begins": "at once", "right": rng.random(30) < 0.5})
        )
        for name, n in FORMATS.items():
            formats.append(pd.DataFrame(about | {"question": range(n), "format": name, "right": rng.random(n) < 0.7}))
    tables = [models, pd.concat(answers), pd.concat(formats)]
    shuffled = [table.sample(frac=1, random_state=1) for table in tables]
    return Record(*shuffled, *[pd.DataFrame()] * 3)


def percent_right(table: pd.DataFrame, run: str, benchmarks: list[str]) -> float:
    own = [table[(table["run"] == run) & (table["benchmark"] == name)]["right"].mean() for name in benchmarks]
    return 100 * float(np.mean(own))


def run_of(record: Record, base: str, setting: str, seed: int, changes: str = "") -> str:
    named = record.runs.set_index(["base", "setting", "seed", "changes"])["run"]
    return named[base, setting, seed, changes]


@pytest.mark.parametrize("group", ["math", "other", "non"])
def test_gains_are_those_of_a_loop_over_answers(small, group):
    """Natural answers, and those of each group in its format; seeds in their order."""
    own = [name for name, of in BENCHMARKS.items() if of == group]
    in_format = small.formats[small.formats["format"] == by_base.EQUAL_FORMAT[group]]
    for scores, table in (
        (by_base.natural(small, 5), small.answers),
        (by_base.given(small, by_base.EQUAL_FORMAT, 5), in_format),
    ):
        gains = scores.group_mean(scores.gain(SFT), group)
        assert list(gains.values) == ["elicitable-0", "settled-0", "settled-1"]
        for base, values in gains.values.items():
            start = percent_right(table, run_of(small, base, "base", -1), own)
            expected = [percent_right(table, run_of(small, base, SFT, seed), own) - start for seed in (0, 1)]
            assert values.shape == (6, 2)
            assert list(values[0]) == pytest.approx(expected)


def test_changed_runs_are_apart(small):
    scores = by_base.natural(small, 5)
    (changed,) = scores.of(RL, "steps=300").values.values()
    assert changed.shape == (6, 1, 4)
    expected = percent_right(small.answers, run_of(small, "settled-0", RL, 0, "steps=300"), ["truth"])
    assert changed[0, 0, 3] == pytest.approx(expected)
    assert scores.of(RL).values["settled-0"].shape == (6, 2, 4)
    with pytest.raises(ValueError, match="no model of the setting 'on-policy RL' 'steps=7'"):
        scores.of(RL, "steps=7")


def test_formats_that_were_not_asked_are_refused(small):
    without = Record(
        small.runs, small.answers, small.formats[small.formats["format"] == "at once"], *[pd.DataFrame()] * 3
    )
    with pytest.raises(ValueError, match="no answers in the formats in steps"):
        by_base.given(without, {"math": "in steps"}, 5)


def test_questions_are_drawn_again_as_a_loop_draws_them():
    right = np.random.default_rng(3).random((4, 7))
    found = by_base._drawn(right, np.random.default_rng(5), 20)
    times = np.random.default_rng(5).multinomial(7, np.full(7, 1 / 7), size=20)
    assert found[0] == pytest.approx(right.mean(1))
    for draw, counts in zip(found[1:], times, strict=True):
        questions = [question for question, count in enumerate(counts) for _ in range(count)]
        assert len(questions) == 7
        assert draw == pytest.approx([np.mean([own[question] for question in questions]) for own in right])


def test_questions_are_the_same_for_all_models():
    """So models that answer alike differ by nothing in every draw, and what is hard for all cancels."""
    rng = np.random.default_rng(0)
    hard = rng.random(200)
    right = 100.0 * (np.stack([hard, hard, np.clip(hard + 0.1, 0, 1)]) > 0.5)
    drawn = by_base._drawn(right, rng, 400)
    assert (drawn[:, 0] == drawn[:, 1]).all()
    own, contrast = drawn[1:, 2].std(), (drawn[1:, 2] - drawn[1:, 0]).std()
    assert own == pytest.approx(right[2].std() / 200**0.5, rel=0.1)
    assert contrast == pytest.approx((right[2] - right[0]).std() / 200**0.5, rel=0.1)
    assert contrast < 0.7 * own


def test_a_contrast_is_seed_by_seed_and_a_base_goes_with_every_seed():
    a = ByBase({"settled-0": np.array([[5.0, 7.0]]), "settled-1": np.array([[1.0, 1.0]])})
    base = ByBase({"settled-0": np.array([[2.0]])})
    assert {name: values.tolist() for name, values in (a - base).values.items()} == {"settled-0": [[3.0, 5.0]]}
    assert a.map(np.negative).values["settled-0"].tolist() == [[-5.0, -7.0]]


def test_seeds_that_only_one_of_two_has_are_left_out_of_a_contrast():
    a = ByBase({"settled-0": np.array([[5.0, 7.0, 9.0]])}, {"settled-0": [0, 1, 2]})
    b = ByBase({"settled-0": np.array([[1.0, 2.0]])}, {"settled-0": [2, 0]})
    found = a - b
    assert found.seeds == {"settled-0": [0, 2]} and found.values["settled-0"].tolist() == [[3.0, 8.0]]
    assert (found - a.map(np.zeros_like)).values["settled-0"].tolist() == [[3.0, 8.0]]


def test_too_few_bases_leave_the_interval_without_ends():
    one = ByBase({"settled-0": np.array([[5.0, 7.0], [4.0, 6.0], [6.0, 8.0]])})
    assert one.over_bases("settled")() == (6.0, -np.inf, np.inf)
    value, low, high = one.over_seeds("settled-0")()
    assert low < value < high and np.isfinite([low, high]).all()


def study(rng, bases: int, seeds: int, questions: int, spread: dict[str, float]) -> tuple[ByBase, dict[str, float]]:
    """A contrast of a simulated study, true mean 2, and what is true of each base.

    On question q with base b and seed s it is 2 + b + s + q and noise of its own, each with its spread.
    """
    q, truth, values = rng.normal(0, spread["question"], questions), {}, {}
    effect = rng.normal(0, spread["base"], bases)
    right = np.stack(
        [
            2.0 + effect[b] + rng.normal(0, spread["seed"]) + q + rng.normal(0, spread["noise"], questions)
            for b in range(bases)
            for _ in range(seeds)
        ]
    )
    drawn = by_base._drawn(right, rng, 100).reshape(101, bases, seeds)
    for b in range(bases):
        values[f"settled-{b}"], truth[f"settled-{b}"] = drawn[:, b], 2.0 + effect[b]
    return ByBase(values), truth


@pytest.mark.parametrize(
    "spread",
    [
        {"base": 3.0, "seed": 1.0, "question": 10.0, "noise": 30.0},
        {"base": 0.0, "seed": 1.0, "question": 10.0, "noise": 30.0},
        {"base": 3.0, "seed": 0.0, "question": 40.0, "noise": 10.0},
    ],
)
def test_intervals_cover_what_they_say(spread):
    rng, studies = np.random.default_rng(1), 400
    hits = {"over bases": 0, "over seeds": 0, "each of three bases": 0}
    for _ in range(studies):
        found, truth = study(rng, 3, 2, 60, spread)
        _, low, high = found.over_bases("settled")()
        hits["over bases"] += low <= 2.0 <= high
        _, low, high = found.on_each_base("settled")[1]()
        hits["each of three bases"] += low <= truth["settled-1"] <= high
        found, truth = study(rng, 1, 5, 60, spread)
        _, low, high = found.over_seeds("settled-0")()
        hits["over seeds"] += low <= truth["settled-0"] <= high
    assert all(hit / studies >= LEAST for hit in hits.values()), hits


def test_an_interval_of_one_seed_covers_if_seeds_do_not_differ():
    rng, hits = np.random.default_rng(1), 0
    for _ in range(400):
        found, truth = study(rng, 1, 1, 60, {"base": 3.0, "seed": 0.0, "question": 10.0, "noise": 30.0})
        _, low, high = found.over_seeds("settled-0")()
        hits += low <= truth["settled-0"] <= high
    assert LEAST <= hits / 400 <= 0.98
