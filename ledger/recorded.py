"""From stored records back to events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from domain.errors import InvalidError, UnknownError
from domain.event_codec import decode_event
from domain.events import Recorded
from ledger.entry import parse_entry
from ledger.ports import EventLog, Record

E = TypeVar("E")

# Neighbours that are read together although some of them are not wanted, and how many at most: bodies have up
# to 900 kB.
GAP_MAX = 16
TOGETHER_MAX = 64


def recorded_of(record: Record) -> Recorded:
    """The event of a stored record with its place.  Raises: MalformedError, UnknownError for a newer event
    type."""
    entry = parse_entry(record.entry)
    return Recorded(
        index=entry.index,
        recorded_at_ns=entry.recorded_at_ns,
        actor=entry.actor,
        subject=entry.subject,
        causation=entry.causation,
        event=decode_event(entry.event_type, record.payload),
    )


def recorded_of_examined(record: Record) -> Recorded:
    """As ``recorded_of``, for a record whose entry was found well formed and to fit it (``ledger.chain``).
    Raises: MalformedError, UnknownError for a newer event type."""
    lines = record.entry.decode().split("\n")
    _, _, _, _, recorded_at_ns, actor, subject, causes, *_ = lines
    return Recorded(
        index=record.index,
        recorded_at_ns=int(recorded_at_ns),
        actor=actor,
        subject=subject,
        causation=() if causes == "-" else tuple(map(int, causes.split(","))),
        event=decode_event(record.event_type, record.payload),
    )


async def record_at(log: EventLog, ledger: str, index: int) -> Record:
    """The record at ``index``.  Raises: UnknownError beyond the end."""
    records = await log.read(ledger, index, 1) if 0 <= index < 1 << 63 else []
    if not records or records[0].index != index:
        raise UnknownError("no such entry", field="index", actual=str(index))
    return records[0]


def event_of(recorded: Recorded, kind: type[E]) -> E:
    """The event, which must be of this kind.  Raises: InvalidError when an index named something else."""
    if not isinstance(recorded.event, kind):
        raise InvalidError(
            "an index names an event of another kind",
            field=f"[{recorded.index}]",
            expected=kind.__name__,
            actual=recorded.event.TYPE,
        )
    return recorded.event


def stretches(indices: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of each stretch of ascending indices that is read at once."""
    found: list[tuple[int, int]] = []
    for index in indices:
        if found and index - found[-1][1] <= GAP_MAX and index - found[-1][0] < TOGETHER_MAX:
            found[-1] = (found[-1][0], index)
        else:
            found.append((index, index))
    return found
