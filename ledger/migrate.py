"""Moving a ledger from one store to another, byte for byte, while it may be in use at the source.

1. What both stores have is compared, record by record.  A target that differs is refused with the index where
   it does; one that has the beginning is continued, so a migration that crashed is simply started again.
2. The rest is read in pages.  Every record is checked against its body, its entry and the entry before, and
   the newest seal of every page against the tree and the keys in force: a damaged ledger does not move.
3. Atomic appends go over whole: every append to the target ends with a seal, several may share one, and the
   target is a sealed ledger at every moment.
4. What was appended is read back from the target and compared, and the tree is built from it.
5. When the source has no more, the two are at the same size, with the same seal and the same root.

Only 5 says that a migration is done.  Whoever goes on writing to the source meanwhile is followed until the
source stands still for one look; what is written later moves with the next run.  Then point the setting at
the target and let nobody write to the source again: two ledgers that grow apart can never be joined.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from domain.errors import InvalidError, UnknownError
from domain.events import ReceiptIssued
from domain.key_history import KEY_EVENT_TYPES, KeyEvent, KeyHistory
from ledger.entry import FORMAT, PREVIOUS_OF_FIRST, event_id, parse_entry
from ledger.errors import LedgerConflictError
from ledger.key_statement import check_key_event
from ledger.ledger import APPEND_BYTES_MAX
from ledger.merkle import Frontier, leaf_hash
from ledger.ports import APPEND_EVENTS_MAX, EventLog, Record
from ledger.recorded import recorded_of
from ledger.sealing_keys import open_seal

READ_BATCH: Final = 4_096
# Appends on their way between reading, writing and reading back; bounds the memory.
GROUPS_MAX: Final = 4
# How often a source that keeps growing is followed before the rest is left to the next run.
ROUNDS_MAX: Final = 64
# What a store may add to a record: names in its metadata, identifiers, types.
_RECORD_BYTES: Final = 400

Progress = Callable[[int, int], None]


class MigrationReport(Struct, frozen=True, kw_only=True):
    """What was moved and what is proven: at ``size``, both stores hold the same bytes under ``root`` (hex).

    ``source_size`` is larger when the source grew faster than it could be followed.  ``copied_count`` entries
    were appended by this run, the others were there and compared.  ``checkpoint`` is the newest seal,
    ``receipt_count`` counts the receipts among the entries.
    """

    ledger: str
    size: int
    source_size: int
    root: str
    checkpoint: str
    copied_count: int
    seal_count: int
    receipt_count: int


class DivergedTargetError(InvalidError):
    """The target holds another ledger under this name; ``index`` is the first entry that differs."""

    def __init__(self, ledger: str, index: int, *, expected: str, actual: str) -> None:
        super().__init__(
            "the target holds something else",
            field=f"{ledger}[{index}]",
            expected=expected,
            actual=actual,
            remedy="Migrate to an empty place, or find out which of the two is the ledger with tally audit.",
        )
        self.index = index


async def migrate(
    source: EventLog, target: EventLog, ledger: str, *, progress: Progress = lambda done, size: None
) -> MigrationReport:
    """Bring ``target`` to the state of ``source`` and prove it; see the module for the steps.

    Raises: UnknownError when there is no such ledger, InvalidError when the source does not fit together,
    DivergedTargetError, LedgerConflictError when somebody else writes to the target.
    """
    source_size = await source.size(ledger)
    if source_size == 0:
        raise UnknownError("no such ledger at the source", field=ledger)
    (first,) = await source.read(ledger, 0, 1)
    reading = _Reading(ledger, parse_entry(first.entry).origin)
    copy = Frontier()
    await _compare_start(source, target, reading, copy, progress)
    started = copy.size
    for _ in range(ROUNDS_MAX):
        await _copy(source, target, reading, copy, progress)
        source_size = await source.size(ledger)
        if source_size == copy.size:
            break
    await _check_end(target, reading, copy)
    return MigrationReport(
        ledger=ledger,
        size=copy.size,
        source_size=source_size,
        root=copy.root().hex(),
        checkpoint=reading.seal.decode(),
        copied_count=copy.size - started,
        seal_count=reading.seal_count,
        receipt_count=reading.receipt_count,
    )


class _Reading:
    """The source as far as it has been read and checked."""

    def __init__(self, ledger: str, origin: str) -> None:
        self.ledger = ledger
        self.origin = origin
        self.tree = Frontier()
        self.seal = b""
        self.seal_count = 0
        self.receipt_count = 0
        self._previous = PREVIOUS_OF_FIRST.encode()
        self._keys = KeyHistory()

    def take(self, records: Sequence[Record]) -> None:
        """Check the next records.  Raises: InvalidError naming the first that does not fit."""
        head = f"{FORMAT}\n{self.origin}\n".encode()
        newest = max((record.index for record in records if record.seal), default=-1)
        leaves: list[bytes] = []
        index, previous = self.tree.size, self._previous
        sha256 = hashlib.sha256
        for record in records:
            entry = record.entry
            leaf = leaf_hash(entry)
            # The digests stand at fixed places from the end of a well-formed entry.
            if (
                record.index != index
                or entry[-65:-1] != previous
                or entry[-130:-66] != sha256(record.payload).hexdigest().encode()
                or not entry.startswith(b"%b%d\n%b\n" % (head, index, record.event_type.encode()))
                or record.event_id != event_id(record.index, leaf)
            ):
                raise _damaged("an entry does not fit its body or the entry before it", self.ledger, index)
            leaves.append(leaf)
            previous = leaf.hex().encode()
            index += 1
            if record.event_type in KEY_EVENT_TYPES:
                self._take_key(record)
            elif record.event_type == ReceiptIssued.TYPE:
                self.receipt_count += 1
            if record.seal:
                self.seal_count += 1
                self.seal = record.seal
                if record.index == newest:
                    # One seal covers everything before it.
                    self.tree.extend(leaves)
                    leaves.clear()
                    self._check_seal(record)
        self.tree.extend(leaves)
        self._previous = previous

    def _take_key(self, record: Record) -> None:
        event = recorded_of(record).event
        assert isinstance(event, KeyEvent)
        self._keys = check_key_event(self._keys, self.origin, record.index, event)

    def _check_seal(self, record: Record) -> None:
        checkpoint = open_seal(record.seal, self._keys, record.index, self.origin)
        if (checkpoint.size, checkpoint.root) != (self.tree.size, self.tree.root()):
            raise _damaged("a seal does not fit the entries under it", self.ledger, record.index)


async def _compare_start(
    source: EventLog, target: EventLog, reading: _Reading, copy: Frontier, progress: Progress
) -> None:
    """Step 1: what the target has is how the source begins."""
    ledger = reading.ledger
    size, source_size = await target.size(ledger), await source.size(ledger)
    shared = min(size, source_size)
    last: Record | None = None
    while copy.size < shared:
        count = min(READ_BATCH, shared - copy.size)
        theirs = await _read_exactly(target, ledger, copy.size, count)
        ours = await _read_exactly(source, ledger, copy.size, count)
        _compare(ledger, ours, theirs)
        reading.take(ours)
        copy.extend([leaf_hash(record.entry) for record in theirs])
        last = theirs[-1]
        progress(copy.size, source_size)
    if size > source_size:
        raise DivergedTargetError(
            ledger, source_size, expected=f"{source_size} entries at most", actual=f"{size} entries"
        )
    if last is not None and not last.seal:
        raise InvalidError(
            "the target ends inside an atomic append",
            field=f"{ledger}[{last.index}]",
            remedy="No migration wrote that; migrate to an empty place.",
        )


async def _copy(
    source: EventLog, target: EventLog, reading: _Reading, copy: Frontier, progress: Progress
) -> None:
    """Steps 2 to 4, side by side, until the source has no more."""
    groups: asyncio.Queue[list[Record]] = asyncio.Queue(GROUPS_MAX)
    stored: asyncio.Queue[list[Record]] = asyncio.Queue(GROUPS_MAX)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_read(source, reading, groups))
            tasks.create_task(_append(target, reading.ledger, groups, stored))
            tasks.create_task(_read_back(target, reading, stored, copy, progress))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _read(source: EventLog, reading: _Reading, groups: asyncio.Queue[list[Record]]) -> None:
    """Step 2: read, check, and put whole atomic appends together."""
    group: list[Record] = []
    sealed_count = byte_count = sealed_bytes = 0
    while page := await source.read(reading.ledger, reading.tree.size, READ_BATCH):
        reading.take(page)
        for record in page:
            record_bytes = _stored_bytes(record)
            if sealed_count and (
                len(group) == APPEND_EVENTS_MAX or byte_count + record_bytes > APPEND_BYTES_MAX
            ):
                await groups.put(group[:sealed_count])
                group, byte_count = group[sealed_count:], byte_count - sealed_bytes
                sealed_count = sealed_bytes = 0
            group.append(record)
            byte_count += record_bytes
            if record.seal:
                sealed_count, sealed_bytes = len(group), byte_count
    if len(group) > sealed_count:
        raise _damaged("the source ends with entries that no seal covers", reading.ledger, group[-1].index)
    if group:
        await groups.put(group)
    await groups.put([])


async def _append(
    target: EventLog,
    ledger: str,
    groups: asyncio.Queue[list[Record]],
    stored: asyncio.Queue[list[Record]],
) -> None:
    """Step 3: append whole atomic appends."""
    while group := await groups.get():
        await target.append(ledger, group[0].index, group)
        await stored.put(group)
    await stored.put([])


async def _read_back(
    target: EventLog,
    reading: _Reading,
    stored: asyncio.Queue[list[Record]],
    copy: Frontier,
    progress: Progress,
) -> None:
    """Step 4: what the target gives back is what it was given."""
    while group := await stored.get():
        found = await _read_exactly(target, reading.ledger, copy.size, len(group))
        _compare(reading.ledger, group, found)
        copy.extend([leaf_hash(record.entry) for record in found])
        progress(copy.size, reading.tree.size)


async def _check_end(target: EventLog, reading: _Reading, copy: Frontier) -> None:
    """Step 5: same size, same seal, same root."""
    ledger = reading.ledger
    size = await target.size(ledger)
    if size != copy.size:
        raise LedgerConflictError(ledger, expected_size=copy.size, actual_size=size)
    (last,) = await _read_exactly(target, ledger, size - 1, 1)
    if last.seal != reading.seal or copy.root() != reading.tree.root():
        raise DivergedTargetError(
            ledger, size - 1, expected=reading.tree.root().hex(), actual=copy.root().hex()
        )


async def _read_exactly(log: EventLog, ledger: str, start: int, count: int) -> list[Record]:
    records: list[Record] = []
    while len(records) < count:
        page = await log.read(ledger, start + len(records), count - len(records))
        if not page:
            raise InvalidError(
                "a store ends before its size", field=f"{ledger}[{start + len(records)}]", remedy="Audit it."
            )
        records += page
    return records


def _compare(ledger: str, ours: Sequence[Record], theirs: Sequence[Record]) -> None:
    """Every stored byte, and its place."""
    if ours == theirs:
        return
    for one, other in zip(ours, theirs, strict=True):
        if one != other:
            differing = [
                name for name in Record.__struct_fields__ if getattr(one, name) != getattr(other, name)
            ]
            raise DivergedTargetError(
                ledger,
                one.index,
                expected=f"the source's {one.event_type}",
                actual=f"another {', '.join(differing)}",
            )


def _stored_bytes(record: Record) -> int:
    """What EventStoreDB counts for a record, rounded up: entry and seal in base64, the subject once more."""
    return len(record.payload) + 2 * len(record.entry) + 2 * len(record.seal) + _RECORD_BYTES


def _damaged(what: str, ledger: str, index: int) -> InvalidError:
    return InvalidError(
        what,
        field=f"{ledger}[{index}]",
        remedy="Run tally audit on the source: what is damaged does not move.",
    )
