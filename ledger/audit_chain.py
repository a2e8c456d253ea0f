"""The part of an audit that goes once through the whole ledger: links, key events, seals and the root.

The ledger is examined in parts (``ledger.chain``), side by side in several processes where it is large and
the store allows it.  Here the parts are put together in order: each must continue the one before it, every
key event must be vouched for by the keys before it, every seal must be signed by the keys that ruled at its
index, over exactly this size and this root.  The first position that does not fit ends it.

Memory does not grow with the ledger, but for the indices of entries that are looked at again (eight bytes
each).
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from itertools import islice
from typing import NamedTuple

from msgspec import Struct

from domain.errors import InvalidError, TallystickError
from domain.key_history import KEY_EVENT_TYPES, KeyHistory
from ledger.chain import ChainPart, PartExamination, PartTask, link_fault
from ledger.chain_processes import child_count, part_processes
from ledger.checkpoint import open_checkpoint, parse_checkpoint
from ledger.entry import PREVIOUS_OF_FIRST, parse_entry
from ledger.key_statement import check_key_event, read_key_event, verifier_key
from ledger.merkle import Frontier
from ledger.notes import VerifierKey, key_hint, parse_note
from ledger.ports import ColumnLog, EventLog, RecordColumns
from ledger.recorded import recorded_of
from ledger.seal_opening import Expected, first_fault
from ledger.sealing_keys import all_keys

# A part has this many entries or bytes, what is reached first: so many that joining parts costs nothing, so
# few that nobody has to wait for a last one.  Until the size of entries is known it is a smaller part.
PART_ENTRIES_MAX = 1 << 13
PART_ENTRIES_FIRST = 1 << 10
PART_BYTES = 16 * 1024 * 1024
# Examining an entry takes as long as hashing so many bytes more than it has.
ENTRY_COST_BYTES = 3_072
# Below this much work, in bytes, processes take longer to start than they save.
PROCESSES_FROM_BYTES = 192 * 1024 * 1024
# Seals that one thread opens in one go; each costs a signature check, which does not hold the interpreter.
SEALS_TOGETHER = 64
SEAL_THREADS = 2
READ_ENTRIES_MAX = 1_024
# Bodies can be large; so much of them is read at a time where the last records foretell it.
READ_BYTES = 8 * 1024 * 1024

Progress = Callable[[int, int], None]
"""Told how many entries are done, and of how many."""


class Finding(Struct, frozen=True, kw_only=True):
    """Something that does not fit; ``index`` is where, -1 when it is not at one entry."""

    index: int
    check: str
    detail: str


class ChainAudit:
    """One pass over a ledger.  ``noted_types`` are event types whose indices are kept for a closer look."""

    def __init__(
        self,
        log: EventLog,
        ledger: str,
        *,
        trusted: VerifierKey | None = None,
        kept_checkpoint: bytes = b"",
        noted_types: frozenset[str] = frozenset(),
        progress: Progress = lambda done, size: None,
    ) -> None:
        self.findings: list[Finding] = []
        self.frontier = Frontier()
        self.size = 0
        self.seal_count = 0
        self.byte_count = 0
        self.keys = KeyHistory()
        self.origin = ""
        self.noted = array("Q")
        self.found_types: set[str] = set()
        self._log = log
        self._ledger = ledger
        self._trusted = trusted
        self._kept = kept_checkpoint
        self._kept_root: bytes | None = None
        self._noted_types = noted_types
        self._progress = progress
        self._previous = PREVIOUS_OF_FIRST
        self._is_last_sealed = True
        self._seal_threads = ThreadPoolExecutor(SEAL_THREADS, thread_name_prefix="seals")
        self._opening: deque[_Opening] = deque()
        self._opening_count = 0

    async def run(self) -> None:
        """Look at everything; what was found is in ``findings`` and what was seen in the other attributes."""
        try:
            size = await self._log.size(self._ledger)
            await self._take_origin()
            async with aclosing(self._parts(size)) as parts:
                async for part, stop in parts:
                    await self._take(part, stop)
                    self._progress(self.size, size)
                    if self.findings:
                        break
            await self._settle()
        except TallystickError as error:  # the store itself gives no answer for what it holds
            self._find(self.size, "storage", str(error))
        finally:
            self._seal_threads.shutdown(wait=True, cancel_futures=True)
        self._finish()

    def key_warnings(self) -> list[Finding]:
        """Which keys were declared compromised; from there on only later seals vouch for the entries."""
        return [
            Finding(
                index=span.believed_until_index,
                check="key",
                detail=f"{key_hint(verifier_key(span.verifier_key))} is not believed from here on",
            )
            for span in self.keys.spans
            if span.believed_until_index is not None
        ]

    # -- parts

    async def _take_origin(self) -> None:
        records = await self._log.read(self._ledger, 0, 1)
        with suppress(TallystickError):  # the examination says what is wrong with it
            self.origin = parse_entry(records[0].entry).origin if records else ""

    async def _parts(self, size: int) -> AsyncGenerator[tuple[ChainPart, int], None]:
        """The parts in order, each with where it should end, examined ahead where the store allows it."""
        tasks = self._tasks(size)
        if not isinstance(self._log, ColumnLog):
            for task in tasks:
                yield await self._examine(task), task.stop
            return
        async with part_processes(self._log.column_reader(self._ledger)) as processes:
            ahead: deque[tuple[PartTask, asyncio.Task[ChainPart | None]]] = deque()
            is_started = False
            try:
                while True:
                    if not is_started and self._work(size) >= PROCESSES_FROM_BYTES:
                        processes.start(child_count())
                        is_started = True
                    for task in islice(tasks, processes.ahead - len(ahead)):
                        ahead.append((task, asyncio.create_task(processes.examine(task))))
                    if not ahead:
                        return
                    task, examined = ahead.popleft()
                    yield await examined or await self._examine(task), task.stop
            finally:
                for _, examined in ahead:
                    examined.cancel()
                await asyncio.gather(*(examined for _, examined in ahead), return_exceptions=True)

    def _tasks(self, size: int) -> Iterator[PartTask]:
        kept_size, start = _size_of(self._kept), 0
        while start < size:
            stop = min(start + self._width(start), size)
            yield PartTask(
                origin=self.origin,
                start=start,
                stop=stop,
                noted_types=self._noted_types | KEY_EVENT_TYPES,
                root_size=kept_size if start < kept_size <= stop else 0,
            )
            start = stop

    def _width(self, start: int) -> int:
        """How many entries the part that begins at ``start`` should have: a power of two that divides
        ``start``."""
        width = min(PART_ENTRIES_FIRST, PART_ENTRIES_MAX)
        if self.size:
            wanted = min(PART_ENTRIES_MAX, PART_BYTES * self.size // max(self.byte_count, 1))
            width = 1 << max(wanted.bit_length() - 1, 0)
        return min(width, start & -start) if start else width

    def _work(self, size: int) -> int:
        """What is left to do, in bytes to hash; as long as the size of entries is not known, 0."""
        if not self.size:
            return 0
        return (size - self.size) * (ENTRY_COST_BYTES + self.byte_count // self.size)

    async def _examine(self, task: PartTask) -> ChainPart:
        """Examine a part in this process."""
        examination = PartExamination(task)
        position, limit = task.start, READ_ENTRIES_MAX
        while position < task.stop:
            try:
                records = await self._log.read(self._ledger, position, min(limit, task.stop - position))
            except InvalidError:
                # The store does not give one of these; those before it are taken, and ``_explain`` names it.
                if limit == 1:
                    break
                limit = max(1, limit // 8)
                continue
            if not records or not await asyncio.to_thread(examination.take, RecordColumns.of(records)):
                break
            position = records[-1].index + 1
            bytes_each = 1 + sum(len(record.payload) for record in records) // len(records)
            limit = max(1, min(READ_ENTRIES_MAX, READ_BYTES // bytes_each))
        return examination.part()

    async def _take(self, part: ChainPart, stop: int) -> None:
        """Put the next part to those before it; ``stop`` is where it should end."""
        if part.stop > part.start and part.previous == self._previous:
            await self._take_marks(part)
            if self.findings:
                return
            self.frontier.extend_frontier(Frontier.from_bytes(part.frontier))
            self.size, self._previous = part.stop, part.last
            self.byte_count += part.byte_count
            self._is_last_sealed = part.is_last_sealed
        if self.size < stop:
            await self._settle()
            if not self.findings:
                await self._explain()
        else:
            # The next part is put to this one while threads open this one's seals.
            await self._settle(self._opening_count - len(part.seals))

    async def _take_marks(self, part: ChainPart) -> None:
        """Key events and seals of a part, in order, for each seal is judged by the keys before it."""
        if part.root is not None:
            self._kept_root = self.frontier.root_with(part.root)
        seals = deque((seal, self.frontier.root_with(seal.root)) for seal in part.seals)
        for index, event_type in part.noted:
            self.found_types.add(event_type)
            if event_type not in KEY_EVENT_TYPES:
                self.noted.append(index)
                continue
            earlier = []
            while seals and seals[0][0].index < index:
                earlier.append(seals.popleft())
            self._open(earlier)
            await self._take_key_event(index)
            if self.findings:
                return
        self._open(seals)

    async def _take_key_event(self, index: int) -> None:
        try:
            (record,) = await self._log.read(self._ledger, index, 1)
            event = read_key_event(record.payload, recorded_of(record).event)
            self.keys = check_key_event(self.keys, self.origin, index, event)
        except TallystickError as error:
            await self._settle()
            if not self.findings:
                self._find(index, "key", str(error))

    async def _explain(self) -> None:
        """Say what is wrong with the first record that does not fit."""
        records = await self._log.read(self._ledger, self.size, 1)
        if not records:
            self._find(self.size, "order", "there is no entry of this index")
            return
        fault = link_fault(records[0], self.size, self.origin, self._previous)
        self._find(self.size, *(fault or ("storage", "was read differently the second time")))

    # -- seals

    def _open(self, seals: Iterable[Expected]) -> None:
        """Let a thread open these seals with the keys as they are now."""
        loop, all_seals = asyncio.get_running_loop(), list(seals)
        self._opening_count += len(all_seals)
        for start in range(0, len(all_seals), SEALS_TOGETHER):
            some = all_seals[start : start + SEALS_TOGETHER]
            fault = loop.run_in_executor(self._seal_threads, first_fault, some, self.keys, self.origin)
            self._opening.append(_Opening(some, fault))

    async def _settle(self, count: int | None = None) -> None:
        """Judge the oldest seals that are being opened, at least ``count`` of them, or all."""
        while self._opening and (count is None or count > 0) and not self.findings:
            opening = self._opening.popleft()
            right, detail = await opening.fault
            if right < len(opening.seals):
                self.seal_count += right + 1
                self._find(opening.seals[right][0].index, "seal", detail)
                return
            self.seal_count += right
            self._opening_count -= right
            if count is not None:
                count -= right

    # -- the end

    def _finish(self) -> None:
        if not self.findings:
            if self.size and not self._is_last_sealed:
                self._find(
                    self.size - 1,
                    "seal",
                    "the last entry is not sealed: something was appended outside the ledger's writer",
                )
            if self._trusted is not None and self._trusted not in all_keys(self.keys):
                self._find(
                    self.keys.indices[0] if self.keys.indices else -1,
                    "seal",
                    f"no key of this ledger is the one you trust, {key_hint(self._trusted)}",
                )
        if self._kept:
            self._check_kept()

    def _check_kept(self) -> None:
        is_whole = not self.findings
        try:
            checkpoint = open_checkpoint(self._kept, all_keys(self.keys), origin=self.origin)
        except TallystickError as error:
            if is_whole:
                self._find(-1, "kept checkpoint", str(error))
            return
        if self._kept_root is None:
            if is_whole and checkpoint.size > self.size:
                self._find(
                    self.size,
                    "truncated",
                    f"the kept checkpoint covers {checkpoint.size} entries, {self.size} are left",
                )
        elif checkpoint.root != self._kept_root and (is_whole or checkpoint.size <= self.findings[0].index):
            forked = Finding(
                index=checkpoint.size - 1,
                check="forked",
                detail="the kept checkpoint has another root for this size: history was rewritten",
            )
            self.findings.insert(0, forked)

    def _find(self, index: int, check: str, detail: str) -> None:
        self.findings.append(Finding(index=index, check=check, detail=detail))


class _Opening(NamedTuple):
    """Seals that a thread is opening, each with the root it should be signed over."""

    seals: list[Expected]
    fault: asyncio.Future[tuple[int, str]]


def _size_of(note: bytes) -> int:
    """The size a checkpoint names, whoever signed it; 0 for what is none."""
    try:
        return parse_checkpoint(parse_note(note).text).size if note else 0
    except TallystickError:
        return 0
