"""A stored event of the ``eventsourcing`` library as the body of an entry, and back.

| entry | stored event |
|---|---|
| event type | ``eventsourcing.stored_event.v1`` |
| subject | originator id |
| body | JSON with sorted keys: originator id, whether it is a UUID, version, state (base64), topic |
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

import msgspec
from eventsourcing.persistence import Notification, StoredEvent
from msgspec import Struct

from domain.errors import InvalidError
from ledger.ports import Record

EVENT_TYPE: Final = "eventsourcing.stored_event.v1"
#: Entries before the first stored event: the ledger was opened, its key was created.
GENESIS_COUNT: Final = 2


class StoredEventBody(Struct, frozen=True, kw_only=True):
    """The body of an entry."""

    originator_id: str
    originator_is_uuid: bool
    originator_version: int
    topic: str
    state: bytes


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(StoredEventBody).decode


def format_body(event: StoredEvent) -> bytes:
    """The canonical bytes of a stored event."""
    return _encode(
        StoredEventBody(
            originator_id=str(event.originator_id),
            originator_is_uuid=isinstance(event.originator_id, UUID),
            originator_version=event.originator_version,
            topic=event.topic,
            state=bytes(event.state),
        )
    )


def parse_notification(record: Record) -> Notification:
    """The stored event in an entry, with its place in the application's sequence.  Raises: InvalidError."""
    try:
        body = _decode(record.payload)
    except msgspec.MsgspecError as error:
        raise InvalidError("not a stored event", field=f"[{record.index}]", actual=str(error)) from None
    return Notification(
        id=notification_id(record.index),
        originator_id=UUID(body.originator_id) if body.originator_is_uuid else body.originator_id,
        originator_version=body.originator_version,
        topic=body.topic,
        state=body.state,
    )


def notification_id(index: int) -> int:
    """The library counts from 1, and stored events only."""
    return index - GENESIS_COUNT + 1


def index_of(notification: int) -> int:
    """The entry of a notification id."""
    return notification + GENESIS_COUNT - 1
