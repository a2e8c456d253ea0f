"""Rounding that survives a change of machine."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.quantise import quantise_each, quantise_score, quantise_seconds, quantise_significant

finite = st.floats(allow_nan=False, allow_infinity=False, width=64)


@pytest.mark.parametrize(
    ("quantise", "value", "expected"),
    [
        (quantise_score, 0.12345649, 0.123456),
        (quantise_score, 0.1234565001, 0.123457),
        (quantise_seconds, -0.0098741615000001, -0.009874162),
        (quantise_significant, 123456.7894999, 123456.789),
        (quantise_significant, 1.234567891e-12, 1.23456789e-12),
        (quantise_significant, -9.9999999996e200, -1e201),
        (quantise_significant, 0.0, 0.0),
    ],
)
def test_values_are_rounded_to_their_quantum(quantise, value: float, expected: float) -> None:  # type: ignore[no-untyped-def]
    assert quantise(value) == expected


@given(st.sampled_from([quantise_score, quantise_seconds, quantise_significant]), finite)
def test_rounding_twice_is_rounding_once(quantise, value: float) -> None:  # type: ignore[no-untyped-def]
    once = quantise(value)
    assert quantise(once) == once


@given(st.sampled_from([quantise_score, quantise_seconds, quantise_significant]))
def test_negative_zero_becomes_zero(quantise) -> None:  # type: ignore[no-untyped-def]
    for value in (-0.0, -1e-300):
        rounded = quantise(value)
        if rounded == 0.0:
            assert struct.pack("<d", rounded) == bytes(8)


@given(st.floats(1e-300, 1e300), st.floats(-3e-13, 3e-13))
def test_a_change_of_machine_rarely_moves_nine_digits_and_never_by_more_than_one(
    value: float, change: float
) -> None:
    here, there = quantise_significant(value), quantise_significant(value * (1.0 + change))
    assert math.isclose(here, there, rel_tol=1.001e-8)


def test_arrays_keep_their_shape_and_their_nans() -> None:
    values = np.array([[0.12345678, np.nan], [-0.0, 2.0]])
    rounded = quantise_each(quantise_score, values)
    assert rounded.shape == (2, 2)
    assert rounded[0, 0] == 0.123457
    assert np.isnan(rounded[0, 1])
    assert not np.signbit(rounded[1, 0])
