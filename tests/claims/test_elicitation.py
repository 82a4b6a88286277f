"""What a change of format explains: against loops over questions, known cases, and simulated studies."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from mathtransfer.claims import elicitation
from mathtransfer.claims.miniature import SETTINGS

SFT, RL = SETTINGS
FORMATS = list(elicitation.FORMATS)
WORDS = list(elicitation.FORMATS.values())
KEYS = ["setting", "seed", "group", "benchmark", "question"]


def model(right: np.ndarray, begins: np.ndarray, given: np.ndarray, benchmarks: list[tuple[str, str]]) -> pd.DataFrame:
    """A model's answers as `read_answers` has them.

    Args:
        right: whether each natural answer is right, `(benchmarks, questions, samples)`.
        begins: the number of its format, in the same shape; 3 is none of them.
        given: whether the answer in each format is right, `(benchmarks, questions, formats)`.
    """
    names = [*FORMATS, "otherwise"]
    parts = {("share", name): 100 * (begins == number).mean(-1) for number, name in enumerate(names)}
    parts |= {("right", name): 100 * ((begins == number) * right).mean(-1) for number, name in enumerate(names)}
    parts |= {("given", name): 100.0 * given[..., number] for number, name in enumerate(FORMATS)}
    rows = [(*benchmark, question) for benchmark in benchmarks for question in range(right.shape[1])]
    index = pd.MultiIndex.from_tuples(rows, names=KEYS[2:])
    return pd.DataFrame({column: values.ravel() for column, values in parts.items()}, index=index)


def together(models: dict[tuple[str, int], pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(models, names=KEYS[:2]).sort_index()


@pytest.fixture(scope="module")
def raw():
    """The base and two seeds of each setting on four benchmarks: random answers in all formats, and in none."""
    rng = np.random.default_rng(0)
    made = {}
    for run in [("base", -1), *((setting, seed) for setting in SETTINGS for seed in (0, 1))]:
        likely = rng.dirichlet([2, 2, 2, 0.3])
        begins = rng.choice(4, size=(4, 30, 3), p=likely)
        made[run] = (rng.random((4, 30, 3)) < rng.random(), begins, rng.random((4, 30, 3)) < rng.random((3,)))
    return made


BENCHMARKS = [("math", "sums"), ("math", "boxes"), ("other", "dose"), ("non", "truth")]
ROWS = {"math": [0, 1], "other": [2], "non": [3]}


@pytest.fixture(scope="module")
def found(raw):
    answers = together({run: model(*parts, BENCHMARKS) for run, parts in raw.items()})
    table = elicitation.measure(answers, draws=200)
    return table.set_index(["setting", "group", "measure", "format"])["value"].sort_index()


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("group", ROWS)
def test_parts_are_those_of_a_loop_over_answers(raw, found, setting, group):
    """For every answer of the tuned model and of the base, the base answers in that answer's format."""
    base_right, base_begins, base_given = raw["base", -1]
    parts = []
    for seed in (0, 1):
        right, begins, _ = raw[setting, seed]
        for place in itertools.product(ROWS[group], range(30), range(3)):
            in_format = [*base_given[place[:2]], base_right[place[:2]].mean()]
            change = float(in_format[begins[place]]) - float(in_format[base_begins[place]])
            parts.append((change, float(right[place]) - float(base_right[place]) - change))
    expected = 100 * np.mean(parts, axis=0)
    assert found[setting, group, "format", "natural"] == pytest.approx(expected[0])
    assert found[setting, group, "within", "natural"] == pytest.approx(expected[1])


def test_a_model_that_answers_as_the_base_gains_nothing_in_either_part(raw):
    models = {run: model(*raw["base", -1], BENCHMARKS) for run in raw}
    found = elicitation.measure(together(models), draws=20)
    parts = found[found["measure"].isin(["gain", "format", "within"])]
    assert len(parts) == 3 * 3 * (3 + 3)  # settings with their contrast, groups; natural parts, gains in a format
    assert (parts[["value", "low", "high"]] == 0).all(axis=None)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("group", ROWS)
