"""How a person's bytes are encrypted before they reach the vault, so that destroying one key erases them
everywhere.

The ciphertext is exactly the output of AES-SIV (RFC 5297 §2.6, 512-bit key, written AEAD_AES_SIV_CMAC_512):
the 16-byte synthetic IV followed by the encrypted bytes.  The associated data are three components, in this
order:

    ``tallystick/subject/v1``  ‖  tenant  ‖  purpose

RFC 5297 takes them as a vector, so that no two lists of components can be confused.  Each of them is UTF-8.
The version in the first component is the version of this format.

Why deterministic: the same payload sent twice gives the same ciphertext, hence the same vault digest and the
same batch, so ingest is idempotent and a replayed mapper's artifacts keep their digests, with no plain digest
of personal data anywhere.  What that gives away, to somebody who can read the vault or the ledger but holds
no key: *that* two objects of one person and one purpose are equal, and how long each is.  Nothing can be
compared between two people (each has a key), two tenants or two purposes (both are authenticated and move the
IV). RFC 5297 §7 states that this is all a deterministic scheme leaks; it is accepted because the ledger
itself already says which batches were sent twice.

A wrong key, tenant or purpose and a changed byte all fail in the same way, and no plaintext is released.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from domain.errors import InvalidError, LimitError, MalformedError
from ledger.ports import BATCH_BYTES_MAX

SUBJECT_KEY_BYTES = 64
SYNTHETIC_IV_BYTES = 16
# What is encrypted arrived in one upload or was made from one.
PLAINTEXT_BYTES_MAX = BATCH_BYTES_MAX

_FORMAT = b"tallystick/subject/v1"


def encrypt_subject_bytes(key: bytes, plaintext: bytes, *, tenant: str, purpose: str) -> bytes:
    """Encrypt one person's ``plaintext``; the same arguments always give the same bytes, 16 longer than the
    plaintext.

    ``key``: the subject's 64 bytes.  ``purpose``: what the bytes are (``batch``, ``artifact`` …).
    Raises: InvalidError for a key of another size or an empty tenant or purpose, LimitError above
    PLAINTEXT_BYTES_MAX.
    """
    if len(plaintext) > PLAINTEXT_BYTES_MAX:
        raise LimitError(
            "too much to encrypt at once",
            expected=f"<= {PLAINTEXT_BYTES_MAX} bytes",
            actual=str(len(plaintext)),
        )
    return _cipher(key).encrypt(plaintext, _associated_data(tenant, purpose))


def decrypt_subject_bytes(key: bytes, ciphertext: bytes, *, tenant: str, purpose: str) -> bytes:
    """The plaintext.  Raises: MalformedError when too short, InvalidError when key, tenant, purpose or any
    byte is not the one it was encrypted with."""
    if len(ciphertext) < SYNTHETIC_IV_BYTES:
        raise MalformedError(
            "not a ciphertext", expected=f">= {SYNTHETIC_IV_BYTES} bytes", actual=f"{len(ciphertext)} bytes"
        )
    cipher, associated_data = _cipher(key), _associated_data(tenant, purpose)
    try:
        return cipher.decrypt(ciphertext, associated_data)
    except InvalidTag:
        raise InvalidError(
            "encrypted bytes do not authenticate under this subject's key",
            field=f"{tenant}/{purpose}",
            remedy="They were changed, or belong to another person, tenant or purpose.",
        ) from None


def _cipher(key: bytes) -> AESSIV:
    if len(key) != SUBJECT_KEY_BYTES:
        raise InvalidError(
            "a subject key has another size",
            field="key",
            expected=f"{SUBJECT_KEY_BYTES} bytes",
            actual=f"{len(key)} bytes",
        )
    return AESSIV(key)


def _associated_data(tenant: str, purpose: str) -> list[bytes]:
    for field, value in (("tenant", tenant), ("purpose", purpose)):
        if not value:
            raise InvalidError("encryption is bound to a tenant and a purpose", field=field, actual="nothing")
    return [_FORMAT, tenant.encode(), purpose.encode()]
