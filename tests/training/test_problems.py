"""One reader of problems: columns, origins, repeats, benchmarks; and the prompts that problems become."""

import copy
import hashlib
import os
import random
import string
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import tiny_recipes as tiny
import yaml
from problem_rows import ROWS, written
from tokenizers.processors import TemplateProcessing

from mathtransfer.benchmarks import pool
from mathtransfer.benchmarks.grades import CORRECT
from mathtransfer.miniature import vocabulary
from mathtransfer.models import checkpoints, hub, prompting
from mathtransfer.models.prompting import ChatFormat
from mathtransfer.training.objective import teacher_rollout
from mathtransfer.training.problems import ask, read_problems, training_rows
from mathtransfer.training.reward import open_reward

ASKED = "Please reason step by step, and put your final answer within \\boxed{}."


# --- reading


def test_overlap_and_repeats_by_brute_force(tmp_path):
    """Short random problems with random white space, so that many meet."""
    rng = random.Random(0)

    def text() -> str:
        return "".join(rng.choice(["", " ", "\n", "\t "]) + rng.choice("xy") for _ in range(rng.randint(3, 7)))

    rows = [{"problem": text(), "answer": "1"} for _ in range(200)]
    benchmarks = [[text() for _ in range(15)] for _ in range(2)]
    files = [
        written(tmp_path / f"{i}.jsonl", [{"question": t, "final_answer": ["1"]} for t in own])
        for i, own in enumerate(benchmarks)
    ]
    found = read_problems(written(tmp_path / "rows.jsonl", rows), None, files)

    def same(a: str, b: str) -> bool:
        return a.translate(str.maketrans("", "", string.whitespace)) == b.translate(
            str.maketrans("", "", string.whitespace)
        )

    texts = [row["problem"] for row in rows]
    first = [t for i, t in enumerate(texts) if not any(same(t, before) for before in texts[:i])]
    inside = [[t for t in first if any(same(t, other) for other in own)] for own in benchmarks]
    assert list(found.table["problem"]) == [t for t in first if t not in inside[0] + inside[1]]
    counts = dict(zip(files, map(len, inside), strict=True))
    assert found.removed == {"empty": 0, "repeated": len(texts) - len(first)} | counts
    assert min(counts.values()) > 0 and len(found.table) > 0
    for file in files:
        assert found.origins[file] == f"sha256 {hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]}"


def test_several_sources(tmp_path):
    """Lines and parquet together, the first of each; a problem of both counts for the first."""
    lines = written(tmp_path / "a.jsonl", ROWS)
    parquet = tmp_path / "b.parquet"
    both = [{"problem": "What is  $1+1$?", "answer": "2"}, {"problem": "$3^2$?", "answer": "9"}]
    pd.DataFrame([*both, {"problem": "$3^3$?", "answer": "27"}]).to_parquet(parquet)
    found = read_problems([lines, {"path": str(parquet)}], 1)
    assert found.table.to_dict("records") == [
        {"source": "a", "level": "1", "problem": "What is $1+1$?", "answer": "2"},
        {"source": "b", "level": "", "problem": "$3^2$?", "answer": "9"},
    ]
    assert found.removed == {"empty": 0, "repeated": 1} and set(found.origins) == {lines, str(parquet)}
    again = read_problems(lines, None)
    assert again.origins[lines] == found.origins[lines]
    assert list(again.table["answer"]) == ["2", "\\frac{1}{2}", "6"]


def test_columns_of_another_name(tmp_path):
    lines = written(tmp_path / "a.jsonl", [{"text": "1 + 1", "gt": "007"}])
    pd.DataFrame({"problem": ["2 + 2", "3"], "answer": [4, None]}, dtype=object).to_parquet(tmp_path / "b.parquet")
    renamed = {"path": lines, "columns": {"problem": "text", "answer": "gt"}}
    found = read_problems([renamed, str(tmp_path / "b.parquet")], None)
    assert found.table[["problem", "answer"]].to_dict("list") == {"problem": ["1 + 1", "2 + 2"], "answer": ["007", "4"]}
    assert found.removed == {"empty": 1, "repeated": 0}


def test_responses_are_kept_with_their_problem(tmp_path):
    rows = [("1+1", "2", "a"), ("2+2", "4", "b"), ("1 + 1", "2", "c"), ("1+1", "2", "a")]
    pd.DataFrame(rows, columns=["problem", "answer", "response"]).to_parquet(tmp_path / "x.parquet")
    found = read_problems(str(tmp_path / "x.parquet"), None)
    assert list(found.table["problem"]) == ["1+1", "2+2"]
    assert list(found.table["responses"]) == [["a", "c"], ["b"]]
    assert found.removed == {"empty": 0, "repeated": 1}
    without = written(tmp_path / "y.jsonl", ROWS)
    with pytest.raises(ValueError, match="some problems have a teacher's response and some have none"):
        read_problems([str(tmp_path / "x.parquet"), without], None)