def test_parts_by_first_word_are_the_sums_over_formats(raw, found, setting, group):
    def rates(run):
        right, begins, _ = (part[ROWS[group]] for part in raw[run])
        share = [(begins == number).mean() for number in range(4)]
        return share, [right[begins == number].mean() if share[number] else np.nan for number in range(4)]

    share_base, right_base = rates(("base", -1))
    parts = []
    for seed in (0, 1):
        share, right = rates((setting, seed))
        changed = [(p - q) * a for p, q, a in zip(share, share_base, right_base, strict=True) if p or q]
        inside = [p * (b - a) for p, a, b in zip(share, right_base, right, strict=True) if p]
        parts.append((sum(changed), sum(inside)))
    own = found[setting, group]
    expected = 100 * np.mean(parts, axis=0)
    assert own["format by first word", "natural"] == pytest.approx(expected[0])
    assert own["within by first word", "natural"] == pytest.approx(expected[1])


def test_parts_add_up_and_the_contrast_is_their_difference(found):
    for setting in [*SETTINGS, elicitation.CONTRAST]:
        for group in ROWS:
            own = found[setting, group]
            for part, rest in (("format", "within"), ("format by first word", "within by first word")):
                assert own[part, "natural"] + own[rest, "natural"] == pytest.approx(own["gain", "natural"])
            assert own["format minus within", "natural"] == pytest.approx(
                own["format", "natural"] - own["within", "natural"]
            )
    for key, value in found[elicitation.CONTRAST].items():
        assert value == pytest.approx(found[(RL, *key)] - found[(SFT, *key)])


def test_levels_and_gains_in_a_format_are_means(raw, found):
    for run, name in ((("base", -1), "base"), ((RL, 0), RL)):
        runs = [run] if name == "base" else [(RL, 0), (RL, 1)]
        for number, format in enumerate(FORMATS):
            given = np.mean([raw[own][2][ROWS["math"], :, number].mean() for own in runs])
            assert found[name, "math", "accuracy", format] == pytest.approx(100 * given)
            share = np.mean([(raw[own][1][ROWS["math"]] == number).mean() for own in runs])
            assert found[name, "math", "share", format] == pytest.approx(100 * share)
    gain = found[RL, "math", "accuracy"] - found["base", "math", "accuracy"]
    assert found[RL, "math", "gain"].to_dict() == pytest.approx(gain.to_dict())


def study(tuned, base, groups=("other",)):
    """A study whose models have no luck: accuracies and shares by format, the same on every question."""
    benchmarks = [(group, group) for group in groups]

    def one(accuracy, share):
        right = (np.arange(100) < 100 * accuracy[share])[None, :, None]
        given = np.stack([np.arange(100) < 100 * own for own in accuracy], -1)[None]
        return model(right, np.full((1, 100, 1), share), given, benchmarks)

    models = {("base", -1): one(*base)} | {(setting, seed): one(*tuned) for setting in SETTINGS for seed in (0, 1)}
    return elicitation.measure(together(models), draws=50)


@pytest.mark.parametrize(
    ("tuned", "base", "by_format", "within", "verdict"),
    [
        (([0.3, 0.8, 0.5], 1), ([0.3, 0.8, 0.5], 0), 50, 0, "most"),  # only the format is new
        (([0.6, 0.8, 0.5], 0), ([0.3, 0.8, 0.5], 0), 0, 30, "less"),  # only the skill is
        (([0.3, 0.7, 0.5], 1), ([0.3, 0.9, 0.5], 0), 60, -20, "all"),
        (([0.3, 0.8, 0.1], 2), ([0.3, 0.8, 0.5], 1), -30, -40, "open"),
        (([0.3, 0.8, 0.1], 2), ([0.6, 0.8, 0.5], 0), -10, -40, "less"),
        (([0.3, 0.8, 0.5], 1), ([0.8, 0.8, 0.5], 0), 0, 0, "none"),
    ],
)
def test_known_cases(tuned, base, by_format, within, verdict):
    row = elicitation.explained(study(tuned, base)).loc[(RL, "other")]
    assert row["format", "value"] == pytest.approx(by_format)
    assert row["within", "value"] == pytest.approx(within)
    assert row["verdict", ""] == verdict


def test_a_format_that_the_base_never_takes_has_no_part_by_first_word():
    found = (
        study(([0.3, 0.8, 0.5], 2), ([0.3, 0.8, 0.5], 0))
        .set_index(["setting", "measure", "format"])["value"]
        .sort_index()
    )
    assert np.isnan(found[RL, "format by first word", "natural"])
    assert np.isnan(found["base", "accuracy of these", "as the teacher"])
    assert found[RL, "format", "natural"] == pytest.approx(20)


