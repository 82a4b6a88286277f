"""Text that runs in circles: how long an ending repeats itself."""

from __future__ import annotations

from collections.abc import Sequence


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
