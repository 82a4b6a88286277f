"""The miniature world: splits that cannot overlap, answers that are right, a fair base."""

import itertools
import random
import re

import pandas as pd
import pytest

from mathtransfer.miniature import corpus, facts, traces, vocabulary
from mathtransfer.miniature.families import FAMILIES, SPLITS, _split_of, chance_level, distinct_problems, problems
from mathtransfer.paper import reported

REASONING = [name for name, family in FAMILIES.items() if family.group != "non"]


def test_twelve_families_each_stand_for_one_benchmark_of_its_group():
    benchmarks = reported.table("benchmarks").set_index("benchmark")["group"]
    assert {family.counterpart: family.group for family in FAMILIES.values()} == benchmarks.to_dict()


def test_splits_partition_all_problems():
    assert sorted(itertools.chain(*SPLITS.values())) == list(range(20))


@pytest.mark.parametrize("family", FAMILIES)
def test_no_question_is_in_two_splits(family):
    questions = {split: {p.question for p in itertools.islice(problems(family, split, 7), 1500)} for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert not questions[one] & questions[other]


def test_pretraining_documents_ask_nothing_that_is_held_out():
    held_out = {
        p.question
        for family in FAMILIES
        for split in ("posttrain", "validation", "evaluation")
        for p in distinct_problems(family, split, 100, seed=0)
    }
    assert not held_out & {prompt for prompt, _ in itertools.islice(corpus.documents(0), 20_000)}


def test_names_and_wordings_do_not_hide_a_problem_from_its_split():
    """Two questions with the same numbers are the same problem, whoever has the boxes."""
    rng = random.Random(0)
    drawn = [FAMILIES["boxes"].draw(rng) for _ in range(20_000)]
    by_key = {}
    for problem in drawn:
        by_key.setdefault(problem.key, set()).add(_split_of("boxes", problem))
    assert all(len(splits) == 1 for splits in by_key.values())


def test_everything_is_in_the_vocabulary():
    tokenizer = vocabulary.build_tokenizer()
    rng = random.Random(0)
    texts = [f"{prompt} {response}" for prompt, response in itertools.islice(corpus.documents(3), 20_000)]
    for name in REASONING:
        texts += [f"{p.question} {traces.thinking(p, rng)}" for p in distinct_problems(name, "evaluation", 200, 0)]
    for text, ids in zip(texts, tokenizer(texts).input_ids, strict=True):
        assert tokenizer.unk_token_id not in ids, text
    assert tokenizer.decode(tokenizer(texts[0]).input_ids) == " ".join(texts[0].split())


def by_hand(family: str, question: str) -> int:
    """The answer read off the question's own numbers, written independently of the families' code."""
    n = [int(word) for word in re.findall(r"\d+", question)]
    if family == "sums":
        return n[0] + n[1] - n[2] + n[3]
    if family == "remainders":
        return (n[0] + n[1]) % n[2]
    if family == "equations":
        a, b, c, d = n
        return next(x for x in range(100) if a * x + b == c + d)
    if family == "boxes":
        return n[0] * n[1] + n[2] - n[3]
    if family == "tracing":
        variables: dict = {}
        exec(question.split("; print")[0].replace(" ;", "\n").replace("\n ", "\n"), {}, variables)
        return variables[question.split()[-1]]
    if family == "science":
        words = question.split()
        first, second = words[6], words[8]
        return n[0] * (facts.MASSES[first] + facts.MASSES[second]) + n[1]
    if family == "planning":
        return abs(n[2] - n[0]) + abs(n[3] - n[1])
    k, limit, weight, given = n
    return min(k * weight, limit) - given


@pytest.mark.parametrize("family", REASONING)
def test_answers_and_traces_are_right(family):
    rng = random.Random(0)
    for problem in distinct_problems(family, "evaluation", 200, seed=1):
        expected = by_hand(family, problem.question)
        assert problem.answer == str(expected)
        for response in (traces.direct(problem), traces.steps(problem), traces.thinking(problem, rng)):
            assert response.endswith(f"answer {expected}")
            assert all(0 <= int(number) <= traces.LARGEST for number in re.findall(r"\d+", response))
        for left, operator, right, result in re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", traces.steps(problem)):
            assert eval(f"{left} {operator} {right}") == int(result)


def test_a_slip_changes_one_calculation():
    rng = random.Random(0)
    for problem in distinct_problems("sums", "pretrain", 50, seed=0):
        lines = re.findall(r"(\d+) ([-+]) (\d+) = (\d+)", traces.sloppy_steps(problem, rng))
        assert sum(eval(f"{a} {op} {b}") != int(result) for a, op, b, result in lines) <= 1


def test_the_teacher_writes_longer_than_the_base_and_otherwise():
    rng = random.Random(0)
    for problem in distinct_problems("boxes", "posttrain", 20, seed=0):
        short, long = traces.steps(problem).split(), traces.thinking(problem, rng).split()
        assert len(long) > 2 * len(short)
        assert not {"steps"} & set(long)


def test_yes_and_no_families_are_balanced():
    for family in ("durations", "truth"):
        assert chance_level(family, "evaluation", 200) < 0.65


def test_sft_and_rl_train_on_the_same_problems():
    once, again = traces.mathematics(50, seed=0), traces.mathematics(50, seed=0)
    assert [p.question for _, p in once] == [p.question for _, p in again]
    assert {_split_of(family, p) for family, p in once} == {"posttrain"}


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="unknown family 'sum'"):
        next(problems("sum", "evaluation", 0))
    with pytest.raises(ValueError, match="unknown split 'test'"):
        next(problems("sums", "test", 0))


@pytest.mark.slow
def test_the_base_is_fair(base, tmp_path):
    """On validation questions: room to gain and to lose in every group. The evaluation split is the study's alone."""
    from mathtransfer.benchmarks import evaluate, questions
    from mathtransfer.models import engines

    engine = engines.Transformers(*base, batch_size=200)
    selection = questions.Selection("validation", n=120)
    tasks = questions.tasks("miniature", ["math", "other", "non"], selection, base[1], engine.budget)
    scores, _ = evaluate.evaluate(engine, tasks, seed=0, folder=tmp_path)
    scores = scores[scores["metric"] == "accuracy"]
    means = scores.groupby("group")["value"].mean()
    assert 30 <= means["math"] <= 60
    assert 40 <= means["other"] <= 80
    assert 55 <= means["non"] <= 88
    chance = pd.Series({name: 100 * chance_level(name, "validation", 120) for name in FAMILIES})
    above = scores.set_index("benchmark")["value"] - chance
    assert (above >= 10).sum() >= 10
    assert (scores["value"] > 95).sum() <= 2
