"""Overlapping Allan deviation: how stable a clock is over an averaging time (Riley 2008, NIST SP 1065, eq.
10)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from domain.errors import InvalidError


def overlapping_allan_deviation(
    phase_seconds: NDArray[np.float64], interval_seconds: float, factor: int
) -> float:
    """Fractional frequency deviation at an averaging time of ``factor`` intervals, from evenly spaced
    phases without gaps.

    sigma^2 = sum (x[i+2m] - 2 x[i+m] + x[i])^2 / (2 (m tau_0)^2 (N - 2m)).  Raises: InvalidError with fewer
    than 2m + 1 phases.
    """
    terms = phase_seconds.size - 2 * factor
    if factor < 1 or terms < 1 or not interval_seconds > 0.0:
        expected = f">= {2 * factor + 1} phases, factor >= 1, interval > 0"
        raise InvalidError(
            "the series is too short",
            field="phase_seconds",
            expected=expected,
            actual=str(phase_seconds.size),
        )
    bends = phase_seconds[2 * factor :] - 2.0 * phase_seconds[factor:-factor] + phase_seconds[: -2 * factor]
    averaging_seconds = factor * interval_seconds
    return math.sqrt(math.fsum(np.square(bends).tolist()) / (2.0 * averaging_seconds**2 * terms))
