"""The edge: what holds for every answer, also for those that no route gave.

It stands outside of the framework, around everything: an id for each request, security headers on each
answer, HEAD for every GET (RFC 9110 §9.3.2), and a problem instead of a broken connection when all else
failed.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any

from litestar.enums import HttpMethod, ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import MEDIA_TYPE, PROBLEMS, problem_bytes

_log = logging.getLogger("tallystick.api")

HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"x-frame-options": b"DENY",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
    # Answers hold measurements of machines and people; whoever may keep one says so itself.
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}


def with_edge(app: ASGIApp) -> ASGIApp:
    """``app`` behind the edge."""

    async def edge(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        request_id = str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        is_head = scope["method"] == HttpMethod.HEAD
        if is_head:
            scope["method"] = HttpMethod.GET
        is_started = False

        async def send_on(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                message["headers"] = _with_headers(list(message["headers"]), request_id)
            elif message["type"] == "http.response.body" and is_head:
                message["body"] = b""
            await send(message)

        try:
            await app(scope, receive, send_on)
        except Exception as error:
            _log.error("outside of every route, request %s", request_id, exc_info=error)
            if is_started:
                raise
            body = problem_bytes(
                "unexpected", "Nothing that was acknowledged is lost.", f"urn:uuid:{request_id}"
            )
            headers = [
                (b"content-type", MEDIA_TYPE.encode()),
                (b"content-length", str(len(body)).encode()),
            ]
            status = PROBLEMS["unexpected"][0]
            start: Any = {"type": "http.response.start", "status": status, "headers": headers}
            await send_on(start)
            end: Any = {"type": "http.response.body", "body": body, "more_body": False}
            await send_on(end)

    return edge


def _with_headers(headers: list[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    present = {name.lower() for name, _ in headers}
    headers += [(name, value) for name, value in HEADERS.items() if name not in present]
    return [*headers, (b"x-request-id", request_id.encode())]
