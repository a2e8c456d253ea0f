"""A record as an EventStoreDB event and back.

| event | record |
|---|---|
| stream, stream position | ledger, index |
| id | event id, as a UUID |
| type | event type |
| data | payload, byte for byte; content type ``application/json`` when it looks like JSON |
| metadata | JSON: ``entry`` and, on the last record of an append, ``seal``, both in base64 |

The metadata also holds ``$correlationId`` (the entry's subject) and ``$causationId`` (event id of its last
cause), which the store's own tools understand; nothing here reads them.
"""

from __future__ import annotations

from uuid import UUID

import msgspec
from esdbclient import NewEvent
from msgspec import Struct

from ledger.ports import Record


class _Metadata(
    Struct,
    frozen=True,
    omit_defaults=True,
    rename={"correlation_id": "$correlationId", "causation_id": "$causationId"},
):
    entry: bytes
    seal: bytes = b""
    correlation_id: str = ""
    causation_id: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Metadata).decode


def format_event(record: Record, subject: str, cause: bytes) -> NewEvent:
    """The event to append; ``cause`` are the 16 bytes of the causing event's id, or empty."""
    metadata = _Metadata(record.entry, record.seal, subject, str(UUID(bytes=cause)) if cause else "")
    is_json = record.payload[:1] == b"{"
    return NewEvent(
        type=record.event_type,
        data=record.payload,
        metadata=_encode(metadata),
        content_type="application/json" if is_json else "application/octet-stream",
        id=UUID(bytes=record.event_id),
    )


def parse_event(index: int, event_id: str, event_type: str, metadata: bytes, data: bytes) -> Record:
    """The record in an event.  An event that somebody else put into the stream comes back with its metadata
    as the entry, which no reader of entries takes for one: an audit then names its index."""
    try:
        found = _decode(metadata)
        entry, seal = found.entry, found.seal
    except msgspec.MsgspecError:
        entry, seal = metadata, b""
    return Record(
        index=index,
        event_id=bytes.fromhex(event_id.replace("-", "")),
        event_type=event_type,
        entry=entry,
        payload=data,
        seal=seal,
    )


def links_of(entry: bytes) -> tuple[str, int]:
    """The subject and the index of the last cause (-1 when there is none) on the lines of an entry."""
    lines = entry.split(b"\n", 8)
    if len(lines) < 9:
        return "", -1
    cause = lines[7].rpartition(b",")[2]
    return lines[6].decode("utf-8", "replace"), int(cause) if cause.isdigit() else -1
