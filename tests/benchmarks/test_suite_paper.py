"""The suite `paper`: gold answers score 100%, wrong ones 0%, garbled ones are format failures, whoever wrote the rows.

An engine that knows the answers stands in for a model; everything else is what a real run does. The rows are the
package's own examples and, if there is a folder of them, the benchmarks' own.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from mathtransfer import GROUPS
from mathtransfer.benchmarks import evaluate, questions
from mathtransfer.benchmarks.choices import gpqa_row
from mathtransfer.benchmarks.grades import CORRECT, NO_ANSWER, WRONG
from mathtransfer.benchmarks.pool import BENCHMARKS
from mathtransfer.models import engines, hub
from mathtransfer.paper import released, reported

SUITE = questions.SUITES / "paper"
EXAMPLES = SUITE / "examples"
DATA_ROOT = Path(os.environ.get("DATA_ROOT", "data"))
PROGRAMS = {
    "example_1": "print(sum(map(int, input().split())))",
    "example_2": "class Solution:\n    def largest(self, nums):\n        return max(nums)",
}
FOLLOWING = {  # a response that follows an instruction of IFEval
    "punctuation:no_comma": "they flow to the sea",
    "change_case:english_lowercase": "they flow to the sea",
    "change_case:english_capital": "THEY FLOW TO THE SEA",
}
FOLLOWING_NONE = "Rivers, as we All know, FLOW, and flow, and flow, and flow, and flow."
GARBLED = "\x00}{ \\[ ]( \u2603\u2028 ~~"


@dataclass
class Knowing:
    """An engine that answers the prompts of one evaluation in order: `write` from the requests, or the best choice."""

    tokenizer: object
    tasks: list
    write: object
    budget: int = 10**9

    def __post_init__(self):
        self.requests = iter([request for task in self.tasks if not task.choices for request in task.requests])
        self.golds = iter(
            [
                i == request.gold
                for task in self.tasks
                for request, own in zip(task.requests, task.choices or [[]] * len(task.requests), strict=True)
                for i in range(len(own))
            ]
        )

    def complete(self, prompts, decoding, seed=0):
        return [engines.Completion([1], [0.0], self.write(next(self.requests).gold), True) for _ in prompts]

    def loglikelihoods(self, sequences):
        right = self.write is gold_answer
        return [0.0 if next(self.golds) == right else -1.0 for _ in sequences]


def gold_answer(gold, right=True) -> str:
    """What a model that knows the answer writes, or one that knows a wrong one."""
    if isinstance(gold, dict) and "instruction_id_list" in gold:
        return FOLLOWING[gold["instruction_id_list"][0]] if right else FOLLOWING_NONE
    if isinstance(gold, dict):
        right_one = PROGRAMS.get(gold["question_id"]) or looked_up(gold)
        program = right_one if right else "print('no')\ndef largest(nums): return None"
        return f"Here it is.\n```python\n{program}\n```"
    if isinstance(gold, list):
        return gold[0] if right else "something else entirely"
    if gold in ("yes", "no"):
        return (gold if right else {"yes": "no", "no": "yes"}[gold]).capitalize()
    if gold in tuple("ABCD"):
        letter = gold if right else "ABCD"[(ord(gold) - ord("A") + 1) % 4]
        return f"So it is this one. **Final Answer**: {letter}. In a box: \\boxed{{{letter}}}"
    return f"Thus \\boxed{{{gold if right else '-7.25'}}}"


def looked_up(row: dict) -> str:
    """A program that gives what a problem's tests expect, by looking it up: the rows hold no solution."""
    tests = json.loads(row["public_test_cases"])
    if tests[0]["testtype"] == "stdin":
        table = {test["input"].strip(): test["output"] for test in tests}
        return f"import sys\nprint({table!r}[sys.stdin.read().strip()])"
    arguments = [[json.loads(line) for line in test["input"].splitlines()] for test in tests]
    table = {json.dumps(own): json.loads(test["output"]) for own, test in zip(arguments, tests, strict=True)}
    name = json.loads(row["metadata"])["func_name"]
    return f"import json\nclass Solution:\n    def {name}(self, *a):\n        return {table!r}[json.dumps(list(a))]"


def wrong_answer(gold) -> str:
    return gold_answer(gold, right=False)


def run(base, folder, root, write, groups=GROUPS, run_code=False, keep=None, n=None):
    selection = questions.Selection(n=n, data_root=str(root), run_code=run_code)
    tasks = [
        task for task in questions.tasks("paper", list(groups), selection, base[1], 10**9) if keep is None or keep(task)
    ]
    return evaluate.evaluate(Knowing(base[1], tasks, write), tasks, seed=0, folder=folder)


def by_metric(scores) -> pd.DataFrame:
    return scores.pivot(index="benchmark", columns="metric", values="value")


