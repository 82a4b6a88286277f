"""LiveCodeBench: rows whole and broken, and answers of both kinds on problems made up here."""

import base64
import json
import os
import pickle
import random
import zlib
from pathlib import Path

import pytest

from mathtransfer.benchmarks import code as code_module
from mathtransfer.benchmarks import sandbox
from mathtransfer.benchmarks.code import code_prompt
from mathtransfer.benchmarks.grades import CORRECT, NO_ANSWER, WRONG

grade_code = code_module.BENCHMARKS["livecodebench_v2"].grade


def stdin_row(*tests: tuple[str, str], **fields) -> dict:
    cases = [{"input": given, "output": expected, "testtype": "stdin"} for given, expected in tests]
    row = {"question_id": "abc_a", "question_content": "Add up.", "starter_code": "", "platform": "atcoder"}
    return row | {"public_test_cases": json.dumps(cases), "metadata": "{}"} | fields


def function_row(name: str, *tests: tuple[str, str], **fields) -> dict:
    cases = [{"input": given, "output": expected, "testtype": "functional"} for given, expected in tests]
    row = {"question_id": "1", "question_content": "Add up.", "starter_code": "class Solution:", "platform": "leetcode"}
    return row | {"public_test_cases": json.dumps(cases), "metadata": json.dumps({"func_name": name})} | fields


def encoded(text) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(text))).decode()


def answer(code: str) -> str:
    return f"Some words.\n```python\n{code}\n```\nMore words."


def status(code: str, row: dict, reading: str = "strict") -> str:
    graded = grade_code(answer(code), row, False, reading)
    assert graded.followed == (graded.status == CORRECT)
    return graded.status


# --- rows


def test_the_prompt_has_the_question_and_asks_for_the_right_kind():
    asked = code_prompt(stdin_row(("1", "1")))
    assert asked.endswith("Add up.") and "stdin" in asked
    asked = code_prompt(function_row("add", ("1", "1")))
    assert asked.endswith("Add up.") and "stdin" not in asked and "class Solution" not in asked


def test_private_tests_are_decoded():
    private = [{"input": "3", "output": "9", "testtype": "stdin"}]
    for text in (encoded(json.dumps(private)), json.dumps(private)):
        row = stdin_row(("2", "4"), private_test_cases=text)
        assert code_module._read_tests(row) == (json.loads(row["public_test_cases"]), private)
    assert code_module._read_tests(stdin_row(("2", "4")))[1] == []