def test_a_hub_data_set_is_read_at_its_commit(tmp_path, monkeypatch):
    asked = []

    def load_dataset(path, **options):
        asked.append((path, options))
        return ROWS

    monkeypatch.setattr(hub, "resolve_commit", lambda repo, revision, kind: f"commit of {kind} {revision}")
    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    found = read_problems([{"path": "a/b", "revision": "v1", "data_files": "x.parquet"}], None)
    assert found.origins == {"a/b": "a/b@commit of dataset v1"}
    assert asked == [("a/b", {"revision": "commit of dataset v1", "split": "train", "data_files": "x.parquet"})]
    assert set(found.table["source"]) == {"a/b"}


@pytest.mark.parametrize("path", sorted(tiny.RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_pin_what_they_read_from_the_hub(path):
    """A commit, or nothing if it could not be found out; never a branch, which moves."""
    data = yaml.safe_load(path.read_text())["data"]
    for source in [data] if isinstance(data, str) else data:
        if isinstance(source, str):
            assert source.endswith(".parquet")
        else:
            revision = source["revision"]
            assert revision is None or (len(revision) == 40 and set(revision) <= set(string.hexdigits))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "1+1", "answer": "2"}], "row 0 of .* lacks the column problem or question; it has prompt, answer"),
        ([ROWS[0], {"problem": "1+2", "solution": "3"}], "row 1 of .* lacks the column gt_answer or expected_answer"),
        ([{"problem": "1+2", "answer": " "}], "no problem is left of 1: removed {'empty': 1"),
        ([{"problem": "1+2", "answer": None}], "no problem is left of 1: removed {'empty': 1"),
        ([{"problem": "1+2", "answer": ["3"]}], "row 0 of .* has no text in answer: found \\['3'\\]"),
        ([], "no problem is left of 0"),
        ([{"problem": "What is $1 + 1$?", "answer": "2"}], "no problem is left of 1: removed .*bench.jsonl': 1"),
    ],
)
def test_bad_data_are_refused(rows, message, tmp_path):
    benchmark = written(tmp_path / "bench.jsonl", [ROWS[0]])
    overlap = [benchmark] if len(rows) == 1 else []
    with pytest.raises(ValueError, match=message):
        read_problems(written(tmp_path / "rows.jsonl", rows), None, overlap)


def test_what_cannot_be_read_or_asked_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the miniature's problems have no end: give a number"):
        read_problems("miniature", None)
    with pytest.raises(FileNotFoundError, match=r"no file nowhere\.jsonl"):
        read_problems("nowhere.jsonl", None)
    with pytest.raises(ValueError, match="no problem is left of 0"):
        read_problems([], None)
    (tmp_path / "broken.jsonl").write_text('{"problem": "1+1", "answer": "2"}\n{"problem"\n')
    with pytest.raises(ValueError, match=r"line 2 of .*broken\.jsonl is no JSON"):
        read_problems(str(tmp_path / "broken.jsonl"), None)
    problems = read_problems("miniature", 2)
    with pytest.raises(ValueError, match="no chat template"):
        ask(problems, vocabulary.build_tokenizer(), ChatFormat(chat=True), 256)
    with pytest.raises(ValueError, match="the budget for prompt and completion is 5"):
        ask(problems, vocabulary.build_tokenizer(), ChatFormat(), 5)


# --- prompts and reward


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny.make_base(folder)
    return checkpoints.load_tokenizer(str(folder))


def test_prompts_are_the_chat_templates(tokenizer, tmp_path):
    problems = read_problems(written(tmp_path / "x.jsonl", [{"problem": "1 + 2 =", "answer": "3"}]), None)
    turns = [{"role": "user", "content": f"1 + 2 =\n{ASKED}"}]
    by_hand = f"<|im_start|> user 1 + 2 =\n{ASKED} <|im_end|> <|im_start|> assistant <think> </think>"
    without = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    for think, prompt in ((False, by_hand), (None, without)):
        rows, teacher = training_rows(problems, tokenizer, {"think": think}, 5)
        assert rows == [{"prompt": prompt, "answer": "3"}] and teacher is None
    assert by_hand != without


@pytest.fixture
def beginning(tokenizer):
    """As Llama's and Gemma's: it puts a token before every text, and its chat template writes the same one."""
    changed = copy.deepcopy(tokenizer)
    changed.add_special_tokens({"bos_token": "<s>"})
    added = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", changed.bos_token_id)])
    changed.backend_tokenizer.post_processor = added
    changed.chat_template = "<s> " + tiny.TEMPLATE
    assert changed("1 + 2").input_ids == [changed.bos_token_id, *tokenizer("1 + 2").input_ids]
    return changed


