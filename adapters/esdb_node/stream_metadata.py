"""Stream metadata: the settings of a stream that live in the stream ``$$<name>``.

Only what changes reading is parsed; the document itself is stored and given back byte for byte.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from adapters.esdb_node.record import REVISION_MAX

TICKS_PER_SECOND: Final = 10_000_000


class StreamMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """``$maxCount``, ``$maxAge`` (seconds) and ``$tb`` (truncate before this revision); None if not set."""

    max_count: int | None = None
    max_age_seconds: int | None = None
    truncate_before: int = 0

    @property
    def deleted(self) -> bool:
        """A soft-deleted stream is one of which everything is truncated."""
        return self.truncate_before == REVISION_MAX

    def first_revision(self, last_revision: int) -> int:
        """The first revision a reader may see."""
        if self.max_count is None:
            return self.truncate_before
        return max(self.truncate_before, last_revision - self.max_count + 1)

    def oldest_ticks(self, now_ticks: int) -> int:
        """Records created before this (100-ns ticks since 1970) are not shown."""
        if self.max_age_seconds is None:
            return 0
        return now_ticks - self.max_age_seconds * TICKS_PER_SECOND


NO_METADATA: Final = StreamMetadata()
#: Of a metadata stream only the newest document counts.
METASTREAM_METADATA: Final = StreamMetadata(max_count=1)


def parse_metadata(document: bytes) -> StreamMetadata:
    """What the document asks for; a document that is no JSON object, or a value of the wrong kind, asks for
    nothing.
    """
    fields = _object(document)
    return StreamMetadata(
        max_count=_positive(fields.get("$maxCount")),
        max_age_seconds=_positive(fields.get("$maxAge")),
        truncate_before=_positive(fields.get("$tb")) or 0,
    )


def with_truncate_before(document: bytes, revision: int) -> bytes:
    """The document with ``$tb`` replaced, everything else as it was."""
    return msgspec.json.encode({**_object(document), "$tb": revision})


def is_json_object(document: bytes) -> bool:
    """Whether settings can be put into the document."""
    try:
        return isinstance(msgspec.json.decode(document), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _object(document: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _positive(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= REVISION_MAX:
        return value
    return None
