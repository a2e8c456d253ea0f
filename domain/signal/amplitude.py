"""Amplitude: mean, RMS and crest factor, with sums that are exact or exactly rounded.

A sum of floats depends on the order of its terms, and numpy's order changes with its version; sums of
integers do not, and ``math.fsum`` rounds once, at the end.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

_INT64_MAX = 2**63 - 1
# Below this, counts are exact as doubles and the halves of their squares sum without overflow.
_SPLIT_PEAK_MAX = 2**31


class Amplitude(Struct, frozen=True, kw_only=True):
    """In the unit of the samples: ``mean``, ``rms`` about the mean, ``peak`` = largest distance from the
    mean."""

    mean: float
    rms: float
    peak: float


def amplitude_of(samples: NDArray[Any]) -> Amplitude:
    """Amplitude of a 1-D array of at least one finite sample; infinite where doubles cannot hold the sum of
    squares."""
    least, most = samples.min().item(), samples.max().item()
    count = samples.size
    reach = max(abs(least), abs(most))
    if samples.dtype.kind == "i" and reach <= _SPLIT_PEAK_MAX and count < 2**30:
        total = int(samples.sum(dtype=np.int64))
        mean = total / count
        # In whole numbers, and divided once: n * sum(x^2) - (sum x)^2 loses nothing here, as it would in
        # floats.
        mean_square = (count * _sum_of_squares(samples, reach) - total * total) / (count * count)
    else:
        mean, mean_square = _float_moments(samples.astype(np.float64))
    return Amplitude(mean=mean, rms=math.sqrt(mean_square), peak=max(most - mean, mean - least))


def exact_mean(samples: NDArray[Any]) -> float:
    """Mean of a 1-D array of at least one sample, rounded at most twice; NaN or infinite where a sample
    is."""
    if samples.dtype.kind == "i" and samples.dtype.itemsize <= 4:
        return int(samples.sum(dtype=np.int64)) / samples.size
    try:
        return math.fsum(samples.tolist()) / samples.size
    except (OverflowError, ValueError):
        return math.nan


def exact_means(rows: NDArray[Any]) -> NDArray[np.float64]:
    """``exact_mean`` of every row of a 2-D array."""
    if rows.dtype.kind == "i" and rows.dtype.itemsize <= 4 and rows.shape[1] < 2**21:
        # Such sums are exact as doubles, so that one division rounds them as Python's division of integers.
        exact: NDArray[np.float64] = rows.sum(axis=1, dtype=np.int64) / rows.shape[1]
        return exact
    return np.array([exact_mean(row) for row in rows])


def sequential_sum(values: NDArray[np.float64]) -> float:
    """Sum from the first to the last, in that order on every machine and in every version; 0 of nothing."""
    return float(values.cumsum()[-1]) if values.size else 0.0


def _sum_of_squares(samples: NDArray[Any], reach: int) -> int:
    wide = samples.astype(np.int64)
    if reach * reach * samples.size <= _INT64_MAX:
        return int((wide * wide).sum())
    high, low = wide >> 16, wide & 0xFFFF
    return (int((high * high).sum()) << 32) + (int((high * low).sum()) << 17) + int((low * low).sum())


def _float_moments(samples: NDArray[np.float64]) -> tuple[float, float]:
    mean = exact_mean(samples)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(samples - mean)
    try:
        return mean, math.fsum(squares.tolist()) / samples.size
    except OverflowError:
        return mean, math.inf
