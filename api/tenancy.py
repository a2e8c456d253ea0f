"""What a handler stands on: the caller's own desk and views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from duckdb import DuckDBPyConnection
from litestar import Request
from litestar.di import NamedDependency
from msgspec import Struct

from adapters.api_key_file import ApiKey
from api.authentication import may
from api.premises import Premises
from ledger.desk import Desk

P = ParamSpec("P")
T = TypeVar("T")

ApiRequest = Request[ApiKey, Any, Any]


class KnownCaller(Struct, frozen=True, eq=False):
    """A caller with what is his; a handler sees nothing else."""

    key: ApiKey
    desk: Desk
    premises: Premises

    @property
    def actor(self) -> str:
        """Who is named in the ledger."""
        return f"api:{self.key.key_id}"

    @property
    def is_auditor(self) -> bool:
        """Whether he may see what is withheld."""
        return may(self.key, "audit")

    @property
    def page_secret(self) -> bytes:
        """What signs his tenant's page tokens."""
        return self.premises.page_secret(self.key.tenant)

    async def query(
        self, read: Callable[Concatenate[DuckDBPyConnection, P], T], *arguments: P.args, **options: P.kwargs
    ) -> T:
        """Ask one of the questions of ``projections.reading``, after everything that he has been told."""
        views = await self.premises.views(self.key.tenant)
        return await views.query(read, *arguments, **options)


Caller = NamedDependency[KnownCaller]
"""What a handler asks for as ``caller``."""


async def caller(request: ApiRequest) -> KnownCaller:
    """Dependency: the caller of this request."""
    premises: Premises = request.app.state.premises
    return KnownCaller(request.user, await premises.desk(request.user.tenant), premises)
