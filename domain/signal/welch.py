"""Welch's method: spectra of overlapping, windowed, mean-free segments (Welch 1967).

Only operations whose bits do not change with version or processor are used: exact or exactly rounded means,
the shipped Hann table, ``scipy.fft``, single multiplications and additions, and segment sums in a fixed
order.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
from msgspec import Struct
from numpy.typing import NDArray

from domain.signal.amplitude import exact_means, sequential_sum
from domain.signal.hann import hann, hann_power_sum

# Less than 50 units in the last place of the largest sample is arithmetic, not signal.
ROUNDING_RATIO = 2.0**-46


class Segments(Struct, frozen=True, kw_only=True):
    """How a window is cut: ``samples`` per segment, a new one every ``step`` samples."""

    samples: int
    step: int

    def count(self, window_samples: int) -> int:
        """How many whole segments fit into a window."""
        return 0 if window_samples < self.samples else 1 + (window_samples - self.samples) // self.step

    def effective_count(self, window_samples: int) -> float:
        """How many independent segments would average as well: K / (1 + 2 sum_j (1 - j/K) rho_j^2).

        rho_j is the correlation of the window with itself j steps later (Priestley 1981, p. 706); 1/6 for
        Hann at 50 %.
        """
        count = self.count(window_samples)
        overlaps = _overlap_correlations(self.samples, self.step)
        excess = sum((1.0 - j / count) * rho * rho for j, rho in enumerate(overlaps, start=1) if j < count)
        return count / (1.0 + 2.0 * excess)

    def frequencies_hz(self, sample_rate_hz: float) -> NDArray[np.float64]:
        """The frequencies of the spectra, float64, samples // 2 + 1 of them."""
        return np.arange(self.samples // 2 + 1, dtype=np.float64) * (sample_rate_hz / self.samples)


class Transforms(Struct, frozen=True, kw_only=True, eq=False):
    """Fourier transforms of the segments of one window: ``real`` and ``imaginary``, shape (K, samples // 2
    + 1).

    ``power``: sum of |X|^2 over the segments.  ``power_floor``: what rounding alone may amount to in it.
    """

    real: NDArray[np.float64]
    imaginary: NDArray[np.float64]
    power: NDArray[np.float64]
    power_floor: float


def transforms_of(samples: NDArray[Any], segments: Segments) -> Transforms:
    """Transform a 1-D window that holds at least one segment.  Non-finite samples give non-finite power."""
    table = hann(segments.samples)
    cut = _cut(samples, segments)
    means = exact_means(cut)
    with np.errstate(over="ignore", invalid="ignore"):
        faded = cut - means[:, np.newaxis]
        faded *= table
        spectra = scipy.fft.rfft(faded, axis=-1)
        real, imaginary = np.ascontiguousarray(spectra.real), np.ascontiguousarray(spectra.imag)
        squares = real * real
        squares += imaginary * imaginary
        power = sum_over_segments(squares)
        rounding = ROUNDING_RATIO * max(abs(float(samples.min())), abs(float(samples.max())))
        floor = cut.shape[0] * hann_power_sum(segments.samples) * rounding * rounding
    return Transforms(real=real, imaginary=imaginary, power=power, power_floor=floor)


def _cut(samples: NDArray[Any], segments: Segments) -> NDArray[Any]:
    """The segments as the rows of a read-only view."""
    whole = np.ascontiguousarray(samples)
    size = whole.itemsize
    rows: NDArray[Any] = np.ndarray(
        (segments.count(whole.size), segments.samples),
        whole.dtype,
        whole,
        strides=(segments.step * size, size),
    )
    rows.flags.writeable = False
    return rows


def power_density(transforms: Transforms, segments: Segments, sample_rate_hz: float) -> NDArray[np.float64]:
    """One-sided power spectral density, unit^2/Hz; the same numbers as ``scipy.signal.welch`` to rounding."""
    scale = sample_rate_hz * hann_power_sum(segments.samples) * transforms.real.shape[0]
    density: NDArray[np.float64] = transforms.power * (2.0 / scale)
    density[0] /= 2.0
    density[-1] /= 2.0
    return density


def sum_over_segments(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the rows, first to last: numpy's own order of summation is not promised."""
    total: NDArray[np.float64] = rows[0].copy()
    for row in rows[1:]:
        total += row
    return total


@lru_cache(maxsize=32)
def _overlap_correlations(samples: int, step: int) -> tuple[float, ...]:
    table, power = hann(samples), hann_power_sum(samples)
    shifts = range(step, samples, step)
    return tuple(sequential_sum(table[shift:] * table[:-shift]) / power for shift in shifts)
