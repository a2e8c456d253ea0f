"""Whether an append may be written, was written before, or must be refused.

The rules are those of EventStoreDB's ``IndexWriter.CheckCommit``; see section 2.5 of
``reference/eventstoredb.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adapters.esdb_node import record
from adapters.esdb_node.record import REVISION_MAX
from adapters.esdb_node.streams import (
    ANY,
    NO_STREAM,
    STREAM_EXISTS,
    Appended,
    Deleted,
    Proposed,
    Stream,
    Verdict,
    WrongVersion,
)

if TYPE_CHECKING:
    from adapters.esdb_node.store import Store


def check(store: Store, stream: Stream, expected: int, events: Sequence[Proposed]) -> Verdict | None:
    """None if the events may be written at the end of the stream."""
    current = stream.last_revision
    if current == REVISION_MAX:
        return Deleted(stream.name, stream.flush)
    if expected == current and current >= 0:
        return None
    if expected == STREAM_EXISTS:
        if current >= 0 and store.metadata(stream).deleted:
            return Deleted(stream.name, stream.flush)
        if current < 0 and (stream.is_metastream or store.stream(f"$${stream.name}").last_revision < 0):
            return WrongVersion(current, expected, stream.flush)
    if expected in (ANY, STREAM_EXISTS):
        return _check_any(store, stream, expected, events)
    if expected > current:
        return WrongVersion(current, expected, stream.flush)
    if expected < current:
        return _check_repeat(store, stream, expected, events)
    return None


def _check_any(
    store: Store, stream: Stream, expected: int, events: Sequence[Proposed]
) -> Appended | WrongVersion | None:
    position = revision = -1
    for index, event in enumerate(events):
        known = store.find_event(stream, event.event_id)
        if known is None:
            # Part of it was appended before and part was not: not a retry, whatever it is.
            return None if index == 0 else WrongVersion(stream.last_revision, expected, stream.flush)
        revision, position = known
    return Appended(revision, position, stream.flush) if events else None


def _check_repeat(
    store: Store, stream: Stream, expected: int, events: Sequence[Proposed]
) -> Appended | WrongVersion | None:
    position = -1
    for index, event in enumerate(events):
        found = _position_of(store, stream, expected + 1 + index, event.event_id)
        if found is None:
            if index == 0 and expected == NO_STREAM and store.metadata(stream).deleted:
                return None
            return WrongVersion(stream.last_revision, expected, stream.flush)
        position = found
    if not events:
        if expected == NO_STREAM and store.metadata(stream).deleted:
            return None
        return WrongVersion(stream.last_revision, expected, stream.flush)
    return Appended(expected + len(events), position, stream.flush)


def _position_of(store: Store, stream: Stream, revision: int, event_id: str) -> int | None:
    """Where the event is, if it has that revision."""
    known = store.find_event(stream, event_id)
    if known is not None and known[0] == revision:
        return known[1]
    if stream.stream_id is None or revision > stream.last_revision:
        return None
    row = store.file.at(stream.stream_id, revision)
    return row[0] if row is not None and record.event_id(row[5]) == event_id else None
