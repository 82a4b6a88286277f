"""How a response ends: repeats and loops against their definitions, by brute force; and what is cut off."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mathtransfer.paper import endings
from mathtransfer.paper.endings import repeated_ending


def by_brute_force(sequence, repeats: int) -> int:
    for length in range(len(sequence), 0, -1):
        ending = sequence[len(sequence) - length :]
        if any(ending[unit:] == ending[:-unit] for unit in range(1, length // repeats + 1)):
            return length
    return 0


@settings(max_examples=300, deadline=None)
@given(start=st.text("ab", max_size=8), unit=st.text("abc", max_size=4), times=st.integers(0, 6))
def test_longest_repeated_ending(start, unit, times):
    """Few letters, so that units overlap, hold shorter units and reach into what stands before them."""
    text = start + unit * times
    for repeats in (2, 3, 4):
        assert repeated_ending(text, repeats) == by_brute_force(text, repeats)
    assert repeated_ending(list(text)) == by_brute_force(text, 3)


def test_a_part_of_a_unit_counts_before_the_repeats_only():
    assert repeated_ending("wait, then then then") == len(" then then then")
    assert repeated_ending("en then then then") == len("en then then then")
    assert repeated_ending([1, 2, 3] * 3 + [1]) == 10  # the unit is as well [2, 3, 1]
    assert repeated_ending([1, 2, 3] * 3 + [4]) == 0
    assert repeated_ending("aa") == repeated_ending("") == 0


# --- a whole response


def repeats_by_brute_force(text: str, least: int) -> bool:
    for period in range(1, len(text) // 3 + 1):
        unit, repeated = text[-period:], period
        while repeated < len(text) and text[-repeated - 1] == unit[-1 - repeated % period]:
            repeated += 1
        if repeated >= max(3 * period, least):
            return True
    return False


def loops_by_brute_force(text: str) -> bool:
    tail = text[-endings._LOOP_TAIL :]
    masked = re.sub(r"[0-9]+", "0", tail)
    counts_on = len(tail) == endings._LOOP_TAIL and repeats_by_brute_force(masked, len(masked))
    return repeats_by_brute_force(tail, 200) or counts_on


LOOPS = [
    "start " + "na" * 120,
    "start" + "\n" * 500,
    "a list\n" + "".join(f"- item {i}\n" for i in range(60)),
    "once " + "I do not know what to do. " * 10 + "I do not",
    "twice " + "x" * 90 + " and " + "x" * 90,
    "short " + "ab" * 90,
    "a counter " + "".join(f"[{i}] " for i in range(700)),
    "".join(chr(97 + i * i % 26) for i in range(500)),
    "",
]


@pytest.mark.parametrize("text", LOOPS)
def test_loops_agree_with_brute_force(text):
    assert endings.describe(text, False)["looping"] == loops_by_brute_force(text)


def test_some_loop_and_some_do_not():
    found = [endings.describe(text, False)["looping"] for text in LOOPS]
    assert found == [True, True, False, True, False, False, True, True, False]


WORDS = random.Random(0).choices(("even", "odd", "prime", "square", "small"), k=300)
LONG = "".join(f"Number {i} is {word}, and {i * i} its square. " for i, word in enumerate(WORDS))


@pytest.mark.parametrize(
    ("response", "thinks", "truncated"),
    [
        ("A short answer without a full stop", False, False),
        (LONG.rstrip(), False, False),
        (LONG + "And then", False, True),
        (LONG + "\\[ x = \\frac{1}{2}", False, True),
        (LONG + "\\[ x = 1 \\]", False, False),
        (LONG + "Enjoy! 😊", False, False),
        ("Alright, I have this problem:\n\n**", False, True),
        ("Let us see.\n\n**Understanding the ", False, True),
        ("Let me read the problem again.\n\n", False, True),
        ("All is **bold**", False, False),
        (LONG + "na " * 500, False, True),
        ("na " * 500, False, False),
        ("thinking without an end.", True, True),
        ("thought</think>Done.", True, False),
    ],
)
def test_truncation(response, thinks, truncated):
    assert endings.describe(response, thinks)["truncated"] == truncated


def test_an_answer_inside_unfinished_thinking():
    assert endings.describe("so \\boxed{3}, or is it", True)["answer_in_unfinished_think"]
    assert endings.describe("The final answer is 3. Or is it", True)["answer_in_unfinished_think"]
    assert not endings.describe("I make sure that my final answer fits", True)["answer_in_unfinished_think"]
    assert not endings.describe("so \\boxed{3}</think>\\boxed{3}", True)["answer_in_unfinished_think"]


def test_the_stop_string_is_that_of_the_benchmark():
    """CoQA's task stops before the next "Q:", that of MATH-500 before "Problem:", the others nowhere."""
    cut = "Q: What colour was it?\n\nA: Red\n"
    assert [endings.describe(cut, False, name)["stopped"] for name in ("coqa", "math500", "ifeval")] == [
        True,
        False,
        False,
    ]
    assert not endings.describe(cut.rstrip(), False, "coqa")["stopped"]
    assert [endings.describe("**Understanding the ", False, n)["stopped"] for n in ("math500", "coqa")] == [True, False]
