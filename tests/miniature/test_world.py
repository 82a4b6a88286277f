"""The miniature world: splits that cannot overlap, answers that are right, a fair base."""

import itertools
import random
import re
from collections import Counter

import pandas as pd
import pytest
import yaml
from conftest import ROOT

from mathtransfer import runs
from mathtransfer.miniature import acceptance, corpus, facts, traces, vocabulary
from mathtransfer.miniature.families import (
    _SPLITS,
    FAMILIES,
    LARGEST,
    _split_of,
    chance_level,
    distinct_problems,
    problems,
)
from mathtransfer.paper import reported

REASONING = [name for name, family in FAMILIES.items() if family.group != "non"]


def test_twelve_families_each_stand_for_one_benchmark_of_its_group():
    benchmarks = reported.table("benchmarks").set_index("benchmark")["group"]
    assert {family.counterpart: family.group for family in FAMILIES.values()} == benchmarks.to_dict()


def test_splits_partition_all_problems():
    assert sorted(itertools.chain(*_SPLITS.values())) == list(range(20))


@pytest.mark.parametrize("family", FAMILIES)
def test_no_question_is_in_two_splits(family):
    questions = {split: {p.question for p in itertools.islice(problems(family, split, 7), 1500)} for split in _SPLITS}
    for one, other in itertools.combinations(_SPLITS, 2):
        assert not questions[one] & questions[other]


def test_pretraining_documents_ask_nothing_that_is_held_out():
    held_out = {
        p.question
        for family in FAMILIES
        for split in ("posttrain", "validation", "evaluation")
        for p in distinct_problems(family, split, 100, seed=0)
    }
    assert not held_out & {prompt for prompt, _ in itertools.islice(corpus.documents("settled", 0), 20_000)}


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
    texts = [f"{prompt} {response}" for prompt, response in itertools.islice(corpus.documents("elicitable", 3), 20_000)]
    for name in REASONING:
        texts += [f"{p.question} {traces.thinking(p, rng)}" for p in distinct_problems(name, "evaluation", 200, 0)]
    for text, ids in zip(texts, tokenizer(texts).input_ids, strict=True):
        assert tokenizer.unk_token_id not in ids, text
    assert tokenizer.decode(tokenizer(texts[0]).input_ids) == " ".join(texts[0].split())


def by_hand(family: str, question: str) -> int | str:
    """The answer read off the question's own words, written independently of the families' code."""
    words = question.split()
    n = [int(word) for word in words if word.isdigit()]
    if family == "sums":
        return eval(question.removeprefix("what is").removesuffix("?"))
    if family == "remainders":
        return eval(question.split("of", 1)[1].split("divided")[0]) % n[-1]
    if family == "equations":
        left, right = question.removeprefix("find x if").removesuffix(".").split("=")
        return next(x for x in range(200) if eval(left, {"x": x}) == eval(right))
    if family == "boxes":
        return sum(k * size for k, size in zip(n[:-1:2], n[1:-1:2], strict=True)) - n[-1]
    if family == "tracing":
        variables: dict = {}
        exec(question.split("; print")[0].replace(" ;", "\n").replace("\n ", "\n"), {}, variables)
        return variables[words[-1]]
    if family == "science":
        masses = [facts.MASSES[word] for word in words if word in facts.MASSES]
        return sum(number * mass for number, mass in zip(n[:-1], masses, strict=True)) + n[-1]
    if family == "routes":
        place = words[2]
        for way in words[4 : words.index(".")]:
            place = facts.TOWN[place, way] if way != "," else place
        return place
    patient, rule = question.split(" . ")
    has = {symptom: value == "yes" for symptom, value in (pair.split() for pair in patient.split(" , "))}
    first, *rest = rule.split(" if ")[1].removesuffix(" ?").split()
    value = has[first]
    for operator, symptom in zip(rest[::2], rest[1::2], strict=True):
        other = has[symptom]
        value = {"and": value and other, "or": value or other, "without": value and not other}[operator]
    return "yes" if value else "no"


@pytest.mark.parametrize("family", REASONING)
def test_answers_and_traces_are_right(family):
    rng = random.Random(0)
    for problem in distinct_problems(family, "evaluation", 200, seed=1):
        expected = by_hand(family, problem.question)
        assert problem.answer == str(expected)
        for response in (traces.direct(problem), traces.steps(problem, rng), traces.thinking(problem, rng)):
            assert response.endswith(f"answer {expected}")
            assert all(0 <= int(number) <= LARGEST for number in re.findall(r"\d+", response))
        for left, operator, right, result in re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", traces.steps(problem, rng)):
            assert eval(f"{left} {operator} {right}") == int(result)


