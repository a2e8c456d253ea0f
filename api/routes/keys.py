"""The caller's own key."""

from __future__ import annotations

from litestar import get
from msgspec import Struct

from api.authentication import ANY
from api.openapi import documented
from api.tenancy import ApiRequest


class KeyView(Struct, frozen=True, kw_only=True):
    """A key without its secret; times are Unix nanoseconds, ``expires_at_ns`` is null for no end."""

    key_id: str
    tenant: str
    scopes: tuple[str, ...]
    label: str
    created_at_ns: int
    expires_at_ns: int | None


@get("/key", opt=ANY, summary="The key you call with", tags=["operation"], responses=documented())
async def get_key(request: ApiRequest) -> KeyView:
    """Whose it is and what it may do; any key that is in force may ask."""
    key = request.user
    return KeyView(
        key_id=key.key_id,
        tenant=key.tenant,
        scopes=key.scopes,
        label=key.label,
        created_at_ns=key.created_at_ns,
        expires_at_ns=key.expires_at_ns,
    )
