"""Recall: what a calibration, firmware or procedure version that turned out wrong takes with it.

A recall is declared first; from that entry on the target is not used by new runs (``domain.state``).  Then
every receipt up to the declaration is looked at, and those that rest on the target are recorded, in parts, as
one set that the seal signs.  Nothing old is changed: a recalled receipt still verifies, and its status says
what happened to it.  A crash in between is repaired by asking again.
"""

from __future__ import annotations

import hashlib

from domain.errors import InvalidError, MalformedError, UnknownError
from domain.events import RecallDeclared, RecalledReceipt, ReceiptIssued, ReceiptsRecalled, Recorded
from domain.lookups import recall_name
from ledger.desk import Desk
from ledger.ledger import Ledger, Proposal
from ledger.receipt import Predicate, parse_receipt
from ledger.recorded import event_of, recorded_of

KINDS = ("calibration", "firmware", "procedure")
# Receipts named in one event: some 60 bytes each, far below the limit of a body.
RECEIPTS_PER_PART = 5_000
REASON_CHARACTERS_MAX = 500
READ_BATCH = 2_048


async def recall(
    desk: Desk, kind: str, target: str, reason: str, actor: str
) -> tuple[Recorded, tuple[RecalledReceipt, ...]]:
    """Declare a recall and record the set of receipts it affects; doing it twice changes nothing.

    ``target`` is ``<device>/<calibration id>``, ``<device>/<firmware>`` or ``<procedure>/<version>``.
    Raises: MalformedError, UnknownError when the target was never in use.
    """
    await _check(desk.ledger, kind, target, reason)
    identity = hashlib.sha256(f"{kind}\n{target}".encode()).hexdigest()[:24]
    event = RecallDeclared(recall_id=f"recall-{identity}", kind=kind, target=target, reason=reason)
    proposal = Proposal(event=event, actor=actor, subject=f"recall/{event.recall_id}")
    declared = (await desk.ledger.record(proposal))[0]
    affected = await affected_receipts(desk.ledger, event_of(declared, RecallDeclared), declared.index)
    parts = [affected[at : at + RECEIPTS_PER_PART] for at in range(0, len(affected), RECEIPTS_PER_PART)] or [
        ()
    ]
    for number, part in enumerate(parts):
        recalled = ReceiptsRecalled(
            recall_id=event.recall_id,
            recall_index=declared.index,
            part=number,
            is_last=number == len(parts) - 1,
            receipt_count=len(affected),
            receipts=part,
        )
        await desk.ledger.record(
            Proposal(
                event=recalled, actor=actor, subject=f"recall/{event.recall_id}", causation=(declared.index,)
            )
        )
    return declared, affected


async def affected_receipts(ledger: Ledger, event: RecallDeclared, below: int) -> tuple[RecalledReceipt, ...]:
    """The receipts before entry ``below`` that rest on the recall's target, in ledger order."""
    found: list[RecalledReceipt] = []
    position = 0
    while position < below and (records := await ledger.read(position, READ_BATCH)):
        for record in records:
            if record.event_type == ReceiptIssued.TYPE and record.index < below:
                envelope = event_of(recorded_of(record), ReceiptIssued).envelope
                receipt_id, predicate = parse_receipt(envelope)
                if rests_on(predicate, event):
                    found.append(RecalledReceipt(receipt_id=receipt_id, index=record.index))
        position = records[-1].index + 1
    return tuple(found)


def rests_on(predicate: Predicate, event: RecallDeclared) -> bool:
    """Whether a receipt rests on the target of a recall."""
    match event.kind:
        case "calibration":
            part = predicate.calibration
            return part is not None and _is(
                event, part.calibration.device_id, part.calibration.calibration_id
            )
        case "firmware":
            configuration = predicate.configuration
            return configuration is not None and _is(
                event, predicate.source.source_id, configuration.firmware
            )
        case "procedure":
            return _is(event, predicate.procedure.name, predicate.procedure.version)
        case _:
            return False


def _is(event: RecallDeclared, first: str, second: str) -> bool:
    return event.target == f"{first}/{second}"


async def _check(ledger: Ledger, kind: str, target: str, reason: str) -> None:
    if kind not in KINDS:
        raise MalformedError("cannot be recalled", field="kind", expected=", ".join(KINDS), actual=kind[:40])
    first, slash, second = target.partition("/")
    if not slash or not first or not second or len(target) > 200:
        shape = "<procedure>/<version>" if kind == "procedure" else f"<device>/<{kind}>"
        raise MalformedError("not a target", field="target", expected=shape, actual=target[:80])
    if not 1 <= len(reason) <= REASON_CHARACTERS_MAX:
        raise InvalidError(
            "a recall says why", field="reason", expected=f"1 to {REASON_CHARACTERS_MAX} characters"
        )
    if await ledger.find(recall_name(kind, target)) is not None:
        return  # declared before; the recall goes on where it stopped
    state = ledger.state
    if kind == "procedure":
        is_known = any(
            (d.event.procedure, d.event.version) == (first, second) for d in state.deployments.values()
        )
    elif kind == "calibration":
        calibrations = state.sources[first].calibrations if first in state.sources else ()
        is_known = any(calibration.calibration_id == second for _, calibration in calibrations)
    else:
        is_known = first in state.sources
    if not is_known:
        raise UnknownError(
            "never in use here", field="target", actual=target, remedy="tally sources lists what is."
        )
