"""Parked messages of a group: put aside after too many tries, counted, and brought back when somebody asks.

The parked stream holds links to the messages.  A replayed message leaves it only when a consumer settled it:
its ``$tb`` moves past what is done, so a crash in between loses nothing.
"""

from __future__ import annotations

import datetime
import uuid
from typing import Final

import msgspec

from adapters.esdb_node import reading, record
from adapters.esdb_node.group_settings import GroupSettings
from adapters.esdb_node.record import JSON, LINK_TYPE, OCTETS
from adapters.esdb_node.records_file import Row
from adapters.esdb_node.store import Store
from adapters.esdb_node.streams import ANY, Proposed

#: Parked messages brought back into memory at a time.
REPLAY_PAGE: Final = 200


class Parking:
    """The parked stream of one group."""

    def __init__(self, store: Store, settings: GroupSettings) -> None:
        self._store = store
        self._name = settings.parked_stream
        self._next = 0
        self._until = -1
        self._unsettled: set[int] = set()

    @property
    def count(self) -> int:
        """Messages that are parked and not done with."""
        stream = self._store.stream(self._name)
        if stream.last_revision < 0 or self._store.metadata(stream).deleted:
            return 0
        return max(0, stream.last_revision + 1 - self._store.metadata(stream).truncate_before)

    def park(self, revision: int, stream_name: str, reason: str) -> None:
        """Put a message aside; ``revision`` and ``stream_name`` say where it is recorded."""
        now = datetime.datetime.now(datetime.UTC).isoformat()
        metadata = msgspec.json.encode({"added": now, "reason": reason, "subscriptionEventNumber": revision})
        link = Proposed(str(uuid.uuid4()), LINK_TYPE, OCTETS, metadata, f"{revision}@{stream_name}".encode())
        self._store.append(self._name, ANY, (link,))

    def replay(self, count: int | None) -> None:
        """Bring back what is parked now, all of it or the first ``count``."""
        stream = self._store.stream(self._name)
        if stream.durable_revision < 0 or self._store.metadata(stream).deleted:
            return
        first = max(self._next, self._store.metadata(stream).truncate_before)
        if self._until < self._next:
            self._next = first
        last = stream.durable_revision
        self._until = max(self._until, last if count is None else min(last, first + count - 1))

    def next_page(self) -> list[tuple[Row, Row]]:
        """Parked links and the records they lead to, of the replay under way; what is gone is settled at
        once.
        """
        if self._next > self._until:
            return []
        stream = self._store.stream(self._name)
        found = []
        for row in reading.forwards(self._store, stream, self._next, REPLAY_PAGE):
            if row[2] > self._until:
                break
            self._next = row[2] + 1
            target = reading.link_target(self._store, row)
            if target is not None:
                self._unsettled.add(row[2])
                found.append((row, target))
        if not found:
            self._next = self._until + 1
            self._truncate()
        return found

    def settle(self, revision: int) -> None:
        """A replayed message is done with, or was parked anew."""
        self._unsettled.discard(revision)
        if not self._unsettled or len(self._unsettled) % REPLAY_PAGE == 0:
            self._truncate()

    def _truncate(self) -> None:
        stream = self._store.stream(self._name)
        if stream.last_revision < 0:
            return
        done_before = min(self._unsettled, default=self._next)
        if done_before > self._store.metadata(stream).truncate_before:
            document = record_truncation(done_before)
            self._store.append(f"$${self._name}", ANY, (document,))


def record_truncation(revision: int) -> Proposed:
    """The settings event that hides everything before ``revision``."""
    return Proposed(str(uuid.uuid4()), record.METADATA_TYPE, JSON, b"", b'{"$tb":%d}' % revision)
