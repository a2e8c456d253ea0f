"""Batches: raw bytes in."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.params import Parameter
from litestar.response import Response
from msgspec import Struct

from api.authentication import needs
from api.tenancy import ApiRequest, Caller
from domain.canonical import JSON_ERRORS
from domain.errors import MalformedError, UnknownError
from domain.events import BatchIngested, BatchQuarantined, DatasetDerived
from ledger.ingest import SAMPLES, Upload, batch_bytes, ingest
from ledger.recorded import event_of

_IDEMPOTENCY_KEY = re.compile(r'"?([!-~]{1,128}?)"?')


class BatchAccepted(Struct, frozen=True, kw_only=True):
    """The batch is durable and sealed in the ledger.  ``is_new`` is false when the same bytes were already there."""

    batch_id: str
    index: int
    is_new: bool
    digest: str
    byte_count: int
    received_at_ns: int
    is_encrypted: bool


class BatchState(Struct, frozen=True, kw_only=True):
    """A batch and what became of it: ``pending``, ``derived`` or ``quarantined``."""

    batch_id: str
    index: int
    source_id: str
    kind: str
    media_type: str
    byte_count: int
    digest: str
    received_at_ns: int
    state: str
    dataset_digest: str
    reason: str
    detail: str
    remedy: str


@post("/batches", guards=[needs("ingest")], status_code=201, summary="Ingest a batch")
async def post_batch(
    request: ApiRequest,
    caller: Caller,
    source: Annotated[
        str, Parameter(description="Id of the device or connection that sent it", max_length=64)
    ],
    kind: Annotated[
        str, Parameter(description="samples, or a payload kind such as oura.sleep", max_length=64)
    ] = SAMPLES,
    file_name: Annotated[str, Parameter(description="Name of the file, for the format", max_length=255)] = "",
    sequence: Annotated[int | None, Parameter(description="The sender's own running number", ge=0)] = None,
    provider_event_time_ns: Annotated[
        int | None, Parameter(description="The provider's time of this revision, Unix ns", ge=0)
    ] = None,
    format_options: Annotated[
        str,
        Parameter(
            description="JSON object: how the file is to be read, where it does not say so", max_length=8192
        ),
    ] = "",
    idempotency_key: Annotated[
        str,
        Parameter(
            header="Idempotency-Key",
            description="Repeating a request with the same key and bytes is safe",
            max_length=200,
        ),
    ] = "",
) -> Response[BatchAccepted]:
    """Keep the request body byte for byte.  201 when it is new, 200 when these bytes from this source are already there.

    The answer is given once the bytes are durable and the fact is sealed in the ledger; runs follow on their own.
    """
    if idempotency_key and not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise MalformedError(
            "not an idempotency key", field="Idempotency-Key", expected="1 to 128 printable ASCII characters"
        )
    data = await request.body()
    upload = Upload(
        source_id=source,
        kind=kind,
        data=data,
        media_type=request.headers.get("content-type", "application/octet-stream"),
        received_at_ns=time.time_ns(),
        file_name=file_name,
        sequence=sequence,
        provider_event_time_ns=provider_event_time_ns,
        format_options=_options(format_options),
    )
    recorded, is_new = await ingest(caller.desk, upload, caller.actor)
    event = event_of(recorded, BatchIngested)
    accepted = BatchAccepted(
        batch_id=event.batch_id,
        index=recorded.index,
        is_new=is_new,
        digest=event.digest,
        byte_count=event.byte_count,
        received_at_ns=event.received_at_ns,
        is_encrypted=event.is_encrypted,
    )
    return Response(
        accepted, status_code=201 if is_new else 200, headers={"Location": f"/v1/batches/{event.batch_id}"}
    )


@get("/batches/{batch_id:str}", guards=[needs("read")], summary="One batch")
async def get_batch(caller: Caller, batch_id: str) -> BatchState:
    """A batch and what became of it."""
    index, event = await _batch(caller, batch_id)
    return await _state(caller, index, event)


@get(
    "/batches/{batch_id:str}/content",
    guards=[needs("audit")],
    summary="A batch's bytes",
    media_type="application/octet-stream",
)
async def get_batch_content(caller: Caller, batch_id: str) -> Response[bytes]:
    """The bytes exactly as they were sent, decrypted where they are a person's."""
    _, event = await _batch(caller, batch_id)
    return Response(
        await batch_bytes(caller.desk, event),
        media_type="application/octet-stream",
        headers={"Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff"},
    )


def _options(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except JSON_ERRORS as error:
        raise MalformedError("not a JSON object", field="format_options", actual=str(error)) from error


async def _batch(caller: Caller, batch_id: str) -> tuple[int, BatchIngested]:
    index = caller.desk.ledger.index.find(f"batch-id/{batch_id}")
    if index is None:
        raise UnknownError("no such batch", field="batch_id", actual=batch_id[:80])
    recorded = (await caller.desk.ledger.get(index))[1]
    return index, event_of(recorded, BatchIngested)


async def _state(caller: Caller, index: int, event: BatchIngested) -> BatchState:
    ledger = caller.desk.ledger
    state, digest, reason, detail, remedy = "pending", "", "", "", ""
    derived = ledger.index.find(f"derived/{event.batch_id}")
    if derived is not None:
        state, digest = "derived", event_of((await ledger.get(derived))[1], DatasetDerived).digest
    quarantined = ledger.index.find(f"quarantined/{event.batch_id}")
    if quarantined is not None:
        why = event_of((await ledger.get(quarantined))[1], BatchQuarantined)
        state, reason, detail, remedy = "quarantined", why.reason, why.detail, why.remedy
    return BatchState(
        batch_id=event.batch_id,
        index=index,
        source_id=event.source_id,
        kind=event.kind,
        media_type=event.media_type,
        byte_count=event.byte_count,
        digest=event.digest,
        received_at_ns=event.received_at_ns,
        state=state,
        dataset_digest=digest,
        reason=reason,
        detail=detail,
        remedy=remedy,
    )
