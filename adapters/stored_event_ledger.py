"""Stored events of the ``eventsourcing`` library as sealed entries of a ledger of their own, in any store.

Such a ledger begins like every ledger, with the events that open it and create its key, and every stored
event after them is one entry: chained, under the tree and under the seal of its atomic append
(``ledger.entry``).  So it is audited, migrated and proven from without knowing the library.  It holds nothing
else: notification ids are the indices less one, without gaps.

Which versions an originator has, and where, is kept in memory and read from the log on opening and whenever
another process has appended.
"""

from __future__ import annotations

import asyncio
import hashlib
from bisect import bisect_right, insort
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec
from eventsourcing.persistence import DataError, IntegrityError, Notification, StoredEvent

from adapters.stored_event import (
    EVENT_TYPE,
    GENESIS_COUNT,
    format_body,
    index_of,
    notification_id,
    parse_notification,
)
from domain.errors import InvalidError, LimitError, TallystickError
from domain.event_codec import encode_event
from domain.events import KeyCreated, LedgerOpened
from ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from ledger.entry import (
    PREVIOUS_OF_FIRST,
    check_field,
    entry_bytes,
    entry_head,
    event_id,
    parse_entry,
)
from ledger.errors import LedgerConflictError
from ledger.ledger import APPEND_BYTES_MAX, FORMAT_VERSION, READ_BATCH, ledger_name
from ledger.merkle import Frontier, leaf_hash
from ledger.notes import VerifierKey, format_verifier_key
from ledger.ports import APPEND_EVENTS_MAX, PAYLOAD_BYTES_MAX, Clock, EventLog, Record, Signer
from ledger.writer import CONFLICTS_MAX

ACTOR: Final = "eventsourcing"
_GENESIS: Final = (LedgerOpened.TYPE, KeyCreated.TYPE)
#: What EventStoreDB counts for an entry beside body, origin and subject: the other lines in base64, the names
#: in its metadata, and the event type twice.
_ENTRY_BYTES: Final = 512


