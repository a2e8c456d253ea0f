"""The Litestar application: routes, authentication, problems, OpenAPI, and what is opened and closed with it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Response, Router, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from adapters.api_key_file import ApiKeyFile
from api.authentication import KeyAuthentication
from api.openapi import describe_problems
from api.premises import Premises
from api.problems import EXCEPTION_HANDLERS
from api.routes import batches, console, ledger, receipts, runs
from api.settings import Settings
from api.tenancy import caller
from api.version import version
from api.workplace import Workplace
from ledger.ports import BATCH_BYTES_MAX

V1_HANDLERS: Sequence[Any] = (
    batches.post_batch,
    batches.list_batches,
    batches.get_batch,
    batches.get_batch_content,
    runs.list_runs,
    runs.get_run,
    runs.get_telemetry,
    runs.get_provider_health,
    runs.get_device_health,
    receipts.list_receipts,
    receipts.get_receipt,
    receipts.get_verdict,
    receipts.get_bundle,
    receipts.get_envelope,
    receipts.get_report,
    receipts.get_artifact,
    receipts.post_replay,
    ledger.get_ledger,
    ledger.get_checkpoint,
    ledger.list_entries,
    ledger.get_entry,
    ledger.get_entry_proof,
    ledger.get_consistency,
)

_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
}
_POLICY = b"default-src 'none'; frame-ancestors 'none'"


def create_app(settings: Settings) -> Litestar:
    """The application over the workplace that ``settings`` describe."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        workplace = Workplace(settings)
        premises = Premises(workplace)
        app.state.premises = premises
        app.state.api_keys = ApiKeyFile(settings.keys_folder)
        try:
            await premises.open_all()
            yield
        finally:
            await premises.close()
            await workplace.close()

    v1 = Router(
        path="/v1",
        route_handlers=list(V1_HANDLERS),
        middleware=[DefineMiddleware(KeyAuthentication)],
        dependencies={"caller": Provide(caller)},
        security=[{"apiKey": []}],
        request_max_body_size=BATCH_BYTES_MAX,
    )
    return Litestar(
        route_handlers=[v1, alive, ready, console.get_docs, console.get_console, console.get_asset],
        lifespan=[lifespan],
        exception_handlers=EXCEPTION_HANDLERS,
        middleware=[_with_headers],
        state=State(),
        openapi_config=OpenAPIConfig(
            title="Tallystick",
            version=version(),
            description="An event-sourced ledger with immutable receipts for measurements.",
            path="/",
            render_plugins=[],
            enabled_endpoints={"openapi.json"},
            use_handler_docstrings=True,
            components=Components(
                security_schemes={
                    "apiKey": SecurityScheme(type="http", scheme="bearer", description="An API key: tl_…")
                }
            ),
        ),
        on_app_init=[describe_problems],
        openapi_schema_hook=None,
    )


@get("/healthz", summary="The process is up", security=[], tags=["operation"])
async def alive() -> dict[str, str]:
    """Answers as long as the process does."""
    return {"status": "alive", "version": version()}


@get("/readyz", summary="The ledgers are open", security=[], tags=["operation"])
async def ready(request: Request[Any, Any, Any]) -> Response[dict[str, object]]:
    """Whether every tenant of the store can be read; 503 when not."""
    premises: Premises = request.app.state.premises
    tenants = await premises.workplace.tenants()
    return Response({"status": "ready", "tenant_count": len(tenants)})


def _with_headers(app: ASGIApp) -> ASGIApp:
    """Security headers on every answer, and an id for every request."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        request_id = str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                added = [*_HEADERS.items(), (b"x-request-id", request_id.encode())]
                if b"content-security-policy" not in present:
                    added.append((b"content-security-policy", _POLICY))
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await app(scope, receive, send_with_headers)

    return middleware
