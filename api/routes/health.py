"""Health: how each provider and each device has been doing."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import QueryParameter

from api.authentication import READ
from api.openapi import documented
from api.parameters import INT64_MAX, OfSource
from api.tenancy import Caller
from projections.reading import health as reading
from projections.reading.health import DeviceHealth, ProviderHealth

Since = Annotated[
    int, QueryParameter(ge=0, le=INT64_MAX, description="Only what was received since, Unix nanoseconds")
]


@get(
    "/provider-health",
    opt=READ,
    summary="How providers do",
    tags=["runs"],
    responses=documented("unknown", "view"),
)
async def get_provider_health(
    caller: Caller, since_ns: Since = 0, source: OfSource = None
) -> list[ProviderHealth]:
    """Per connection and payload kind that sent something since ``since_ns``: what came, what it led to, how
    late it was, and why the newest that did not pass did not."""
    if source is not None:
        caller.desk.source(source)
    return list(await caller.query(reading.provider_health, since_ns=since_ns, source_id=source))


@get(
    "/device-health",
    opt=READ,
    summary="How devices do",
    tags=["runs"],
    responses=documented("unknown", "view"),
)
async def get_device_health(
    caller: Caller, since_ns: Since = 0, source: OfSource = None
) -> list[DeviceHealth]:
    """Per device: when it was last seen, how much of what its rate promises came, how its runs were judged,
    and until when its calibration is valid."""
    if source is not None:
        caller.desk.source(source)
    return list(await caller.query(reading.device_health, since_ns=since_ns, source_id=source))
