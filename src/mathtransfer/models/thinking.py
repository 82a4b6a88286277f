"""Where a response's thinking ends and its answer begins."""

from __future__ import annotations

THINK_OPENS, THINK_CLOSES = "<think>", "</think>"


def split_thinking(response: str, thinks: bool) -> tuple[str, str, bool]:
    """A response's thinking, its answer, and whether the thinking was never finished.

    Args:
        thinks: whether the model begins in thought though its prompt shows an empty think block, as can be seen from
            other responses, which close one. Its responses without a closing tag are all thought.
    """
    thought, closed, rest = response.rpartition(THINK_CLOSES)
    if THINK_OPENS in rest:
        before, _, inside = rest.partition(THINK_OPENS)
        return thought + inside, before, True
    if thinks and not closed:
        return response, "", True
    return thought, rest, False