# --- the examples of the package: all twelve benchmarks


@pytest.fixture(scope="module")
def example_tasks(base):
    return questions.tasks("paper", GROUPS, questions.Selection(data_root=str(EXAMPLES), run_code=True), base[1], 10**9)


def test_the_suite_is_the_papers(example_tasks):
    """Benchmarks, groups, number of samples and decoding are those of Appendix A.3.4 and A.3.5."""
    expected = reported.table("benchmarks").set_index("benchmark")
    assert {(task.benchmark, task.group) for task in example_tasks} == set(expected["group"].items())
    for task in example_tasks:
        row = expected.loc[task.benchmark]
        assert len({request.sample for request in task.requests}) == row["samples"]
        sampled = (task.decoding.temperature, task.decoding.top_p) == (0.6, 0.95)
        assert sampled == (row["decoding"] != "greedy") and (sampled or task.decoding.temperature == 0)
    assert len({task.name for task in example_tasks if task.benchmark == "acpbench_mcq"}) == 7
    assert len({task.name for task in example_tasks if task.benchmark == "halueval"}) == 3


def test_every_task_file_says_where_it_is_from():
    for path in SUITE.glob("[a-z]*.yaml"):
        if "halueval_" in path.name:
            continue  # see halueval.yaml
        text = path.read_text()
        comment = " ".join(line[2:] for line in text.splitlines() if line.startswith("# "))
        assert re.search(r"licen[cs]e|Apache|CC |CDLA|MIT", comment), path.name
        assert "Differs from the paper:" in comment, path.name
        assert "version" in text, path.name


@pytest.mark.slow
def test_gold_wrong_and_garbled_answers(base, tmp_path, isolated):
    found = {}
    for name, write in {"gold": gold_answer, "wrong": wrong_answer}.items():
        scores, samples = run(base, tmp_path / name, EXAMPLES, write, run_code=True)
        found[name] = by_metric(scores)
        assert set(samples["status"]) == {CORRECT if name == "gold" else WRONG}
        assert (scores["benchmark"].value_counts() == 4).all() and scores["benchmark"].nunique() == 12
    assert (found["gold"]["accuracy"] == 100).all()
    # Two annotators of the conversation differ from each other; evalchemy's grader does not find a class's method.
    below = {"coqa": 50, "livecodebench_v2": 50}
    as_published = found["gold"]["accuracy as published"]
    assert (as_published.drop(below) == 100).all() and as_published[list(below)].to_dict() == below
    assert (found["wrong"][["accuracy", "accuracy as published", "no answer"]] == 0).all(axis=None)
    for number, text in enumerate(("", " \n", GARBLED)):
        written = lambda task: not task.choices  # noqa: E731
        scores, samples = run(base, tmp_path / str(number), EXAMPLES, lambda _, t=text: t, run_code=True, keep=written)
        assert set(samples["status"]) == {NO_ANSWER}
        assert (by_metric(scores)["no answer"] == 100).all()
        assert (by_metric(scores)["accuracy"].drop("ifeval") == 0).all()


def test_thinking_is_stripped_but_not_as_published(base, tmp_path):
    """An answer in thought alone is none; one after it counts, though the harness reads the thought's first line."""
    keep = lambda task: task.benchmark == "halueval"  # noqa: E731
    _, samples = run(base, tmp_path / "a", EXAMPLES, lambda g: f"No... or Yes\nhm</think>\n{g}", ["non"], keep=keep)
    assert (samples["status"] == CORRECT).all() and (samples["published_status"] == NO_ANSWER).all()
    _, samples = run(base, tmp_path / "b", EXAMPLES, lambda g: f"<think>{g.capitalize()}", ["non"], keep=keep)
    assert (samples["status"] == NO_ANSWER).all() and (samples["published_status"] == CORRECT).all()


def test_code_runs_only_when_asked_for(base, capsys):
    tasks = questions.tasks("paper", ["other"], questions.Selection(data_root=str(EXAMPLES)), base[1], 10**9)
    assert "livecodebench_v2" not in {task.benchmark for task in tasks}
    assert (
        "livecodebench_v2 is left out: it runs code that the model wrote; set run_code to True"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("response", "status", "published_status"),
    [
        ("I choose A. Or rather \\boxed{\\text{D}}", CORRECT, CORRECT),
        ("I choose D", NO_ANSWER, CORRECT),
        ("\\boxed{D} is a choice", CORRECT, WRONG),  # evalchemy takes the article for an answer
        ("\\boxed{negative}", NO_ANSWER, NO_ANSWER),
    ],
)
def test_choices_by_both_readings(response, status, published_status):
    grade = BENCHMARKS["gpqa_diamond"].grade
    assert grade(response, "D", False, "strict").status == status
    assert grade(response, "D", False, "harness").status == published_status


