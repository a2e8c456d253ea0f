"""Quantised numbers: rounded to decimals that survive a change of machine.

The same run in another numeric environment differs in the last bits (5e-14 in a coherence, 3e-13 relative
in a power). Rounding to these quanta takes that away except with odds of about 5e-8 per value, so limits
sit on quantised values and guard bands are at least ten quanta wide: a flip can then only
move a value between pass and borderline. Rounding is decimal and correctly rounded (half to even), as
Python's ``round`` and ``format`` do it on every platform; negative zero becomes zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

SCORE_DECIMALS = 6
SECONDS_DECIMALS = 9
SIGNIFICANT_DIGITS = 9
# Ten quanta each.
SCORE_GUARD_MIN = 1e-5
SECONDS_GUARD_MIN = 1e-8


def quantise_score(value: float) -> float:
    """Round a ratio, a score in [0, 1], a percentage, ppm or decibels to 1e-6."""
    return round(float(value), SCORE_DECIMALS) + 0.0


def quantise_seconds(value: float) -> float:
    """Round a time or delay in seconds to 1e-9 s."""
    return round(float(value), SECONDS_DECIMALS) + 0.0


def quantise_significant(value: float) -> float:
    """Round a level of unknown magnitude (a spectrum, an RMS) to nine significant digits."""
    if not math.isfinite(value):
        return float(value)
    return float(f"{value:.{SIGNIFICANT_DIGITS - 1}e}") + 0.0


def quantise_each(quantise: Callable[[float], float], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``quantise`` applied to every element of an array of any shape; NaN stays NaN."""
    flat: Iterable[float] = values.reshape(-1).tolist()
    return np.array([quantise(value) for value in flat], dtype=np.float64).reshape(values.shape)
