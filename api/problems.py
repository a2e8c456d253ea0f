"""Problems: every error of the API as ``application/problem+json`` (RFC 9457), 500s included.

This is the only file that knows how errors become HTTP.  A caller's mistake is a 4xx that says what to do
about it; what is wrong on our side is a 5xx, also when it carries one of the same error classes (an object
that the vault lost is not the caller's unknown id).
"""

from __future__ import annotations

import logging
import sqlite3
import uuid
from collections.abc import Iterator
from typing import Any

import duckdb
import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from msgspec import UNSET, Struct, UnsetType

from adapters.api_key_file import DamagedKeyFileError
from domain.errors import (
    ConflictError,
    InvalidError,
    LimitError,
    MalformedError,
    TallystickError,
    UnknownError,
)
from ledger.entry import MalformedEntryError
from ledger.errors import (
    ClosedError,
    CorruptObjectError,
    RefusedByStoreError,
    UnknownObjectError,
    UnknownSubjectKeyError,
    UnreachableStoreError,
)
from projections.errors import (
    MalformedViewError,
    ProjectionStoppedError,
    ViewBehindError,
    ViewInUseError,
    ViewMismatchError,
    ViewStorageError,
)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:tallystick:problem:"
# What a person reads of one problem; the rest of a long message is noise or an attack.
TEXT_CHARACTERS_MAX = 1_000
PARTS_MAX = 20
RETRY_SECONDS = 5

PROBLEMS: dict[str, tuple[int, str, str]] = {
    "malformed": (400, "The request could not be read", "Correct what `errors` or `detail` name."),
    "unauthorised": (401, "No valid API key", "Send `Authorization: Bearer tl_…` with a key in force."),
    "scope": (403, "This key may not do that", "Use a key that has the scope named in `detail`."),
    "withheld": (403, "This result is withheld", "Read the receipt's report: it says why."),
    "unknown": (404, "There is no such thing here", "Look at the list; other tenants' things are not here."),
    "method": (405, "Not with this method", "`Allow` says which methods there are."),
    "slow": (408, "The body did not arrive", "Send it again; nothing was kept."),
    "conflict": (409, "This contradicts what is recorded", "What was recorded never changes; use a new id."),
    "running": (409, "The same request is still being answered", "Ask again a little later."),
    "shredded": (410, "This was erased for ever", "The person's key was destroyed; proofs stay valid."),
    "limit": (413, "A limit was passed", "`expected` says the limit; send less, or in parts."),
    "media-type": (415, "Not in this form", "Send one of the media types that `detail` names, uncompressed."),
    "invalid": (422, "The request was read but does not hold", "Correct what `detail` names."),
    "reused-key": (422, "This Idempotency-Key was used for another request", "Use a new key."),
    "busy": (429, "Too much at once", "Wait as long as `Retry-After` says."),
    "unexpected": (500, "Something went wrong on our side", "Tell the operator the `instance`."),
    "damaged": (500, "What is stored does not hold", "The operator runs `tally audit`; nothing is guessed."),
    "storage": (503, "The machine cannot do it now", "Send it again after `Retry-After`; twice is once."),
    "unreachable": (503, "The store does not answer", "Send it again after `Retry-After`; twice is once."),
    "closing": (503, "This process is being stopped", "Send it again after `Retry-After`; twice is once."),
    "view": (503, "The read view is not up to date", "Ask again after `Retry-After`; the ledger is whole."),
}
"""Every kind of problem: status, title, and what to do.  Its type is ``TYPE_PREFIX`` and the name."""