@pytest.mark.parametrize(
    ("response", "status", "published_status"),
    [
        ("Step 1 ... **Final Answer**: D.", CORRECT, CORRECT),
        ("The answer is D", CORRECT, CORRECT),
        ("D", CORRECT, CORRECT),
        ("**Final Answer**: D. Because All others fail.", CORRECT, WRONG),  # the harness's last capital letter
        ("none of them", NO_ANSWER, NO_ANSWER),
    ],
)
def test_planning_by_both_readings(response, status, published_status):
    grade = BENCHMARKS["acpbench_mcq"].grade
    assert grade(response, "D", False, "strict").status == status
    assert grade(response, "D", False, "harness").status == published_status


def test_the_right_choice_of_gpqa_is_always_d_as_published():
    rows = [{"Question": "q", "Correct Answer": "r", **{f"Incorrect Answer {i}": str(i) for i in (1, 2, 3)}}]
    assert gpqa_row(rows[0]) == {"Question": "q", "options": "A) 2, B) 1, C) 3, D) r", "answer": "D"}


def test_bad_rows_are_refused(base, tmp_path):
    root = tmp_path / "benchmarks"
    root.mkdir()

    def refused(text, message):
        (root / "math500.jsonl").write_text(text)
        with pytest.raises(ValueError, match=message):
            questions.tasks("paper", ["math"], questions.Selection(data_root=str(tmp_path)), base[1], 10**9)

    refused('{"problem": "1 + 1"}\n', "row 0 of math500.jsonl lacks the field answer; it has problem")
    refused('{"problem": "1 + 1", "answer": "2"}\n{"problem": "2", "answer": null}\n', "row 1 of math500.jsonl lacks")
    refused("nothing\n", "line 1 of .*/math500.jsonl is no JSON")
    refused("\n[1]\n", r"line 2 of .*/math500.jsonl is no JSON object: found \[1\]")
    (root / "math500.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"math500\.jsonl: give a data_root with benchmarks/math500\.jsonl"):
        questions.tasks("paper", ["math"], questions.Selection(data_root=str(tmp_path)), base[1], 10**9)
    (root / "coqa_dev.jsonl").write_text('{"story": "x", "questions": "y", "answers": []}\n')
    with pytest.raises(ValueError, match=r"row 0 of coqa_dev\.jsonl is malformed: "):
        questions.tasks("paper", ["non"], questions.Selection(data_root=str(tmp_path)), base[1], 10**9)


def test_a_prompt_that_fills_the_budget_is_refused(base):
    with pytest.raises(ValueError, match=r"prompt 0 has \d+ tokens and the budget for prompt and completion is 5"):
        questions.tasks("paper", ["math"], questions.Selection(data_root=str(EXAMPLES)), base[1], 5)


def test_the_hub_is_asked_for_the_recorded_commit(base, monkeypatch):
    """Without a folder, every task asks the hub at one commit, which becomes its source."""
    asked = []
    rows = {
        name: [json.loads(line) for line in (EXAMPLES / "benchmarks" / name).open()]
        for name in os.listdir(EXAMPLES / "benchmarks")
    }
    files = {
        arguments["hub"]: arguments["file"]
        for path in SUITE.glob("[a-z]*.yaml")
        for arguments in [re.search(r"hub: (?P<hub>\S+)[\s\S]*?file: (?P<file>\S+)", path.read_text())]
        if arguments
    }

    def load(repository, config=None, revision=None, split=None, data_files=None):
        if data_files:
            repository, revision = re.match(r"hf://datasets/(.+)@(\w+)/", data_files[0]).groups()
        asked.append((repository, revision))
        return list(rows[f"halueval_{config}.jsonl" if "HaluEval" in repository else files[repository]])

    monkeypatch.setattr(hub, "resolve_commit", lambda repository, revision, kind: f"{kind}{len(repository)}")
    monkeypatch.setattr("datasets.load_dataset", load)
    tasks = questions.tasks("paper", GROUPS, questions.Selection(run_code=True), base[1], 10**9)
    assert {task.source for task in tasks} == {f"{name}@{commit}" for name, commit in asked}
    assert all(commit == f"dataset{len(name)}" for name, commit in asked) and len(asked) == len(tasks)


# --- the benchmarks' own rows

HAVE = {
    benchmark: DATA_ROOT / "benchmarks" / file
    for benchmark, file in {
        "math500": "math500.jsonl",
        "aime24": "aime24.jsonl",
        "aime25": "aime25.jsonl",
        "olympiadbench": "olympiadbench_en_maths_text.jsonl",
        "livecodebench_v2": "livecodebench_v5_v6_public_tests.jsonl",
        "acpbench_mcq": "acpbench_mcq_test.jsonl",
        "headqa": "headqa_en_test.jsonl",
        "coqa": "coqa_dev.jsonl",
        "mc_taco": "mctaco_test.jsonl",
        "ifeval": "ifeval.jsonl",
        "halueval": "halueval_qa_samples.jsonl",
    }.items()
}


@pytest.fixture(scope="module")
def own_data(tmp_path_factory):
    """The benchmarks' own files, with the package's examples if there is none.

    Of IFEval, the prompts that we can answer; of LiveCodeBench, another release's problems, twelve of either kind.
    """
    if missing := [name for name, path in HAVE.items() if not path.is_file()]:
        pytest.skip(f"{DATA_ROOT} has no rows of {', '.join(missing)}")
    root = tmp_path_factory.mktemp("data")
    (root / "benchmarks").mkdir()
    for path in (EXAMPLES / "benchmarks").glob("*.jsonl"):
        there = DATA_ROOT / "benchmarks" / path.name
        rows = (there if there.is_file() else path).read_text(encoding="utf-8").splitlines(keepends=True)
        if path.name == "ifeval.jsonl":
            rows = [row for row in rows if json.loads(row)["instruction_id_list"] in [[name] for name in FOLLOWING]]
        if path.name == "livecodebench_v2.jsonl":
            rows = HAVE["livecodebench_v2"].read_text(encoding="utf-8").splitlines(keepends=True)
            kinds = [[row for row in rows if ("func_name" in json.loads(row)["metadata"]) == kind] for kind in (0, 1)]
            rows = [*kinds[0][:12], *kinds[1][:12]]
        (root / "benchmarks" / path.name).write_text("".join(rows), encoding="utf-8")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_gold_and_wrong_answers_to_the_benchmarks_own_questions(base, tmp_path, own_data, group, isolated):
    """All rows of every file, through what a real run does."""
    keep = lambda task: task.benchmark in HAVE  # noqa: E731
    scores, samples = run(base, tmp_path / "gold", own_data, gold_answer, [group], run_code=True, keep=keep)
    found = by_metric(scores)
    assert (found["accuracy"] == 100).all(), samples[samples["status"] != CORRECT]
    as_published = found["accuracy as published"]
    # evalchemy's grader does not find a class's method, which half of the problems here ask for
    assert (as_published.drop("livecodebench_v2", errors="ignore") == 100).all()
    assert as_published.get("livecodebench_v2", 50) == 50
    scores, samples = run(base, tmp_path / "wrong", own_data, wrong_answer, [group], run_code=True, keep=keep)
    assert (by_metric(scores)[["accuracy", "accuracy as published"]] == 0).all(axis=None)
    assert set(samples["status"]) == {WRONG}
    keep_written = lambda task: keep(task) and not task.choices  # noqa: E731
    scores, samples = run(
        base, tmp_path / "none", own_data, lambda _: GARBLED, [group], run_code=True, keep=keep_written
    )
    assert set(samples["status"]) == {NO_ANSWER}


# --- the authors' released generations as completions


@pytest.mark.slow
def test_released_generations_score_as_in_their_chapter(base, tmp_path):
    """The same responses, through a model's evaluation: the grades that the released-generations chapter records."""
    try:
        responses = released.responses(DATA_ROOT)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    recorded = pd.read_csv(Path(__file__).parents[2] / "results" / "released_generations.csv")
    whole = responses[responses["benchmark"].isin(["math500", "ifeval"])]  # their rows need nothing but the gold answer
    for (model, benchmark), own in whole.groupby(["model", "benchmark"], sort=False):
        root = tmp_path / f"{model}{benchmark}"
        (root / "benchmarks").mkdir(parents=True)
        for path in (EXAMPLES / "benchmarks").glob("*.jsonl"):
            (root / "benchmarks" / path.name).write_bytes(path.read_bytes())
        rows = [gold if isinstance(gold, dict) else {"problem": "?", "answer": gold} for gold in own["gold"]]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (root / "benchmarks" / f"{benchmark}.jsonl").write_text(text)
        samples_each = 3 if benchmark == "math500" else 1
        outputs = iter([text for text in own["response"] for _ in range(samples_each)])
        group = "math" if benchmark == "math500" else "non"
        keep = lambda task, name=benchmark: task.benchmark == name  # noqa: E731
        scores, samples = run(base, root / "runs", root, lambda _, o=outputs: next(o), [group], keep=keep)
        graded = recorded[(recorded["model"] == model) & (recorded["benchmark"] == benchmark)]
        found = by_metric(scores).loc[benchmark]
        for metric, reading in {"accuracy": "strict", "accuracy as published": "harness"}.items():
            expected = 100 * graded[f"{reading}_followed"].sum() / graded["asked"].sum()
            assert found[metric] == pytest.approx(expected, abs=1e-9), (model, benchmark, metric)
        statuses = samples[samples["sample"] == 0].sort_values("question")["status"].tolist()
        assert statuses == graded.sort_values("question")["strict"].tolist()
