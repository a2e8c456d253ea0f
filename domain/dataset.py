"""Datasets: the canonical form of recorded samples, and the bytes that give them a digest.

A channel is one array of samples plus *time marks*: rows ``(sample_index, time_ns)``, ascending in index, that say when a sample was
taken.  From a mark to the next, samples follow at the nominal interval.  A miniSEED record gives one mark per record, a CSV file one
per row; gaps, duplicates and jitter all show as marks that are not where the nominal rate puts them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

# A day of six channels at 1 kHz; more than that is several batches.
SAMPLES_MAX = 520_000_000
CHANNELS_MAX = 64


class Channel(Struct, frozen=True, kw_only=True, eq=False):
    """One recorded quantity.

    ``samples``: 1-D, dtype int32, int64, float32 or float64, in ``unit`` (``counts`` for a raw digitiser).
    ``marks``: shape (m, 2), int64, columns (sample_index, time_ns); ``marks[0, 0] == 0`` when there are samples.
    ``timing_quality_percent``: shape (m,), float64, NaN where the format does not say (miniSEED blockette 1001).
    ``sample_rate_hz`` is nominal, exactly as the format states it.
    """

    name: str
    unit: str
    sample_rate_hz: float
    samples: NDArray[Any]
    marks: NDArray[np.int64]
    timing_quality_percent: NDArray[np.float64]

    @property
    def start_ns(self) -> int:
        """Time of the first sample, Unix nanoseconds."""
        return int(self.marks[0, 1])


class Dataset(Struct, frozen=True, kw_only=True, eq=False):
    """Channels that were recorded together, sorted by name."""

    channels: tuple[Channel, ...]
