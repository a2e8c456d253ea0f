"""Coherence agrees with the library's, noise with its null threshold, and what cannot be measured
abstains."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from domain.outcomes import Reason
from domain.signal.coherence import Coherence, coherence_of, guard_band, null_threshold
from domain.signal.quantiles import quantile
from domain.signal.welch import Segments
from tests.domain.recordings import noise

SEGMENTS = Segments(samples=1_024, step=512)
BAND = slice(1, 512)


def test_the_coherence_is_that_of_scipy() -> None:
    x = noise(12_000, seed=1)
    y = (np.roll(x, 5) * 0.8 + noise(12_000, seed=2) * 0.5).astype(np.int32)
    _, expected = signal.coherence(x, y, 200.0, "hann", 1_024, 512)
    found = coherence_of(x, y, SEGMENTS, BAND)
    assert isinstance(found, Coherence)
    assert found.msc[2:] == pytest.approx(expected[2:], abs=1e-9)


@pytest.mark.parametrize(("samples", "at_95", "at_99"), [(12_000, 0.1398, 0.2067), (60_000, 0.0271, 0.0414)])
def test_null_thresholds_are_the_published_ones(samples: int, at_95: float, at_99: float) -> None:
    effective = SEGMENTS.effective_count(samples)
    assert null_threshold(effective, 0.05) == pytest.approx(at_95, abs=5e-5)
    assert null_threshold(effective, 0.01) == pytest.approx(at_99, abs=5e-5)


def test_independent_noise_exceeds_its_thresholds_as_often_as_said() -> None:
    scores = []
    for seed in range(40):
        found = coherence_of(noise(12_000, seed=seed), noise(12_000, seed=seed + 1_000), SEGMENTS, BAND)
        assert isinstance(found, Coherence)
        scores.append(found.msc[3:-3])
    every = np.concatenate(scores)
    effective = SEGMENTS.effective_count(12_000)
    assert np.mean(every > null_threshold(effective, 0.05)) == pytest.approx(0.05, abs=0.01)
    assert np.mean(every > null_threshold(effective, 0.01)) == pytest.approx(0.01, abs=0.004)
    assert np.mean(every) == pytest.approx(1 / effective, rel=0.05)


@given(st.integers(0, 50), st.floats(1e-6, 1e6), st.integers(-(10**6), 10**6))
def test_coherence_knows_neither_gain_nor_offset(seed: int, gain: float, offset: int) -> None:
    x = noise(4_096, seed=seed, scale=1e4)
    y = x + noise(4_096, seed=seed + 100, scale=3e3)
    plain = coherence_of(x, y, Segments(samples=256, step=128), slice(1, 128))
    changed = coherence_of(x + offset, y * gain, Segments(samples=256, step=128), slice(1, 128))
    assert isinstance(plain, Coherence)
    assert isinstance(changed, Coherence)
    assert changed.msc[3:-1] == pytest.approx(plain.msc[3:-1], abs=1e-6)
    assert ((changed.msc >= 0.0) & (changed.msc <= 1.0)).all()


def test_a_signal_is_coherent_with_itself() -> None:
    x = noise(12_000)
    found = coherence_of(x, -x, SEGMENTS, BAND)
    assert isinstance(found, Coherence)
    assert found.msc[BAND] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.filterwarnings("error")
def test_a_dead_channel_has_no_coherence() -> None:
    x = noise(12_000)
    for dead in (np.zeros(12_000, np.int32), np.full(12_000, 0.1)):
        assert coherence_of(x, dead, SEGMENTS, BAND) is Reason.STUCK_VALUE
        assert coherence_of(dead, x, SEGMENTS, BAND) is Reason.STUCK_VALUE
        assert coherence_of(dead, dead, SEGMENTS, BAND) is Reason.STUCK_VALUE


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_has_no_coherence(value: float) -> None:
    broken = noise(12_000).astype(np.float64)
    broken[6_000] = value
    assert coherence_of(noise(12_000), broken, SEGMENTS, BAND) is Reason.NON_FINITE


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e-140, 1e130])
def test_very_small_and_very_large_floats_are_measured(scale: float) -> None:
    x = noise(12_000).astype(np.float64) * scale
    found = coherence_of(x, x * 2, SEGMENTS, BAND)
    assert isinstance(found, Coherence)
    assert found.msc[BAND] == pytest.approx(1.0, abs=1e-9)


@given(st.floats(0.0, 1.0), st.floats(8.0, 500.0), st.integers(1, 500), st.sampled_from([0.1, 0.5]))
def test_guard_bands_are_at_least_ten_quanta_and_shrink_with_knowledge(
    score: float, effective: float, bins: int, q: float
) -> None:
    band = guard_band(score, effective, bins, q)
    assert 1e-5 <= band <= 1.0
    assert guard_band(score, effective * 2, bins, q) <= band
    assert guard_band(score, effective, bins + 10, q) <= band


@pytest.mark.parametrize(("ratio", "q"), [(0.05, 0.5), (0.3, 0.5), (1.0, 0.5), (0.3, 0.1)])
def test_the_band_quantile_lies_within_its_guard_band_nineteen_times_in_twenty(
    ratio: float, q: float
) -> None:
    scores = []
    for seed in range(60):
        x = noise(12_000, seed=seed)
        y = (x + noise(12_000, seed=seed + 500) * ratio).astype(np.int32)
        found = coherence_of(x, y, SEGMENTS, BAND)
        assert isinstance(found, Coherence)
        scores.append(float(quantile(found.msc[5:105], q)))
    centre = float(np.median(scores))
    band = guard_band(centre, SEGMENTS.effective_count(12_000), 100, q)
    inside = np.mean([abs(score - centre) <= band for score in scores])
    assert 0.85 <= inside <= 1.0
    assert band <= 4 * np.std(scores)
