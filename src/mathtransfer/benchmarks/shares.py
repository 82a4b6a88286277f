"""What share of what was asked was done, with an error that knows which parts belong together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ratio_of_sums(sums: NDArray, counts: NDArray) -> tuple[NDArray, NDArray]:
    """The sum of a quantity over items, by that of their counts, and its standard error over items (linearised).

    Items are observations of their own, what is within one is not: the tokens of a text, the instructions of a prompt.

    Args:
        sums: `(items,)` or `(items, quantities)`.
        counts: `(items,)`.

    Returns:
        Values and standard errors, of each quantity; the errors of one item alone are nan.
    """
    n, total = len(counts), counts.sum()
    value = sums.sum(0) / total
    if n < 2:
        return value, np.full_like(value, np.nan)
    residuals = sums - np.multiply.outer(counts, value)
    return value, np.sqrt(n / (n - 1) * (residuals**2).sum(0)) / total
