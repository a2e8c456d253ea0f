"""Record keys: names of a person's records that say nothing to those without the key.

The natural key of a record (provider, kind, provider id or date) is guessable; a plain digest of it would let
anyone who sees the ledger test guesses.  HMAC-SHA256 (RFC 2104, FIPS 198-1) under a secret that is destroyed
with the person's data does not.
"""

from __future__ import annotations

import hmac

from domain.errors import InvalidError

# Half of SHA-256: 2^64 records before a collision is likely, and short enough to stand in every event.
RECORD_KEY_BYTES = 16
# NIST SP 800-107 r1 section 5.3.4: an HMAC key below 112 bits gives no full strength.
SECRET_BYTES_MIN = 16
# Keeps these digests apart from whatever else is ever computed under the same secret.
PURPOSE = b"tallystick.record-key.v1"


def record_key(secret: bytes, *natural_key: str) -> str:
    """32 hexadecimal digits that name the record with this natural key.

    Each part is preceded by its length in bytes (8 bytes, big-endian), so that no two different keys run
    together. Raises: InvalidError when the secret is too short to keep the names secret.
    """
    if len(secret) < SECRET_BYTES_MIN:
        raise InvalidError(
            "record keys need a secret",
            field="record_key_secret",
            expected=f">= {SECRET_BYTES_MIN} bytes",
            actual=f"{len(secret)} bytes",
        )
    message = PURPOSE
    for part in natural_key:
        encoded = part.encode("utf-8")
        message += len(encoded).to_bytes(8, "big") + encoded
    return hmac.digest(secret, message, "sha256")[:RECORD_KEY_BYTES].hex()