def test_a_text_begins_once_and_a_response_not_at_all(beginning, tokenizer, tmp_path):
    """What TRL makes of a prompt, what is counted, and what the teacher's rollout hands over, beside plain tokens."""
    rows = [{"problem": "1 + 2 =", "answer": "3", "response": "so 3"}]
    found = read_problems(written(tmp_path / "x.jsonl", rows), None)
    chat = ChatFormat(chat=True)
    expected = [beginning.bos_token_id, *ask(found, tokenizer, chat)["ids"][0]]
    assert ask(found, beginning, chat)["ids"][0] == expected
    assert prompting.encode(beginning, [f"1 + 2 =\n{ASKED}"], chat=True) == [expected]
    asked, teacher = training_rows(found, beginning, {}, 3)  # two tokens and the end
    prompts = [row["prompt"] for row in asked]
    assert beginning(text=prompts)["input_ids"] == [expected]
    trainer = SimpleNamespace(
        processing_class=beginning,
        state=SimpleNamespace(global_step=0),
        accelerator=SimpleNamespace(process_index=0),
        max_completion_length=3,
    )
    made = teacher_rollout(teacher, 0)(prompts, trainer)
    assert made["prompt_ids"] == [expected]
    assert made["completion_ids"] == [[*tokenizer("so 3").input_ids, tokenizer.eos_token_id]]


def test_the_miniature_is_asked_as_it_is(base):
    problems = read_problems("miniature", 5)
    rows, teacher = training_rows(problems, base[1], {}, 72)
    assert [row["prompt"] for row in rows] == list(problems.table["problem"])
    assert all(problems.table["source"].value_counts() == 5) and problems.removed == {}
    answer = rows[0]["answer"]
    assert teacher(rows[0]["prompt"], random.Random(0)).endswith(f"answer {answer}")


def test_long_prompts_and_responses_are_left_out(tmp_path, tokenizer):
    rows = [("1 +", "1", "so"), ("1 + 2 + 3 + 4", "1", "so"), ("2 +", "2", "so so so"), ("2 +", "2", "so")]
    pd.DataFrame(rows, columns=["problem", "answer", "response"]).to_parquet(tmp_path / "x.parquet")
    problems = read_problems(str(tmp_path / "x.parquet"), None)
    shortest = len(tokenizer(f"<|im_start|> user 1 +\n{ASKED} <|im_end|> <|im_start|> assistant").input_ids)
    kept, teacher = training_rows(problems, tokenizer, {"max_tokens": shortest}, 3)
    assert [row["answer"] for row in kept] == ["1", "2"]
    assert {teacher(kept[1]["prompt"], random.Random(seed)) for seed in range(9)} == {"so"}
    with pytest.raises(ValueError, match="no problem is short enough"):
        training_rows(problems, tokenizer, {"max_tokens": 2}, 3)


@pytest.mark.slow
def test_a_hostile_answer_is_wrong_and_the_next_is_graded():
    with open_reward("math500") as correct:
        assert correct("so \\boxed{\\frac{1}{2}}", "0.5", False)
        assert not correct("so \\boxed{2}", "0.5", False)
        assert not correct("the answer is 0.5", "0.5", False)
        assert not correct("\\boxed{" + "9^{" * 12 + "9" + "}" * 12 + "}", "0.5", False)
        assert correct("\\boxed{7}", "7", False)
        assert not correct("so \\boxed{7}", "7", True)  # still in thought
        assert correct("so \\boxed{3} </think> \\boxed{7}", "7", True)


# --- public training data


@pytest.fixture(scope="module")
def benchmarks() -> Path:
    folder = Path(os.environ.get("DATA_ROOT", "data"), "benchmarks")
    if not (folder / "train_deepscaler.jsonl").is_file():
        pytest.skip(f"no training data in {folder}")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train_simplerl_level3to5", "train_deepscaler"])
def test_gold_answers_are_verified(benchmarks, name):
    """A response that boxes the known answer, whatever its form, is nearly always verified."""
    problems = read_problems(str(benchmarks / f"{name}.jsonl"), None)
    table = problems.table
    assert len(table) + problems.removed["repeated"] == 1000
    responses = "So \\boxed{" + table["answer"] + "}."
    answers = table.assign(benchmark="math500", response=responses, gold=table["answer"], thinks=False)
    assert (pool.grade(answers, ["strict"])["strict"] == CORRECT).mean() >= 0.99


def test_known_overlap(benchmarks):
    """Three problems of AIME 2010, 2015 and 2017 are in MATH-500 to the letter, one of 2001 but for a space."""
    names = ["train_simplerl_level3to5", "train_deepscaler", "train_deepscaler_aime_part"]
    asked = ["math500", "aime24", "aime25", "olympiadbench_en_maths_text"]
    against = [str(benchmarks / f"{name}.jsonl") for name in asked]
    found = {name: read_problems(str(benchmarks / f"{name}.jsonl"), None, against) for name in names}
    removed = {name: [problems.removed[path] for path in against] for name, problems in found.items()}
    assert removed == {names[0]: [0, 0, 0, 0], names[1]: [0, 0, 0, 0], names[2]: [4, 0, 0, 0]}
    given = pd.read_json(benchmarks / f"{names[2]}.jsonl", lines=True)
    math500 = {" ".join(p.split()) for p in pd.read_json(against[0], lines=True)["problem"]}
    to_the_letter = given[given["problem"].map(lambda p: " ".join(p.split()) in math500)]
    assert list(to_the_letter["year"]) == [2010, 2015, 2017]
    left = set(found[names[2]].table["problem"])
    assert list(given[~given["problem"].isin(left)]["year"]) == [2001, 2010, 2015, 2017]