def test_settings_with_other_seeds_are_refused(raw):
    models = {run: model(*parts, BENCHMARKS) for run, parts in raw.items() if run != (RL, 1)}
    with pytest.raises(ValueError, match="other seeds"):
        elicitation.measure(together(models))


def test_intervals_cover_what_they_say():
    """Simulated studies: questions and seeds are drawn anew, and formats pay more on questions where they are taken.

    The base answers a question right with probability 0.4 at once and 0.6 + d in steps, and takes steps on a fifth; a
    seed of RL takes them with probability 0.7 + 0.5 d + v and is right with 0.1 + u more, in either format. Over the
    questions d has the mean 0 and the variance 0.2^2 / 3, so the two parts are 0.5 * 0.2 + 0.5 * 0.2^2 / 3 and 0.1.
    """
    rng, n, studies = np.random.default_rng(1), 80, 200
    truth = {"format": 100 * (0.1 + 0.5 * 0.2**2 / 3), "within": 10.0}
    truth |= {"gain": sum(truth.values()), "format minus within": truth["format"] - truth["within"]}
    hits = dict.fromkeys(truth, 0)
    for _ in range(studies):
        d = rng.uniform(-0.2, 0.2, n)

        def draw(steps, more, d=d):
            accuracy = np.stack([np.full(n, 0.4), 0.6 + d, np.zeros(n)], -1) + more  # (questions, formats)
            begins = (rng.random((n, 3)) < steps[:, None]).astype(int)
            right = rng.random((n, 3)) < np.take_along_axis(accuracy, begins, 1)
            return model(right[None], begins[None], (rng.random((n, 3)) < accuracy)[None], [("other", "dose")])

        models = {("base", -1): draw(np.full(n, 0.2), 0.0)}
        for setting in SETTINGS:
            for seed in range(3):
                models[setting, seed] = draw(0.7 + 0.5 * d + rng.uniform(-0.1, 0.1), 0.1 + rng.uniform(-0.05, 0.05))
        found = (
            elicitation.measure(together(models), draws=200).set_index(["setting", "measure", "format"]).sort_index()
        )
        for name, value in truth.items():
            low, high = found.loc[(RL, name, "natural"), ["low", "high"]]
            hits[name] += low <= value <= high
    assert all(hit / studies >= 0.93 for hit in hits.values()), hits  # over seeds and questions: wider than need be


def test_answers_are_read_from_runs(tmp_path):
    """A first word is a format, both of the teacher's; families count alike however often they are asked."""
    natural = pd.DataFrame(
        [
            ("math", "sums", 0, "steps : 1 + 1 = 2 . answer 2", 1.0),
            ("math", "sums", 0, "answer 3", 0.0),
            ("math", "sums", 1, "okay , let me see . answer 4", 1.0),
            ("math", "sums", 1, "let me think . answer 5", 0.0),
            ("other", "dose", 0, "", 0.0),
        ],
        columns=["group", "benchmark", "question", "completion", "score"],
    )
    asked = natural[["group", "benchmark", "question"]].drop_duplicates()
    given = pd.concat([asked.assign(begins=words, score=float(words == "steps :")) for words in WORDS])
    run = tmp_path / "base"
    run.mkdir()
    (run / "manifest.json").write_text(json.dumps({"notebook": "evaluate"}))
    pd.DataFrame({"setting": ["base"], "seed": [-1]}).to_csv(run / "scores.csv", index=False)
    natural.to_parquet(run / "samples.parquet")
    given.to_parquet(run / "formats.parquet")
    table = elicitation.read_answers(tmp_path).loc[("base", -1)]
    first = table.loc[("math", "sums", 0)]
    assert first["share"].to_dict() == {"at once": 50, "in steps": 50, "as the teacher": 0, "otherwise": 0}
    assert first["right"].to_dict() == {"at once": 0, "in steps": 50, "as the teacher": 0, "otherwise": 0}
    assert first["given"].to_dict() == {"at once": 0, "in steps": 100, "as the teacher": 0}
    assert table.loc[("math", "sums", 1), ("share", "as the teacher")] == 100
    assert table.loc[("math", "sums", 1), ("right", "as the teacher")] == 50
    assert table.loc[("other", "dose", 0), ("share", "otherwise")] == 100
    with pytest.raises(FileNotFoundError, match="no finished evaluation"):
        elicitation.read_answers(tmp_path / "nowhere")
