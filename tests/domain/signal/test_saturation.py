"""Clipping at a rail and before it, and no clipping where there is none."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from domain.signal.runs import runs_of
from domain.signal.saturation import Saturation, saturation_of
from tests.domain.recordings import noise

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def measured(samples: NDArray[Any], full_scale: float | None = None) -> Saturation:
    return saturation_of(samples, runs_of(samples), full_scale)


def sine(
    amplitude: float, frequency_hz: float, seconds: float = 60.0, rate_hz: float = 200.0
) -> NDArray[np.int32]:
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.rint(amplitude * np.sin(2 * np.pi * frequency_hz * time)).astype(np.int32)


def test_samples_at_the_full_scale_of_the_calibration_are_clipped() -> None:
    samples = noise(1_000, scale=100.0)
    samples[10:14] = 2**23 - 1
    samples[500] = -(2**23)
    assert measured(samples, float(2**23)) == Saturation(clip_ratio=0.005, run_max=4)


def test_a_sixteen_bit_digitiser_stops_one_count_below_its_full_scale() -> None:
    samples = noise(1_000, scale=100.0)
    samples[3] = 32_767
    assert measured(samples, 32_768.0).run_max == 1
    samples[3] = 32_766
    assert measured(samples, 32_768.0).run_max == 0


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_the_ends_of_the_sample_type_are_rails_whatever_is_known(dtype: type[np.signedinteger[Any]]) -> None:
    ends = np.iinfo(dtype)
    samples = np.array([0, 5, ends.min, ends.min, 3, ends.max, 1], dtype=dtype)
    assert measured(samples) == Saturation(clip_ratio=3 / 7, run_max=2)


def test_a_float_channel_has_the_rail_of_its_calibration() -> None:
    samples = np.array([0.0, 0.5, 1.0, -1.0, 0.2])
    assert measured(samples, 1.0) == Saturation(clip_ratio=0.4, run_max=2)
    assert measured(samples).run_max == 0


@pytest.mark.parametrize("rail", [0.5, 0.9, 0.99])
def test_an_amplifier_that_gives_out_early_is_seen_by_its_flat_tops(rail: float) -> None:
    clipped = np.clip(sine(8_000.0, 2.0), -8_000 * rail, 8_000 * rail).astype(np.int32)
    expected = np.count_nonzero(np.abs(clipped) == round(8_000 * rail)) / clipped.size
    found = measured(clipped)
    assert found.clip_ratio == pytest.approx(expected, rel=0.05)
    assert found.run_max >= 3


@pytest.mark.parametrize("amplitude", [3.0, 50.0, 1_000.0, 1e6])
@pytest.mark.parametrize("frequency_hz", [0.05, 0.2, 1.0, 17.0])
def test_the_crest_of_a_slow_wave_is_not_clipping(amplitude: float, frequency_hz: float) -> None:
    """At 0.05 Hz and 200 Hz, a crest of a thousand counts holds its highest count for dozens of samples."""
    assert measured(sine(amplitude, frequency_hz)) == Saturation(clip_ratio=0.0, run_max=0)


@pytest.mark.parametrize("scale", [0.6, 3.0, 1e4])
def test_noise_is_not_clipping(scale: float) -> None:
    assert measured(noise(12_000, scale=scale)).run_max == 0


@pytest.mark.parametrize(
    "crest",
    [
        [3814, 3981, 4105, 4194, 4258, 4258, 4258, 4219, 4153],
        [-4136, -4150, -4162, -4170, -4173, -4173, -4173, -4164, -4139],
    ],
)
def test_a_lone_crest_that_is_flat_by_chance_is_not_clipping(crest: list[int]) -> None:
    """Crests like these stand in real recordings of the ground, at 100 Hz."""
    samples = noise(6_000, scale=900.0)
    samples[1_000:1_009] = crest
    samples = np.clip(samples, min(-4_000, *crest), max(4_000, *crest))
    assert measured(samples) == Saturation(clip_ratio=0.0, run_max=0)


def test_two_plateaus_at_one_value_or_a_long_one_are_clipping() -> None:
    samples = noise(6_000, scale=900.0)
    samples[1_000:1_003] = samples[2_000:2_003] = 5_000
    assert measured(samples) == Saturation(clip_ratio=0.001, run_max=3)
    samples = noise(6_000, scale=900.0)
    samples[1_000:1_005] = -5_000
    assert measured(samples) == Saturation(clip_ratio=5 / 6_000, run_max=5)


def test_a_flat_line_is_another_gates_business() -> None:
    assert measured(np.full(100, 7, dtype=np.int32)).run_max == 0
    assert measured(np.zeros(1)).run_max == 0


def test_a_float_signal_is_judged_by_its_own_quantum() -> None:
    clipped = np.clip(sine(8_000.0, 2.03), -4_000, 4_000) * 1e-9
    assert measured(clipped).clip_ratio == pytest.approx(2 / 3, abs=0.01)
