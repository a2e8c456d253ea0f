"""AES-SIV for subjects' bytes: the RFC's vector, round trips, and everything that has to fail."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidError, LimitError, MalformedError
from ledger import subject_cipher
from ledger.subject_cipher import decrypt_subject_bytes, encrypt_subject_bytes

KEY = bytes(range(64))


def test_the_primitive_is_that_of_rfc_5297() -> None:
    """RFC 5297 appendix A.1, deterministic authenticated encryption."""
    key = bytes.fromhex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    associated_data = bytes.fromhex("101112131415161718191a1b1c1d1e1f2021222324252627")
    plaintext = bytes.fromhex("112233445566778899aabbccddee")
    expected = "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c"
    assert AESSIV(key).encrypt(plaintext, [associated_data]).hex() == expected


def test_the_format_never_changes() -> None:
    """Golden: stored ciphertexts are named by their digest, so these bytes are for ever."""
    made = encrypt_subject_bytes(KEY, b"a night's sleep", tenant="acme", purpose="batch")
    assert made == AESSIV(KEY).encrypt(b"a night's sleep", [b"tallystick/subject/v1", b"acme", b"batch"])
    assert made.hex() == "e54366cb508a7d0e6a6347ea54ea5b93546ad1875e7d2d392ada1a5cb40aac"


@given(plaintext=st.binary(max_size=2_000), key=st.binary(min_size=64, max_size=64))
def test_what_was_encrypted_is_decrypted_and_equal_bytes_stay_equal(plaintext: bytes, key: bytes) -> None:
    made = encrypt_subject_bytes(key, plaintext, tenant="acme", purpose="batch")
    assert made == encrypt_subject_bytes(key, plaintext, tenant="acme", purpose="batch")
    assert len(made) == len(plaintext) + 16
    assert decrypt_subject_bytes(key, made, tenant="acme", purpose="batch") == plaintext


@given(plaintext=st.binary(max_size=40), flip=st.integers(min_value=0))
def test_any_changed_bit_is_refused(plaintext: bytes, flip: int) -> None:
    made = bytearray(encrypt_subject_bytes(KEY, plaintext, tenant="acme", purpose="batch"))
    bit = flip % (8 * len(made))
    made[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidError):
        decrypt_subject_bytes(KEY, bytes(made), tenant="acme", purpose="batch")


@pytest.mark.parametrize(
    ("key", "tenant", "purpose"),
    [
        (bytes(64), "acme", "batch"),
        (KEY, "acm", "batch"),
        (KEY, "acme", "artifact"),
        (KEY, "acmeb", "atch"),
    ],
)
def test_another_key_tenant_or_purpose_gives_nothing_away(key: bytes, tenant: str, purpose: str) -> None:
    made = encrypt_subject_bytes(KEY, b"x", tenant="acme", purpose="batch")
    assert encrypt_subject_bytes(key, b"x", tenant=tenant, purpose=purpose) != made
    with pytest.raises(InvalidError):
        decrypt_subject_bytes(key, made, tenant=tenant, purpose=purpose)


@pytest.mark.parametrize("size", [0, 16, 32, 63, 65, 128])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(InvalidError):
        encrypt_subject_bytes(bytes(size), b"x", tenant="acme", purpose="batch")
    with pytest.raises(InvalidError):
        decrypt_subject_bytes(bytes(size), bytes(32), tenant="acme", purpose="batch")


@pytest.mark.parametrize(("tenant", "purpose"), [("", "batch"), ("acme", "")])
def test_encryption_that_is_bound_to_nothing_is_refused(tenant: str, purpose: str) -> None:
    with pytest.raises(InvalidError):
        encrypt_subject_bytes(KEY, b"x", tenant=tenant, purpose=purpose)


@pytest.mark.parametrize("size", [0, 1, 15])
def test_what_is_too_short_is_no_ciphertext(size: int) -> None:
    with pytest.raises(MalformedError):
        decrypt_subject_bytes(KEY, bytes(size), tenant="acme", purpose="batch")


def test_more_than_an_upload_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject_cipher, "PLAINTEXT_BYTES_MAX", 10)
    with pytest.raises(LimitError):
        encrypt_subject_bytes(KEY, bytes(11), tenant="acme", purpose="batch")
