"""The suite decodes as the paper says, scores word for word, and gives the same numbers twice."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import yaml

from mathtransfer.benchmarks import evaluate, questions
from mathtransfer.benchmarks.grades import CORRECT, NO_ANSWER, WRONG
from mathtransfer.benchmarks.pool import BENCHMARKS
from mathtransfer.miniature.families import FAMILIES
from mathtransfer.models import engines
from mathtransfer.paper import reported


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("answer 14", "14"),
        ("steps : 3 + 4 = 7 . answer 7", "7"),
        ("answer 3 . wait , answer 4", "4"),
        ("answer red , blue", "red , blue"),
        ("steps : 3 + 4 = 7", ""),
        ("", ""),
    ],
)
def test_extraction(completion, expected):
    """Word for word; an answer that is missing is never right."""
    for gold in (expected or "7", "8"):
        status = NO_ANSWER if not expected else CORRECT if gold == expected else WRONG
        assert BENCHMARKS["miniature"].grade(completion, gold, False, "strict")[::2] == (status, expected)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_decoding_is_that_of_the_counterpart(family):
    benchmark = reported.table("benchmarks").set_index("benchmark").loc[family.counterpart]
    folder = questions.SUITES / "miniature"
    text = (folder / f"{family.name}.yaml").read_text()
    included = text.split("include: ")[1].split()[0]
    settings = (folder / included).read_text().replace("!function ", "")
    arguments = yaml.safe_load(settings)
    sampled = benchmark["decoding"] != "greedy"
    assert f"tag: {family.group}" in text
    assert arguments["generation_kwargs"]["do_sample"] == sampled
    assert arguments["repeats"] == 1  # an answer each to many questions says more than many to a few
    if sampled:
        assert arguments["generation_kwargs"]["temperature"] == 0.6
        assert arguments["generation_kwargs"]["top_p"] == 0.95


def test_standard_error_of_a_share():
    """Over questions, not completions: two completions of each of 100 questions, both right or both wrong."""
    right = pd.Series(([1.0] * 30 + [0.0] * 70) * 2)
    value, stderr = evaluate._summarise(right, pd.Series(1, index=right.index), pd.Series([*range(100)] * 2))
    assert value == pytest.approx(30.0)
    assert stderr == pytest.approx(100 * math.sqrt(0.3 * 0.7 / 99))


def test_standard_error_of_a_share_of_instructions():
    """Against the spread of the ratio over resamples of prompts with unequal numbers of instructions."""
    rng = np.random.default_rng(0)
    asked = rng.integers(1, 4, 400)
    followed = rng.binomial(asked, rng.uniform(0.2, 0.9, 400))
    value, stderr = evaluate._summarise(pd.Series(followed / asked), pd.Series(asked), pd.Series(range(400)))
    assert value == pytest.approx(100 * followed.sum() / asked.sum())
    drawn = rng.integers(0, 400, (4000, 400))
    assert stderr == pytest.approx(100 * (followed[drawn].sum(1) / asked[drawn].sum(1)).std(), rel=0.05)


def test_a_benchmark_of_several_tasks_scores_their_mean():
    rows = [("a", 0, 1.0), ("a", 1, 1.0), ("a", 2, 0.0), ("b", 0, 1.0), ("b", 1, 0.0)]
    samples = pd.DataFrame(rows, columns=["task", "question", "score"]).assign(
        group="other", benchmark="x", asked=1, published_score=0.0, status=CORRECT, finished=True
    )
    row = evaluate._scores(samples).set_index("metric").loc["accuracy"]
    assert row["value"] == pytest.approx(100 * (2 / 3 + 1 / 2) / 2) and row["n"] == 5
    variances = [np.var([1, 1, 0], ddof=1) / 3, np.var([1, 0], ddof=1) / 2]
    assert row["stderr"] == pytest.approx(100 * math.sqrt(sum(variances)) / 2)


def answers(base, folder, groups, n, seed=0, batch_size=64):
    engine = engines.Transformers(*base, batch_size)
    tasks = questions.tasks("miniature", groups, questions.Selection("validation", n), base[1], engine.budget)
    return evaluate.evaluate(engine, tasks, seed=seed, folder=folder)


def test_every_completion_is_kept_and_adds_up_to_the_scores(base, tmp_path):
    scores, samples = answers(base, tmp_path / "one", ["math", "non"], 8, seed=3)
    again, samples_again = answers(base, tmp_path / "two", ["math", "non"], 8, seed=3)
    assert scores.equals(again) and samples.equals(samples_again)
    assert set(scores["group"]) == {"math", "non"} and (scores["n"] == 8).all()
    counts = samples.groupby("benchmark").size()
    assert counts["sums"] == counts["boxes"] == 8
    right = [c.endswith(f"answer {a}") for c, a in zip(samples["completion"], samples["answer"], strict=True)]
    recomputed = 100 * samples.assign(right=right).groupby("benchmark")["right"].mean()
    for metric in ("accuracy", "accuracy as published"):
        own = scores[scores["metric"] == metric].set_index("benchmark")["value"]
        assert own.to_dict() == pytest.approx(recomputed.to_dict())


def test_greedy_completions_are_transformers_own(base, tmp_path):
    """Padding and batching change nothing: one prompt at a time gives the same text."""
    model, tokenizer = base
    _, samples = answers(base, tmp_path, ["non"], 3, batch_size=12)
    for _, row in samples.iterrows():
        ids = tokenizer(row["prompt"], return_tensors="pt").input_ids
        made = model.generate(input_ids=ids, do_sample=False, max_new_tokens=144)[0, ids.shape[1] :]
        assert tokenizer.decode(made, skip_special_tokens=True) == row["completion"]


def test_completions_that_were_not_graded_are_told_of(base, tmp_path, monkeypatch, capsys):
    def grade(answers, readings):
        found = pd.DataFrame({"asked": 1}, index=answers.index)
        parts = {"": "not graded", "_followed": 0, "_extracted": None}
        return found.assign(**{f"{reading}{part}": value for reading in readings for part, value in parts.items()})

    monkeypatch.setattr(evaluate.pool, "grade", grade)
    answers(base, tmp_path, ["non"], 2)
    assert "truth: 2 of 2 completions could not be graded and count as wrong" in capsys.readouterr().out


def test_all_questions_of_the_miniature_are_refused(base):
    with pytest.raises(ValueError, match="the miniature's problems have no end: give a number of problems"):
        questions.tasks("miniature", ["math"], questions.Selection(n=None), base[1], 256)


FIRST_WORDS = ["answer", "steps :", "let me think ."]


@pytest.fixture(scope="module")
def begun(base, tmp_path_factory):
    """Samples of all groups, natural and with first words given; the empty ones give nothing."""
    engine = engines.Transformers(*base, 64)
    asked = questions.tasks(
        "miniature", ["math", "other", "non"], questions.Selection("validation", 8), base[1], engine.budget
    )
    tasks = {"natural": asked} | {words: [task.begun(words, base[1]) for task in asked] for words in ["", *FIRST_WORDS]}
    folder = tmp_path_factory.mktemp("begun")
    return {
        name: evaluate.evaluate(engine, own, seed=3, folder=folder / str(number))[1]
        for number, (name, own) in enumerate(tasks.items())
    }


@pytest.mark.parametrize("words", FIRST_WORDS)
def test_given_words_begin_every_answer_and_are_graded_with_it(base, begun, words):
    samples, ids = begun[words], base[1](words).input_ids
    assert samples["completion"].str.startswith(words).all()
    assert all(list(tokens[: len(ids)]) == ids for tokens in samples["tokens"])
    assert samples["tokens"].map(len).max() <= 144
    right = [c.endswith(f"answer {a}") for c, a in zip(samples["completion"], samples["answer"], strict=True)]
    assert samples["score"].tolist() == right and 0 < sum(right) < len(right)


def test_with_first_words_every_question_is_asked_once(begun):
    for words in FIRST_WORDS:
        assert begun[words].groupby("benchmark").size().eq(8).all()
        first = begun["natural"].query("sample == 0").reset_index(drop=True)
        assert begun[words][["benchmark", "question", "prompt"]].equals(first[["benchmark", "question", "prompt"]])


def test_no_first_words_change_nothing(begun):
    """Bit for bit, log-probabilities too."""
    pd.testing.assert_frame_equal(begun["natural"], begun[""], check_exact=True)


@pytest.mark.parametrize("words", ["answer", "steps :"])
def test_a_models_own_first_words_given_to_it_change_nothing(begun, words):
    """Of greedy answers: sampled ones draw other random numbers if they begin later."""
    natural = begun["natural"].query("benchmark in ['boxes', 'routes', 'triage', 'truth', 'passage']")
    own = natural[natural["completion"].str.startswith(words)]
    assert len(own) and begun[words].loc[own.index, "completion"].equals(own["completion"])


def test_first_words_that_cannot_be_given_are_refused(base):
    (task, *_) = questions.tasks("miniature", ["math"], questions.Selection("validation", 2), base[1], 256)
    with pytest.raises(ValueError, match="the model has no token for a part of 'Steps:'"):
        task.begun("Steps:", base[1])
    with pytest.raises(ValueError, match=f"answers to {task.name} are chosen, not written"):
        dataclasses.replace(task, choices=[["a", "b"]]).begun("answer", base[1])


def test_unknown_suite_and_group_are_refused():
    with pytest.raises(ValueError, match="unknown suite 'mini': expected one of miniature, paper"):
        questions.check_suite("mini", ["math"])
    with pytest.raises(ValueError, match="unknown group maths: expected math, other, non"):
        questions.check_suite("miniature", ["maths"])
