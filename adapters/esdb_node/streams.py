"""What the node knows about a stream, what can be appended to it, and how the store answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from adapters.esdb_node import record
from adapters.esdb_node.flush import Flush
from adapters.esdb_node.record import REVISION_MAX
from adapters.esdb_node.stream_metadata import StreamMetadata

#: Expected versions below zero; zero and above are revisions.
ANY: Final = -2
NO_STREAM: Final = -1
STREAM_EXISTS: Final = -4


class Proposed(msgspec.Struct, frozen=True):
    """An event somebody wants to append; ``event_id`` in canonical form."""

    event_id: str
    type: str
    content_type: str
    metadata: bytes
    data: bytes


class Appended(msgspec.Struct, frozen=True):
    """Taken, or taken before; ``position`` of the last event, None if there was none.  Durable when ``flush``
    is.
    """

    revision: int
    position: int | None
    flush: Flush | None


class WrongVersion(msgspec.Struct, frozen=True):
    """Refused: the stream is at ``current`` (-1: it has no events)."""

    current: int
    expected: int
    flush: Flush | None


class Deleted(msgspec.Struct, frozen=True):
    """Refused: tombstoned, or deleted and expected to exist."""

    stream_name: str
    flush: Flush | None


class Stream:
    """What the node knows about a stream; ``stream_id`` is None until its first record."""

    __slots__ = (
        "durable_revision",
        "field",
        "flush",
        "last_revision",
        "metadata_known",
        "name",
        "stream_id",
        "watchers",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.field = record.stream_field(name)
        self.stream_id: int | None = None
        self.last_revision = -1
        self.durable_revision = -1
        self.metadata_known: StreamMetadata | None = None
        self.flush: Flush | None = None
        self.watchers: set[Callable[[], None]] = set()

    @property
    def tombstoned(self) -> bool:
        """Whether nothing may ever be appended again."""
        return self.last_revision == REVISION_MAX

    @property
    def is_metastream(self) -> bool:
        """Whether this stream holds the settings of another."""
        return self.name.startswith("$$")


Verdict = Appended | WrongVersion | Deleted
