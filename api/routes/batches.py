"""Batches: raw bytes in, and what became of them."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import msgspec
from duckdb import DuckDBPyConnection
from litestar import get, post
from litestar.params import FromQuery, QueryParameter
from litestar.response import Response
from msgspec import Struct

from api.authentication import AUDIT, INGEST, READ
from api.intake import ContentDigest, IdempotencyKey, answer_once, read_body
from api.openapi import documented
from api.parameters import INT64_MAX, SOURCE_PATTERN, AtTime, BatchId, OfKind, OfSource
from api.routes.paging import Page, PageSize, PageToken, size_of, start_of, token_of
from api.tenancy import ApiRequest, Caller
from api.uploads import checked_options
from domain.canonical import JSON_ERRORS
from domain.errors import MalformedError, UnknownError
from domain.events import BatchIngested
from ledger.ingest import SAMPLES, Upload, batch_bytes, ingest
from ledger.mentions import of_subject, of_type
from ledger.ports import BATCH_BYTES_MAX
from ledger.recorded import event_of
from projections.reading import batches as reading
from projections.reading.batches import BatchSummary, Quarantine
from projections.reading.rows import fetch

FORMAT_OPTIONS_CHARACTERS_MAX = 8_192


class BatchAccepted(Struct, frozen=True, kw_only=True):
    """The batch is durable and sealed in the ledger.  ``is_new`` is false when these bytes from this source
    were already there; ``digest`` names the stored bytes, which are ciphertext when ``is_encrypted``."""

    batch_id: str
    index: int
    is_new: bool
    digest: str
    byte_count: int
    received_at_ns: int
    is_encrypted: bool


class BatchState(Struct, frozen=True, kw_only=True):
    """A batch, and why it cannot be used when it is quarantined."""

    batch: BatchSummary
    quarantine: Quarantine | None


@post(
    "/batches",
    opt=INGEST,
    status_code=201,
    request_max_body_size=BATCH_BYTES_MAX,
    summary="Ingest a batch",
    tags=["ingest"],
    responses=documented(
        *(
            "slow",
            "limit",
            "conflict",
            "media-type",
            "unknown",
            "invalid",
            "running",
            "reused-key",
            "shredded",
        ),
        also={200: (BatchAccepted, "These bytes from this source were already there")},
    ),
)
async def post_batch(
    request: ApiRequest,
    caller: Caller,
    source: Annotated[
        str, QueryParameter(pattern=SOURCE_PATTERN, description="Id of the device or connection that sent it")
    ],
    kind: Annotated[
        str, QueryParameter(description="`samples`, or a payload kind such as oura.sleep", max_length=64)
    ] = SAMPLES,
    file_name: Annotated[
        str, QueryParameter(description="Name of the file, for its format", max_length=255)
    ] = "",
    sequence: Annotated[
        int | None, QueryParameter(description="The sender's own running number", ge=0, le=INT64_MAX)
    ] = None,
    provider_event_time_ns: Annotated[
        int | None,
        QueryParameter(description="The provider's time of this revision, Unix ns", ge=0, le=INT64_MAX),
    ] = None,
    format_options: Annotated[
        str,
        QueryParameter(
            description="JSON object: how the file is to be read, where it does not say so itself",
            max_length=FORMAT_OPTIONS_CHARACTERS_MAX,
        ),
    ] = "",
    idempotency_key: IdempotencyKey = "",
    content_digest: ContentDigest = "",
) -> Response[BatchAccepted]:
    """Keep the request's body byte for byte.

    201 when it is new, 200 when these bytes from this source, to be read in the same way, are already there.
    The answer is given once the bytes are durable and the fact is sealed in the ledger; what the batch holds
    is found out afterwards, and runs follow on their own.
    """
    # Whoever may not send this is told before half a gigabyte is on its way.
    caller.desk.source(source)
    options = checked_options(kind, _options(format_options))
    body = await read_body(request, caller, BATCH_BYTES_MAX, content_digest)
    media_type = request.headers.get("content-type", "application/octet-stream")

    async def work() -> tuple[int, str, Struct]:
        upload = Upload(
            source_id=source,
            kind=kind,
            data=body,
            media_type=media_type,
            received_at_ns=time.time_ns(),
            file_name=file_name,
            sequence=sequence,
            provider_event_time_ns=provider_event_time_ns,
            format_options=options,
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
        return (201 if is_new else 200), f"/v1/batches/{event.batch_id}", accepted

    return await answer_once(request, caller, idempotency_key, body, work)


@get("/batches", opt=READ, summary="Batches", tags=["ingest"], responses=documented("view"))
async def list_batches(
    caller: Caller,
    source: OfSource = None,
    kind: OfKind = None,
    status: FromQuery[Literal["ingested", "derived", "quarantined"] | None] = None,
    received_from_ns: AtTime = None,
    received_until_ns: AtTime = None,
    page_size: PageSize = 0,
    page_token: PageToken = "",
) -> Page[BatchSummary]:
    """Batches, newest first; ``status=quarantined`` are those that could not be used so far."""
    asked = ("batches", source, kind, status, received_from_ns, received_until_ns)
    page = await caller.query(
        reading.list_batches,
        source_id=source,
        kind=kind,
        status=status,
        received_from_ns=received_from_ns,
        received_until_ns=received_until_ns,
        before=start_of(page_token, caller.page_secret, *asked),
        limit=size_of(page_size),
    )
    return Page(items=page.items, next_page_token=token_of(page.next_before, caller.page_secret, *asked))


@get(
    "/batches/{batch_id:str}",
    opt=READ,
    summary="One batch",
    tags=["ingest"],
    responses=documented("unknown", "view"),
)
async def get_batch(caller: Caller, batch_id: BatchId) -> BatchState:
    """A batch and what became of it."""
    return await caller.query(_state, batch_id)


@get(
    "/batches/{batch_id:str}/content",
    opt=AUDIT,
    summary="A batch's bytes",
    tags=["ingest"],
    media_type="application/octet-stream",
    responses=documented("unknown", "shredded"),
)
async def get_batch_content(caller: Caller, batch_id: BatchId) -> Response[bytes]:
    """The bytes exactly as they were sent, decrypted where they are a person's."""
    index = await caller.desk.ledger.first(of_type(BatchIngested.TYPE), of_subject(f"batch/{batch_id}"))
    if index is None:
        raise UnknownError("no such batch", field="batch_id", actual=batch_id)
    event = event_of((await caller.desk.ledger.get(index))[1], BatchIngested)
    return Response(
        await batch_bytes(caller.desk, event),
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{event.batch_id}"'},
    )


def _options(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (*JSON_ERRORS, UnicodeEncodeError) as error:
        raise MalformedError("not a JSON object", field="format_options", actual=str(error)[:200]) from error


def _state(connection: DuckDBPyConnection, batch_id: str) -> BatchState:
    batch = reading.get_batch(connection, batch_id)
    why = "quarantines WHERE batch_id = ? AND NOT is_resolved ORDER BY entry_index DESC LIMIT 1"
    found = fetch(connection, Quarantine, why, [batch_id])
    return BatchState(batch=batch, quarantine=found[0] if found else None)
