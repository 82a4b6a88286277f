"""LiveCodeBench: its rows, the prompt, and grading by running an answer on the problem's tests.

Grading executes what a model wrote, each test in a sandbox of its own (`sandbox.run`), so it happens only if a user
asked for it. A program gets a test's input and never the expected output, which is compared outside.

The strict reading judges as the benchmark's own checker: all tests, public and private; lines stripped and numbers
compared as decimals; the usual imports provided. The harness reading judges as evalchemy's task does, which differs
much for LeetCode problems: it calls the name before the first parenthesis, at the top level, so that an answer in a
class `Solution`, or one that begins with a call, is wrong. It runs the private tests, provides no import, and compares
printed text as a whole.

Left out, by every reading: evalchemy's stand-in for standard input (here it is real, with a `buffer`), that a program
which calls `exit` fails there, its own parser of arguments (here JSON, as they are written; it reads `true` as text),
its time limit for all tests together, and the difference between a tuple and a list in what a function returns.
"""

from __future__ import annotations

import base64
import io
import json
import pickle
import re
import zlib
from decimal import Decimal

from mathtransfer.benchmarks import sandbox
from mathtransfer.benchmarks.grades import CORRECT, NO_ANSWER, WRONG, Benchmark, Grade, all_or_nothing
from mathtransfer.models.thinking import split_thinking

_SECONDS = 6.0  # for one test; the benchmark's own limit
# The wording of evalchemy's LiveCodeBench task, from the paper authors' repository (MIT): what comes before a question
# whose answer reads standard input, and before one whose answer is a function.
_STDIN_PROMPT = (
    "Generate an executable Python function generated from the given prompt. The function should take stdin as input "
    "and print the output. Simply call the function after the definition."
)
_FUNCTION_PROMPT = (
    "Generate an executable Python function generated from the given prompt. Return the function body without invoking "
    "it at the final solution."
)
_CODE_BLOCK = re.compile(r"```[a-zA-Z]*\n(.*?)```", re.DOTALL)  # as evalchemy finds one
# Imported before an answer by the benchmark's checker, in its order: a later name hides an earlier one.
_MODULES = ["string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"]
_MODULES += ["itertools", "functools", "operator", "io", "sys", "json"]
_IMPORTS = "\n".join(
    [f"from {module} import *" for module in [*_MODULES, "builtins", "typing"]]
    + [f"import {', '.join(_MODULES)}", "sys.setrecursionlimit(50_000)"]
)
_STDIN_PROGRAM = "exec({imports!r})\nexec({code!r})\n"
# Calls a function of the answer with each line of standard input as an argument; only its result is written.
_FUNCTION_PROGRAM = """\
import json, os, sys, types
written = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
arguments = [json.loads(line) for line in sys.stdin.read().split("\\n")]
answer = sys.modules["answer"] = types.ModuleType("answer")
exec({imports!r}, vars(answer))
exec({code!r}, vars(answer))
{find}
result = function(*arguments)
with os.fdopen(written, "w") as file:
    json.dump(result, file, default=lambda number: number.item())  # numpy's
"""
# The prompt names neither class nor function, so the first one that the answer defines stands in for the right name.
_FIND = """\
scope = answer.Solution if hasattr(answer, "Solution") else answer
own = [
    name
    for name, value in vars(scope).items()
    if getattr(value, "__module__", None) == "answer" and callable(value)
    if not isinstance(value, type) and not name.startswith("_")
]
function = getattr(scope() if scope is not answer else answer, {name!r} if {name!r} in own else own[0])
"""
_FIND_AS_HARNESS = "function = vars(answer)[{name!r}]"


class _TextOnly(pickle.Unpickler):
    """Reads built-in values; a pickle that names a class or a function, which loading would call, is refused."""

    def find_class(self, module: str, name: str):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


# --- rows


def code_prompt(row: dict) -> str:
    """The prompt that evalchemy sends for a row of `livecodebench/code_generation_lite`; it shows no starter code.

    Raises:
        ValueError: a field is missing or broken; with its name and the question's id.
    """
    public, _ = _read_tests(row)
    before = _STDIN_PROMPT if public[0]["testtype"] == "stdin" else _FUNCTION_PROMPT
    return before + _text(row, "question_content")


def _read_tests(row: dict) -> tuple[list[dict], list[dict]]:
    """A row's public and private tests, each `input, output, testtype` (`stdin` or `functional`).

    Args:
        row: as the hub has it. `private_test_cases` may be absent; it is JSON, or a pickled JSON text, compressed by
            zlib, in base 64.

    Raises:
        ValueError: a field is missing or broken; with its name and the question's id.
    """
    public = _tests(row, "public_test_cases", _text(row, "public_test_cases"))
    if not public:
        raise _broken(row, "public_test_cases", "one test or more", "none")
    if public[0]["testtype"] == "functional":
        _function_name(row)
    if row.get("private_test_cases") is None:
        return public, []
    return public, _tests(row, "private_test_cases", _private(row))


