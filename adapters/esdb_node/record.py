"""The bytes of one record: the answer a reader gets, made once when the event is appended.

A record is kept as the framed ``ReadResp`` (event_store.client.streams) that a client with string ids and
without link resolution receives, so that reading is copying.  Fields of a protobuf message may stand in any
order; here the event is the last field of the answer and the id the last field of the event, always 40 bytes,
so that the other shapes (structured ids, links, persistent subscriptions) are cut and wrapped without
parsing.
"""

from __future__ import annotations

import re
import uuid
from typing import Final

from esdbclient.protos.Grpc import shared_pb2, streams_pb2

from adapters.esdb_node.wire_errors import invalid_argument

RecordedEvent = streams_pb2.ReadResp.ReadEvent.RecordedEvent

#: Bytes of the id field at the end of every record: tag, length, tag, length and 36 characters.
_ID_BYTES: Final = 40
_ID_HEAD: Final = b"\x0a\x26\x12\x24"
_FRAME_HEAD_BYTES: Final = 5
_CANONICAL: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)

#: A link: its data is ``revision@stream``.
LINK_TYPE: Final = "$>"
METADATA_TYPE: Final = "$metadata"
TOMBSTONE_TYPE: Final = "$streamDeleted"
JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"

#: The revision of a tombstone, and the ``$tb`` of a deleted stream: the largest signed 64-bit number.
REVISION_MAX: Final = 0x7FFF_FFFF_FFFF_FFFF


def varint(number: int) -> bytes:
    """An unsigned protobuf integer."""
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(tag: bytes, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return tag + varint(len(payload)) + payload


def stream_field(stream_name: str) -> bytes:
    """``stream_identifier`` of a recorded event; the same for every record of a stream."""
    return field(b"\x12", field(b"\x1a", stream_name.encode()))


def kind_fields(event_type: str, content_type: str) -> bytes:
    """The metadata entries ``type`` and ``content-type``; the same for every event of a kind."""
    return _metadata("type", event_type.encode()) + _metadata("content-type", content_type.encode())


def created_field(created_ticks: int) -> bytes:
    """The metadata entry ``created``: 100-nanosecond ticks since 1970."""
    return _metadata("created", b"%d" % created_ticks)


def record(
    *,
    stream: bytes,
    kind: bytes,
    created: bytes,
    revision: int,
    position: int,
    event_id: str,
    metadata: bytes,
    data: bytes,
) -> bytes:
    """Frame a new record; ``stream``, ``kind`` and ``created`` come from the functions above."""
    at = varint(position)
    event = b"".join(
        (
            stream,
            b"\x18",
            varint(revision),
            b"\x20",
            at,
            b"\x28",
            at,
            created,
            kind,
            b"\x3a" + varint(len(metadata)) + metadata if metadata else b"",
            b"\x42",
            varint(len(data)),
            data,
            _ID_HEAD,
            event_id.encode(),
        )
    )
    answer = b"\x18" + at + b"\x0a" + varint(len(event)) + event
    size = len(answer)
    head = b"\x0a" + varint(size)
    return b"\0" + (len(head) + size).to_bytes(4, "big") + head + answer


def event_part(frame: bytes) -> bytes:
    """The ``RecordedEvent`` inside a record."""
    at = _after_varint(frame, _FRAME_HEAD_BYTES + 1)
    at = _after_varint(frame, at + 1)
    return frame[_after_varint(frame, at + 1) :]


def event_id(frame: bytes) -> str:
    """The id of a record."""
    return frame[-36:].decode()


def parse(frame: bytes) -> RecordedEvent:
    """The record as a message, for the few places that look inside."""
    event: RecordedEvent = RecordedEvent.FromString(event_part(frame))
    return event


def structured(event: bytes) -> bytes:
    """The event with its id as two numbers instead of a string."""
    number = uuid.UUID(event[-36:].decode()).int
    halves = b"\x08" + varint(number >> 64) + b"\x10" + varint(number & 0xFFFF_FFFF_FFFF_FFFF)
    return event[:-_ID_BYTES] + field(b"\x0a", field(b"\x0a", halves))


def read_answer(event: bytes | None, link: bytes | None, position: int) -> bytes:
    """A framed ``ReadResp`` with an event, the link that led to it, or a link that leads nowhere."""
    return _answer(event, link, position, b"")


def delivery(event: bytes | None, link: bytes | None, position: int, retry_count: int) -> bytes:
    """A framed ``ReadResp`` of a persistent subscription (same fields, and how often it was tried before)."""
    return _answer(event, link, position, b"\x28" + varint(retry_count))


def canonical_id(identifier: shared_pb2.UUID) -> str:
    """The id as 36 lower-case characters, from either form on the wire.

    Raises:
        WireError: INVALID_ARGUMENT when it is no UUID.
    """
    if identifier.WhichOneof("value") == "structured":
        high = identifier.structured.most_significant_bits & 0xFFFF_FFFF_FFFF_FFFF
        low = identifier.structured.least_significant_bits & 0xFFFF_FFFF_FFFF_FFFF
        return str(uuid.UUID(int=high << 64 | low))
    if _CANONICAL.fullmatch(identifier.string):
        return identifier.string
    try:
        return str(uuid.UUID(identifier.string))
    except ValueError:
        raise invalid_argument(f"'{identifier.string[:40]}' is not a UUID.") from None


def _answer(event: bytes | None, link: bytes | None, position: int, rest: bytes) -> bytes:
    inner = b"\x18" + varint(position) + rest
    if event is not None:
        inner += b"\x0a" + varint(len(event)) + event
    if link is not None:
        inner += b"\x12" + varint(len(link)) + link
    body = b"\x0a" + varint(len(inner)) + inner
    return b"\0" + len(body).to_bytes(4, "big") + body


def _metadata(key: str, value: bytes) -> bytes:
    return field(b"\x32", field(b"\x0a", key.encode()) + field(b"\x12", value))


def _after_varint(data: bytes, at: int) -> int:
    while data[at] & 0x80:
        at += 1
    return at + 1
