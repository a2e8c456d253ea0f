"""Drift from one-way pairs: queueing, bursts, steps and wrong input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from domain.errors import InvalidError, LimitError
from domain.signal.clock import PAIRS_MAX, fit_clock
from tests.domain.recordings import START_NS

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def pairs(seed: int, drift_ppm: float, *, count: int = 3_600, offset_seconds: float = 0.3) -> Pairs:
    """A pair per second through 20 ms of exponential delay, one in twenty in a burst of half a second
    more."""
    random = np.random.default_rng(seed)
    time = np.arange(count) + random.uniform(0.0, 0.1, count)
    delay = random.exponential(0.02, count) + np.where(
        random.random(count) < 0.05, random.exponential(0.5, count), 0.0
    )
    device = START_NS + np.rint(time * 1e9).astype(np.int64)
    return device, device + np.rint((offset_seconds + drift_ppm * 1e-6 * time + delay) * 1e9).astype(np.int64)


def test_the_drift_of_an_hour_is_found_to_hundredths_of_a_ppm() -> None:
    errors, checks = [], []
    for seed in range(40):
        drift_ppm = (seed - 20) * 5.0
        fit = fit_clock(*pairs(seed, drift_ppm))
        errors.append(fit.drift_ppm - drift_ppm)
        checks.append(fit.check_ppm - drift_ppm)
        assert fit.step_count == 0
    assert np.sqrt(np.mean(np.square(errors))) < 0.03
    assert np.sqrt(np.mean(np.square(checks))) < 0.2


def test_the_offset_includes_no_more_than_the_least_delay() -> None:
    fit = fit_clock(*pairs(1, 20.0))
    assert 0.3 <= fit.offset_seconds < 0.301
    assert fit.residual_p50_seconds == pytest.approx(0.015, abs=0.004)
    assert fit.residual_p95_seconds > fit.residual_p50_seconds


@pytest.mark.parametrize("step_seconds", [0.08, -0.08, 5.0, -5.0])
@pytest.mark.parametrize("at", [700, 1_800, 3_000])
def test_a_step_is_found_and_does_not_bend_the_drift(step_seconds: float, at: int) -> None:
    device, server = pairs(2, 35.0)
    device = device.copy()
    device[at:] -= round(step_seconds * 1e9)
    fit = fit_clock(device, server)
    assert fit.step_count == 1
    assert fit.step_seconds_max == pytest.approx(abs(step_seconds), abs=0.01)
    assert fit.drift_ppm == pytest.approx(35.0, abs=0.2)


def test_one_early_packet_bends_the_hull_and_the_check_says_so() -> None:
    device, server = pairs(3, 0.0)
    server = server.copy()
    server[3_500] -= 200_000_000
    fit = fit_clock(device, server)
    assert abs(fit.drift_ppm - fit.check_ppm) > 5.0


@given(st.floats(-500.0, 500.0), st.floats(-1e6, 1e6), st.integers(8, 300))
def test_a_clock_without_delay_is_found_exactly(drift_ppm: float, offset_seconds: float, count: int) -> None:
    time = np.arange(count) * 1.0
    device = START_NS + (time * 1e9).astype(np.int64)
    server = device + np.rint((offset_seconds + drift_ppm * 1e-6 * time) * 1e9).astype(np.int64)
    fit = fit_clock(device, server)
    assert fit.drift_ppm == pytest.approx(drift_ppm, abs=1e-3 + 2e3 / count)
    assert fit.offset_seconds == pytest.approx(offset_seconds, abs=1e-8)
    assert fit.residual_p95_seconds <= 2e-9


def test_the_order_of_pairs_does_not_matter() -> None:
    device, server = pairs(4, -12.0)
    order = np.random.default_rng(5).permutation(device.size)
    assert fit_clock(device[order], server[order]) == fit_clock(device, server)


def test_too_few_pairs_no_span_and_too_many_are_refused() -> None:
    few = np.arange(7, dtype=np.int64)
    same = np.zeros(20, np.int64)
    many = np.arange(PAIRS_MAX + 1, dtype=np.int64)
    for device, server in ((few, few), (same, same), (np.arange(9), np.arange(10))):
        with pytest.raises(InvalidError):
            fit_clock(device, server)
    with pytest.raises(LimitError):
        fit_clock(many, many)
