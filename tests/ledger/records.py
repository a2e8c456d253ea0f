"""Well-formed records without a ledger around them, for stores and parsers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ledger.entry import Entry, event_id, format_entry
from ledger.merkle import leaf_hash
from ledger.ports import Record

ORIGIN = "tests.local/records"


def make_entry(index: int = 0, **changes: object) -> Entry:
    """A valid entry with some fields changed."""
    fields: dict[str, object] = {
        "origin": ORIGIN,
        "index": index,
        "event_type": "batch.ingested.v1",
        "recorded_at_ns": 1_700_000_000_000_000_000 + index,
        "actor": "cli",
        "subject": f"batch/b{index}",
        "causation": (),
        "payload_size": 2,
        "payload_sha256": hashlib.sha256(b"{}").hexdigest(),
        "previous": "0" * 64,
    }
    return Entry(**{**fields, **changes})  # type: ignore[arg-type]


def make_records(
    record_count: int, *, start: int = 0, seed: str = "", payloads: Sequence[bytes] | None = None
) -> list[Record]:
    """A chained sequence; the last one carries a seal (whose content a store does not look at)."""
    records: list[Record] = []
    previous = "0" * 64
    for offset in range(record_count):
        payload = payloads[offset] if payloads else f'{{"number":{start + offset},"seed":"{seed}"}}'.encode()
        entry = format_entry(
            make_entry(
                start + offset,
                event_type=_event_type(start + offset),
                payload_size=len(payload),
                payload_sha256=hashlib.sha256(payload).hexdigest(),
                previous=previous,
            )
        )
        leaf = leaf_hash(entry)
        previous = leaf.hex()
        records.append(
            Record(
                index=start + offset,
                event_id=event_id(start + offset, leaf),
                event_type=_event_type(start + offset),
                entry=entry,
                payload=payload,
                seal=b"a seal\n" if offset == record_count - 1 else b"",
            )
        )
    return records


def _event_type(index: int) -> str:
    """A ledger begins with the event that opens it; EventStoreDB finds ledgers by it."""
    return "batch.ingested.v1" if index else "ledger.opened.v1"