class StoredEventLedger:
    """One ledger of stored events; lives on one event loop."""

    def __init__(self, *, log: EventLog, name: str, origin: str, signer: Signer, clock: Clock) -> None:
        self._log = log
        self.name = name
        self._origin = check_field(origin, "origin")
        self._signer = signer
        self._key = VerifierKey(name=origin, public_key=signer.public_key)
        self._clock = clock
        self._tree = Frontier()
        self._previous = PREVIOUS_OF_FIRST
        self._time_ns = 0
        self._places: dict[str, _Places] = {}
        self._waiting: list[_Insert] = []
        self._lock = asyncio.Lock()

    async def insert(self, events: Sequence[StoredEvent]) -> list[int]:
        """Append all of ``events`` or none, and return their notification ids.  Callers at one time share
        an append.

        Raises: IntegrityError when a version is already there, DataError for what can never be stored.
        """
        insert = _Insert(events)
        self._waiting.append(insert)
        try:
            async with self._lock:
                while not insert.answer.done():
                    await self._commit()
        finally:
            # Whoever was told that it failed, or has gone, must not find it stored by the next one's append.
            self._waiting = [other for other in self._waiting if other is not insert]
            if insert.answer.done():
                insert.answer.exception()  # looked at, even where the caller has gone
        return insert.answer.result()

    async def select(
        self, originator_id: str, gt: int | None, lte: int | None, desc: bool, limit: int | None
    ) -> list[Notification]:
        """The originator's events by version; arguments as ``AggregateRecorder.select_events``."""
        await self.catch_up()
        places = self._places.get(originator_id)
        if places is None:
            return []
        indices = places.between(gt, lte)
        if desc:
            indices.reverse()
        indices = indices[:limit]
        found: dict[int, Record] = {}
        for page in await asyncio.gather(*(self._read(start, count) for start, count in _runs(indices))):
            found |= {record.index: record for record in page}
        return [parse_notification(found[index]) for index in indices]

    async def notifications(
        self, start: int, limit: int, stop: int | None, topics: Sequence[str]
    ) -> list[Notification]:
        """Up to ``limit`` notifications with ids from ``start`` to ``stop``, of these topics if there are
        any."""
        found: list[Notification] = []
        wanted = frozenset(topics)
        index = index_of(max(start, 1))
        end = None if stop is None else index_of(stop) + 1
        while len(found) < limit and (end is None or index < end):
            most = READ_BATCH if wanted else limit - len(found)
            records = await self._log.read(self.name, index, most if end is None else min(most, end - index))
            if not records:
                break
            for notification in map(parse_notification, records):
                if not wanted or notification.topic in wanted:
                    found.append(notification)
            index += len(records)
        return found[:limit]

    async def size(self) -> int:
        """How many stored events there are, those of other processes included."""
        await self.catch_up()
        return max(self._tree.size - GENESIS_COUNT, 0)

    async def grown(self) -> AsyncIterator[None]:
        """Yields whenever another event is there, whoever appended it."""
        async for _ in self._log.follow(self.name, self._tree.size):
            yield

    async def catch_up(self) -> None:
        """Take in what other processes have appended.  Raises: InvalidError when it does not fit."""
        async with self._lock:
            await self._read_new()

    # -- reading

    async def _read(self, start: int, count: int) -> list[Record]:
        records: list[Record] = []
        while len(records) < count:
            page = await self._log.read(self.name, start + len(records), count - len(records))
            if not page:
                raise InvalidError("the log ends early", field=f"{self.name}[{start + len(records)}]")
            records += page
        return records

    async def _read_new(self) -> None:
        while records := await self._log.read(self.name, self._tree.size, READ_BATCH):
            tree, previous, time_ns = self._tree.copy(), self._previous, self._time_ns
            # One seal covers everything before it, so the newest of a page is the one to look at.
            newest = max((record.index for record in records if record.seal), default=-1)
            for record in records:
                time_ns = self._check_link(record, previous)
                leaf = leaf_hash(record.entry)
                previous = leaf.hex()
                tree.append(leaf)
                if record.index == newest:
                    self._check_seal(record, tree)
            for record in records:
                if record.index < GENESIS_COUNT:
                    continue
                body = parse_notification(record)
                self._place(str(body.originator_id), body.originator_version, record.index)
            self._tree, self._previous, self._time_ns = tree, previous, time_ns

    def _check_link(self, record: Record, previous: str) -> int:
        entry = parse_entry(record.entry)
        problem = ""
        if record.index == 1 and record.payload != self._genesis()[1][1]:
            problem = "the key store holds another key than the ledger was opened with"
        elif entry.event_type != (EVENT_TYPE if record.index >= GENESIS_COUNT else _GENESIS[record.index]):
            problem = "this ledger holds something else than stored events"
        elif entry.previous != previous:
            problem = "an entry is not chained to the one before"
        elif entry.origin != self._origin:
            problem = "an entry belongs to another ledger"
        elif entry.payload_sha256 != hashlib.sha256(record.payload).hexdigest():
            problem = "a body does not match its entry"
        if problem:
            raise InvalidError(problem, field=f"{self.name}[{record.index}]", remedy="Run tally audit.")
        return entry.recorded_at_ns

    def _check_seal(self, record: Record, tree: Frontier) -> None:
        checkpoint = open_checkpoint(record.seal, [self._key], origin=self._origin)
        if (checkpoint.size, checkpoint.root) != (tree.size, tree.root()):
            raise InvalidError(
                "a seal does not fit the entries under it",
                field=f"{self.name}[{record.index}]",
                remedy="Run tally audit.",
            )

    def _genesis(self) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
        """Types and bodies of the first entries, as every ledger has them."""
        tenant = self.name.removeprefix(ledger_name(""))
        opened = LedgerOpened(tenant=tenant, origin=self._origin, format_version=FORMAT_VERSION)
        key = KeyCreated(verifier_key=format_verifier_key(self._key), algorithm="Ed25519")
        return (opened.TYPE, encode_event(opened)), (key.TYPE, encode_event(key))

    def _place(self, originator_id: str, version: int, index: int) -> None:
        places = self._places.get(originator_id)
        if places is None:
            places = self._places[originator_id] = _Places()
        places.add(version, index)

    # -- writing

    async def _commit(self) -> None:
        """One atomic append for as many of the waiting as fit."""
        for _ in range(CONFLICTS_MAX):
            waiting, self._waiting = self._waiting, []
            try:
                draft = self._draft(waiting)
            except Exception as error:
                for insert in waiting:
                    insert.fail(error)
                return
            if not draft.inserts:
                return
            try:
                await self._log.append(self.name, self._tree.size, draft.records)
            except LedgerConflictError:
                self._waiting = draft.inserts + self._waiting
                await self._read_new()
                continue
            except Exception as error:
                for insert in draft.inserts:
                    insert.fail(error)
                return
            except BaseException:
                for insert in draft.inserts:
                    insert.fail(TallystickError("the append was cancelled", remedy="Look, then repeat it."))
                raise
            self._tree, self._previous, self._time_ns = draft.tree, draft.previous, draft.time_ns
            for insert in draft.inserts:
                for event, place in zip(insert.events, insert.places, strict=True):
                    self._place(str(event.originator_id), event.originator_version, place)
                insert.succeed()
            return
        size = self._tree.size
        for insert in self._waiting:
            insert.fail(LedgerConflictError(self.name, expected_size=size, actual_size=size))
        self._waiting = []

    def _draft(self, waiting: list[_Insert]) -> _Draft:
        """As many of the waiting as fit, in order; the others wait on."""
        draft = _Draft(self._origin, self._tree.copy(), self._previous, max(self._time_ns, self._clock()))
        if self._tree.size == 0:
            for event_type, body in self._genesis():
                draft.append(
                    event_type, "tallystick", f"tenant/{self.name.removeprefix(ledger_name(''))}", body
                )
        for position, insert in enumerate(waiting):
            if insert.answer.done():
                continue
            try:
                self._check_unique(insert, draft)
                if not draft.add(insert):
                    self._waiting = waiting[position:]
                    break
            except (IntegrityError, DataError) as error:
                insert.fail(error)
        if draft.inserts:
            draft.seal(self._signer)
        return draft

    def _check_unique(self, insert: _Insert, draft: _Draft) -> None:
        if len(insert.keys) < len(insert.events):
            raise IntegrityError("a version of an originator is given twice")
        for originator_id, version in insert.keys:
            places = self._places.get(originator_id)
            if (originator_id, version) in draft.keys or (places is not None and places.has(version)):
                raise IntegrityError(f"version {version} of {originator_id} is already recorded")


