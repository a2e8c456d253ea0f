"""Problems: every error of the API as ``application/problem+json`` (RFC 9457), 500s included.

This is the only file that knows how errors become HTTP.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from msgspec import UNSET, Struct, UnsetType

from domain.errors import (
    ConflictError,
    InvalidError,
    LimitError,
    MalformedError,
    TallystickError,
    UnknownError,
)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:tallystick:problem:"

_log = logging.getLogger("tallystick.api")


class ProblemPart(Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a request; ``pointer`` is a JSON pointer or a parameter's name."""

    detail: str
    pointer: str


class Problem(Struct, frozen=True, kw_only=True):
    """The members of RFC 9457 and ours: what was expected, what came, and what to do about it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[ProblemPart] | UnsetType = UNSET
    expected: str | UnsetType = UNSET
    actual: str | UnsetType = UNSET
    remedy: str | UnsetType = UNSET


class ApiError(Exception):
    """An error that is only about HTTP: authentication, scopes, withheld artifacts."""

    def __init__(
        self,
        status: int,
        name: str,
        title: str,
        detail: str,
        *,
        remedy: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.title = title
        self.detail = detail
        self.remedy = remedy
        self.headers = headers or {}


_STATUS: tuple[tuple[type[TallystickError], int, str, str], ...] = (
    (MalformedError, 400, "malformed", "The request could not be read"),
    (UnknownError, 404, "unknown", "There is no such thing here"),
    (ConflictError, 409, "conflict", "This contradicts what is recorded"),
    (LimitError, 413, "limit", "A limit was passed"),
    (InvalidError, 422, "invalid", "The request was read but does not hold"),
)


def tallystick_problem(request: Request[Any, Any, Any], error: TallystickError) -> Response[bytes]:
    """One of our errors."""
    status, name, title = next(
        ((status, name, title) for kind, status, name, title in _STATUS if isinstance(error, kind)),
        (422, "invalid", "The request was read but does not hold"),
    )
    return _answer(
        Problem(
            type=TYPE_PREFIX + name,
            title=title,
            status=status,
            detail=error.what + (f" at {error.field}" if error.field else ""),
            instance=_instance(request),
            expected=error.expected or UNSET,
            actual=error.actual or UNSET,
            remedy=error.remedy or UNSET,
        )
    )


def api_problem(request: Request[Any, Any, Any], error: ApiError) -> Response[bytes]:
    """An error about HTTP itself."""
    problem = Problem(
        type=TYPE_PREFIX + error.name,
        title=error.title,
        status=error.status,
        detail=error.detail,
        instance=_instance(request),
        remedy=error.remedy or UNSET,
    )
    return _answer(problem, error.headers)


def http_problem(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the framework refused: validation, unknown route, method, media type, size."""
    titles = {
        400: "The request could not be read",
        404: "There is no such thing here",
        405: "Not with this method",
    }
    names = {400: "malformed", 404: "unknown", 405: "method", 413: "limit", 415: "media-type", 429: "rate"}
    parts: list[ProblemPart] | UnsetType = UNSET
    if isinstance(error.extra, list):
        parts = [_part(item) for item in error.extra[:50] if isinstance(item, dict)] or UNSET
    detail = error.detail if error.status_code < 500 else "Something went wrong on our side."
    if parts is not UNSET:
        detail = "; ".join(
            f"{part.pointer}: {part.detail}" if part.pointer else part.detail for part in parts
        )
    problem = Problem(
        type=TYPE_PREFIX + names.get(error.status_code, "http"),
        title=titles.get(error.status_code, "The request was refused"),
        status=error.status_code,
        detail=detail,
        instance=_instance(request),
        errors=parts,
    )
    return _answer(problem, dict(error.headers or {}))


def unexpected_problem(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Our own bug: logged with its trace, answered with an id and nothing else."""
    instance = _instance(request)
    _log.error("unexpected error, %s %s, %s", request.method, request.url.path, instance, exc_info=error)
    return _answer(
        Problem(
            type=TYPE_PREFIX + "unexpected",
            title="Something went wrong on our side",
            status=500,
            detail="Nothing that was acknowledged is lost. Tell the operator the instance.",
            instance=instance,
        )
    )


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    TallystickError: tallystick_problem,
    ApiError: api_problem,
    HTTPException: http_problem,
    Exception: unexpected_problem,
}


def _answer(problem: Problem, headers: dict[str, str] | None = None) -> Response[bytes]:
    kept = {
        name: value
        for name, value in (headers or {}).items()
        if name.lower() not in ("content-type", "content-length")
    }
    return Response(
        content=msgspec.json.encode(problem), status_code=problem.status, media_type=MEDIA_TYPE, headers=kept
    )


def _instance(request: Request[Any, Any, Any]) -> str:
    found = request.scope.get("state", {}).get("request_id")
    return f"urn:uuid:{found or uuid.uuid4()}"


def _part(item: dict[str, Any]) -> ProblemPart:
    source, key = str(item.get("source", "")), str(item.get("key", ""))
    pointer = f"#/{key.replace('.', '/')}" if source == "body" else key
    return ProblemPart(detail=str(item.get("message", ""))[:300], pointer=pointer[:200])
