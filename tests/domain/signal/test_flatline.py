"""How long a channel said the same, and how many different things it said."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from domain.signal.flatline import longest_run_seconds, unique_count
from domain.signal.runs import longest_true, runs_of

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def test_a_run_is_timed_from_its_first_sample_to_its_last() -> None:
    samples = np.array([1, 2, 2, 2, 3, 3])
    assert longest_run_seconds(runs_of(samples), 200.0) == 0.01
    assert longest_run_seconds(runs_of(np.zeros(12_000)), 200.0) == 59.995
    assert longest_run_seconds(runs_of(np.array([1, 2, 3])), 200.0) == 0.0
    assert longest_run_seconds(runs_of(np.array([7])), 200.0) == 0.0


def test_nans_are_not_a_flat_line() -> None:
    assert longest_run_seconds(runs_of(np.full(100, np.nan)), 200.0) == 0.0


@given(
    st.one_of(
        arrays(np.int32, st.integers(1, 60)), arrays(np.int32, st.integers(1, 60), elements=st.integers(0, 3))
    )
)
def test_runs_are_maximal_and_cover_everything(samples: NDArray[np.int32]) -> None:
    runs = runs_of(samples)
    rebuilt = np.repeat(samples[runs.start], runs.length)
    assert rebuilt.tolist() == samples.tolist()
    assert all(
        a != b
        for a, b in zip(samples[runs.start][:-1].tolist(), samples[runs.start][1:].tolist(), strict=True)
    )


@given(
    st.one_of(
        arrays(np.int32, st.integers(1, 60)),
        arrays(np.int64, st.integers(1, 60)),
        arrays(np.float64, st.integers(1, 60)),
        arrays(np.int32, st.integers(1, 60), elements=st.integers(-5, 5)),
    )
)
def test_unique_values_are_counted_as_a_set_would(samples: NDArray[Any]) -> None:
    values = samples.tolist()
    nans = any(value != value for value in values)
    assert unique_count(samples) == len({value for value in values if value == value}) + nans


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_the_ends_of_a_sample_type_overflow_nothing(dtype: type[np.signedinteger[Any]]) -> None:
    ends = np.iinfo(dtype)
    assert unique_count(np.array([ends.min, ends.max, ends.min, 0], dtype=dtype)) == 3
    assert unique_count(np.array([ends.min, ends.min + 1] * 100, dtype=dtype)) == 2


@given(st.lists(st.booleans(), max_size=40))
def test_the_longest_true_run_is_found(flags: list[bool]) -> None:
    longest = max((len(run) for run in "".join("x" if flag else " " for flag in flags).split()), default=0)
    assert longest_true(np.array(flags, dtype=np.bool_)) == longest
