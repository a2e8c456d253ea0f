"""Delay between two channels: generalised cross-correlation with phase transform (Knapp and Carter 1976).

The cross-spectrum of the whole, zero-padded window keeps its phase and loses its magnitude; only
frequencies in the band where the channels are coherent take part.  The lag with the largest absolute value
is the delay, its sign the polarity. Between lags the same sum is evaluated exactly (Newton's method), not
interpolated, so a fraction of a sample is found without the bias of a parabola.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.fft
from msgspec import Struct
from numpy.typing import NDArray

from domain.outcomes import Reason
from domain.signal.amplitude import exact_mean, sequential_sum
from domain.signal.hann import hann

# Independent noise gives a peak of about 3 times the RMS; co-located sensors 6 to 9.
PSR_MIN = 4.5
# With fewer coherent frequencies any phases line up somewhere.
COHERENT_BINS_MIN = 4
# Ramps that take the edges of the window out: a power of two, at most an eighth of the window.
RAMP_SAMPLES_MAX = 1_024
# Four points per period of the highest frequency, so that the largest point lies on the main lobe.
_POINTS_PER_PERIOD = 4
_NEWTON_STEPS = 8


class Delay(Struct, frozen=True, kw_only=True):
    """``seconds``: how much later the second channel is; ``psr``: peak over RMS of the lags looked at.

    ``polarity``: height of the peak in -1..1, negative where one channel is upside down.
    ``uncertainty_seconds``: standard deviation that no estimator beats (Knapp and Carter 1976, eq. 29).
    """

    seconds: float
    psr: float
    polarity: float
    uncertainty_seconds: float


class Band(Struct, frozen=True, kw_only=True, eq=False):
    """Coherence per Welch frequency, which of them take part (bool), and how far apart they are."""

    msc: NDArray[np.float64]
    takes_part: NDArray[np.bool_]
    spacing_hz: float


def delay_of(
    x: NDArray[Any], y: NDArray[Any], sample_rate_hz: float, band: Band, lag_seconds_max: float
) -> Delay | Reason:
    """Delay of ``y`` behind ``x``, 1-D windows of equal length, looked for within ``lag_seconds_max``
    either way.

    The peak-to-RMS ratio is given as found; whether it resolves a delay is for the caller to say
    (``PSR_MIN``).
    """
    if int(np.count_nonzero(band.takes_part)) < COHERENT_BINS_MIN:
        return Reason.DELAY_UNRESOLVED
    length = scipy.fft.next_fast_len(2 * x.size, real=True)
    bins, real, imaginary = _whitened(x, y, length, sample_rate_hz, band)
    if bins.size < COHERENT_BINS_MIN:
        return Reason.DELAY_UNRESOLVED
    highest_hz = float(bins[-1]) * sample_rate_hz / length
    finer = 1
    while finer * sample_rate_hz < _POINTS_PER_PERIOD * highest_hz:
        finer *= 2
    spectrum = np.zeros(length * finer // 2 + 1, np.complex128)
    spectrum.real[bins] = real
    spectrum.imag[bins] = imaginary
    lags = scipy.fft.irfft(spectrum, length * finer)
    point_hz = sample_rate_hz * finer
    reach = min(math.floor(lag_seconds_max * point_hz), lags.size // 2 - 1)
    near = np.concatenate((lags[lags.size - reach :], lags[: reach + 1]))
    near *= length * finer / (2 * bins.size)
    at = int(np.argmax(np.abs(near)))
    rms = math.sqrt(sequential_sum(near * near) / near.size)
    if rms == 0.0:
        return Reason.DELAY_UNRESOLVED
    omega = bins * (2.0 * math.pi * sample_rate_hz / length)
    seconds, height = _refined((at - reach) / point_hz, 1.0 / point_hz, omega, real, imaginary)
    return Delay(
        seconds=seconds,
        psr=abs(height) / rms,
        polarity=height,
        uncertainty_seconds=_least_deviation(band, x.size / sample_rate_hz),
    )


def _whitened(
    x: NDArray[Any], y: NDArray[Any], length: int, sample_rate_hz: float, band: Band
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies that take part and the cross-spectrum Y conj(X) there, scaled to magnitude 1."""
    fx, fy = (scipy.fft.rfft(_tapered(samples), length) for samples in (x, y))
    bins = _nearest_bins(length, sample_rate_hz, band)
    xr, xi, yr, yi = fx.real[bins], fx.imag[bins], fy.real[bins], fy.imag[bins]
    real, imaginary = yr * xr + yi * xi, yi * xr - yr * xi
    magnitude = np.sqrt(real * real + imaginary * imaginary)
    is_there = (magnitude > 0.0) & np.isfinite(magnitude)
    bins, magnitude = bins[is_there], magnitude[is_there]
    return bins, real[is_there] / magnitude, imaginary[is_there] / magnitude


