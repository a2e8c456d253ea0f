import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidError
from domain.health.record_keys import PURPOSE, record_key

parts = st.lists(st.text(max_size=20), max_size=4)


def test_a_record_key_is_the_hmac_of_its_length_prefixed_parts() -> None:
    secret = bytes(range(32))
    message = PURPOSE + b"\0\0\0\0\0\0\0\4oura" + b"\0\0\0\0\0\0\0\3n\xc3\xa4"
    expected = hmac.new(secret, message, hashlib.sha256).hexdigest()[:32]
    assert record_key(secret, "oura", "nä") == expected


@given(parts, parts)
def test_two_natural_keys_share_a_record_key_only_when_they_are_equal(
    one: list[str], other: list[str]
) -> None:
    secret = b"s" * 32
    assert (record_key(secret, *one) == record_key(secret, *other)) == (one == other)


def test_another_secret_gives_another_name() -> None:
    assert record_key(b"a" * 16, "oura", "x") != record_key(b"b" * 16, "oura", "x")


@pytest.mark.parametrize("secret", [b"", b"fifteen bytes!!"])
def test_a_secret_that_could_be_guessed_is_refused(secret: bytes) -> None:
    with pytest.raises(InvalidError):
        record_key(secret, "oura", "x")
