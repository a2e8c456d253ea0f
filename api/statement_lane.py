"""The fast lane of ``POST /v1/add``: the same answers as the route gives, without the framework around it.

Most of what a request costs in a framework is spent before and after its handler.  A statement needs none of
that, so a request that is as it should be is answered here; everything else (an unknown key, a query, a
content coding, any error) goes to the route, which knows how to say what is wrong.  Both do the same with the
same writer, so nothing depends on which one answered.

An API key is looked up again after ``KEY_SECONDS``: for that long a revoked one may still be taken here.
"""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Any

from litestar import Litestar
from litestar.types import Message, Receive, Send

from adapters.api_key_file import ApiKeyFile, RefusedKeyError
from api.authentication import may
from api.edge import HEADERS
from api.premises import Premises
from domain.errors import MalformedError, TallystickError
from ledger.statements import (
    MEDIA_TYPE_DEFAULT,
    STATEMENT_BYTES_MAX,
    Placed,
    StatementWriter,
    parse_media_type,
)

KEY_SECONDS = 1.0
# Keys and media types remembered; more than a busy tenant uses, and bounded whatever is sent.
REMEMBERED_MAX = 1_024

PROOF_PATH, INDEX_PATH = "/v1/add", "/v1/tlog/add"
TEXT = "text/plain; charset=utf-8"

_HEADERS = [*HEADERS.items(), (b"content-type", TEXT.encode())]
# What only the route looks at.
_FOR_THE_ROUTE = frozenset({b"content-encoding", b"content-digest", b"idempotency-key"})


class StatementWriters:
    """One writer for each tenant's ledger."""

    def __init__(self) -> None:
        self._writers: dict[str, StatementWriter] = {}

    def known(self, tenant: str) -> StatementWriter | None:
        """The tenant's writer, if it was asked for before."""
        return self._writers.get(tenant)

    async def of(self, premises: Premises, tenant: str) -> StatementWriter:
        """The tenant's writer.  Raises: ApiError 503."""
        desk = await premises.desk(tenant)
        return self._writers.setdefault(tenant, StatementWriter(desk.ledger))


class _Caller:
    """A key that was looked up: whose it is, and until when that is taken for granted."""

    __slots__ = ("actor", "tenant", "until")

    def __init__(self, tenant: str, actor: str, until: float) -> None:
        self.tenant = tenant
        self.actor = actor
        self.until = until


class StatementLane:
    """``app`` with a fast lane before it."""

    def __init__(self, app: Litestar) -> None:
        self._app = app
        self._request_ids = _RequestIds()
        self._callers: dict[bytes, _Caller] = {}
        self._media_types: dict[bytes, str] = {b"": MEDIA_TYPE_DEFAULT}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a statement, or hand the request on."""
        if (
            scope["type"] != "http"
            or scope["path"] not in (PROOF_PATH, INDEX_PATH)
            or scope["method"] != "POST"
            or scope["query_string"]
        ):
            await self._app(scope, receive, send)
            return
        taken: list[Message] = []
        placed = await self._place(scope, receive, taken)
        if placed is None:
            await self._app(scope, _again(taken, receive), send)
            return
        await _answer(placed, send, self._request_ids.new(), is_index=scope["path"] == INDEX_PATH)

    async def _place(self, scope: Any, receive: Receive, taken: list[Message]) -> Placed | None:
        """Put the statement on record; None for whatever is the route's business.  ``taken`` is what of the
        body was read by then."""
        authorization = content_type = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                if authorization:
                    return None
                authorization = value
            elif name == b"content-type":
                content_type = value
            elif name in _FOR_THE_ROUTE:
                return None
        caller = self._caller(authorization)
        media_type = self._media_type(content_type)
        if caller is None or media_type is None:
            return None
        statement = b""
        more = True
        while more:
            message: Any = await receive()
            taken.append(message)
            if message["type"] != "http.request":
                return None
            statement = statement + message["body"] if statement else message["body"]
            if len(statement) > STATEMENT_BYTES_MAX:
                return None
            more = message.get("more_body", False)
        state = self._app.state
        writers: StatementWriters = state.statement_writers
        try:
            writer = writers.known(caller.tenant) or await writers.of(state.premises, caller.tenant)
            return await writer.add(statement, media_type, caller.actor)
        except Exception:
            # The route meets the same error and says so; the same bytes twice are one statement.
            return None

    def _caller(self, authorization: bytes) -> _Caller | None:
        caller = self._callers.get(authorization)
        now = time.monotonic()
        if caller is not None and caller.until > now:
            return caller
        kind, _, text = authorization.partition(b" ")
        keys: ApiKeyFile = self._app.state.api_keys
        try:
            key = keys.authenticate(text.strip().decode("ascii"), time.time_ns())
        except (RefusedKeyError, TallystickError, UnicodeDecodeError):
            return None
        if kind.lower() != b"bearer" or not may(key, "ingest"):
            return None
        if len(self._callers) >= REMEMBERED_MAX:
            self._callers.clear()
        caller = self._callers[authorization] = _Caller(key.tenant, f"api:{key.key_id}", now + KEY_SECONDS)
        return caller

    def _media_type(self, content_type: bytes) -> str | None:
        known = self._media_types.get(content_type)
        if known is None:
            try:
                known = parse_media_type(content_type.decode("ascii"))
            except (MalformedError, UnicodeDecodeError):
                return None
            if len(self._media_types) < REMEMBERED_MAX:
                self._media_types[content_type] = known
        return known


class _RequestIds:
    """UUIDs of version 8 (RFC 9562 section 5.8): random for this process, then counted."""

    def __init__(self) -> None:
        self._prefix = uuid.UUID(bytes=secrets.token_bytes(16), version=4).hex
        self._count = 0

    def new(self) -> bytes:
        """The next one."""
        self._count += 1
        prefix = self._prefix
        return f"{prefix[:8]}-{prefix[8:12]}-8{prefix[13:16]}-{prefix[16:20]}-{self._count:012x}".encode()


async def _answer(placed: Placed, send: Send, request_id: bytes, *, is_index: bool) -> None:
    body = b"%d" % placed.index if is_index else placed.proof
    headers = [
        *_HEADERS,
        (b"content-length", b"%d" % len(body)),
        (b"location", b"/v1/entries/%d" % placed.index),
        (b"x-request-id", request_id),
    ]
    status = 201 if placed.is_new and not is_index else 200
    start: Any = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    end: Any = {"type": "http.response.body", "body": body, "more_body": False}
    await send(end)


def _again(taken: list[Message], receive: Receive) -> Receive:
    """``receive`` that first gives again what was taken from it."""

    async def again() -> Any:
        return taken.pop(0) if taken else await receive()

    return again