@pytest.mark.parametrize("write", traces.TEACHERS.values(), ids=traces.TEACHERS)
@pytest.mark.parametrize("family", REASONING)
def test_a_slip_makes_one_line_and_the_answer_wrong(family, write):
    rng = random.Random(0)
    for problem in distinct_problems(family, "pretrain", 50, seed=0):
        response = write(problem, rng, slips=True)
        assert response.rpartition("answer ")[2] != problem.answer
        lines = re.findall(r"(\d+) ([-+*]) (\d+) (?:=|gives) (\d+) \.", response)
        assert sum(eval(f"{a} {operator} {b}") != int(result) for a, operator, b, result in lines) <= 1


@pytest.mark.parametrize("errs", [0, 0.25, 1])
def test_a_teacher_errs_as_often_as_asked_and_says_so_to_nobody(errs):
    known = distinct_problems("boxes", "posttrain", 400, seed=0)
    write, rng = traces.writer_of(known, "own", errs), random.Random(0)
    wrong = [write(p.question, rng).rpartition("answer ")[2] != p.answer for p in known]
    assert abs(sum(wrong) / len(wrong) - errs) < 3 * (errs * (1 - errs) / len(wrong)) ** 0.5 + 1e-9


def test_a_teacher_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="unknown style 'loud' of the teacher"):
        traces.writer_of([], "loud", 0)
    with pytest.raises(ValueError, match="errs in a share of 2"):
        traces.writer_of([], "own", 2)


def test_the_foreign_teacher_writes_longer_than_the_base_and_otherwise():
    rng = random.Random(0)
    for problem in distinct_problems("boxes", "posttrain", 20, seed=0):
        short, long = traces.steps(problem, rng).split(), traces.thinking(problem, rng).split()
        assert len(long) > 2 * len(short)
        assert not {"steps"} & set(long)


@pytest.mark.parametrize("kind", corpus.STYLES)
def test_no_style_belongs_to_a_group(kind):
    """Each way to answer has the same share in mathematics and in other reasoning, to within five standard errors."""
    group_of, begins = {}, {"math": Counter(), "other": Counter()}
    for family in REASONING:
        for problem in itertools.islice(problems(family, "pretrain", 0), 4000):
            group_of[problem.question] = FAMILIES[family].group
    for prompt, response in itertools.islice(corpus.documents(kind, 0), 30_000):
        if prompt in group_of:
            first = response.split()[0]
            begins[group_of[prompt]][{"let": "thinking", "okay": "thinking"}.get(first, first)] += 1
    for style in ("answer", "steps", "thinking"):
        counts = [(begins[group][style], begins[group].total()) for group in begins]
        pooled = sum(n for n, _ in counts) / sum(total for _, total in counts)
        error = (pooled * (1 - pooled) * sum(1 / total for _, total in counts)) ** 0.5
        assert pooled > 0 and abs(counts[0][0] / counts[0][1] - counts[1][0] / counts[1][1]) < 5 * error


def test_bases_have_seen_fewer_long_chains_than_they_are_asked_for_and_mostly_unfinished_ones():
    long = {p.question: p for name in REASONING for p in distinct_problems(name, "pretrain", 3000, seed=0)}
    long = {question: p for question, p in long.items() if p.calculations > traces.SHORT}
    documents = list(itertools.islice(corpus.documents("settled", 0), 20_000))
    asked = [p.calculations for name in REASONING for p in distinct_problems(name, "evaluation", 500, seed=0)]
    assert set(asked) == {2, 3, 4, 5, 6}
    of_long = [(long[prompt], response) for prompt, response in documents if prompt in long]
    known = {p.question for name in REASONING for p in distinct_problems(name, "pretrain", 3000, seed=0)}
    seen = sum(prompt in known for prompt, _ in documents)
    assert len(of_long) / seen < sum(n > traces.SHORT for n in asked) / len(asked) - 0.1
    in_steps = [(p, response) for p, response in of_long if response.startswith("steps")]
    cut = [response for p, response in in_steps if response.count(" . ") == traces.SHORT]
    assert len(cut) / len(in_steps) == pytest.approx(corpus._CUT_SHORT, abs=0.06)
    for p, response in in_steps[:200]:
        if response in cut:
            *_, last = re.findall(r"= (\S+) \.", response)
            assert response.endswith(f"answer {last}") and response.split(" answer ")[0] in traces.steps(
                p, random.Random(0)
            )
        else:
            assert response.count(" . ") == p.calculations


