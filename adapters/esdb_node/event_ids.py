"""Ids of events appended lately, so that a retry with the expected version ANY is recognised.

Retries that name a revision need no memory: the record at that revision tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: Ids remembered, in two halves; a retry comes soon or not at all (EventStoreDB has a cache of the same
#: kind).
IDS_REMEMBERED: Final = 200_000
#: After a restart ids are read back from this much of the log's end, so that a start is quick.
IDS_LOADED_BYTES: Final = 64 * 1024 * 1024


class EventIds:
    """Revision and position by stream number and event id."""

    __slots__ = ("_before", "_now")

    def __init__(self, recent: Iterable[tuple[int, int, int, bytes]]) -> None:
        self._before: dict[tuple[int, str], tuple[int, int]] = {}
        self._now = {
            (stream_id, event_id.decode()): (revision, position)
            for stream_id, revision, position, event_id in recent
        }

    def find(self, stream_id: int, event_id: str) -> tuple[int, int] | None:
        """Revision and position of an event of the stream."""
        key = (stream_id, event_id)
        return self._now.get(key) or self._before.get(key)

    def remember(self, stream_id: int, event_id: str, revision: int, position: int) -> None:
        """An event was appended."""
        if len(self._now) >= IDS_REMEMBERED // 2:
            self._before, self._now = self._now, {}
        self._now[stream_id, event_id] = (revision, position)
