"""Pages of records as a reader may see them: truncation, positions, links, and the form of ids.

Everything returns framed answers ready to be joined and sent.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from adapters.esdb_node import record
from adapters.esdb_node.record import REVISION_MAX
from adapters.esdb_node.records_file import Row
from adapters.esdb_node.store import Store
from adapters.esdb_node.streams import Stream
from adapters.esdb_node.wire_errors import stream_deleted

#: A read without a limit; protobuf counts up to here.
NO_LIMIT: Final = 0xFFFF_FFFF_FFFF_FFFF


class Reading:
    """How one reader wants its records: links followed or not, ids structured or as text."""

    __slots__ = ("_link_type_id", "_store", "resolve_links", "structured")

    def __init__(self, store: Store, *, resolve_links: bool, structured: bool) -> None:
        self._store = store
        self.resolve_links = resolve_links
        self.structured = structured
        self._link_type_id: int | None = None

    def answers(self, rows: Sequence[Row]) -> bytes:
        """The framed answers for the rows, joined."""
        if not self.resolve_links and not self.structured:
            return b"".join([row[5] for row in rows])
        return b"".join([self.answer(row) for row in rows])

    def answer(self, row: Row) -> bytes:
        """The framed answer for one row."""
        if self.resolve_links and self.is_link(row):
            event, link = self.resolved(row)
            return record.read_answer(event, link, row[0])
        if self.structured:
            return record.read_answer(record.structured(record.event_part(row[5])), None, row[0])
        return row[5]

    def is_link(self, row: Row) -> bool:
        """Whether the row only points at another record."""
        if self._link_type_id is None:
            if self._store.type_name(row[3]) != record.LINK_TYPE:
                return False
            self._link_type_id = row[3]
        return row[3] == self._link_type_id

    def resolved(self, row: Row) -> tuple[bytes | None, bytes]:
        """The event a link leads to, None if it is gone, and the link itself; with ids in the wanted form."""
        target = link_target(self._store, row)
        link = record.event_part(row[5])
        event = None if target is None else record.event_part(target[5])
        if self.structured:
            return None if event is None else record.structured(event), record.structured(link)
        return event, link


def link_target(store: Store, row: Row) -> Row | None:
    """The record a link points at, if a reader may still see it."""
    revision_text, separator, stream_name = record.parse(row[5]).data.partition(b"@")
    if not separator or not revision_text.isdigit():
        return None
    try:
        stream = store.stream(stream_name.decode())
    except UnicodeDecodeError:
        return None
    revision = int(revision_text)
    if stream.stream_id is None or stream.tombstoned or revision > stream.durable_revision:
        return None
    metadata = store.metadata(stream)
    if revision < metadata.first_revision(stream.durable_revision):
        return None
    target = store.file.at(stream.stream_id, revision)
    if target is None or target[4] < metadata.oldest_ticks(time.time_ns() // 100):
        return None
    return target


def readable(store: Store, stream_name: str) -> Stream | None:
    """The stream if it has something to show or could have; None if it was never written or is deleted.

    Raises:
        WireError: FAILED_PRECONDITION if it, or the stream whose settings it holds, was tombstoned.
    """
    stream = store.stream(stream_name)
    if stream.tombstoned:
        raise stream_deleted(stream_name)
    if stream.is_metastream and store.stream(stream_name[2:]).tombstoned:
        raise stream_deleted(stream_name)
    if stream.stream_id is None or stream.durable_revision < 0 or store.metadata(stream).deleted:
        return None
    return stream


def forwards(store: Store, stream: Stream, revision: int, count: int) -> list[Row]:
    """A page of the stream from ``revision`` on, without what is truncated; empty at the end."""
    if stream.stream_id is None or stream.durable_revision == REVISION_MAX:
        return []
    metadata = store.metadata(stream)
    last = stream.durable_revision
    first = max(revision, metadata.first_revision(last))
    oldest = metadata.oldest_ticks(time.time_ns() // 100)
    while first <= last:
        rows = store.file.stream_forwards(stream.stream_id, first, last, count)
        if not rows or not oldest:
            return rows
        young = [row for row in rows if row[4] >= oldest]
        if young:
            return young
        first = rows[-1][2] + 1
    return []


def backwards(store: Store, stream: Stream, revision: int, count: int) -> list[Row]:
    """A page of the stream from ``revision`` down; empty when nothing visible is left."""
    if stream.stream_id is None:
        return []
    metadata = store.metadata(stream)
    last = min(revision, stream.durable_revision)
    first = max(0, metadata.first_revision(stream.durable_revision))
    if last < first:
        return []
    rows = store.file.stream_backwards(stream.stream_id, first, last, count)
    oldest = metadata.oldest_ticks(time.time_ns() // 100)
    return [row for row in rows if row[4] >= oldest] if oldest else rows


def is_position(store: Store, position: int) -> bool:
    """Whether a read of $all may start there: at a record or at the end of the log."""
    if position in (0, store.next_position):
        return True
    return position <= REVISION_MAX and store.file.has_position(position)
