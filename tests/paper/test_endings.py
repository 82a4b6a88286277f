"""The repeated ending against the definition, tried for every ending and every unit."""

from hypothesis import given, settings
from hypothesis import strategies as st

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
