"""Digests: the names of bytes.

A digest is written ``sha256:`` followed by 64 lower-case hexadecimal digits.  It is a plain string with a
pattern rather than a class, because it travels in every event and msgspec then encodes and checks it without
a hook.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

from msgspec import Meta

from domain.errors import MalformedError

PREFIX = "sha256:"
Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]


def digest_of(data: bytes | bytearray | memoryview) -> Digest:
    """The digest of exactly these bytes (FIPS 180-4 SHA-256)."""
    return PREFIX + hashlib.sha256(data).hexdigest()


def digest_from_bytes(raw: bytes) -> Digest:
    """The digest whose 32 raw bytes are given."""
    if len(raw) != 32:
        raise MalformedError("a SHA-256 digest has 32 bytes", expected="32", actual=str(len(raw)))
    return PREFIX + raw.hex()


def parse_digest(text: str) -> Digest:
    """Accept ``text`` only in the one canonical spelling.  Raises: MalformedError."""
    hexadecimal = text.removeprefix(PREFIX)
    if len(hexadecimal) != 64 or len(text) != 71 or any(c not in "0123456789abcdef" for c in hexadecimal):
        raise MalformedError(
            "not a digest", expected="sha256: and 64 lower-case hex digits", actual=repr(text[:80])
        )
    return text


def digest_bytes(digest: Digest) -> bytes:
    """The 32 raw bytes of a digest."""
    return bytes.fromhex(parse_digest(digest).removeprefix(PREFIX))


def digest_hex(digest: Digest) -> str:
    """The 64 hexadecimal digits, as in-toto's ``digest`` maps want them."""
    return digest.removeprefix(PREFIX)
