"""The window table is the true one, to the last bit, on every machine."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from scipy.signal import get_window

from domain.errors import InvalidError
from domain.signal.hann import LENGTH_MAX, hann, hann_digest, hann_power_sum


def true_value(n: int, length: int) -> float:
    """0.5 - 0.5 cos(2 pi n / length) by the Taylor series of the decimal module, 60 digits."""
    with localcontext() as context:
        context.prec = 60
        pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")
        angle = 2 * pi * n / length
        term, cosine, k = Decimal(1), Decimal(0), 0
        while abs(term) > Decimal("1e-55"):
            cosine += term
            k += 2
            term = -term * angle * angle / (k * (k - 1))
        return float((1 - cosine) / 2)


@pytest.mark.parametrize("length", [2, 4, 6, 100, 256])
def test_every_entry_is_the_double_nearest_to_the_true_value(length: int) -> None:
    assert hann(length).tolist() == [true_value(n, length) for n in range(length)]


def test_entries_of_the_longest_table_are_the_nearest_doubles_too() -> None:
    table = hann(LENGTH_MAX)
    for n in (1, 2, 3, 1_000, 32_767, 32_768, 40_001, LENGTH_MAX - 1):
        assert table[n] == true_value(n, LENGTH_MAX)


@pytest.mark.parametrize("length", [16, 1_000, 1_024, 4_096])
def test_the_table_is_that_of_scipy_to_two_units_in_the_last_place_of_one(length: int) -> None:
    assert np.abs(hann(length) - get_window("hann", length)).max() <= 2 * 2.0**-52


def test_the_bytes_of_the_default_table_never_change() -> None:
    assert hann_digest(1_024) == "sha256:c7ad09f968467faeaf36b3c0b55bc00d30da013a01c1d1b22779da69cc819d53"


def test_the_sum_of_squares_is_three_eighths_of_the_length() -> None:
    for length in (4, 1_000, 65_536):
        assert float(np.sum(hann(length) ** 2)) == pytest.approx(hann_power_sum(length), rel=1e-13)


def test_a_table_cannot_be_written_because_it_is_shared() -> None:
    with pytest.raises(ValueError, match="read-only"):
        hann(16)[0] = 1.0


@pytest.mark.parametrize("length", [0, 1, 3, -2, LENGTH_MAX + 2])
def test_odd_and_endless_tables_are_refused(length: int) -> None:
    with pytest.raises(InvalidError):
        hann(length)
