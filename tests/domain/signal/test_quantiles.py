"""Quantiles agree with the library's and with their definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from domain.signal.quantiles import median, nearest_rank, quantile

values = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e6, 1e6))


@given(values, st.floats(0.0, 1.0))
def test_a_quantile_is_the_librarys(numbers: NDArray[np.float64], q: float) -> None:
    assert float(quantile(numbers, q)) == pytest.approx(float(np.quantile(numbers, q)), rel=1e-9, abs=1e-9)


@given(values)
def test_a_median_halves_the_values(numbers: NDArray[np.float64]) -> None:
    middle = median(numbers)
    assert np.count_nonzero(numbers < middle) <= numbers.size / 2
    assert np.count_nonzero(numbers > middle) <= numbers.size / 2


@given(values, st.floats(0.01, 1.0))
def test_a_nearest_rank_is_the_least_value_that_enough_do_not_exceed(
    numbers: NDArray[np.float64], q: float
) -> None:
    found = nearest_rank(numbers, q)
    assert found in numbers
    assert np.count_nonzero(numbers <= found) >= q * numbers.size - 1e-9
    below = numbers[numbers < found]
    assert below.size < q * numbers.size + 1e-9


def test_quantiles_of_rows_go_down_the_columns() -> None:
    assert quantile(np.array([[1.0, 10.0], [3.0, 30.0], [2.0, 20.0]]), 0.5).tolist() == [2.0, 20.0]
