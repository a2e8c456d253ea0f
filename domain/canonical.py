"""Canonical JSON: one value, one spelling.

UTF-8, no insignificant white space, object keys sorted by code point, numbers in their shortest round-trip
form as msgspec prints them, no NaN or infinity.  Bytes that were written once are never re-encoded in order
to be verified; canonical form exists so that *producing* the same value twice produces the same bytes.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import msgspec

from domain.errors import InvalidError, MalformedError

T = TypeVar("T")

# What msgspec raises for bytes that are not the JSON that was asked for; bad UTF-8 and depth are errors of
# their own.
JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_encoder = msgspec.json.Encoder(order="sorted")


def canonical_json(value: Any) -> bytes:
    """Encode ``value`` canonically.  Raises: InvalidError on NaN or infinity."""
    data = _encoder.encode(value)
    # msgspec writes non-finite floats as null, which would silently lose what they said.
    if b"null" in data and _has_non_finite(msgspec.to_builtins(value)):
        raise InvalidError(
            "canonical JSON has no NaN or infinity", remedy="Record a missing value with its reason."
        )
    return data


def parse_canonical(data: bytes, kind: type[T]) -> T:
    """Decode ``data`` as ``kind``, refusing every spelling but the canonical one.  Raises: MalformedError."""
    try:
        value = msgspec.json.decode(data, type=kind)
    except JSON_ERRORS as error:
        raise MalformedError(f"not a {kind.__name__}", actual=str(error)) from error
    if _encoder.encode(value) != data:
        raise MalformedError(f"not the canonical spelling of a {kind.__name__}")
    return value


def _has_non_finite(value: Any) -> bool:
    match value:
        case float():
            return not math.isfinite(value)
        case dict():
            return any(_has_non_finite(item) for item in value.values())
        case list() | tuple():
            return any(_has_non_finite(item) for item in value)
        case _:
            return False
