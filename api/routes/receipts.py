"""Receipts with their proofs, and the artifacts and reports they stand for."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import FromQuery
from litestar.response import Response
from msgspec import Struct

from api.authentication import AUDIT, READ
from api.intake import IdempotencyKey, answer_once
from api.openapi import documented
from api.parameters import ArtifactName, AtTime, IsNewest, OfProcedure, OfSource, ReceiptId
from api.premises import Premises
from api.problems import ApiError
from api.report_links import ReportLink
from api.routes.paging import Page, PageSize, PageToken, size_of, start_of, token_of
from api.tenancy import ApiRequest, Caller
from api.views import TenantViews
from domain.errors import UnknownError
from domain.events import ReceiptIssued
from domain.outcomes import Outcome
from ledger.bundle import FILE_SUFFIX, MEDIA_TYPE, bundle_of, format_bundle
from ledger.desk import Desk
from ledger.dsse import parse_envelope
from ledger.receipt import Predicate, parse_receipt
from ledger.recorded import event_of
from ledger.replay import find_receipt, record_replay, replay
from ledger.reprocess import artifact_of
from ledger.run import decided_of
from projections.reading import receipts as reading
from projections.reading.receipts import ReceiptSummary

REPORT_HTML = "report.html"
REPORT_PREFIX = "report."
RECALLED = "recalled"
ENVELOPE_MEDIA_TYPE = "application/vnd.dsse.envelope.v1+json"
# A report brings its own style and pictures, and can do nothing else.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


class ReceiptView(Struct, frozen=True, kw_only=True):
    """A receipt read for programs; ``statement`` is the in-toto Statement that was signed.

    ``status`` is what it is worth now: ``valid``, ``withheld``, ``superseded`` or ``recalled``.
    """

    receipt_id: str
    index: int
    recorded_at_ns: int
    verdict: Outcome
    is_presentable: bool
    status: str
    superseded_by: str | None
    recall_id: str | None
    statement: Annotated[msgspec.Raw, msgspec.Meta(description="An in-toto Statement v1 (docs/format.md)")]


class Verdict(Struct, frozen=True, kw_only=True):
    """What a run may be presented as, and why; ``status`` is what its receipt is worth now."""

    receipt_id: str
    run_id: str
    verdict: Outcome
    is_presentable: bool
    abstentions: tuple[str, ...]
    failures: tuple[str, ...]
    failure: str
    supersedes: str
    status: str
    superseded_by: str | None
    recall_id: str | None


class ReplayView(Struct, frozen=True, kw_only=True):
    """What a replay found (``reproduced``, ``reproduced-quantised`` or ``diverged``), and where that is
    recorded."""

    receipt_id: str
    result: str
    first_difference: str
    recorded_index: int


@get("/receipts", opt=READ, summary="Receipts", tags=["receipts"], responses=documented("view"))
async def list_receipts(
    caller: Caller,
    source: OfSource = None,
    procedure: OfProcedure = None,
    verdict: FromQuery[Outcome | None] = None,
    is_presentable: FromQuery[bool | None] = None,
    recorded_from_ns: AtTime = None,
    recorded_until_ns: AtTime = None,
    page_size: PageSize = 0,
    page_token: PageToken = "",
) -> Page[ReceiptSummary]:
    """Receipts, newest first, with what superseded them and what came of replaying them."""
    asked = ("receipts", source, procedure, verdict, is_presentable, recorded_from_ns, recorded_until_ns)
    page = await caller.query(
        reading.list_receipts,
        source_id=source,
        procedure=procedure,
        verdict=verdict,
        is_presentable=is_presentable,
        recorded_from_ns=recorded_from_ns,
        recorded_until_ns=recorded_until_ns,
        before=start_of(page_token, caller.page_secret, *asked),
        limit=size_of(page_size),
    )
    return Page(items=page.items, next_page_token=token_of(page.next_before, caller.page_secret, *asked))


@get(
    "/receipts/{receipt_id:str}",
    opt=READ,
    summary="One receipt",
    tags=["receipts"],
    responses=documented("unknown", "view"),
)
async def get_receipt(caller: Caller, receipt_id: ReceiptId) -> ReceiptView:
    """The signed statement, read out of its envelope."""
    index, recorded_at_ns, envelope, predicate = await _receipt(caller.desk, receipt_id)
    now = await caller.query(reading.get_receipt, receipt_id)
    return ReceiptView(
        receipt_id=receipt_id,
        index=index,
        recorded_at_ns=recorded_at_ns,
        verdict=predicate.verdict,
        is_presentable=predicate.is_presentable,
        status=now.status,
        superseded_by=now.superseded_by,
        recall_id=now.recall_id,
        statement=msgspec.Raw(parse_envelope(envelope).payload),
    )


@get(
    "/receipts/{receipt_id:str}/verdict",
    opt=READ,
    summary="What it may be presented as",
    tags=["receipts"],
    responses=documented("unknown", "view"),
)
async def get_verdict(caller: Caller, receipt_id: ReceiptId) -> Verdict:
    """The verdict with the gates that failed or abstained."""
    _, _, _, predicate = await _receipt(caller.desk, receipt_id)
    now = await caller.query(reading.get_receipt, receipt_id)
    return Verdict(
        receipt_id=receipt_id,
        run_id=predicate.run.run_id,
        verdict=predicate.verdict,
        is_presentable=predicate.is_presentable,
        abstentions=predicate.abstentions,
        failures=predicate.failures,
        failure=predicate.failure,
        supersedes=predicate.supersedes,
        status=now.status,
        superseded_by=now.superseded_by,
        recall_id=now.recall_id,
    )


@get(
    "/receipts/{receipt_id:str}/bundle",
    opt=READ,
    summary="Everything to verify it offline",
    tags=["receipts"],
    media_type=MEDIA_TYPE,
    responses=documented("unknown"),
)
async def get_bundle(caller: Caller, receipt_id: ReceiptId, is_newest: IsNewest = False) -> Response[bytes]:
    """Envelope, entry and proof in one file, for `tally verify` or any other verifier (docs/format.md).

    Proven under the newest checkpoint that witnesses have cosigned and that covers it, else the newest seal.
    """
    index = await find_receipt(caller.desk, receipt_id)
    data = format_bundle(await bundle_of(caller.desk.ledger, index, is_newest=is_newest))
    return Response(data, media_type=MEDIA_TYPE, headers=_as_file(f"{receipt_id}{FILE_SUFFIX}"))


@get(
    "/receipts/{receipt_id:str}/envelope",
    opt=READ,
    summary="The DSSE envelope",
    tags=["receipts"],
    media_type=ENVELOPE_MEDIA_TYPE,
    responses=documented("unknown"),
)
async def get_envelope(caller: Caller, receipt_id: ReceiptId) -> Response[bytes]:
    """The receipt's bytes as they are recorded."""
    _, _, envelope, _ = await _receipt(caller.desk, receipt_id)
    return Response(envelope, media_type=ENVELOPE_MEDIA_TYPE, headers=_as_file(f"{receipt_id}.dsse.json"))


