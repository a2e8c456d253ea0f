"""Welch's method agrees with the library's, and stands its own bad input."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal

from domain.errors import InvalidError
from domain.signal.welch import Segments, power_density, transforms_of
from tests.domain.recordings import noise

HALF = Segments(samples=1_024, step=512)


def density_of(
    samples: NDArray[np.generic], segments: Segments, rate_hz: float = 200.0
) -> NDArray[np.float64]:
    return power_density(transforms_of(samples, segments), segments, rate_hz)


@pytest.mark.parametrize(("length", "step"), [(1_024, 512), (256, 64), (1_000, 1_000), (12_000, 6_000)])
@pytest.mark.parametrize("dtype", [np.int32, np.float64])
def test_the_density_is_that_of_scipy(length: int, step: int, dtype: type[np.generic]) -> None:
    samples = (noise(12_000) + 50_000).astype(dtype)
    segments = Segments(samples=length, step=step)
    frequencies, expected = signal.welch(samples, 200.0, "hann", length, length - step)
    assert segments.frequencies_hz(200.0) == pytest.approx(frequencies)
    assert density_of(samples, segments)[2:] == pytest.approx(expected[2:], rel=1e-9)
    # Bins 0 and 1 hold what is left of the mean, which is subtracted more exactly here.
    assert density_of(samples, segments)[:2] == pytest.approx(expected[:2], rel=1e-6, abs=1e-6)


def test_the_density_of_white_noise_integrates_to_its_variance() -> None:
    samples = noise(120_000, scale=100.0)
    assert density_of(samples, HALF).sum() * 200.0 / 1_024 == pytest.approx(samples.var(), rel=0.02)


def test_segments_are_counted_whole() -> None:
    assert [HALF.count(samples) for samples in (0, 1_023, 1_024, 1_535, 1_536, 12_000)] == [0, 0, 1, 1, 2, 22]


def test_the_effective_count_is_corrected_for_overlap() -> None:
    assert HALF.effective_count(12_000) == pytest.approx(22 / (1 + 2 / 36 * (1 - 1 / 22)), rel=1e-9)
    assert Segments(samples=1_024, step=1_024).effective_count(12_000) == 11.0
    assert HALF.effective_count(1_024) == 1.0
    # Three quarters of overlap give more segments and hardly more information.
    dense = Segments(samples=1_024, step=256)
    assert dense.count(12_000) == 43
    assert HALF.effective_count(12_000) < dense.effective_count(12_000) < 1.25 * HALF.effective_count(12_000)


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_gives_power_that_is_not() -> None:
    samples = noise(12_000).astype(np.float64)
    for broken in (np.nan, np.inf, 1e200):
        samples[5] = broken
        assert not np.isfinite(transforms_of(samples, HALF).power).all()


def test_a_constant_has_no_power_above_its_floor() -> None:
    for constant in (0.0, 0.1, 1e9 / 3, -7.0):
        transforms = transforms_of(np.full(12_000, constant), Segments(samples=1_000, step=500))
        assert (transforms.power <= transforms.power_floor).all()


def test_one_count_on_top_of_the_largest_offset_is_above_the_floor() -> None:
    samples = (2**31 - 2 + np.random.default_rng(1).integers(0, 2, 12_000)).astype(np.int32)
    transforms = transforms_of(samples, HALF)
    assert (transforms.power > transforms.power_floor).all()


def test_segments_have_even_lengths() -> None:
    with pytest.raises(InvalidError):
        transforms_of(noise(100), Segments(samples=15, step=5))
