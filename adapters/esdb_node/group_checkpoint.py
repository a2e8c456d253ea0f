"""How far a group is: the place before its oldest unsettled message, written to the log now and then."""

from __future__ import annotations

import time
import uuid
from collections import deque
from typing import Final

import msgspec

from adapters.esdb_node import reading, record
from adapters.esdb_node.group_settings import GroupSettings
from adapters.esdb_node.record import JSON
from adapters.esdb_node.store import Store
from adapters.esdb_node.streams import ANY, Proposed

CHECKPOINT_TYPE: Final = "$SubscriptionCheckpoint"
#: Checkpoints a reader of their stream sees; one would do, two are what a real server keeps.
CHECKPOINTS_KEPT: Final = 2


class Checkpoint:
    """Messages have a *sequence*, in which they were read, and a *place* in their source."""

    def __init__(self, store: Store, settings: GroupSettings) -> None:
        self._store = store
        self._settings = settings
        self._sent: deque[tuple[int, int]] = deque()
        self._last_sent: tuple[int, int] | None = None
        self._sequence = 0
        self._written_at = time.monotonic()
        #: The place last written, or found at start.
        self.place = self._load()

    @property
    def last_known(self) -> int | None:
        """The place of the newest message a consumer got."""
        return self.place if self._last_sent is None else self._last_sent[1]

    @property
    def behind(self) -> bool:
        """Whether something was sent since the last checkpoint."""
        return self._last_sent is not None and self._last_sent[0] > self._sequence

    def sent(self, sequence: int, place: int) -> None:
        """A message went to a consumer; messages sent again are not news."""
        if self._last_sent is None or sequence > self._last_sent[0]:
            self._last_sent = (sequence, place)
            self._sent.append(self._last_sent)

    def write_if_due(self, oldest_open: int | None) -> None:
        """Write if enough was settled and enough time passed, or very much was settled."""
        settled = self._settled(oldest_open)
        if settled is None:
            return
        settings = self._settings
        count = settled[0] - self._sequence
        waited_ms = (time.monotonic() - self._written_at) * 1000
        due = count >= max(1, settings.min_checkpoint_count) and waited_ms >= settings.checkpoint_after_ms
        if due or count >= max(1, settings.max_checkpoint_count):
            self._write(*settled)

    def write(self, oldest_open: int | None) -> None:
        """Write what is settled, for instance before a stop."""
        settled = self._settled(oldest_open)
        if settled is not None and settled[0] > self._sequence:
            self._write(*settled)

    def _settled(self, oldest_open: int | None) -> tuple[int, int] | None:
        """Sequence and place of the last message before which nothing is open."""
        found = None
        while self._sent and (oldest_open is None or self._sent[0][0] < oldest_open):
            found = self._sent.popleft()
        if found is not None:
            self._sent.appendleft(found)
        return found

    def _write(self, sequence: int, place: int) -> None:
        self._sequence, self.place = sequence, place
        self._written_at = time.monotonic()
        name = self._settings.checkpoint_stream
        if self._store.stream(name).last_revision < 0:
            limit = b'{"$maxCount":%d}' % CHECKPOINTS_KEPT
            kept = Proposed(str(uuid.uuid4()), record.METADATA_TYPE, JSON, b"", limit)
            self._store.append(f"$${name}", ANY, (kept,))
        document = msgspec.json.encode(self._settings.place(place))
        event = Proposed(str(uuid.uuid4()), CHECKPOINT_TYPE, JSON, b"", document)
        self._store.append(name, ANY, (event,))

    def _load(self) -> int | None:
        stream = reading.readable(self._store, self._settings.checkpoint_stream)
        if stream is None:
            return None
        rows = reading.backwards(self._store, stream, stream.durable_revision, 1)
        return _place(record.parse(rows[0][5]).data) if rows else None


def _place(document: bytes) -> int | None:
    """The number in a checkpoint, ``"7"`` or ``"C:7/P:7"``."""
    try:
        text = msgspec.json.decode(document, type=str)
        return int(text.partition("/")[0].removeprefix("C:"))
    except (msgspec.DecodeError, ValueError):
        return None