@get(
    "/receipts/{receipt_id:str}/report",
    opt=READ,
    summary="The report for people",
    tags=["receipts"],
    media_type="text/html",
    responses=documented("unknown", "withheld", "shredded", "view"),
)
async def get_report(caller: Caller, receipt_id: ReceiptId) -> Response[bytes]:
    """The self-contained HTML report; a withheld run's report says so, and shows no results."""
    views = await caller.premises.views(caller.key.tenant)
    data = await _artifact(caller.desk, views, receipt_id, REPORT_HTML, is_auditor=caller.is_auditor)
    return report_response(data)


@get(
    "/receipts/{receipt_id:str}/report-link",
    opt=READ,
    summary="A link to the report for a browser",
    tags=["receipts"],
    responses=documented("unknown"),
)
async def get_report_link(caller: Caller, receipt_id: ReceiptId) -> ReportLink:
    """A path that shows the report without a key for a minute, because a browser sends no key."""
    await find_receipt(caller.desk, receipt_id)
    return caller.premises.report_links.link(caller.key, receipt_id)


@get(
    "/receipts/{receipt_id:str}/artifacts/{name:str}",
    opt=READ,
    summary="One artifact",
    tags=["receipts"],
    media_type="application/octet-stream",
    responses=documented("unknown", "withheld", "shredded", "view"),
)
async def get_artifact(caller: Caller, receipt_id: ReceiptId, name: ArtifactName) -> Response[bytes]:
    """An artifact's bytes, decrypted where they are a person's; what is withheld is for auditors only."""
    views = await caller.premises.views(caller.key.tenant)
    data = await _artifact(caller.desk, views, receipt_id, name, is_auditor=caller.is_auditor)
    return Response(data, media_type="application/octet-stream", headers=_as_file(name))


