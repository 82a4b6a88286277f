"""The grader on answers with known status, and on text that tries to hang or crash it."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from mathtransfer.benchmarks import pool
from mathtransfer.benchmarks.grades import CORRECT, NO_ANSWER, NOT_GRADED, READINGS, WRONG
from mathtransfer.benchmarks.pool import BENCHMARKS
from mathtransfer.benchmarks.regrading import regrade
from mathtransfer.paper import released

# --- conversation and choices


def test_who_thinks_is_seen_by_the_first_word():
    """The prompt shows an empty think block, so a thought has no opening tag, and a cut one no closing tag either."""
    texts = ["Okay, so</think>Red.", "Okay, but</think>No.", "Hm</think>Yes.", "Okay, it is", "Hm, red.", "Red."]
    table = pd.DataFrame({"response": texts}, dtype=object).assign(model="m", benchmark="coqa", gold=[["red"]] * 6)
    table["question"] = range(6)
    found = regrade(table)
    assert list(found["truncated"]) == [False, False, False, True, False, False]
    assert list(found["strict"]) == [CORRECT, WRONG, WRONG, NO_ANSWER, WRONG, CORRECT]
    assert list(found["lenient"]) == [CORRECT, WRONG, WRONG, WRONG, CORRECT, CORRECT]


def test_without_a_gold_answer_there_is_no_grade():
    table = pd.DataFrame({"response": ["Red.", "Red.\n"]}, dtype=object)
    table = table.assign(model="m", benchmark="coqa", question=[0, 1], gold=[["red"], None])
    found = regrade(table)
    assert found["strict"][0] == CORRECT and found.loc[1, ["asked", *READINGS]].isna().all()
    assert list(found["stopped"]) == [False, True]


@pytest.mark.parametrize(
    ("response", "strict", "lenient", "harness"),
    [
        ("a red boat", CORRECT, CORRECT, CORRECT),
        ("The RED boat!\n\nIt floats.", CORRECT, WRONG, CORRECT),
        ("It floats.\n\nSo it was a red boat, I think.", WRONG, CORRECT, WRONG),
        ("Q: Who?\n\nA: a man\n\nQ: What?\n\nA: **Red boat.**", WRONG, CORRECT, WRONG),
        ("A: a red boat", CORRECT, CORRECT, CORRECT),  # the letter goes with the articles
        ("a tired boat", WRONG, WRONG, WRONG),
        ("...", NO_ANSWER, NO_ANSWER, NO_ANSWER),
    ],
)
def test_readings_of_coqa(response, strict, lenient, harness):
    gold = ["a red boat", "the red boat"]
    found = [BENCHMARKS["coqa"].grade(response, gold, False, reading).status for reading in READINGS]
    assert found == [strict, lenient, harness]


def test_lenient_reading_of_gpqa():
    grade = BENCHMARKS["gpqa_diamond"].grade
    assert grade("Therefore, the correct answer is **C**.", "C", False, "lenient").status == CORRECT
    assert grade("Therefore, the correct answer is **C**.", "C", False, "strict").status == NO_ANSWER
    assert grade("The answer is A. No: \\boxed{C}", "C", False, "lenient").status == CORRECT
    assert grade("The answer is C, or", "C", True, "lenient").status == CORRECT  # inside thinking that never ends
    assert grade("A nucleus is larger", "A", False, "lenient").status == NO_ANSWER


# --- mathematics


@pytest.mark.parametrize(
    "text", ["\\boxed{1}", "a \\boxed{2} then \\boxed{\\frac{1}{2}} end", "\\fbox{x^{2}}", "none", "\\boxed{1"]
)
def test_the_last_whole_box_counts(text):
    expected = {"\\boxed{1}": "1", "\\fbox{x^{2}}": "x^{2}", "none": None, "\\boxed{1": None}.get(text, "\\frac{1}{2}")
    assert BENCHMARKS["math500"].grade(text, "1", False, "strict").extracted == expected


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("\\frac{1}{2}", "0.5", CORRECT),
        ("\\frac{1}{2}", "\\dfrac12", CORRECT),
        ("\\frac{1}{2}", "0.51", WRONG),
        ("[0, 1)", "[0,1)", CORRECT),
        ("[0, 1)", "[0,1]", WRONG),
        ("\\text{Evelyn}", "\\text{Evelyn}", CORRECT),
        ("x^2+2x+1", "(x+1)^2", CORRECT),
        ("(3, \\frac{\\pi}{2})", "\\left(3, \\frac{\\pi}{2}\\right)", CORRECT),
        ("12", "-12", WRONG),
    ],
)
def test_strict_reading(gold, answer, expected):
    assert BENCHMARKS["math500"].grade(f"Thus \\boxed{{{answer}}}.", gold, False, "strict").status == expected


def test_the_readings_differ_where_they_should():
    def read(response, thinks=False):
        return [BENCHMARKS["math500"].grade(response, "7", thinks, reading).status for reading in READINGS]

    assert read("The answer is \\boxed{7}") == [CORRECT, CORRECT, CORRECT]
    assert read("So the final answer is $7$.") == [NO_ANSWER, CORRECT, NO_ANSWER]
    assert read("\\boxed{8}? No: </think>\\boxed{7}", True) == [CORRECT, CORRECT, CORRECT]
    assert read("maybe \\boxed{7}, let me check", True) == [NO_ANSWER, CORRECT, CORRECT]
    assert read("\\boxed{7.0}") == [CORRECT, CORRECT, WRONG]  # the harness compares text
    assert read("I have no idea.") == [NO_ANSWER, NO_ANSWER, NO_ANSWER]
    assert read("\\boxed{8}") == [WRONG, WRONG, WRONG]


# --- following instructions


def record(kwargs: dict, instruction: str) -> dict:
    return {"key": 1, "prompt": "", "instruction_id_list": [instruction], "kwargs": [kwargs]}


@pytest.mark.parametrize(
    ("instruction", "kwargs", "text", "follows"),
    [
        ("punctuation:no_comma", {}, "No commas here.", True),
        ("punctuation:no_comma", {}, "Well, one.", False),
        ("length_constraints:number_words", {"relation": "at least", "num_words": 4}, "one two three four", True),
        ("length_constraints:number_words", {"relation": "at least", "num_words": 5}, "one two three four", False),
        # Three sentences by hand: an abbreviation ends none.
        (
            "length_constraints:number_sentences",
            {"relation": "at least", "num_sentences": 3},
            "Mr. Lee left. He ran. Why?",
            True,
        ),
        (
            "length_constraints:number_sentences",
            {"relation": "at least", "num_sentences": 4},
            "Mr. Lee left. He ran. Why?",
            False,
        ),
        (
            "change_case:capital_word_frequency",
            {"capital_relation": "at least", "capital_frequency": 2},
            "GO and STOP.",
            True,
        ),
        (
            "change_case:capital_word_frequency",
            {"capital_relation": "at least", "capital_frequency": 3},
            "GO and STOP.",
            False,
        ),
        ("detectable_format:json_format", {}, '{"a": [1, 2]}', True),
        ("detectable_format:json_format", {}, "{a: 1", False),
        ("language:response_language", {"language": "de"}, "Das ist ein ganz gewöhnlicher deutscher Satz.", True),
        ("language:response_language", {"language": "de"}, "This is a perfectly ordinary English sentence.", False),
    ],
)
def test_instructions(instruction, kwargs, text, follows):
    graded = BENCHMARKS["ifeval"].grade(text, record(kwargs, instruction), False, "strict")
    assert graded == (CORRECT if follows else WRONG, int(follows), None)


def test_thinking_is_not_held_against_an_answer():
    gold = record({}, "punctuation:no_comma")
    response = "First, second, third.</think>No commas."
    grade = BENCHMARKS["ifeval"].grade
    assert [grade(response, gold, True, reading).status for reading in READINGS] == [CORRECT, CORRECT, WRONG]
    assert grade("First, second", gold, True, "strict").status == NO_ANSWER


OFFLINE = """
import json, os, socket, sys
socket.socket.connect = lambda *args, **kwargs: os._exit(3)
socket.getaddrinfo = lambda *args, **kwargs: os._exit(3)
from mathtransfer.benchmarks.pool import BENCHMARKS
print(BENCHMARKS["ifeval"].grade("One. Two.", json.loads(sys.argv[1]), False, "strict").status)
"""


def test_the_checkers_ask_nothing_of_the_network():
    """In a process of its own, without NLTK data in a home folder: the first call of the network ends it."""
    gold = record({"relation": "less than", "num_sentences": 3}, "length_constraints:number_sentences")
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "NLTK_DATA")}
    command = [sys.executable, "-c", OFFLINE, json.dumps(gold)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment | {"HOME": "/nonexistent"})
    assert done.stdout.split() == [CORRECT], done.stderr[-2000:]


# --- hostile text

HOSTILE = {
    "tower": "\\boxed{9^{9^{9^{9}}}}",
    "power": "\\boxed{10^{10^{10}}}",
    "factorials": "\\boxed{((99!)!)!}",
    "sum": "\\boxed{\\sum_{k=1}^{1000000000000} \\frac{1}{k^k}}",
    "long sum": "\\boxed{" + "+".join(f"\\sqrt{{{i}}}" for i in range(100_000)) + "}",
    "nested": "\\boxed{" + "{" * 100_000 + "1" + "}" * 100_000 + "}",
    "open braces": "\\boxed" + "{" * 1_000_000,
    "many boxes": "\\boxed{" * 20_000,
    "fractions": "\\boxed{" + "\\frac{1}{" * 3000 + "2" + "}" * 3001,
    "regular expression": "the final answer is " + "1," * 50_000,
    "null bytes": "\\boxed{\x00\x00}",
    "lone surrogate": "\\boxed{\ud800}",
    "exit": "\\boxed{__import__('os')._exit(1)}",
}


# Boxed values, which `lenient` extracts and compares as `strict` does: it is asked for one more, "factorials", only.
ALIKE = ["tower", "power", "sum", "long sum", "nested", "fractions"]


@pytest.mark.slow
def test_hostile_text_neither_hangs_nor_crashes(monkeypatch):
    """Each comes back with a status in its time, and the answers between them are graded as if nothing had happened."""
    monkeypatch.setitem(BENCHMARKS, "math500", dataclasses.replace(BENCHMARKS["math500"], seconds=1.0))
    rows = [(name, text) for name, hostile in HOSTILE.items() for text in (hostile, "\\boxed{7}")]
    table = pd.DataFrame(rows, columns=["name", "response"], dtype=object)
    table = table.assign(benchmark="math500", gold="7", thinks=False)
    started = time.monotonic()
    pool.grade(table[1:2], READINGS)
    start = time.monotonic() - started  # of a grading process, on this machine and beside whatever else it does
    asked = {("strict", "harness"): table, ("lenient",): table[~table["name"].isin(ALIKE)]}
    for readings, texts in asked.items():
        started = time.monotonic()
        graded = pool.grade(texts, readings)[list(readings)]
        seconds, killed = time.monotonic() - started, (graded == NOT_GRADED).to_numpy().sum()
        assert seconds < 1.0 * len(texts) / 2 * len(readings) + 3 * start * (killed + 1)
        assert (graded[1::2] == CORRECT).all(axis=None) and (graded[::2] != CORRECT).all(axis=None), readings
        assert killed, "nothing here was hard"


@pytest.mark.slow
def test_a_missing_library_is_an_error_and_not_a_score_of_zero(tmp_path, monkeypatch):
    """A spawned process has the path of the one that spawns it."""
    (tmp_path / "math_verify.py").write_text("raise ImportError('gone')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match="no process could be made ready to grade"):
        pool.grade(
            pd.DataFrame({"benchmark": ["math500"], "response": "\\boxed{7}", "gold": "7", "thinks": False}), ["strict"]
        )


# --- the released responses themselves


@pytest.fixture(scope="module")
def data_root() -> Path:
    folder = os.environ.get("DATA_ROOT", "data")
    try:
        released._check(folder)
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    return Path(folder)


def test_gold_answers_are_correct_by_every_reading_and_changed_ones_by_none(data_root):
    responses = released.responses(data_root).query("benchmark == 'math500'").drop_duplicates("gold").head(60)
    right = regrade(responses.assign(response="So \\boxed{" + responses["gold"] + "}"))
    wrong = regrade(responses.assign(response="So \\boxed{123456789}"))
    for reading in READINGS:
        assert (right[reading] == CORRECT).all() and (wrong[reading] == WRONG).all()


def test_recorded_grades_repeat(data_root):
    """A part of the recorded results, graded again; GPQA where its files are, CoQA where the conversation is known."""
    recorded = pd.read_csv(Path(__file__).parents[2] / "results" / "released_generations.csv")
    key = ["model", "benchmark", "question"]
    assert len(recorded) == 2937 and not recorded.duplicated(key).any()
    assert recorded.drop(columns=recorded.filter(regex="asked|strict|lenient|harness").columns).notna().all(axis=None)
    ungraded = recorded["strict"].isna()
    assert ungraded.groupby(recorded["benchmark"]).sum().to_dict() == {
        **{"math500": 0, "ifeval": 0},
        **{"coqa": 998, "gpqa_diamond": 2},  # one known conversation; one question of which all choices read the same
    }
    assert recorded[~ungraded].notna().all(axis=None)
    responses = released.responses(data_root).dropna(subset="gold")
    joined = responses.merge(recorded[~ungraded], on=key)
    some = joined.groupby(["model", "benchmark"]).sample(frac=0.08, random_state=0)
    thinks = responses.groupby(["model", "benchmark"])["response"].agg(lambda r: r.str.contains("</think>").any())
    for row in some.itertuples():
        for reading in READINGS:
            if (status := getattr(row, reading)) != NOT_GRADED:
                thought = thinks[row.model, row.benchmark]  # as of all of a model's that are graded here
                graded = BENCHMARKS[row.benchmark].grade(row.response, row.gold, thought, reading)
                assert graded.status == status, (row.benchmark, row.question, reading)