class Hostile:
    """Unpickled by `pickle.loads`, it makes a folder."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_hostile_pickle_is_refused_and_does_nothing(tmp_path):
    row = stdin_row(("2", "4"), private_test_cases=encoded(Hostile(tmp_path / "harm")))
    with pytest.raises(ValueError, match=r"abc_a: private_test_cases .*mkdir"):
        grade_code(answer("print(4)"), row, False, "strict")
    assert not (tmp_path / "harm").exists()
    pickle.loads(pickle.dumps(Hostile(tmp_path / "harm")))  # the pickle is one that works
    assert (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("question_content", None),
        ("public_test_cases", None),
        ("public_test_cases", "[{"),
        ("public_test_cases", "[]"),
        ("public_test_cases", '{"input": "1"}'),
        ("public_test_cases", '["1"]'),
        ("public_test_cases", '[{"input": "1", "output": 1, "testtype": "stdin"}]'),
        ("public_test_cases", '[{"input": "1", "output": "1", "testtype": "file"}]'),
        ("public_test_cases", '[{"input": "x = 1", "output": "1", "testtype": "functional"}]'),
        ("private_test_cases", "not base 64"),
        ("private_test_cases", base64.b64encode(b"not compressed").decode()),
        ("private_test_cases", base64.b64encode(zlib.compress(b"not a pickle")).decode()),
        ("private_test_cases", base64.b64encode(zlib.compress(b"")).decode()),
        ("private_test_cases", encoded(["a list"])),
        ("private_test_cases", encoded("no JSON")),
        ("metadata", None),
        ("metadata", "{"),
        ("metadata", "{}"),
        ("metadata", "[]"),
    ],
)
def test_a_broken_row_is_refused_by_field_and_question(field, value):
    row = function_row("add", ("1", "1")) | {"question_id": "q17", field: value}
    with pytest.raises(ValueError, match=f"question q17: {field} should be"):
        code_prompt(row)


# --- the answer in a response


@pytest.mark.parametrize(
    ("response", "strict", "harness"),
    [
        ("no code", None, None),
        ("```python\na\n``` and ```\nb\n```", "b\n", "b\n"),
        ("```python\na\n```</think>```py\nb\n```", "b\n", "b\n"),
        ("```python\na\n```</think>never mind", None, "a\n"),
        ("<think>```python\na\n```", None, "a\n"),
        ("```python\nnever closed", None, None),
        ("```python print(1)```", None, None),
    ],
)
def test_the_last_block_counts(response, strict, harness):
    found = [code_module._last_code_block(response, False, reading) for reading in ("strict", "harness")]
    assert found == [strict, harness]


def test_an_answer_without_code_is_none():
    graded = grade_code("I do not know.", stdin_row(("1", "1")), False, "strict")
    assert graded == (NO_ANSWER, 0, None)
    thought = answer("print(input())")
    assert grade_code(thought, stdin_row(("1", "1")), True, "strict").status == NO_ANSWER


# --- programs that read standard input

RIGHT = "a, b = map(int, input().split())\nprint(a + b)\nprint(f'{a / b:.3f}')"
SUMS = stdin_row(("1 2", "3\n0.500"), ("10 4\n", "14\n2.5\n"))


@pytest.mark.usefixtures("isolated")
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (RIGHT, CORRECT),
        ("def main():\n    a, b = map(int, input().split())\n    print(a + b, a / b, sep=' \\n')\nmain()", CORRECT),
        ("def main():\n    exec(" + repr(RIGHT) + ")\nif __name__ == '__main__':\n    main()", CORRECT),
        (
            "import sys\na, b = map(int, sys.stdin.buffer.read().split())\nprint(a + b, a / b, sep='\\n', end='')",
            CORRECT,
        ),
        ("from __future__ import annotations\n" + RIGHT, CORRECT),
        (RIGHT + "\nexit()", CORRECT),
        ("a, b = map(int, stdin.readline().split())\nprint(reduce(add, [a, b]))\nprint(a / b)", CORRECT),
        (RIGHT + "\nprint()", CORRECT),
        (RIGHT + "\nprint(0)", WRONG),
        (RIGHT.replace("a + b", "a * b"), WRONG),
        ("print(3)\nprint(0.5)", WRONG),  # right on the first test only
        (RIGHT + "\nraise ValueError", WRONG),
        ("def broken(:", WRONG),
        ("", WRONG),
        ("print('sNaN')\nprint('one half')", WRONG),
        ("import os\nos.write(1, bytes(range(256)))", WRONG),
        ("while True: pass", WRONG),
        ("while True: print(3)", WRONG),
    ],
)
def test_stdin_programs(code, expected, monkeypatch):
    if code.startswith("while True"):
        monkeypatch.setattr(code_module, "_SECONDS", 1.5)  # others have their time, on a busy machine too
    assert status(code, SUMS) == expected


@pytest.mark.usefixtures("isolated")
def test_the_harness_compares_text_and_provides_no_imports():
    assert status(RIGHT, SUMS, "harness") == WRONG  # 2.500 is not 2.5
    assert status(RIGHT, stdin_row(("1 2", "3\n0.500\n")), "harness") == CORRECT
    square_root = "print(sqrt(int(input())))"
    assert status(square_root, stdin_row(("9", "3")), "strict") == CORRECT
    assert status(square_root, stdin_row(("9", "3.0")), "harness") == WRONG
    assert status("print('.-')", stdin_row(("", ".-")), "strict") == CORRECT
    assert status("print('.-')", stdin_row(("", ".-")), "harness") == WRONG  # its dash is dropped from what is expected


@pytest.mark.usefixtures("isolated")
def test_private_tests_count():
    private = json.dumps([{"input": "5", "output": "25", "testtype": "stdin"}])
    row = stdin_row(("2", "4"), private_test_cases=encoded(private))
    assert status("print(int(input()) ** 2)", row) == CORRECT
    assert status("print(int(input()) * 2)", row) == WRONG
    assert status("print(4 if input() == '2' else 0)", row) == WRONG
    only_private = "n = int(input())\nprint(25 if n == 5 else 0)"
    assert status(only_private, row) == WRONG and status(only_private, row, "harness") == CORRECT


# --- functions

LARGEST = function_row("largest", ("[3, 1, 2]\n2", "[3, 2]"), ('["b", "a"]\n1', '["b"]'))


@pytest.mark.usefixtures("isolated")
@pytest.mark.parametrize(
    ("code", "expected", "harness"),
    [
        ("def largest(n, k): return sorted(n)[::-1][:k]", CORRECT, CORRECT),
        ("class Solution:\n  def largest(self, n: List[int], k: int): return sorted(n)[::-1][:k]", CORRECT, WRONG),
        ("class Solution:\n  def other(self, n, k): return sorted(n)[::-1][:k]", CORRECT, WRONG),
        ("def helper(n): return sorted(n)[::-1]\ndef largest(n, k): return helper(n)[:k]", CORRECT, WRONG),
        ("import sys\nsys.setrecursionlimit(99)\ndef largest(n, k): return sorted(n)[::-1][:k]", CORRECT, WRONG),
        ("def my_name(n, k): return sorted(n)[::-1][:k]", CORRECT, CORRECT),
        ("def largest(n, k): return nlargest(k, n)", CORRECT, WRONG),  # heapq's, provided
        ("def largest(n, k):\n  print([3, 2], n)\n  return sorted(n)[::-1][:k]", CORRECT, CORRECT),
        ("def largest(n, k): return tuple(sorted(n)[::-1][:k])", CORRECT, CORRECT),
        (
            "@cache\ndef top(n, k): return sorted(n)[::-1][:k]\ndef largest(n, k): return top(tuple(n), k)",
            CORRECT,
            WRONG,
        ),
        ("def largest(n, k): return n[:k]", WRONG, WRONG),
        ("def largest(n, k): print(sorted(n)[::-1][:k])", WRONG, WRONG),
        ("def largest(n, k): return set(n)", WRONG, WRONG),
        ("def largest(n): return n", WRONG, WRONG),
        ("def largest(n, k): raise SystemExit", WRONG, WRONG),
        ("def largest(n, k):\n  for _ in range(10**5): n = [n]\n  return n", WRONG, WRONG),
        ("answer = [3, 2]", WRONG, WRONG),
        ("while True: pass", WRONG, WRONG),
    ],
)
def test_functions(code, expected, harness, monkeypatch):
    if code.startswith("while True"):
        monkeypatch.setattr(code_module, "_SECONDS", 1.5)  # others have their time, on a busy machine too
    assert (status(code, LARGEST), status(code, LARGEST, "harness")) == (expected, harness)


@pytest.mark.usefixtures("isolated")
@pytest.mark.parametrize(
    ("result", "expected"), [("1", "true"), ("True", "true"), ("2.0", "2"), ("numpy.int64(7)", "7"), ("'7'", '"7"')]
)
def test_results_are_equal_as_values(result, expected):
    assert status(f"import numpy\ndef f(n): return {result}", function_row("f", ("0", expected))) == CORRECT


# --- what a program can learn and do


def test_a_program_gets_inputs_only(monkeypatch):
    """Nothing that enters the sandbox holds an expected output. A test is one run; the first failure is the last."""
    entered = []

    def record(program, stdin, *, seconds):
        entered.append(program + stdin)
        return sandbox._Result(sandbox.FINISHED, "8451" if len(entered) < 2 else "0", "", 0)

    monkeypatch.setattr(sandbox, "run", record)
    for row in (stdin_row(*[("1", "8451")] * 4), function_row("f", *[("1", "8451")] * 4)):
        entered.clear()
        assert status("def f(n): return n", row) == WRONG
        assert len(entered) == 2 and not any("8451" in text for text in entered)


# --- the benchmark's own rows


@pytest.fixture(scope="module")
def rows() -> dict[str, dict]:
    path = Path(os.environ.get("DATA_ROOT", "data")) / "benchmarks" / "livecodebench_v5_v6_public_tests.jsonl"
    if not path.is_file():
        pytest.skip(f"no LiveCodeBench rows at {path}")
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["question_id"]: row for row in found}


def test_real_rows_are_read(rows):
    assert len(rows) == 342
    for row in rows.values():
        public, private = code_module._read_tests(row)
        assert public and not private
        assert {test["testtype"] for test in public} == {"functional" if row["platform"] == "leetcode" else "stdin"}
        assert code_prompt(row).endswith(row["question_content"])


@pytest.mark.usefixtures("isolated")
def test_a_program_that_does_nothing_is_wrong_on_real_problems(rows):
    for row in random.Random(0).sample(list(rows.values()), 12):
        for code in ("pass", "def anything(*arguments): pass"):
            assert status(code, row) == status(code, row, "harness") == WRONG, row["question_id"]


@pytest.mark.usefixtures("isolated")
def test_right_answers_to_real_problems(rows):
    table = "x = int(input())\nprint(sum(i * j for i in range(1, 10) for j in range(1, 10) if i * j != x))"
    assert status(table, rows["abc387_b"]) == status(table, rows["abc387_b"], "harness") == CORRECT
    method = (
        "def zigzagTraversal({}grid):\n        return sum([r[::1 - i % 2 * 2] for i, r in enumerate(grid)], [])[::2]"
    )
    assert status("class Solution:\n    " + method.format("self, "), rows["3708"]) == CORRECT
    assert status(method.format(""), rows["3708"], "harness") == CORRECT
