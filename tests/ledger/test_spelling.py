"""Numbers and bytes have one spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import MalformedError
from ledger.spelling import (
    INTEGER_MAX,
    format_base64,
    format_decimal,
    parse_base64,
    parse_decimal,
    parse_hash,
)


@given(st.integers(0, INTEGER_MAX))
def test_a_number_is_read_as_it_was_written(number: int) -> None:
    assert parse_decimal(format_decimal(number), "number") == number


@given(st.text(st.sampled_from("0123456789 +-_.e٣²"), max_size=25))
def test_whatever_parses_as_a_number_has_no_other_spelling(text: str) -> None:
    try:
        number = parse_decimal(text, "number")
    except MalformedError:
        return
    assert format_decimal(number) == text


@pytest.mark.parametrize("number", [-1, INTEGER_MAX + 1])
def test_numbers_that_a_signed_64_bit_integer_cannot_hold_are_not_written(number: int) -> None:
    with pytest.raises(MalformedError):
        format_decimal(number)


@given(st.binary(max_size=100))
def test_bytes_are_read_as_they_were_written(data: bytes) -> None:
    assert parse_base64(format_base64(data), "data") == data


@given(st.text(st.sampled_from("ABCZabcz019+/-_= \n"), max_size=12))
def test_whatever_parses_as_base64_has_no_other_spelling(text: str) -> None:
    try:
        data = parse_base64(text, "data")
    except MalformedError:
        return
    assert format_base64(data) == text


@pytest.mark.parametrize(
    "text", ["A", "AB", "AB=", "AB===", "AA==AA==", "=", "AB\n==", "A-__", "Ä===", "AAB="]
)
def test_every_other_base64_is_refused_and_says_where(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_base64(text, "the field")
    assert caught.value.field == "the field"


def test_a_hash_has_32_bytes() -> None:
    assert parse_hash(format_base64(bytes(32)), "root") == bytes(32)
    for length in (0, 31, 33):
        with pytest.raises(MalformedError):
            parse_hash(format_base64(bytes(length)), "root")
