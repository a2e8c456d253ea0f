"""Sources: the devices and connections that batches come from."""

from __future__ import annotations

from typing import Literal

from litestar import get
from litestar.params import FromQuery

from api.authentication import READ
from api.openapi import documented
from api.parameters import SourceId
from api.routes.paging import Page, PageSize, PageToken, size_of, start_of, token_of
from api.tenancy import Caller
from projections.reading import sources as reading
from projections.reading.sources import SourceSummary
from projections.reading.telemetry import MetricName
from projections.reading.telemetry import list_metrics as read_metrics


@get("/sources", opt=READ, summary="Devices and connections", tags=["setup"], responses=documented("view"))
async def list_sources(
    caller: Caller,
    kind: FromQuery[Literal["device", "connection"] | None] = None,
    page_size: PageSize = 0,
    page_token: PageToken = "",
) -> Page[SourceSummary]:
    """Sources, the newest registration first."""
    asked = ("sources", kind)
    page = await caller.query(
        reading.list_sources,
        kind=kind,
        before=start_of(page_token, caller.page_secret, *asked),
        limit=size_of(page_size),
    )
    return Page(items=page.items, next_page_token=token_of(page.next_before, caller.page_secret, *asked))


@get(
    "/sources/{source_id:str}/metrics",
    opt=READ,
    summary="What is measured of a source",
    tags=["runs"],
    responses=documented("unknown", "view"),
)
async def list_metrics(caller: Caller, source_id: SourceId) -> list[MetricName]:
    """Metrics that runs on this source measured, for `/v1/telemetry`."""
    caller.desk.source(source_id)
    return list(await caller.query(read_metrics, source_id))
