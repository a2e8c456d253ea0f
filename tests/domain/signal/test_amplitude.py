"""Mean, RMS and peak are exact where they can be."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from domain.signal.amplitude import amplitude_of, exact_mean, exact_means, sequential_sum

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


@given(arrays(np.int32, st.integers(1, 60)))
def test_counts_have_their_exact_mean_and_rms(samples: NDArray[np.int32]) -> None:
    values = [Fraction(value) for value in samples.tolist()]
    mean = sum(values, Fraction(0)) / len(values)
    mean_square = sum(((value - mean) ** 2 for value in values), Fraction(0)) / len(values)
    amplitude = amplitude_of(samples)
    assert amplitude.mean == float(mean) == exact_mean(samples)
    assert amplitude.rms == math.sqrt(float(mean_square))


@given(
    st.sampled_from([np.int16, np.int32, np.int64, np.float32, np.float64]).flatmap(
        lambda kind: arrays(kind, st.tuples(st.integers(1, 5), st.integers(1, 40)))
    )
)
def test_means_of_rows_are_those_of_each_row(rows: NDArray[Any]) -> None:
    each = np.array([exact_mean(row) for row in rows])
    assert exact_means(rows).tobytes() == each.tobytes()


@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e9, 1e9)))
def test_floats_are_summed_as_if_exactly(samples: NDArray[np.float64]) -> None:
    assert exact_mean(samples) == math.fsum(samples.tolist()) / samples.size
    shuffled = samples[::-1].copy()
    assert amplitude_of(samples) == amplitude_of(shuffled)


@pytest.mark.parametrize(
    "samples",
    [
        np.array([INT32_MIN] * 3 + [INT32_MAX] * 3, dtype=np.int32),
        np.full(12_000, INT32_MIN, dtype=np.int32),
        np.array([-(2**63), 2**63 - 1], dtype=np.int64),
        np.array([1e308, -1e308, 1e308]),
        np.array([3.0e38, -3.0e38], dtype=np.float32),
        np.array([5], dtype=np.int32),
    ],
)
@pytest.mark.filterwarnings("error")
def test_the_ends_of_a_sample_type_overflow_nothing(samples: NDArray[Any]) -> None:
    amplitude = amplitude_of(samples)
    assert math.isfinite(amplitude.mean)
    assert amplitude.rms >= 0.0
    assert amplitude.peak >= amplitude.rms or math.isinf(amplitude.rms)


def test_a_square_wave_has_the_rms_of_its_height() -> None:
    amplitude = amplitude_of(np.array([INT32_MIN, INT32_MIN + 2] * 500, dtype=np.int32))
    assert (amplitude.mean, amplitude.rms, amplitude.peak) == (INT32_MIN + 1, 1.0, 1.0)


def test_the_mean_of_what_is_not_finite_is_not_finite() -> None:
    for values in ([np.nan, 1.0], [np.inf, 1.0], [np.inf, -np.inf], [1e308] * 10):
        assert not math.isfinite(exact_mean(np.array(values)))


def test_a_sequential_sum_runs_from_the_first_to_the_last() -> None:
    assert sequential_sum(np.array([1e16, 1.0, 1.0, -1e16])) == 0.0
    assert sequential_sum(np.array([1.0, 1.0, 1e16, -1e16])) == 2.0
    assert sequential_sum(np.zeros(0)) == 0.0
