"""A response is split into thinking and answer."""

import pytest

from mathtransfer.models import thinking


@pytest.mark.parametrize(
    ("response", "thinks", "expected"),
    [
        ("plain", False, ("", "plain", False)),
        ("a thought</think>the answer", True, ("a thought", "the answer", False)),
        ("one</think>two</think>three", True, ("one</think>two", "three", False)),
        ("still thinking", True, ("still thinking", "", True)),
        ("before<think>never closed", False, ("never closed", "before", True)),
    ],
)
def test_thinking_is_split_off(response, thinks, expected):
    assert thinking.split_thinking(response, thinks) == expected
