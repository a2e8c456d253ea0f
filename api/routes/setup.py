"""Setup over HTTP: what ``tally apply`` does, for programs."""

from __future__ import annotations

from litestar import post
from litestar.response import Response
from msgspec import Struct

from adapters.contract_files import parse_contract
from adapters.plain_documents import DOCUMENT_BYTES_MAX
from adapters.setup_files import parse_setup
from api.authentication import ADMIN
from api.intake import IdempotencyKey, answer_once, read_body
from api.openapi import documented
from api.problems import ApiError
from api.setup import apply_setup
from api.tenancy import ApiRequest, Caller
from domain.errors import InvalidError
from domain.events import Recorded
from ledger.registry import publish_contract

_NAMES = {
    "application/json": "body.json",
    "application/yaml": "body.yaml",
    "application/x-yaml": "body.yaml",
    "text/yaml": "body.yaml",
}
_PROBLEMS = ("slow", "limit", "media-type", "unknown", "conflict", "running", "invalid", "reused-key")


class AppliedEvent(Struct, frozen=True, kw_only=True):
    """An entry that says what was asked for; ``is_new`` is false when it was already there."""

    index: int
    event_type: str
    subject: str
    is_new: bool


class Applied(Struct, frozen=True, kw_only=True):
    """Everything a setup stands for, in the order it was applied."""

    events: list[AppliedEvent]


@post(
    "/setup",
    opt=ADMIN,
    status_code=200,
    summary="Apply a setup",
    tags=["setup"],
    responses=documented(*_PROBLEMS),
)
async def post_setup(
    request: ApiRequest, caller: Caller, idempotency_key: IdempotencyKey = ""
) -> Response[Applied]:
    """Register devices and connections, set calibrations and put procedures in force.

    Applying the same again changes nothing. What the ledger refuses ends it there; what came before it stays,
    and applying again goes on from there.
    """
    name, body = await _document(request, caller)
    setup = parse_setup(body, name)
    if setup.contracts:
        raise InvalidError(
            "contracts are files beside a setup, and there are none here",
            field="contracts",
            expected="none",
            remedy="Send each contract to /v1/contracts, before the setup that names it.",
        )

    def no_files(path: str) -> bytes:
        raise AssertionError(path)

    async def work() -> tuple[int, str, Struct]:
        applied = await apply_setup(caller.desk, setup, no_files, caller.actor)
        return 200, "", Applied(events=[_applied(recorded, is_new) for recorded, is_new in applied])

    return await answer_once(request, caller, idempotency_key, body, work)


@post(
    "/contracts",
    opt=ADMIN,
    status_code=200,
    summary="Publish a contract",
    tags=["setup"],
    responses=documented(*_PROBLEMS),
)
async def post_contract(
    request: ApiRequest, caller: Caller, idempotency_key: IdempotencyKey = ""
) -> Response[AppliedEvent]:
    """Publish a version of a contract; a published version is never edited."""
    name, body = await _document(request, caller)
    contract = parse_contract(body, name)

    async def work() -> tuple[int, str, Struct]:
        size = caller.desk.ledger.size
        recorded = await publish_contract(caller.desk, contract, caller.actor)
        return 200, "", _applied(recorded, recorded.index >= size)

    return await answer_once(request, caller, idempotency_key, body, work)


async def _document(request: ApiRequest, caller: Caller) -> tuple[str, bytes]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    name = _NAMES.get(media_type)
    if name is None:
        raise ApiError(
            "media-type",
            f"a setup is sent as one of {', '.join(_NAMES)}",
            headers={"Accept-Post": ", ".join(_NAMES)},
        )
    return name, await read_body(request, caller, DOCUMENT_BYTES_MAX)


def _applied(recorded: Recorded, is_new: bool) -> AppliedEvent:
    return AppliedEvent(
        index=recorded.index, event_type=recorded.event.TYPE, subject=recorded.subject, is_new=is_new
    )