_KINDS: tuple[tuple[type[Exception], str], ...] = (
    # What is stored here is damaged or gone: ours, whatever the class behind it says.
    (CorruptObjectError, "damaged"),
    (UnknownObjectError, "damaged"),
    (MalformedEntryError, "damaged"),
    (DamagedKeyFileError, "damaged"),
    (UnreachableStoreError, "unreachable"),
    (RefusedByStoreError, "unreachable"),
    (ClosedError, "closing"),
    (ViewBehindError, "view"),
    (ViewInUseError, "view"),
    (ViewMismatchError, "view"),
    (ViewStorageError, "view"),
    (MalformedViewError, "view"),
    (ProjectionStoppedError, "view"),
    (MalformedError, "malformed"),
    (UnknownError, "unknown"),
    (ConflictError, "conflict"),
    (LimitError, "limit"),
    (InvalidError, "invalid"),
    (TallystickError, "storage"),
)
# A disk that is full, a file that is gone: not the caller, and not a mistake in our code either.
_MACHINE = (OSError, sqlite3.Error, duckdb.OperationalError)
# What these name (addresses, options of a connection) is for the log and not for callers.
_OF_THE_OPERATOR = ("unreachable", "closing")
_BY_STATUS = {
    400: "malformed",
    401: "unauthorised",
    404: "unknown",
    405: "method",
    413: "limit",
    415: "media-type",
    429: "busy",
}

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
    """An error that is only about HTTP, by the name of its problem."""

    def __init__(
        self, name: str, detail: str, *, remedy: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.name = name
        self.detail = detail
        self.remedy = remedy
        self.headers = headers or {}


def tallystick_problem(request: Request[Any, Any, Any], error: TallystickError) -> Response[bytes]:
    """One of our errors."""
    name = problem_name(error)
    is_ours = PROBLEMS[name][0] >= 500
    if is_ours:
        _log.error("%s %s: %s: %s", request.method, request.scope["path"], type(error).__name__, error)
    detail, remedy = (f"{error.field}: {error.what}" if error.field else error.what), error.remedy
    if name in _OF_THE_OPERATOR:
        detail, remedy = error.what, ""
    return _answer(
        request,
        name,
        detail,
        remedy=remedy,
        expected="" if is_ours else error.expected,
        actual="" if is_ours else error.actual,
    )


def problem_name(error: TallystickError) -> str:
    """Which of ``PROBLEMS`` an error of ours is."""
    if isinstance(error, UnknownSubjectKeyError):
        return "shredded" if error.is_destroyed else "damaged"
    name = next(name for kind, name in _KINDS if isinstance(error, kind))
    # Whoever raised it because the disk was full or the store refused did not mean the caller.
    is_machine = any(isinstance(cause, _MACHINE) for cause in _causes(error))
    return name if PROBLEMS[name][0] >= 500 or not is_machine else "storage"


def api_problem(request: Request[Any, Any, Any], error: ApiError) -> Response[bytes]:
    """An error about HTTP itself."""
    return _answer(request, error.name, error.detail, remedy=error.remedy, headers=error.headers)


def http_problem(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the framework refused: parameters, unknown route, method, media type, size."""
    name = _BY_STATUS.get(error.status_code, "malformed" if error.status_code < 500 else "unexpected")
    parts: list[ProblemPart] = []
    if isinstance(error.extra, list):
        parts = [_part(item) for item in error.extra[:PARTS_MAX] if isinstance(item, dict)]
    match name:
        case "unknown":
            detail = "no such route"
        case "unexpected":
            detail = "the request ended in an error"
        case _:
            detail = "; ".join(f"{part.pointer}: {part.detail}" for part in parts) or error.detail
    return _answer(request, name, detail, parts=parts, headers=dict(error.headers or {}))


def unexpected_problem(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Our own bug: logged with its trace, answered with an id and nothing else."""
    if isinstance(error, _MACHINE):
        _log.error("%s %s: %s", request.method, request.scope["path"], error)
        return _answer(request, "storage", type(error).__name__)
    _log.error("%s %s, %s", request.method, request.scope["path"], _instance(request), exc_info=error)
    return _answer(request, "unexpected", "Nothing that was acknowledged is lost.")


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    TallystickError: tallystick_problem,
    ApiError: api_problem,
    HTTPException: http_problem,
    Exception: unexpected_problem,
}


def problem_bytes(name: str, detail: str, instance: str) -> bytes:
    """A problem's body, for what goes wrong outside of the framework."""
    status, title, remedy = PROBLEMS[name]
    return msgspec.json.encode(
        Problem(
            type=TYPE_PREFIX + name,
            title=title,
            status=status,
            detail=detail,
            instance=instance,
            remedy=remedy,
        )
    )


def _answer(
    request: Request[Any, Any, Any],
    name: str,
    detail: str,
    *,
    remedy: str = "",
    expected: str = "",
    actual: str = "",
    parts: list[ProblemPart] | None = None,
    headers: dict[str, str] | None = None,
) -> Response[bytes]:
    status, title, general_remedy = PROBLEMS[name]
    problem = Problem(
        type=TYPE_PREFIX + name,
        title=title,
        status=status,
        detail=_text(detail),
        instance=_instance(request),
        errors=parts or UNSET,
        expected=_text(expected) or UNSET,
        actual=_text(actual) or UNSET,
        remedy=_text(remedy or general_remedy),
    )
    kept = {
        header.lower(): value
        for header, value in (headers or {}).items()
        if header.lower() not in ("content-type", "content-length")
    }
    if status in (429, 503):
        kept.setdefault("retry-after", str(RETRY_SECONDS))
    if status == 401:
        kept["www-authenticate"] = 'Bearer realm="tallystick"'
    return Response(
        content=msgspec.json.encode(problem), status_code=status, media_type=MEDIA_TYPE, headers=kept
    )


def _instance(request: Request[Any, Any, Any]) -> str:
    found = request.scope.get("state", {}).get("request_id")
    return f"urn:uuid:{found or uuid.uuid4()}"


def _part(item: dict[str, Any]) -> ProblemPart:
    source, key = str(item.get("source", "")), str(item.get("key", ""))
    pointer = f"#/{key.replace('.', '/')}" if source == "body" else key
    return ProblemPart(detail=_text(str(item.get("message", ""))), pointer=_text(pointer))


def _text(text: str) -> str:
    """Bounded, and free of what JSON in UTF-8 cannot say."""
    return text[:TEXT_CHARACTERS_MAX].encode("utf-8", "replace").decode()


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__
