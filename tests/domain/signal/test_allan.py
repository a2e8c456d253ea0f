"""The overlapping Allan deviation has its published values."""

import numpy as np
import pytest

from domain.errors import InvalidError
from domain.signal.allan import overlapping_allan_deviation

# NBS Monograph 140, Annex 8.E: nine frequencies; Riley 2008 (NIST SP 1065, §12.4) gives the deviations of
# these data.
FREQUENCIES = np.array([892.0, 809.0, 823.0, 798.0, 671.0, 644.0, 883.0, 903.0, 677.0])


def test_the_published_example_is_reproduced() -> None:
    phases = np.concatenate(([0.0], np.cumsum(FREQUENCIES)))
    assert overlapping_allan_deviation(phases, 1.0, 1) == pytest.approx(91.22945, abs=1e-5)
    assert overlapping_allan_deviation(phases, 1.0, 2) == pytest.approx(85.95287, abs=1e-5)


def test_an_even_clock_has_none_however_wrong_its_rate() -> None:
    assert overlapping_allan_deviation(np.arange(100) * 1e-4, 60.0, 5) == pytest.approx(0.0, abs=1e-18)


def test_white_phase_noise_falls_with_the_averaging_time() -> None:
    phases = np.random.default_rng(1).normal(0.0, 1e-6, 20_000)
    one, ten = (overlapping_allan_deviation(phases, 1.0, factor) for factor in (1, 10))
    assert one == pytest.approx(np.sqrt(3) * 1e-6, rel=0.03)
    assert one / ten == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize(
    ("size", "interval", "factor"),
    [(2, 1.0, 1), (10, 1.0, 5), (10, 1.0, 0), (10, 0.0, 1), (10, float("nan"), 1)],
)
def test_a_series_that_is_too_short_is_refused(size: int, interval: float, factor: int) -> None:
    with pytest.raises(InvalidError):
        overlapping_allan_deviation(np.zeros(size), interval, factor)