def test_near_families_share_operations_with_mathematics_and_far_ones_none():
    """Two families of other reasoning each; what they share is read off their written steps."""
    rng, used = random.Random(0), {}
    for family in REASONING:
        written = [traces.steps(p, rng) for p in distinct_problems(family, "pretrain", 300, seed=0)]
        used[family] = {operator for text in written for operator in re.findall(r" (\S+) \S+ = ", text)}
    math = set().union(*(used[name] for name in REASONING if FAMILIES[name].group == "math"))
    other = [name for name in REASONING if FAMILIES[name].group == "other"]
    near, far = ([name for name in other if FAMILIES[name].distance == place] for place in ("near", "far"))
    assert near == [name for name in other if used[name] <= math] == ["tracing", "science"]
    assert far == [name for name in other if not used[name] & math] == ["routes", "triage"]


@pytest.mark.parametrize("family", FAMILIES)
def test_there_are_two_thousand_evaluation_questions(family):
    assert len(distinct_problems(family, "evaluation", 2000, seed=0)) == 2000


def test_questions_that_offer_two_answers_are_balanced():
    """Guessing scores one half, by answer and by place."""
    for family in ("triage", "durations", "truth"):
        asked = distinct_problems(family, "evaluation", 2000, seed=0)
        assert chance_level(family, "evaluation", 2000) == pytest.approx(0.5, abs=0.04)
        if family != "triage":
            first = [p.question.index(p.answer) < p.question.index(" or ") for p in asked]
            assert abs(sum(first) / len(first) - 0.5) < 0.05


def test_sft_and_rl_train_on_the_same_problems():
    once, again = traces.mathematics(50, seed=0), traces.mathematics(50, seed=0)
    assert [p.question for _, p in once] == [p.question for _, p in again]
    assert {_split_of(family, p) for family, p in once} == {"posttrain"}


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="unknown family 'sum'"):
        next(problems("sum", "evaluation", 0))
    with pytest.raises(ValueError, match="unknown split 'test'"):
        next(problems("sums", "test", 0))


TABLE = pd.read_csv(runs.PACKAGE / "miniature" / "bases.csv")
BOUNDS = yaml.safe_load((ROOT / "config/study.yaml").read_text())["bounds"]


@pytest.mark.parametrize("base", sorted(TABLE["base"].unique()))
def test_a_base_ships_if_it_keeps_the_bounds_and_not_if_it_breaks_one(base):
    broken = acceptance.broken(TABLE[TABLE["base"] == base], base.rpartition("-")[0], BOUNDS)
    assert (runs.PACKAGE / "miniature" / "bases" / base).is_dir() == (not broken)


def test_a_base_that_breaks_a_bound_is_named():
    """Each bound alone, on made-up scores that keep the others."""
    families = [(name, FAMILIES[name].group) for name in FAMILIES]
    fair = pd.DataFrame({"family": [n for n, _ in families], "format": "natural", "value": 70.0})
    given = fair.assign(format="in steps")
    assert acceptance.broken(pd.concat([fair, given]), "settled", BOUNDS) == []

    def changed(table, names, value):
        return table.assign(value=table["value"].where(~table["family"].isin(names), value))

    math = [name for name, group in families if group == "math"]
    for wrong, kind, says in [
        ((changed(fair, math, 90.0), changed(given, math, 90.0)), "elicitable", "mathematics is at 90.0%"),
        ((changed(changed(fair, math, 20.0), ["remainders"], 40.0), given), "elicitable", "mathematics is at 25.0%"),
        ((changed(fair, ["truth"], 55.0), given), "elicitable", "truth is at 55.0%, less than 10 points above 50.0%"),
        ((changed(fair, ["boxes"], 96.0), given), "elicitable", "boxes is at 96.0%, above 95%"),
        ((fair, changed(given, math, 74.0)), "settled", "mathematics gains 4.0 points if in steps is given"),
    ]:
        (said,) = acceptance.broken(pd.concat(wrong), kind, BOUNDS)
        assert said.startswith(says)


@pytest.mark.slow
def test_a_base_scores_what_its_table_says(base, tmp_path):
    """On the first validation questions of those that the table is from. The evaluation split is the study's alone."""
    from mathtransfer.benchmarks import evaluate, questions
    from mathtransfer.models import engines

    engine = engines.Transformers(*base, batch_size=200)
    selection = questions.Selection("validation", n=120)
    tasks = questions.tasks("miniature", ["math", "other", "non"], selection, base[1], engine.budget)
    scores, _ = evaluate.evaluate(engine, tasks, seed=0, folder=tmp_path)
    scores = scores[scores["metric"] == "accuracy"].set_index("benchmark")
    said = TABLE.query("base == 'settled-0' and format == 'natural'").set_index("family")["value"]
    assert ((scores["value"] - said).abs() < 4 * scores["stderr"] + 2).all()
