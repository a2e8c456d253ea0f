"""What a receipt is worth now: valid, superseded, recalled or withheld.

``withheld`` is said by the receipt itself.  The other two are said by later entries under the topic
``status/<receipt id>``: a receipt that supersedes it, or a recall that names it.  Because topics can be
proven complete (``ledger.completeness``), so can *valid*: nothing of the kind was recorded up to the size of
the proof.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from msgspec import Struct

from domain.errors import InvalidError
from domain.events import ReceiptIssued, ReceiptsRecalled, Recorded
from ledger.completeness import Complete
from ledger.receipt import Predicate, parse_receipt
from ledger.topics import status_topic


class Status(enum.StrEnum):
    """Worst first: a recall outranks everything, because what replaced a recalled receipt may rest on the
    same fault."""

    RECALLED = "recalled"
    WITHHELD = "withheld"
    SUPERSEDED = "superseded"
    VALID = "valid"


class ReceiptStatus(Struct, frozen=True, kw_only=True):
    """A receipt's status as of the first ``size`` entries; ``by`` are the recalls or the receipt that say
    so."""

    receipt_id: str
    status: Status
    by: tuple[str, ...]
    size: int


def status_of(receipt_id: str, predicate: Predicate, events: Sequence[Recorded], size: int) -> ReceiptStatus:
    """Judge a receipt by every event of its status topic."""
    recalls: list[str] = []
    successors: list[str] = []
    for recorded in events:
        match recorded.event:
            case ReceiptsRecalled() as event if any(one.receipt_id == receipt_id for one in event.receipts):
                recalls.append(event.recall_id)
            case ReceiptIssued() as event:
                successor, other = parse_receipt(event.envelope)
                if other.supersedes == receipt_id:
                    successors.append(successor)
            case _:
                pass
    if recalls:
        return ReceiptStatus(receipt_id=receipt_id, status=Status.RECALLED, by=tuple(recalls), size=size)
    if not predicate.is_presentable:
        return ReceiptStatus(receipt_id=receipt_id, status=Status.WITHHELD, by=(), size=size)
    if successors:
        return ReceiptStatus(
            receipt_id=receipt_id, status=Status.SUPERSEDED, by=tuple(successors[-1:]), size=size
        )
    return ReceiptStatus(receipt_id=receipt_id, status=Status.VALID, by=(), size=size)


def proven_status(receipt_id: str, predicate: Predicate, complete: Complete) -> ReceiptStatus:
    """The status that a verified completeness proof shows.  Raises: InvalidError for a proof about something
    else."""
    if complete.topic != status_topic(receipt_id) or complete.origin != predicate.ledger:
        raise InvalidError(
            "this proof is about something else",
            field="topic",
            expected=status_topic(receipt_id),
            actual=complete.topic,
        )
    return status_of(receipt_id, predicate, complete.events, complete.size)