def _nearest_bins(length: int, sample_rate_hz: float, band: Band) -> NDArray[np.int64]:
    """Frequencies of a transform of ``length`` samples, neither 0 nor Nyquist's, for which the nearest Welch
    frequency takes part."""
    ratio = sample_rate_hz / (length * band.spacing_hz)
    part = np.flatnonzero(band.takes_part)
    # Nothing outside these is nearest to one of them, and most of the frequencies are outside.
    first, last = math.floor((int(part[0]) - 1) / ratio), math.ceil((int(part[-1]) + 1) / ratio)
    candidates = np.arange(max(first, 1), min(last + 1, length // 2))
    bins: NDArray[np.int64] = candidates[band.takes_part[np.rint(candidates * ratio).astype(np.int64)]]
    return bins


def _tapered(samples: NDArray[Any]) -> NDArray[np.float64]:
    """Mean-free samples, scaled to at most 1 in magnitude, faded in and out."""
    free = samples - exact_mean(samples)
    reach = float(np.abs(free).max())
    # Products of spectra of large counts would overflow, and a power of two changes no digit.
    free *= 2.0 ** -math.frexp(reach)[1]
    ramp_samples = RAMP_SAMPLES_MAX
    while ramp_samples > max(samples.size // 8, 1):
        ramp_samples //= 2
    ramp = hann(2 * ramp_samples)[:ramp_samples]
    free[:ramp_samples] *= ramp
    free[free.size - ramp_samples :] *= ramp[::-1]
    return free


def _refined(
    start: float,
    step: float,
    omega: NDArray[np.float64],
    real: NDArray[np.float64],
    imaginary: NDArray[np.float64],
) -> tuple[float, float]:
    """Lag and height of the extremum of R(t) = mean(re cos wt - im sin wt) next to ``start``, within one
    step."""
    lag, squared = start, omega * omega
    for _ in range(_NEWTON_STEPS):
        cos, sin = np.cos(omega * lag), np.sin(omega * lag)
        even, odd = real * cos - imaginary * sin, real * sin + imaginary * cos
        slope, bend = -sequential_sum(omega * odd), -sequential_sum(squared * even)
        height = sequential_sum(even) / omega.size
        # At an extremum the curve bends away from its own height; elsewhere Newton would run off.
        if bend * height >= 0.0:
            break
        move = -slope / bend
        following = min(max(lag + move, start - step), start + step)
        if abs(following - lag) < 1e-13:
            break
        lag = following
    else:
        even = real * np.cos(omega * lag) - imaginary * np.sin(omega * lag)
        height = sequential_sum(even) / omega.size
    return lag, max(-1.0, min(1.0, height))


def _least_deviation(band: Band, window_seconds: float) -> float:
    """sqrt(1 / (2 T sum (2 pi f)^2 C / (1 - C) df)) over the frequencies that take part."""
    at = np.flatnonzero(band.takes_part)
    msc = np.minimum(band.msc[at], 1.0 - 1e-9)
    omega = at * (2.0 * math.pi * band.spacing_hz)
    information = 2.0 * window_seconds * band.spacing_hz * sequential_sum(omega * omega * msc / (1.0 - msc))
    return 1.0 / math.sqrt(information) if information > 0.0 else math.inf
