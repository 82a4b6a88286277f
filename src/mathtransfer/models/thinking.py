"""Where a response's thinking ends and its answer begins."""

from __future__ import annotations

THINK_OPENS, THINK_CLOSES = "<think>", "</think>"


def opens_thinking(prompt: str) -> bool:
    """Whether a prompt ends in an opening think tag, so that what follows it is thought until it is closed."""
    return prompt.rstrip().endswith(THINK_OPENS)


def split_thinking(response: str, thinks: bool) -> tuple[str, str, bool]:
    """A response's thinking, its answer, and whether the thinking was never finished.

    Args:
        thinks: whether the response begins in thought: its prompt opens a think block, or other responses of the model
            close one. A response without a closing tag is then all thought.
    """
    thought, closed, rest = response.rpartition(THINK_CLOSES)
    if THINK_OPENS in rest:
        before, _, inside = rest.partition(THINK_OPENS)
        return thought + inside, before, True
    if thinks and not closed:
        return response, "", True
    return thought, rest, False
