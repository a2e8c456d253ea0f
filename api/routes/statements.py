"""Statements: anybody's bytes on record, as other logs take them.

``POST /v1/add`` answers with the proof, ``POST /v1/tlog/add`` with the index alone, as the tools of other
tile logs expect it.  A request that is as it should be is answered before it gets here
(``api.statement_lane``).
"""

from __future__ import annotations

from typing import Any

from litestar import post
from litestar.response import Response

from api.authentication import INGEST
from api.intake import ContentDigest, read_body
from api.openapi import documented
from api.problems import ApiError
from api.routes.tlog import NOTE_MEDIA_TYPE
from api.statement_lane import StatementWriters
from api.tenancy import ApiRequest, Caller
from ledger.statements import MEDIA_TYPE_DEFAULT, STATEMENT_BYTES_MAX, BusyError, Placed, parse_media_type

_PROBLEMS = ("limit", "media-type", "invalid", "busy")


@post(
    "/add",
    opt=INGEST,
    status_code=201,
    summary="Put a statement on record",
    tags=["ingest"],
    media_type=NOTE_MEDIA_TYPE,
    responses=documented(
        *_PROBLEMS,
        also={200: (str, "The same bytes were on record before: their proof, and nothing new was recorded")},
    ),
)
async def post_statement(
    request: ApiRequest, caller: Caller, content_digest: ContentDigest = ""
) -> Response[bytes]:
    """The body is the statement, at most 65,535 bytes, recorded exactly as it is. Personal data: never.

    The answer comes once it is durable and sealed: a C2SP tlog-proof whose `extra` line holds the entry
    (base64). 201 when it is new, 200 when the same bytes were on record already.
    """
    placed = await _place(request, caller, content_digest)
    return Response(
        placed.proof,
        status_code=201 if placed.is_new else 200,
        media_type=NOTE_MEDIA_TYPE,
        headers={"Location": f"/v1/entries/{placed.index}"},
    )


@post(
    "/tlog/add",
    opt=INGEST,
    status_code=200,
    summary="Put a statement on record, as other tile logs do it",
    tags=["ingest"],
    media_type=NOTE_MEDIA_TYPE,
    responses=documented(*_PROBLEMS),
)
async def post_tlog_statement(
    request: ApiRequest, caller: Caller, content_digest: ContentDigest = ""
) -> Response[bytes]:
    """As `/v1/add`, answered with the index in decimal; the newest seal covers it by then."""
    placed = await _place(request, caller, content_digest)
    headers = {"Location": f"/v1/entries/{placed.index}"}
    return Response(b"%d" % placed.index, media_type=NOTE_MEDIA_TYPE, headers=headers)


async def _place(request: ApiRequest, caller: Caller, content_digest: str) -> Placed:
    given = request.headers.get("content-type", "")
    media_type = parse_media_type(given) if given else MEDIA_TYPE_DEFAULT
    statement = await read_body(request, caller, STATEMENT_BYTES_MAX, content_digest)
    writers: StatementWriters = _state(request).statement_writers
    writer = await writers.of(caller.premises, caller.key.tenant)
    try:
        return await writer.add(statement, media_type, caller.actor)
    except BusyError as error:
        raise ApiError("busy", error.what) from error


def _state(request: ApiRequest) -> Any:
    return request.app.state
