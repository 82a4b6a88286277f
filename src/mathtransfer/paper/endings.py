"""How a response ends, as far as its text tells: complete, cut at the budget, stopped, or running in circles."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mathtransfer.models.thinking import split_thinking

# lm-evaluation-harness stops a generation before this: its tasks hendrycks_math500 and coqa.
STOP_STRINGS = {"math500": "Problem:", "coqa": "\nQ:"}
_BUDGET = 4096  # tokens, prompt and response together; inferred: runs of newlines fill it up to the prompt's length
_LOOP_TAIL, _LOOP_LENGTH = 3000, 200  # characters: the part looked at, and the least that all repeats cover
# A word with the character before it, a digit, a run of punctuation, a break: no token of Qwen's holds two of them.
_PIECE = re.compile(r"(?:[^\n\w]|_)?[^\W\d_]+|\d|(?:[^\w\s]|_)+\n*|\n\s*")
# Where "Problem:" would follow: "**Understanding the ", cut from "**Understanding the Problem:**" and open; or the
# break after "Let me check the problem again." or "The user wrote:".
_BEFORE_STOP = re.compile(r"(?<!\*)\*\*(?:[A-Z][\w-]* (?:\w+ ){0,3})?$|(?:problem|wrote)[^\n]*\n\n\"?$")
_EXPLICIT_ANSWER = re.compile(r"\\boxed\s*\{|final answer(?: is|:)", re.IGNORECASE)
_ENDINGS, _EMOJI = set(".!?…。！？।\"'”’»)]}>"), "\u2600"  # characters that can end a text; emoji begin there


def _is_looping(response: str) -> bool:
    """Whether the last 3,000 characters end in one text three times in a row or more, over 200 characters or more.

    A response whose numbers are all made equal also counts if such repeats then fill all of the 3,000: a counter that
    runs on ("[811] [812] [813]") is looping, unlike a list of cases that are worked through.
    """
    tail = response[-_LOOP_TAIL:]
    if repeated_ending(tail) >= _LOOP_LENGTH:
        return True
    masked = re.sub(r"\d+", "0", tail)
    return len(tail) == _LOOP_TAIL and repeated_ending(masked) == len(masked)


def _is_stopped(response: str, benchmark: str) -> bool:
    """Whether the harness's stop string probably ended it.

    For CoQA it shows if an empty line stood before the next "Q:": then a line end is left, which the models hardly ever
    write at the end of a text.
    """
    if benchmark != "math500":
        return benchmark in STOP_STRINGS and response.endswith("\n")
    line = response[response.rfind("\n") + 1 :]
    is_open = line in ("", '"') or line.count("**") % 2 == 1
    return is_open and _BEFORE_STOP.search(response[-200:]) is not None


def _is_truncated(response: str, thinks: bool, benchmark: str) -> bool:
    """Whether it stopped before an end: at the token budget, or at a stop string.

    The files hold no reason for stopping, so the text decides: thinking that was never finished; a stop string; or, if
    it is long enough to have met the token budget, a loop or an unfinished last sentence or block. Long enough: half
    the budget in bytes for a loop (a token has one or more), else in pieces (of one token or more, mostly below two).
    """
    if split_thinking(response, thinks)[2] or _is_stopped(response, benchmark):
        return True
    if _is_looping(response):
        return len(response.encode(errors="replace")) >= _BUDGET // 2
    return sum(1 for _ in _PIECE.finditer(response)) >= _BUDGET // 2 and not _ends(response)


def _ends(response: str) -> bool:
    """Whether the last character can end a text, and no code, formula or emphasis is left open."""
    line = response[response.rfind("\n") + 1 :]
    is_open = (
        any(response.count(mark) % 2 == 1 for mark in ("```", "$$"))
        or any(line.count(mark) % 2 == 1 for mark in ("**", "$"))
        or response.rfind("\\[") > response.rfind("\\]")
    )
    last = response.rstrip("*_`$\n")[-1:]
    return not (is_open or response[-1:].isspace()) and (last in _ENDINGS or last >= _EMOJI)


def describe(response: str, thinks: bool, benchmark: str = "math500") -> dict[str, bool]:
    """`truncated, stopped, looping, answer_in_unfinished_think` of one response."""
    unfinished = split_thinking(response, thinks)[2]
    return {
        "truncated": _is_truncated(response, thinks, benchmark),
        "stopped": _is_stopped(response, benchmark),
        "looping": _is_looping(response),
        "answer_in_unfinished_think": unfinished and _EXPLICIT_ANSWER.search(response) is not None,
    }


def repeated_ending(sequence: Sequence, repeats: int = 3) -> int:
    """Length of the longest ending that is one unit `repeats` times or more, with perhaps a part of a unit before it.

    In linear time, by the Z function (Gusfield, 1997) of the reversed sequence: `agrees[p]` is how many elements of it
    agree with itself moved by p. A string's elements are characters; a list of token ids works as well.
    """
    backwards = sequence[::-1]
    agrees, left, right = [0] * len(backwards), 0, 0
    for i in range(1, len(backwards)):
        if i < right:
            agrees[i] = min(right - i, agrees[i - left])
        while i + agrees[i] < len(backwards) and backwards[agrees[i]] == backwards[i + agrees[i]]:
            agrees[i] += 1
        if i + agrees[i] > right:
            left, right = i, i + agrees[i]
    return max((p + same for p, same in enumerate(agrees) if p and same >= (repeats - 1) * p), default=0)
