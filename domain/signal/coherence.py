"""Magnitude-squared coherence by Welch's method, and what independent noise would give.

C(f) = |S_xy|^2 / (S_xx S_yy) (Carter, Knapp and Nuttall 1973).  With one segment C is 1 whatever the
signals are; below eight effective segments the number says more about the averaging than about the signals,
and is not given.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from domain.outcomes import Reason
from domain.quantise import SCORE_GUARD_MIN
from domain.signal.welch import Segments, Transforms, sum_over_segments, transforms_of

EFFECTIVE_SEGMENTS_MIN = 8.0
# Two-sided 95 % of a normal distribution.
CONFIDENCE_SIGMAS = 1.959964
# A perfect coherence has no finite atanh; this is two roundings of a score below it.
_COHERENCE_MAX = 1.0 - 1e-12


class Coherence(Struct, frozen=True, kw_only=True, eq=False):
    """``msc``: magnitude-squared coherence per frequency, in 0..1; the transforms it was made of."""

    msc: NDArray[np.float64]
    x: Transforms
    y: Transforms


def coherence_of(
    x: NDArray[np.float64], y: NDArray[np.float64], segments: Segments, band: slice
) -> Coherence | Reason:
    """Coherence of two 1-D windows of equal length that hold at least one segment, or why it has none in
    ``band``.

    ``band`` is a slice of the frequencies.  Outside it, frequencies without power get a coherence of 0.
    """
    tx, ty = transforms_of(x, segments), transforms_of(y, segments)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        # Multiplied out in real numbers, so that no complex kernel has a say in the order.
        products = tx.real * ty.real
        products += tx.imaginary * ty.imaginary
        real = sum_over_segments(products)
        products = tx.real * ty.imaginary
        products -= tx.imaginary * ty.real
        imaginary = sum_over_segments(products)
        # Divided one power at a time: their product may overflow where neither does.
        msc = (real / tx.power) * (real / ty.power) + (imaginary / tx.power) * (imaginary / ty.power)
    for transforms in (tx, ty):
        if not bool(np.isfinite(transforms.power).all()):
            return Reason.NON_FINITE
        if bool((transforms.power[band] <= transforms.power_floor).any()):
            return Reason.STUCK_VALUE
    if not bool(np.isfinite(msc[band]).all()):
        return Reason.NON_FINITE
    msc[np.isnan(msc)] = 0.0
    return Coherence(msc=msc.clip(0.0, 1.0), x=tx, y=ty)


def null_threshold(effective_segments: float, exceedance: float) -> float:
    """The coherence that independent noise exceeds with probability ``exceedance``: 1 - a^(1/(K_e - 1)).

    ``effective_segments`` > 1.
    """
    return float(1.0 - exceedance ** (1.0 / (effective_segments - 1.0)))


def guard_band(score: float, effective_segments: float, bins: int, q: float) -> float:
    """Half-width of the 95 % interval of the ``q`` quantile of a band of ``bins`` frequencies.

    atanh(sqrt(C)) has a variance of about 1/(2 K_e) whatever C is (Enochson and Goodman 1965).
    Neighbouring frequencies of a Hann window correlate, so that ``bins`` count for about half as many; the
    quantile of n normal values has a standard error of sqrt(q (1 - q) / n) / density(q).  The larger side
    counts, and never less than ten quanta.
    """
    sigma = math.sqrt(1.0 / (2.0 * effective_segments))
    error = sigma * _quantile_error_factor(q) / math.sqrt(max(bins / 1.94, 1.0))
    centre = math.atanh(math.sqrt(min(max(score, 0.0), _COHERENCE_MAX)))
    upper = math.tanh(centre + CONFIDENCE_SIGMAS * error) ** 2
    lower = math.tanh(max(centre - CONFIDENCE_SIGMAS * error, 0.0)) ** 2
    return max(upper - score, score - lower, SCORE_GUARD_MIN)


def _quantile_error_factor(q: float) -> float:
    """Standard error of a sample quantile of the normal distribution, times sqrt(n)."""
    # Densities of the standard normal at its 50 % and 10 % points.
    density = {0.5: 0.398942, 0.1: 0.175498}[q]
    return math.sqrt(q * (1.0 - q)) / density
