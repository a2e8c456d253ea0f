"""Pages (AIP-158): a size that is coerced down, an opaque token, and an empty token at the end.

A token says where to go on, and is signed together with the tenant and the other arguments of the request:
with other arguments, or somebody else's key, it is refused.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

import msgspec
from litestar.params import QueryParameter
from msgspec import Struct

from domain.errors import MalformedError

T = TypeVar("T")

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 500
_PLACE_BYTES, _SIGNATURE_BYTES = 8, 16

PageSize = Annotated[
    int,
    QueryParameter(
        ge=0,
        le=1_000_000_000,
        description=f"Rows wanted, 0 for {PAGE_SIZE_DEFAULT}; more than {PAGE_SIZE_MAX} gives that many",
    ),
]
PageToken = Annotated[str, QueryParameter(max_length=200, description="`next_page_token` of the page before")]


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """Rows, and the token of the next page, empty at the end.  Fewer rows than asked for is no end."""

    items: Sequence[T]
    next_page_token: str


def size_of(page_size: int) -> int:
    """How many rows a page gets."""
    return min(page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def start_of(page_token: str, secret: bytes, *arguments: object) -> int | None:
    """Where a page starts; ``None`` without a token.  Raises: MalformedError."""
    if not page_token:
        return None
    try:
        raw = base64.b64decode(page_token + "=" * (-len(page_token) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise MalformedError("not a page token", field="page_token") from error
    place, signature = raw[:_PLACE_BYTES], raw[_PLACE_BYTES:]
    if not hmac.compare_digest(signature, _signature(secret, place, arguments)):
        raise MalformedError(
            "this page token belongs to another request",
            field="page_token",
            remedy="Start again without page_token.",
        )
    return int.from_bytes(place, "big")


def token_of(place: int | None, secret: bytes, *arguments: object) -> str:
    """The token that starts at ``place``; empty for ``None``."""
    if place is None:
        return ""
    raw = place.to_bytes(_PLACE_BYTES, "big")
    return base64.urlsafe_b64encode(raw + _signature(secret, raw, arguments)).decode().rstrip("=")


def _signature(secret: bytes, place: bytes, arguments: Sequence[object]) -> bytes:
    message = place + msgspec.json.encode(arguments)
    return hmac.digest(secret, message, "sha256")[:_SIGNATURE_BYTES]
