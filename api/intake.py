"""Intake: reading a request's body, and answering the same request only once.

**Idempotency-Key** (draft-ietf-httpapi-idempotency-key-header-07; quotes may be left out).  The same key with
the same request gets the same answer again, with ``Idempotency-Replayed: true``; with another request it is
refused (422), and while the first is still being answered, too (409).  Keys are a tenant's own and are kept
for seven days.  A request that ended in an error may be sent again under its key.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from litestar.params import HeaderParameter
from litestar.response import Response
from msgspec import Struct

from adapters.answered_requests import Answer, ReusedKeyError
from api.problems import ApiError
from api.tenancy import ApiRequest, Caller
from domain.errors import InvalidError, LimitError, MalformedError

IdempotencyKey = Annotated[
    str,
    HeaderParameter(
        name="Idempotency-Key",
        max_length=130,
        description="The same key and request again get the same answer; kept for seven days",
    ),
]
ContentDigest = Annotated[
    str,
    HeaderParameter(
        name="Content-Digest",
        max_length=500,
        description="RFC 9530, such as sha-256=:base64:; the body must have it",
    ),
]

# A sender who pauses longer has gone; its bytes would be held for nothing.
BODY_PAUSE_SECONDS_MAX = 60.0

_KEY = re.compile(r'"([!#-~]{1,128})"|([!#-~]{1,128})')
_DIGEST = re.compile(r"(?:^|,)\s*(sha-256|sha-512)=:([A-Za-z0-9+/=]{1,100}):(?=\s*(?:,|$))")
_ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}


async def read_body(request: ApiRequest, caller: Caller, bytes_max: int, content_digest: str = "") -> bytes:
    """The whole body, at most ``bytes_max``; refused as soon as it is clear that it cannot be taken.

    Raises: LimitError, InvalidError when it has not the ``Content-Digest`` it came with, ApiError.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise ApiError(
            "media-type",
            f"bodies are taken as they are, not in the content coding {coding[:40]!r}",
            headers={"Accept-Encoding": "identity"},
        )
    announced = request.content_length
    if announced is not None and announced > bytes_max:
        raise _too_large(bytes_max, announced)
    chunks: list[bytes] = []
    byte_count = 0
    # Room is taken for what has come, not for what was announced: a claim costs a sender nothing.
    async with caller.premises.body_room(caller.key.tenant) as take, aclosing(request.stream()) as stream:
        while chunk := await _next(stream):
            byte_count += len(chunk)
            if byte_count > bytes_max:
                raise _too_large(bytes_max, byte_count)
            take(len(chunk))
            chunks.append(chunk)
        body = b"".join(chunks)
    if content_digest:
        _check_digest(body, content_digest)
    return body


async def _next(stream: AsyncGenerator[bytes, None]) -> bytes:
    try:
        async with asyncio.timeout(BODY_PAUSE_SECONDS_MAX):
            return await anext(stream, b"")
    except TimeoutError:
        raise ApiError("slow", f"nothing came for {BODY_PAUSE_SECONDS_MAX:g} s") from None


async def answer_once(
    request: ApiRequest,
    caller: Caller,
    key: str,
    body: bytes,
    work: Callable[[], Awaitable[tuple[int, str, Struct]]],
) -> Response[Any]:
    """Do ``work`` (which gives status, location and content), or give the answer that this request already
    got under its key.  Raises: MalformedError, ApiError, and what ``work`` raises."""
    if not key:
        return _response(await _answered(work))
    name = _parse_key(key)
    tenant = caller.key.tenant
    async with caller.premises.only_once(tenant, name):
        answered = await caller.premises.answered(tenant)
        try:
            before = await asyncio.to_thread(answered.begin, name, _digest_of(request, body), time.time_ns())
        except ReusedKeyError as error:
            raise ApiError("reused-key", error.what, remedy=error.remedy) from None
        if before is not None:
            return _response(before, is_replayed=True)
        answer = await _answered(work)
        await asyncio.to_thread(answered.finish, name, answer)
        return _response(answer)


async def _answered(work: Callable[[], Awaitable[tuple[int, str, Struct]]]) -> Answer:
    status, location, content = await work()
    return Answer(status=status, location=location, body=msgspec.json.encode(content))


def _response(answer: Answer, *, is_replayed: bool = False) -> Response[Any]:
    headers = {"Location": answer.location} if answer.location else {}
    if is_replayed:
        headers["Idempotency-Replayed"] = "true"
    return Response(answer.body, status_code=answer.status, headers=headers, media_type="application/json")


def _parse_key(text: str) -> str:
    match = _KEY.fullmatch(text)
    if match is None:
        raise MalformedError(
            "not an idempotency key",
            field="Idempotency-Key",
            expected="1 to 128 printable ASCII characters, in double quotes or without",
        )
    return str(match[1] or match[2])


def _digest_of(request: ApiRequest, body: bytes) -> bytes:
    """What makes two requests the same: method, path, query, media type and body."""
    parts = (
        request.method,
        request.scope["path"],
        sorted(request.query_params.multi_items()),
        request.headers.get("content-type", ""),
        hashlib.sha256(body).hexdigest(),
    )
    return hashlib.sha256(msgspec.json.encode(parts)).digest()


def _check_digest(body: bytes, header: str) -> None:
    found = _DIGEST.findall(header)
    if not found:
        raise MalformedError(
            "no digest that is known here", field="Content-Digest", expected="sha-256=:…: or sha-512=:…:"
        )
    for algorithm, text in found:
        try:
            expected = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise MalformedError("not base64", field="Content-Digest") from error
        actual = hashlib.new(_ALGORITHMS[algorithm], body).digest()
        if not hmac.compare_digest(expected, actual):
            raise InvalidError(
                "the body is not the one that was sent",
                field="Content-Digest",
                expected=f"{algorithm} {text}",
                actual=f"{algorithm} {base64.b64encode(actual).decode()} of {len(body)} bytes",
                remedy="Send it again; nothing was kept.",
            )


def _too_large(bytes_max: int, actual: int) -> LimitError:
    return LimitError(
        "the body is too large",
        field="body",
        expected=f"<= {bytes_max} bytes",
        actual=f"{actual} bytes or more",
        remedy="Send it in several parts.",
    )
