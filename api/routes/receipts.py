"""Receipts with their proofs, and the artifacts and reports they stand for."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import Parameter
from litestar.response import Response
from msgspec import Struct

from api.authentication import needs
from api.problems import ApiError
from api.tenancy import Caller
from domain.errors import UnknownError
from domain.events import ReceiptIssued
from ledger.bundle import FILE_SUFFIX, MEDIA_TYPE, bundle_of, format_bundle
from ledger.dsse import parse_envelope
from ledger.receipt import Predicate, parse_receipt
from ledger.recorded import event_of
from ledger.replay import find_receipt, record_replay, replay
from ledger.reprocess import artifact_of
from ledger.run import decided_of

REPORT_PREFIX = "report."
_DOWNLOAD = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


class ReceiptView(Struct, frozen=True, kw_only=True):
    """A receipt read for programs; ``statement`` is what was signed."""

    receipt_id: str
    index: int
    recorded_at_ns: int
    verdict: str
    is_presentable: bool
    statement: msgspec.Raw


class Verdict(Struct, frozen=True, kw_only=True):
    """What a run may be presented as, and why."""

    receipt_id: str
    run_id: str
    verdict: str
    is_presentable: bool
    abstentions: tuple[str, ...]
    failures: tuple[str, ...]
    failure: str
    supersedes: str


class ReplayView(Struct, frozen=True, kw_only=True):
    """What a replay found, and where it is recorded."""

    receipt_id: str
    result: str
    first_difference: str
    recorded_index: int


@get("/receipts/{receipt_id:str}", guards=[needs("read")], summary="One receipt")
async def get_receipt(caller: Caller, receipt_id: str) -> ReceiptView:
    """The signed statement, read out of its envelope."""
    index, recorded_at_ns, envelope, predicate = await _receipt(caller, receipt_id)
    return ReceiptView(
        receipt_id=receipt_id,
        index=index,
        recorded_at_ns=recorded_at_ns,
        verdict=predicate.verdict,
        is_presentable=predicate.is_presentable,
        statement=msgspec.Raw(parse_envelope(envelope).payload),
    )


@get("/receipts/{receipt_id:str}/verdict", guards=[needs("read")], summary="What it may be presented as")
async def get_verdict(caller: Caller, receipt_id: str) -> Verdict:
    """The verdict with the gates that failed or abstained."""
    _, _, _, predicate = await _receipt(caller, receipt_id)
    return Verdict(
        receipt_id=receipt_id,
        run_id=predicate.run.run_id,
        verdict=predicate.verdict,
        is_presentable=predicate.is_presentable,
        abstentions=predicate.abstentions,
        failures=predicate.failures,
        failure=predicate.failure,
        supersedes=predicate.supersedes,
    )


@get(
    "/receipts/{receipt_id:str}/bundle",
    guards=[needs("read")],
    summary="Everything to verify it offline",
    media_type=MEDIA_TYPE,
)
async def get_bundle(caller: Caller, receipt_id: str) -> Response[bytes]:
    """Envelope, entry and proof in one file, for ``tally verify``."""
    index = await find_receipt(caller.desk, receipt_id)
    data = format_bundle(await bundle_of(caller.desk.ledger, index))
    headers = {"Content-Disposition": f'attachment; filename="{receipt_id}{FILE_SUFFIX}"', **_DOWNLOAD}
    return Response(data, media_type=MEDIA_TYPE, headers=headers)


@get(
    "/receipts/{receipt_id:str}/envelope",
    guards=[needs("read")],
    summary="The DSSE envelope",
    media_type="application/vnd.dsse.envelope.v1+json",
)
async def get_envelope(caller: Caller, receipt_id: str) -> Response[bytes]:
    """The receipt's bytes as they are recorded."""
    _, _, envelope, _ = await _receipt(caller, receipt_id)
    return Response(envelope, media_type="application/vnd.dsse.envelope.v1+json", headers=_DOWNLOAD)


@get(
    "/receipts/{receipt_id:str}/report",
    guards=[needs("read")],
    summary="The report for people",
    media_type="text/html",
)
async def get_report(caller: Caller, receipt_id: str) -> Response[bytes]:
    """The self-contained HTML report; a withheld run's report says so and shows no results."""
    data = await _artifact(caller, receipt_id, "report.html")
    headers = {"Content-Security-Policy": _REPORT_POLICY, "X-Content-Type-Options": "nosniff"}
    return Response(data, media_type="text/html; charset=utf-8", headers=headers)


@get(
    "/receipts/{receipt_id:str}/artifacts/{name:str}",
    guards=[needs("read")],
    summary="One artifact",
    media_type="application/octet-stream",
)
async def get_artifact(
    caller: Caller, receipt_id: str, name: Annotated[str, Parameter(max_length=128)]
) -> Response[bytes]:
    """An artifact's bytes, decrypted where they are a person's.  What is withheld is given to auditors only."""
    data = await _artifact(caller, receipt_id, name)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', **_DOWNLOAD}
    return Response(data, media_type="application/octet-stream", headers=headers)


@post(
    "/receipts/{receipt_id:str}/replay",
    guards=[needs("audit")],
    status_code=200,
    summary="Run it again and compare",
)
async def post_replay(caller: Caller, receipt_id: str) -> ReplayView:
    """Replay the receipt; the outcome is recorded as an event of its own."""
    outcome = await replay(caller.desk, receipt_id)
    recorded = await record_replay(caller.desk, outcome, caller.actor)
    return ReplayView(
        receipt_id=receipt_id,
        result=outcome.result,
        first_difference=outcome.first_difference,
        recorded_index=recorded.index,
    )


async def _receipt(caller: Caller, receipt_id: str) -> tuple[int, int, bytes, Predicate]:
    index = await find_receipt(caller.desk, receipt_id)
    recorded = (await caller.desk.ledger.get(index))[1]
    envelope = event_of(recorded, ReceiptIssued).envelope
    return index, recorded.recorded_at_ns, envelope, parse_receipt(envelope)[1]


async def _artifact(caller: Caller, receipt_id: str, name: str) -> bytes:
    _, _, _, predicate = await _receipt(caller, receipt_id)
    may_see = predicate.is_presentable or name.startswith(REPORT_PREFIX) or _is_auditor(caller)
    if not may_see:
        raise ApiError(
            403,
            "withheld",
            "This result is withheld",
            f"The run's verdict is {predicate.verdict}; its products are not presented as truth.",
            remedy="Read the report for the reasons; a key with the scope 'audit' may fetch the bytes.",
        )
    decided = await decided_of(caller.desk.ledger, predicate.run.decided_index)
    data = await artifact_of(caller.desk, predicate.source.source_id, decided, name)
    if data is None:
        raise UnknownError(
            "no such artifact",
            field="name",
            actual=name,
            expected=", ".join(artifact.name for artifact in decided.artifacts),
        )
    return data


def _is_auditor(caller: Caller) -> bool:
    return bool({"audit", "admin"} & set(caller.key.scopes))
