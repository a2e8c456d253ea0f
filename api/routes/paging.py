"""Pages (AIP-158): a size that is coerced down, an opaque token, and an empty token at the end.

A token remembers where to go on and a digest of the other arguments; with other arguments it is refused.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

from litestar.params import Parameter
from msgspec import Struct

from domain.errors import MalformedError

T = TypeVar("T")

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 500

PageSize = Annotated[
    int,
    Parameter(
        ge=0, description=f"Rows wanted, 0 for {PAGE_SIZE_DEFAULT}; more than {PAGE_SIZE_MAX} gives that many"
    ),
]
PageToken = Annotated[str, Parameter(max_length=200, description="next_page_token of the page before")]


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """Rows, and the token of the next page, empty at the end."""

    items: list[T]
    next_page_token: str


def size_of(page_size: int) -> int:
    """How many rows a page gets."""
    return min(page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def start_of(page_token: str, *arguments: object) -> int | None:
    """Where a page starts; ``None`` without a token.  Raises: MalformedError."""
    if not page_token:
        return None
    try:
        raw = base64.urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4))
        place, digest = int.from_bytes(raw[:8], "big"), raw[8:]
    except ValueError as error:
        raise MalformedError("not a page token", field="page_token") from error
    if len(raw) != 16 or digest != _digest(arguments) or place >= 1 << 63:
        raise MalformedError(
            "this page token belongs to another request",
            field="page_token",
            remedy="Start again without page_token.",
        )
    return place


def token_of(place: int | None, *arguments: object) -> str:
    """The token that starts at ``place``; empty for ``None``."""
    if place is None:
        return ""
    raw = place.to_bytes(8, "big") + _digest(arguments)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _digest(arguments: Sequence[object]) -> bytes:
    return hashlib.sha256(repr(tuple(arguments)).encode()).digest()[:8]