@post(
    "/receipts/{receipt_id:str}/replay",
    opt=AUDIT,
    status_code=200,
    summary="Run it again and compare",
    tags=["receipts"],
    responses=documented("unknown", "running", "invalid", "reused-key", "busy"),
)
async def post_replay(
    request: ApiRequest, caller: Caller, receipt_id: ReceiptId, idempotency_key: IdempotencyKey = ""
) -> Response[ReplayView]:
    """Run the receipt again from the events and compare byte for byte; what is found is an event itself."""
    await find_receipt(caller.desk, receipt_id)

    async def work() -> tuple[int, str, Struct]:
        async with caller.premises.replay_room(caller.key.tenant):
            outcome = await replay(caller.desk, receipt_id)
        recorded = await record_replay(caller.desk, outcome, caller.actor)
        found = ReplayView(
            receipt_id=receipt_id,
            result=outcome.result,
            first_difference=outcome.first_difference,
            recorded_index=recorded.index,
        )
        return 200, "", found

    return await answer_once(request, caller, idempotency_key, b"", work)


async def report_of(premises: Premises, tenant: str, receipt_id: str) -> bytes:
    """A receipt's report, which withholds by itself what must be.

    Raises: UnknownError, ApiError when the receipt was recalled.
    """
    desk, views = await premises.desk(tenant), await premises.views(tenant)
    return await _artifact(desk, views, receipt_id, REPORT_HTML, is_auditor=False)


def report_response(data: bytes) -> Response[bytes]:
    """A report as a page that can do nothing but be read; our own console may frame it."""
    headers = {
        "Content-Security-Policy": f"{REPORT_POLICY}; frame-ancestors 'self'",
        "X-Frame-Options": "SAMEORIGIN",
    }
    return Response(data, media_type="text/html", headers=headers)


async def _receipt(desk: Desk, receipt_id: str) -> tuple[int, int, bytes, Predicate]:
    index = await find_receipt(desk, receipt_id)
    recorded = (await desk.ledger.get(index))[1]
    envelope = event_of(recorded, ReceiptIssued).envelope
    return index, recorded.recorded_at_ns, envelope, parse_receipt(envelope)[1]


async def _artifact(desk: Desk, views: TenantViews, receipt_id: str, name: str, *, is_auditor: bool) -> bytes:
    _, _, _, predicate = await _receipt(desk, receipt_id)
    now = await views.query(reading.get_receipt, receipt_id)
    if now.status == RECALLED and not is_auditor:
        raise ApiError(
            "withheld",
            f"the receipt was recalled ({now.recall_id}); what it stood for is not presented as truth",
            remedy="Use what supersedes it; a key with the scope audit may fetch the bytes.",
        )
    if not (predicate.is_presentable or is_auditor or name.startswith(REPORT_PREFIX)):
        raise ApiError(
            "withheld",
            f"the run's verdict is {predicate.verdict}; what it made is not presented as truth",
            remedy="Read the report for the reasons; a key with the scope audit may fetch the bytes.",
        )
    decided = await decided_of(desk.ledger, predicate.run.decided_index)
    data = await artifact_of(desk, predicate.source.source_id, decided, name)
    if data is None:
        raise UnknownError(
            "no such artifact",
            field="name",
            actual=name,
            expected=", ".join(artifact.name for artifact in decided.artifacts),
        )
    return data


def _as_file(name: str) -> dict[str, str]:
    """Headers for something to save; ``name`` is made of letters, digits, dots, dashes and underscores."""
    return {"Content-Disposition": f'attachment; filename="{name}"', "Content-Security-Policy": "sandbox"}
