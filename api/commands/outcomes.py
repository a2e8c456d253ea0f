"""What came of an ingest: receipts and quarantines, as a person or a program wants to read them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from api.commands.table import format_verdict
from domain.events import BatchQuarantined, ReceiptIssued
from ledger.desk import Desk
from ledger.receipt import Predicate, parse_receipt
from ledger.recorded import recorded_of

READ_BATCH = 1_024


class OutcomeLine(Struct, frozen=True, kw_only=True):
    """One receipt or one quarantine."""

    index: int
    source_id: str
    procedure: str
    verdict: str
    is_presentable: bool
    receipt_id: str
    batch_ids: tuple[str, ...]
    detail: str
    is_quarantine: bool = False


async def outcomes_since(desk: Desk, index: int, batch_ids: Collection[str]) -> list[OutcomeLine]:
    """Receipts and quarantines of these batches recorded from ``index`` on."""
    lines = []
    while records := await desk.ledger.read(index, READ_BATCH):
        for record in records:
            if record.event_type in (ReceiptIssued.TYPE, BatchQuarantined.TYPE):
                line = _line(record.index, recorded_of(record).event)
                if line is not None and not set(batch_ids).isdisjoint(line.batch_ids):
                    lines.append(line)
        index = records[-1].index + 1
    return lines


def outcome_rows(outcomes: Sequence[OutcomeLine]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Headers and rows for a table."""
    headers = ("entry", "source", "procedure", "verdict", "receipt", "why")
    rows: list[tuple[object, ...]] = []
    for line in outcomes:
        shown = format_verdict(line.verdict) + (
            "" if line.is_presentable or line.is_quarantine else ", withheld"
        )
        rows.append(
            (
                line.index,
                line.source_id,
                line.procedure,
                shown,
                line.receipt_id or "–",
                line.detail[:90] or "–",
            )
        )
    return headers, rows


def _line(index: int, event: object) -> OutcomeLine | None:
    match event:
        case ReceiptIssued():
            receipt_id, predicate = parse_receipt(event.envelope)
            return OutcomeLine(
                index=index,
                source_id=predicate.source.source_id,
                procedure=f"{predicate.procedure.name} {predicate.procedure.version}",
                verdict=predicate.verdict,
                is_presentable=predicate.is_presentable,
                receipt_id=receipt_id,
                batch_ids=tuple(batch.batch_id for batch in predicate.batches),
                detail=why(predicate),
            )
        case BatchQuarantined():
            return OutcomeLine(
                index=index,
                source_id=event.source_id,
                procedure=f"{event.procedure} {event.procedure_version}".strip() or "parse",
                verdict="quarantined",
                is_presentable=False,
                receipt_id="",
                batch_ids=(event.batch_id,),
                detail=event.detail,
                is_quarantine=True,
            )
        case _:
            return None


def why(predicate: Predicate) -> str:
    """The gates that did not pass, with their reasons, in one line."""
    parts = [
        f"{gate.gate_id}: {gate.outcome} ({gate.reason})"
        for gate in predicate.gates
        if gate.outcome != "pass"
    ]
    if predicate.failure:
        parts.insert(0, predicate.failure)
    return "; ".join(parts)