class _Places:
    """Where the versions of one originator are, both ascending in almost every case."""

    __slots__ = ("_indices", "_versions")

    def __init__(self) -> None:
        self._versions: list[int] = []
        self._indices: dict[int, int] = {}

    def add(self, version: int, index: int) -> None:
        insort(self._versions, version)
        self._indices[version] = index

    def has(self, version: int) -> bool:
        return version in self._indices

    def between(self, gt: int | None, lte: int | None) -> list[int]:
        start = 0 if gt is None else bisect_right(self._versions, gt)
        end = len(self._versions) if lte is None else bisect_right(self._versions, lte)
        return [self._indices[version] for version in self._versions[start:end]]


class _Insert:
    """A caller's events, waiting to be appended."""

    def __init__(self, events: Sequence[StoredEvent]) -> None:
        self.events = events
        self.keys = {(str(event.originator_id), event.originator_version) for event in events}
        self.bodies = [format_body(event) for event in events]
        self.places: range = range(0)
        self.answer: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()

    def byte_count(self, origin: str) -> int:
        """What the append may take in any store."""
        overhead = (_ENTRY_BYTES + 2 * len(origin)) * len(self.bodies)
        subjects = sum(3 * len(str(event.originator_id).encode()) for event in self.events)
        return overhead + subjects + sum(map(len, self.bodies))

    def succeed(self) -> None:
        if not self.answer.done():
            self.answer.set_result([notification_id(place) for place in self.places])

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class _Draft:
    """One atomic append while it is being put together."""

    def __init__(self, origin: str, tree: Frontier, previous: str, time_ns: int) -> None:
        self._origin = origin
        self.tree = tree
        self.previous = previous
        self.time_ns = time_ns
        self.records: list[Record] = []
        self.inserts: list[_Insert] = []
        self.keys: set[tuple[str, int]] = set()
        self._byte_count = 0

    def add(self, insert: _Insert) -> bool:
        """Take a caller in; False when its events no longer fit and must wait for the next append.

        Raises: DataError for what would not fit in any append.
        """
        count, byte_count = len(insert.bodies), insert.byte_count(self._origin)
        if count > APPEND_EVENTS_MAX or byte_count > APPEND_BYTES_MAX:
            raise DataError(
                f"too much for one atomic append: {count} events and {byte_count} bytes, "
                f"at most {APPEND_EVENTS_MAX} and {APPEND_BYTES_MAX}"
            )
        if self.inserts and (
            len(self.records) + count > APPEND_EVENTS_MAX or self._byte_count + byte_count > APPEND_BYTES_MAX
        ):
            return False
        for body in insert.bodies:
            if len(body) > PAYLOAD_BYTES_MAX:
                raise DataError(f"a stored event of {len(body)} bytes, at most {PAYLOAD_BYTES_MAX}")
        for event in insert.events:
            try:
                check_field(str(event.originator_id), "originator_id")
            except (InvalidError, LimitError) as error:
                raise DataError(str(error)) from error
        start = self.tree.size
        for event, body in zip(insert.events, insert.bodies, strict=True):
            self.append(EVENT_TYPE, ACTOR, str(event.originator_id), body)
        insert.places = range(start, self.tree.size)
        self._byte_count += byte_count
        self.keys |= insert.keys
        self.inserts.append(insert)
        return True

    def seal(self, signer: Signer) -> None:
        """Put the signed checkpoint on the last record."""
        checkpoint = Checkpoint(origin=self._origin, size=self.tree.size, root=self.tree.root())
        self.records[-1] = msgspec.structs.replace(self.records[-1], seal=sign_checkpoint(checkpoint, signer))

    def append(self, event_type: str, actor: str, subject: str, body: bytes) -> None:
        """Chain one more entry."""
        index = self.tree.size
        entry = entry_bytes(
            entry_head(self._origin),
            index,
            event_type,
            self.time_ns,
            actor,
            subject,
            "-",
            len(body),
            hashlib.sha256(body).hexdigest(),
            self.previous,
        )
        leaf = leaf_hash(entry)
        self.previous = leaf.hex()
        self.tree.append(leaf)
        self.records.append(
            Record(
                index=index, event_id=event_id(index, leaf), event_type=event_type, entry=entry, payload=body
            )
        )


def _runs(indices: Sequence[int]) -> list[tuple[int, int]]:
    """Start and length of the runs of consecutive numbers."""
    runs: list[tuple[int, int]] = []
    for index in sorted(indices):
        if runs and index == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((index, 1))
    return runs
