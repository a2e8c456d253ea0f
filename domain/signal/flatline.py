"""Flat line: how long a channel said the same, and how many different things it said.

Quantised real recordings have runs of four to six equal samples, so a limit belongs on seconds and not
below about 0.25 s or ten samples (QARTOD flat line test; QuARG counts unique values per day).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.signal.runs import Runs

# A table of flags costs less than a sort while it stays in the cache.
_TABLE_RANGE_PER_SAMPLE = 64


def longest_run_seconds(runs: Runs, sample_rate_hz: float) -> float:
    """Seconds from the first to the last of the longest run of equal samples; 0 when no two are equal."""
    return float(int(runs.length.max()) - 1) / sample_rate_hz


def unique_count(samples: NDArray[Any]) -> int:
    """How many different values there are in a 1-D array of at least one sample; NaNs count once."""
    if samples.dtype.kind == "i":
        low, high = int(samples.min()), int(samples.max())
        if high - low < _TABLE_RANGE_PER_SAMPLE * samples.size:
            seen = np.zeros(high - low + 1, np.bool_)
            seen[np.subtract(samples, low, dtype=np.int64)] = True
            return int(np.count_nonzero(seen))
    ordered = np.sort(samples)
    is_new = (ordered[1:] != ordered[:-1]) & ~(np.isnan(ordered[1:]) & np.isnan(ordered[:-1]))
    return 1 + int(np.count_nonzero(is_new))
