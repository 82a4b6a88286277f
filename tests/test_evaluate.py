"""The suite decodes as the paper says, scores word for word, and gives the same numbers twice."""

import math

import pytest
import yaml

from mathtransfer import evaluate, published
from mathtransfer.miniature.families import FAMILIES
from mathtransfer.suites.miniature.tasks import correct, extract, process_results


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
    assert extract(completion) == expected


def test_an_empty_answer_is_never_right():
    assert not correct("steps : 3 + 4", "7")
    assert process_results({"answer": "7"}, [["answer 7", "answer 8", "answer 7"]]) == {"accuracy": 2 / 3}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_decoding_is_that_of_the_counterpart(family):
    benchmark = published.table("benchmarks").set_index("benchmark").loc[family.counterpart]
    folder = evaluate.SUITES_FOLDER / "miniature"
    task = (folder / f"{family.name}.yaml").read_text()
    included = task.split("include: ")[1].split()[0]
    settings = (folder / included).read_text().replace("!function ", "")
    arguments = yaml.safe_load(settings)
    sampled = benchmark["decoding"] != "greedy"
    assert f"tag: {family.group}" in task
    assert arguments["generation_kwargs"]["do_sample"] == sampled
    assert (arguments["repeats"] > 1) == sampled
    if sampled:
        assert arguments["generation_kwargs"]["temperature"] == 0.6
        assert arguments["generation_kwargs"]["top_p"] == 0.95


def test_standard_error_of_a_share():
    row = evaluate.summarise([1.0] * 30 + [0.0] * 70)
    assert row["value"] == pytest.approx(30.0)
    assert row["stderr"] == pytest.approx(100 * math.sqrt(0.3 * 0.7 / 99))


def test_every_completion_is_kept_and_adds_up_to_the_scores(base):
    model, tokenizer = base
    arguments = {"split": "validation", "n": 8, "seed": 3, "batch_size": 50}
    scores, samples = evaluate.evaluate(model, tokenizer, "miniature", ["math", "non"], **arguments)
    again, samples_again = evaluate.evaluate(model, tokenizer, "miniature", ["math", "non"], **arguments)
    assert scores.equals(again) and samples.equals(samples_again)
    assert set(scores["group"]) == {"math", "non"} and (scores["n"] == 8).all()
    counts = samples.groupby("benchmark").size()
    assert counts["sums"] == 24 and counts["boxes"] == 8
    recomputed = (
        100
        * samples.assign(right=[extract(c) == a for c, a in zip(samples["completion"], samples["answer"], strict=True)])
        .groupby("benchmark")["right"]
        .mean()
    )
    for _, row in scores.iterrows():
        assert row["value"] == pytest.approx(recomputed[row["benchmark"]])


def test_greedy_completions_are_transformers_own(base):
    """Padding and batching of the harness change nothing: one prompt at a time gives the same text."""
    model, tokenizer = base
    _, samples = evaluate.evaluate(
        model, tokenizer, "miniature", ["non"], split="validation", n=3, seed=0, batch_size=12
    )
    for _, row in samples.iterrows():
        ids = tokenizer(row["prompt"], return_tensors="pt").input_ids
        made = model.generate(input_ids=ids, do_sample=False, max_new_tokens=96)[0, ids.shape[1] :]
        assert tokenizer.decode(made, skip_special_tokens=True) == row["completion"]


def test_unknown_suite_and_group_are_refused():
    with pytest.raises(ValueError, match="unknown suite 'mini': expected one of miniature"):
        evaluate.check_suite("mini", ["math"])
    with pytest.raises(ValueError, match="unknown group maths: expected math, other, non"):
        evaluate.check_suite("miniature", ["maths"])
