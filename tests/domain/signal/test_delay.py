"""Known delays are found, to a fraction of a sample, and noise has none."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from domain.outcomes import Reason
from domain.signal.delay import PSR_MIN, Band, Delay, delay_of
from tests.domain.recordings import noise

RATE_HZ = 200.0
SPACING_HZ = RATE_HZ / 1_024


def band(low_hz: float = 0.4, high_hz: float = 80.0, msc: float = 0.99) -> Band:
    frequencies = np.arange(513) * SPACING_HZ
    takes_part = (frequencies >= low_hz) & (frequencies <= high_hz)
    return Band(msc=np.full(513, msc), takes_part=takes_part, spacing_hz=SPACING_HZ)


def found(x: NDArray[Any], y: NDArray[Any], part: Band | None = None, lag_seconds_max: float = 2.0) -> Delay:
    delay = delay_of(x, y, RATE_HZ, part or band(), lag_seconds_max)
    assert isinstance(delay, Delay)
    return delay


def shifted(samples: NDArray[Any], delay_samples: float) -> NDArray[np.float64]:
    """Band-limited shift of a periodic signal by any fraction of a sample."""
    spectrum = np.fft.rfft(samples)
    turns = np.arange(spectrum.size) * (delay_samples / samples.size)
    return np.fft.irfft(spectrum * np.exp(-2j * np.pi * turns), samples.size)


def test_thirty_seven_samples_are_a_hundred_and_eighty_five_milliseconds() -> None:
    x = noise(12_100)
    delay = found(x[37 : 37 + 12_000], x[:12_000])
    assert delay.seconds == pytest.approx(0.185, abs=2e-6)
    assert delay.polarity > 0.9
    assert delay.psr > 6.0


@given(st.floats(-300.0, 300.0), st.sampled_from([5.0, 40.0, 80.0]))
def test_a_fraction_of_a_sample_is_found(delay_samples: float, high_hz: float) -> None:
    x = noise(12_000, seed=7).astype(np.float64)
    delay = found(x, shifted(x, delay_samples), band(high_hz=high_hz))
    # The samples at the edges that only one window has are noise to the other: up to 300 of 12 000 here.
    assert delay.seconds * RATE_HZ == pytest.approx(delay_samples, abs=0.15 if high_hz < 10.0 else 0.02)


@given(st.integers(-350, 350))
def test_exchanging_the_channels_exchanges_the_sign(delay_samples: int) -> None:
    x = noise(13_000, seed=3)
    a, b = x[500:12_500], x[500 + delay_samples : 12_500 + delay_samples]
    assert found(a, b).seconds == pytest.approx(-found(b, a).seconds, abs=1e-12)


def test_a_channel_upside_down_has_negative_polarity_and_the_same_delay() -> None:
    x = noise(12_100)
    upright, inverted = found(x[10:12_010], x[:12_000]), found(x[10:12_010], -x[:12_000])
    assert inverted.seconds == pytest.approx(upright.seconds, abs=1e-12)
    assert inverted.polarity == pytest.approx(-upright.polarity, abs=1e-12)
    assert inverted.polarity < -0.5


def test_independent_noise_has_no_peak_that_resolves_a_delay() -> None:
    peaks = [
        found(noise(12_000, seed=seed), noise(12_000, seed=seed + 99), band(0.4, 10.0)).psr
        for seed in range(40)
    ]
    assert np.median(peaks) == pytest.approx(3.0, abs=0.4)
    assert np.mean(np.array(peaks) >= PSR_MIN) <= 0.025


def test_a_shared_signal_in_noise_is_found_within_its_uncertainty() -> None:
    errors, bounds = [], []
    for seed in range(30):
        shared = noise(12_100, seed=seed)
        x = shared[10:12_010] + noise(12_000, seed=seed + 200)
        y = shared[:12_000] + noise(12_000, seed=seed + 400)
        delay = found(x, y, band(msc=0.25))
        errors.append(delay.seconds - 0.05)
        bounds.append(delay.uncertainty_seconds)
    # The bound is for the best estimator; the phase transform is not far from it where the coherence is flat.
    assert np.std(errors) < 2.5 * np.mean(bounds)
    assert np.std(errors) > 0.5 * np.mean(bounds)


def test_the_uncertainty_is_the_bound_of_knapp_and_carter() -> None:
    part = band(10.0, 20.0, msc=0.5)
    delay = found(noise(12_000), noise(12_000), part)
    integral = (2 * math.pi) ** 2 * (20.0**3 - 10.0**3) / 3
    assert delay.uncertainty_seconds == pytest.approx(1 / math.sqrt(2 * 60.0 * integral), rel=0.02)


def test_delays_beyond_the_longest_lag_are_not_looked_for() -> None:
    x = noise(12_400)
    far = found(x[300:12_300], x[:12_000], lag_seconds_max=1.0)
    assert abs(far.seconds) <= 1.0 + 1 / RATE_HZ
    assert far.psr < PSR_MIN


def test_a_few_frequencies_resolve_nothing() -> None:
    x = noise(12_000)
    assert delay_of(x, x, RATE_HZ, band(10.0, 10.4), 2.0) is Reason.DELAY_UNRESOLVED
    assert delay_of(x, x, RATE_HZ, band(500.0, 600.0), 2.0) is Reason.DELAY_UNRESOLVED


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [16, 17, 1_023, 1_025])
def test_short_and_odd_windows_are_no_trouble(size: int) -> None:
    x = noise(size)
    assert delay_of(x, x, RATE_HZ, band(), 2.0) is not None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_the_delay_does_not_depend_on_the_scale(scale: float) -> None:
    x = noise(12_100).astype(np.float64)
    assert found(x[37:12_037] * scale, x[:12_000] * scale).seconds == pytest.approx(0.185, abs=2e-6)


@pytest.mark.filterwarnings("error")
def test_a_dead_channel_has_no_delay() -> None:
    assert delay_of(noise(12_000), np.zeros(12_000), RATE_HZ, band(), 2.0) is Reason.DELAY_UNRESOLVED


def test_the_largest_counts_overflow_nothing() -> None:
    x = np.where(noise(12_100) > 0, 2**31 - 1, -(2**31)).astype(np.int32)
    assert found(x[37:12_037], x[:12_000]).seconds == pytest.approx(0.185, abs=2e-6)
