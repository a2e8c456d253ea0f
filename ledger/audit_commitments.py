"""The part of an audit that checks what the ledger says about itself: topic commitments and recall sets are
derived again.

1. Every ``topics.committed.v1`` covers exactly the entries before it, with the number and the root that
   folding them gives.
2. Every recall names, over all its parts, exactly the receipts before its declaration that rest on its
   target, in order.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from domain.events import RecallDeclared, RecalledReceipt, ReceiptIssued, ReceiptsRecalled, TopicsCommitted
from ledger.ports import EventLog, Record
from ledger.recall import rests_on
from ledger.receipt import Predicate, parse_receipt
from ledger.recorded import event_of, recorded_of
from ledger.topics import TopicFold

READ_BATCH = 2_048
_LOOKED_AT = frozenset(
    kind.TYPE for kind in (TopicsCommitted, RecallDeclared, ReceiptsRecalled, ReceiptIssued)
)


class _Recall(Struct, kw_only=True):
    """A recall while its parts come in."""

    expected: tuple[RecalledReceipt, ...]
    named: list[RecalledReceipt]
    parts: int = 0


async def check_commitments(log: EventLog, ledger: str) -> list[tuple[int, str, str]]:
    """What does not fit, as (index, check, detail).  Raises: MalformedError for records that a chain audit
    would have refused."""
    check = _Check()
    while records := await log.read(ledger, check.fold.size, READ_BATCH):
        check.take(records)
    return check.findings


class _Check:
    def __init__(self) -> None:
        self.fold = TopicFold()
        self.findings: list[tuple[int, str, str]] = []
        self._receipts: list[tuple[RecalledReceipt, Predicate]] = []
        self._recalls: dict[str, _Recall] = {}

    def take(self, records: list[Record]) -> None:
        start = 0
        for position, record in enumerate(records):
            if record.event_type not in _LOOKED_AT:
                continue
            event = recorded_of(record).event
            if isinstance(event, TopicsCommitted):
                self.fold.take(records[start:position])
                start = position
                self._check_topics(record.index, event)
            elif isinstance(event, ReceiptIssued):
                receipt_id, predicate = parse_receipt(event.envelope)
                # Gates and windows are not needed to know what a receipt rests on, and are most of it.
                self._receipts.append(
                    (RecalledReceipt(receipt_id=receipt_id, index=record.index), _bare(predicate))
                )
            elif isinstance(event, RecallDeclared):
                expected = tuple(one for one, predicate in self._receipts if rests_on(predicate, event))
                self._recalls[event.recall_id] = _Recall(expected=expected, named=[])
            else:
                self._check_recall(record.index, event_of(recorded_of(record), ReceiptsRecalled))
        self.fold.take(records[start:])

    def _check_topics(self, index: int, event: TopicsCommitted) -> None:
        tree = self.fold.tree()
        if event.size != index:
            self.findings.append(
                (index, "topics", f"claims to cover {event.size} entries, stands after {index}")
            )
        elif event.topic_count != len(tree.states) or event.root_sha256 != tree.root.hex():
            self.findings.append((index, "topics", "commits to other topics than the entries before it have"))

    def _check_recall(self, index: int, event: ReceiptsRecalled) -> None:
        recall = self._recalls.get(event.recall_id)
        if recall is None or event.part != recall.parts:
            self.findings.append((index, "recall", "a set of receipts without its recall, or out of order"))
            return
        recall.parts += 1
        recall.named += event.receipts
        if event.is_last and (
            tuple(recall.named) != recall.expected or event.receipt_count != len(recall.expected)
        ):
            self.findings.append(
                (index, "recall", "names other receipts than those that rest on what was recalled")
            )


def _bare(predicate: Predicate) -> Predicate:
    return replace(predicate, windows=(), window_scores=(), gates=())
