"""Quantiles, written out because the library's own may change; sorting and one product do not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def quantile(values: NDArray[np.float64], q: float) -> NDArray[np.float64]:
    """Quantile ``q`` along the first axis, linear between order statistics (Hyndman and Fan 1996, type 7).

    ``values`` has at least one row and no NaN.
    """
    ordered = np.sort(values, axis=0)
    place = (ordered.shape[0] - 1) * q
    below = math.floor(place)
    above = min(below + 1, ordered.shape[0] - 1)
    low: NDArray[np.float64] = ordered[below]
    between: NDArray[np.float64] = low + (ordered[above] - low) * (place - below)
    return between


def median(values: NDArray[Any]) -> float:
    """Median of a one-dimensional array of at least one element."""
    return float(quantile(values, 0.5))


def nearest_rank(values: NDArray[Any], q: float) -> float:
    """The smallest element that at least the share ``q`` of the elements do not exceed."""
    return float(np.sort(values)[max(math.ceil(q * values.size), 1) - 1])
