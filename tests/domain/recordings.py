"""Recordings that tests make: channels with marks where a test wants them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.dataset import Channel

# 2026-01-01T00:00:00Z
START_NS = 1_767_225_600_000_000_000


def channel(
    samples: NDArray[Any] | list[Any],
    *,
    name: str = "x",
    unit: str = "counts",
    rate_hz: float = 200.0,
    start_ns: int = START_NS,
    marks: list[tuple[int, int]] | NDArray[np.int64] | None = None,
    timing_quality_percent: list[float] | None = None,
) -> Channel:
    """A channel of these samples; one mark at ``start_ns`` unless ``marks`` are given."""
    array = np.asarray(samples)
    if marks is None:
        marks = [(0, start_ns)] if array.size else []
    rows = np.asarray(marks, dtype=np.int64).reshape(-1, 2)
    quality = np.full(rows.shape[0], np.nan) if timing_quality_percent is None else timing_quality_percent
    return Channel(
        name=name,
        unit=unit,
        sample_rate_hz=rate_hz,
        samples=array,
        marks=rows,
        timing_quality_percent=np.asarray(quality, dtype=np.float64),
    )


def marks_per_record(
    sample_count: int, record_samples: int, *, rate_hz: float = 200.0, start_ns: int = START_NS
) -> NDArray[np.int64]:
    """One mark per record of ``record_samples``, each exactly where the nominal rate puts it."""
    index = np.arange(0, sample_count, record_samples, dtype=np.int64)
    return np.column_stack((index, start_ns + np.rint(index * (1e9 / rate_hz)).astype(np.int64)))


def marks_at(times_ns: NDArray[np.int64] | list[int]) -> NDArray[np.int64]:
    """One mark per sample, as a CSV file with a time column gives them."""
    times = np.asarray(times_ns, dtype=np.int64)
    return np.column_stack((np.arange(times.size, dtype=np.int64), times))


def noise(count: int, *, seed: int = 1, scale: float = 10_000.0) -> NDArray[np.int32]:
    """White Gaussian counts, the same on every run."""
    return np.rint(np.random.default_rng(seed).normal(0.0, scale, count)).astype(np.int32)
