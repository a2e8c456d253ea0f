"""For whoever keeps the process running: is it up, can it serve."""

from __future__ import annotations

from typing import Any, Literal

from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from api.premises import Premises
from api.version import version


class Alive(Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["alive"]
    version: str


class Readiness(Struct, frozen=True, kw_only=True):
    """Whether every ledger of the store is open, and how many tenants' read views do not follow their ledger;
    says nothing about whose they are."""

    status: Literal["opening", "ready", "degraded"]
    standing_view_count: int


@get("/healthz", summary="The process is up", tags=["operation"])
async def alive() -> Alive:
    """Answers as long as the process does."""
    return Alive(status="alive", version=version())


@get(
    "/readyz",
    summary="The ledgers are open",
    tags=["operation"],
    responses={503: ResponseSpec(Readiness, description="Not yet, or not all of them")},
)
async def ready(request: Request[Any, Any, Any]) -> Response[Readiness]:
    """200 when every ledger of the store is open, 503 while they are being opened or when one cannot be.

    A read view that stands still takes nothing in and loses nothing: it is counted, tried again, and only
    questions about what it does not hold yet are answered 503.
    """
    premises: Premises = request.app.state.premises
    state: Any = premises.state
    return Response(
        Readiness(status=state, standing_view_count=premises.standing_view_count),
        status_code=200 if state == "ready" else 503,
    )