def _private(row: dict) -> str:
    text = _text(row, "private_test_cases")
    if text.lstrip().startswith("["):
        return text
    try:
        text = _TextOnly(io.BytesIO(zlib.decompress(base64.b64decode(text, validate=True)))).load()
    except Exception as error:  # whatever broken or hostile data raises
        raise _broken(row, "private_test_cases", "a pickled JSON text", str(error)) from error
    if not isinstance(text, str):
        raise _broken(row, "private_test_cases", "a pickled JSON text", f"a pickled {type(text).__name__}")
    return text


def _tests(row: dict, field: str, text: str) -> list[dict]:
    tests = _json(row, field, text)
    if not isinstance(tests, list):
        raise _broken(row, field, "a list of tests", type(tests).__name__)
    for test in tests:
        texts = [test.get(key) for key in ("input", "output", "testtype")] if isinstance(test, dict) else []
        if not (texts and all(isinstance(value, str) for value in texts) and texts[2] in ("stdin", "functional")):
            raise _broken(row, field, "tests of input, output and testtype (stdin or functional), all text", str(test))
        if test["testtype"] == "functional":
            for value in (*test["input"].split("\n"), test["output"]):
                _json(row, field, value)
    return tests


def _function_name(row: dict) -> str:
    metadata = _json(row, "metadata", _text(row, "metadata"))
    name = metadata.get("func_name") if isinstance(metadata, dict) else None
    if not isinstance(name, str):
        raise _broken(row, "metadata", "the function's name as func_name", str(metadata))
    return name


def _json(row: dict, field: str, text: str):
    try:
        return json.loads(text)
    except ValueError as error:
        raise _broken(row, field, "JSON", repr(text[:80])) from error


def _text(row: dict, field: str) -> str:
    if not isinstance(row.get(field), str):
        raise _broken(row, field, "text", repr(row.get(field)))
    return row[field]


def _broken(row: dict, field: str, expected: str, found: str) -> ValueError:
    question = row.get("question_id", "without an id")
    return ValueError(f"LiveCodeBench question {question}: {field} should be {expected}, found {found[:200]}")


# --- grading


def _grade_code(response: str, gold: dict, thinks: bool, reading: str) -> Grade:
    """Run one response to a LiveCodeBench problem on its tests; `gold` is the row, as in `_read_tests`."""
    public, private = _read_tests(gold)
    code = _last_code_block(response, thinks, reading)
    if code is None:
        return Grade(NO_ANSWER)
    tests = (private or public) if reading == "harness" else public + private
    passed = all(_passes(code, gold, test, reading) for test in tests)
    return all_or_nothing(CORRECT if passed else WRONG, code)


def _last_code_block(response: str, thinks: bool, reading: str) -> str | None:
    """The last fenced block of the answer, or, by the harness reading, of the whole text."""
    answer = response if reading == "harness" else split_thinking(response, thinks)[1]
    return next(reversed(_CODE_BLOCK.findall(answer)), None)


def _passes(code: str, gold: dict, test: dict, reading: str) -> bool:
    if test["testtype"] == "functional":
        program, same = _function_program(code, gold, reading), _same_value
    elif reading == "harness":
        program, same = _STDIN_PROGRAM.format(imports="", code=code), _same_text
    else:
        program, same = _STDIN_PROGRAM.format(imports=_IMPORTS, code=code), _same_lines
    result = sandbox.run(program, test["input"], seconds=_SECONDS)
    return result.status == sandbox.FINISHED and same(result.stdout, test["output"])


def _function_program(code: str, gold: dict, reading: str) -> str:
    if reading == "harness":
        words = code.split("(")[0].split()
        find = _FIND_AS_HARNESS.format(name=words[-1] if words else "")
        return _FUNCTION_PROGRAM.format(imports="", code=code, find=find)
    return _FUNCTION_PROGRAM.format(imports=_IMPORTS, code=code, find=_FIND.format(name=_function_name(gold)))


def _same_value(written: str, expected: str) -> bool:
    try:
        return json.loads(written) == json.loads(expected)
    except (ValueError, RecursionError):  # a result can be nested without end
        return False


def _same_text(written: str, expected: str) -> bool:
    """As evalchemy, which drops a dash at the end of what it expects."""
    return written.strip() == expected.strip().removesuffix("-").rstrip()


def _same_lines(written: str, expected: str) -> bool:
    """As the benchmark's checker: line by line, stripped; as decimals if the text differs."""
    left, right = ([line.strip() for line in text.strip().split("\n")] for text in (written, expected))
    return len(left) == len(right) and all(a == b or _same_numbers(a, b) for a, b in zip(left, right, strict=True))


def _same_numbers(written: str, expected: str) -> bool:
    try:
        return [Decimal(word) for word in written.split()] == [Decimal(word) for word in expected.split()]
    except ArithmeticError:  # not numbers
        return False


# A program may have a hundred tests.
BENCHMARKS = {"livecodebench_v2": Benchmark(_grade_code, seconds=900.0)}
