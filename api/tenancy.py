"""What a handler stands on: the caller's own desk and views."""

from __future__ import annotations

from typing import Any

from litestar import Request
from msgspec import Struct

from adapters.api_key_file import ApiKey
from api.premises import Premises
from ledger.desk import Desk

ApiRequest = Request[ApiKey, Any, Any]


class Caller(Struct, frozen=True, eq=False):
    """A caller with what is his; a handler sees nothing else."""

    key: ApiKey
    desk: Desk
    premises: Premises

    @property
    def actor(self) -> str:
        """Who is named in the ledger."""
        return f"api:{self.key.key_id}"


async def caller(request: ApiRequest) -> Caller:
    """Dependency: the caller of this request."""
    premises: Premises = request.app.state.premises
    return Caller(request.user, await premises.desk(request.user.tenant), premises)
