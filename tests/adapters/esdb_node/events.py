"""Events and names for tests of the node."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID, uuid4

from esdbclient import NewEvent, RecordedEvent, StreamState

ANY, NO_STREAM, EXISTS = StreamState.ANY, StreamState.NO_STREAM, StreamState.EXISTS


def event(kind: str = "Measured", data: bytes = b"{}", metadata: bytes = b"") -> NewEvent:
    return NewEvent(type=kind, data=data, metadata=metadata)


def events(count: int, kind: str = "Measured") -> list[NewEvent]:
    return [event(kind, b'{"n":%d}' % number) for number in range(count)]


def name(prefix: str = "stream") -> str:
    return f"{prefix}-{uuid4()}"


def ids(found: Iterable[NewEvent | RecordedEvent]) -> list[UUID]:
    return [one.id for one in found]
