"""The Litestar application: routes, authentication, problems, and what is opened and closed with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.middleware import DefineMiddleware

from adapters.api_key_file import ApiKeyFile
from api.authentication import KeyAuthentication, check_scope
from api.edge import with_edge
from api.parameters import refuse_unknown_parameters
from api.premises import Premises
from api.problems import EXCEPTION_HANDLERS
from api.routes import (
    batches,
    console,
    documentation,
    evidence,
    health,
    keys,
    ledger,
    lookup,
    operation,
    proofs,
    receipts,
    runs,
    setup,
    sources,
    statements,
    tlog,
)
from api.routes.evidence import TopicLists
from api.settings import Settings
from api.statement_lane import StatementWriters
from api.tenancy import caller
from api.workplace import Workplace

# A body that a route reads as a whole; uploads have a limit of their own.
BODY_BYTES_MAX = 1024 * 1024

V1_HANDLERS: Sequence[Any] = (
    setup.post_setup,
    setup.post_contract,
    keys.get_key,
    sources.list_sources,
    sources.list_metrics,
    batches.post_batch,
    batches.list_batches,
    batches.get_batch,
    batches.get_batch_content,
    runs.list_runs,
    runs.get_run,
    runs.get_run_history,
    runs.get_telemetry,
    health.get_provider_health,
    health.get_device_health,
    receipts.list_receipts,
    receipts.get_receipt,
    receipts.get_verdict,
    receipts.get_bundle,
    receipts.get_envelope,
    receipts.get_report,
    receipts.get_report_link,
    receipts.get_artifact,
    receipts.post_replay,
    evidence.get_audit_bundle,
    evidence.post_completeness,
    ledger.get_ledger,
    ledger.get_checkpoint,
    ledger.list_entries,
    ledger.get_entry,
    ledger.get_entry_proof,
    ledger.get_consistency,
    lookup.lookup,
    lookup.get_key_history,
    proofs.get_inclusion_proof,
    proofs.get_consistency_proof,
    tlog.get_tlog_checkpoint,
    tlog.get_tlog_tile,
    statements.post_statement,
    statements.post_tlog_statement,
)
OPEN_HANDLERS: Sequence[Any] = (
    operation.alive,
    operation.ready,
    documentation.get_openapi,
    tlog.get_public_checkpoint,
    tlog.get_public_tile,
)
PAGES: Sequence[Any] = (
    documentation.get_docs,
    console.get_console,
    console.get_asset,
    console.get_linked_report,
)


def routes() -> list[Any]:
    """Every route there is; the OpenAPI document is made from the same list."""
    v1 = Router(
        path="/v1",
        route_handlers=list(V1_HANDLERS),
        middleware=[DefineMiddleware(KeyAuthentication)],
        guards=[check_scope],
        before_request=refuse_unknown_parameters,
        dependencies={"caller": Provide(caller)},
        security=[{"apiKey": []}],
        request_max_body_size=BODY_BYTES_MAX,
    )
    return [v1, *OPEN_HANDLERS, *PAGES]


def create_app(settings: Settings) -> Litestar:
    """The application over the workplace that ``settings`` describe."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        workplace = Workplace(settings)
        api_keys = ApiKeyFile(settings.keys_folder)
        premises = Premises(workplace, api_keys)
        app.state.premises = premises
        app.state.api_keys = api_keys
        app.state.statement_writers = StatementWriters()
        app.state.topic_lists = TopicLists()
        try:
            premises.open_all()
            yield
        finally:
            await premises.close()
            await workplace.close()

    app = Litestar(
        route_handlers=routes(),
        lifespan=[lifespan],
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,
        # Errors are logged where they become problems, with less of what people sent in them.
        logging_config=None,
    )
    app.asgi_handler = with_edge(app.asgi_handler)
    return app
