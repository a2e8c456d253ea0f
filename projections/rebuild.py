"""Rebuilding a view: fold the ledger from zero beside the live file, prove both equal, switch in one rename.

1. The scratch view is folded up to where the live view stands; there both must agree, table by table, in
   row count and content digest.
2. It is folded on to the end of the ledger, written to one file and synced.
3. The live file becomes ``<file>.previous`` and the scratch takes its name; a crash leaves either the one
   or the other.

The rebuilt view is taken even when the two differ, because the ledger is the truth and a view only its
image; the report says where they differ, and the previous file is kept to be looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Final, Literal, ParamSpec, Self, TypeVar

import duckdb
from msgspec import Struct

from ledger.ports import EventLog
from projections.ahead import increments_ahead
from projections.catch_up import pages
from projections.errors import MalformedViewError, ViewStorageError
from projections.lease import Lease
from projections.schema import COMPARED_TABLES
from projections.view import View, connect, read_position

P = ParamSpec("P")
T = TypeVar("T")

# A transaction costs about 10 ms whatever is in it; with their rows so many events take about 150 MB.
_TRANSACTION_EVENTS: Final = 32_768
# A scratch view has no log of its own; this bounds what waits in memory to be written.
_CHECKPOINT_EVENTS: Final = 262_144
# As soon as that, when the writer would only wait for rows: what is on the disk then need not be put there
# at the end.  Sooner, and the same half-full row groups are written again and again.
_IDLE_CHECKPOINT_EVENTS: Final = 49_152

Live = Literal["compared", "missing", "unreadable", "ahead"]


class TableDigest(Struct, frozen=True, kw_only=True):
    """What a table holds: its rows, and a digest over them that does not depend on their order."""

    row_count: int
    digest: str


class TableComparison(Struct, frozen=True, kw_only=True):
    """A table in the live and in the rebuilt view."""

    table: str
    live: TableDigest
    rebuilt: TableDigest

    @property
    def is_equal(self) -> bool:
        return self.live == self.rebuilt


class RebuildReport(Struct, frozen=True, kw_only=True):
    """What a rebuild found.

    ``live`` says what became of the view before it: ``compared`` at ``compared_count`` entries,
    ``missing``, ``unreadable``, or ``ahead`` of the ledger (which then has lost entries); ``detail`` says
    why.  ``seconds`` is the time taken to fold ``event_count`` entries.
    """

    ledger: str
    path: str
    event_count: int
    seconds: float
    live: Live
    detail: str
    compared_count: int
    tables: tuple[TableComparison, ...]
    previous: str

    @property
    def events_per_second(self) -> float:
        return self.event_count / self.seconds if self.seconds else 0.0

    @property
    def is_equal(self) -> bool:
        """Whether there was a live view and it is proven equal."""
        return self.live == "compared" and all(table.is_equal for table in self.tables)


async def rebuild(log: EventLog, ledger: str, path: Path) -> RebuildReport:
    """Rebuild the view at ``path``, which nobody may be using.

    Raises: ViewInUseError; ProjectionStoppedError when an entry cannot be folded (the live view is then
    left as it is).
    """
    lease = Lease(path)
    try:
        async with Scratch(log, ledger, path) as scratch:
            live, detail, digests, position = await scratch.run(_look_at, path, ledger)
            size = await log.size(ledger)
            if live == "compared" and position > size:
                live, detail = "ahead", f"the view has {position} entries, the ledger {size}"
            compared: tuple[TableComparison, ...] = ()
            if live == "compared":
                await scratch.advance(position)
                compared = await scratch.compare(digests)
            await scratch.advance()
            return await scratch.take_over(live, detail, position if compared else 0, compared)
    finally:
        lease.release()


class Scratch:
    """The view that is being rebuilt beside ``path``, on a thread of its own; thrown away unless it takes
    over."""

    def __init__(self, log: EventLog, ledger: str, path: Path) -> None:
        self._log = log
        self._ledger = ledger
        self._path = path
        self._file = path.with_name(path.name + ".rebuild")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"rebuild {ledger}")
        self._seconds = 0.0

    async def __aenter__(self) -> Self:
        await self.run(self._remove)
        self._view = await self.run(lambda: View(self._file, self._ledger, is_scratch=True))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.run(self._view.close)
        await self.run(self._remove)
        self._thread.shutdown(wait=False)

    @property
    def position(self) -> int:
        """Entries folded so far."""
        return self._view.position.next_index

    async def advance(self, stop: int | None = None) -> None:
        """Fold up to position ``stop``, or to the end of the ledger as it is."""
        began = time.perf_counter()
        # Whatever cannot be read, folded or written this way is met again below, entry by entry.
        with contextlib.suppress(Exception):
            await self._advance_ahead(stop)
        await self._advance(stop)
        self._seconds += time.perf_counter() - began

    async def _advance_ahead(self, stop: int | None) -> None:
        """Fold on one thread while the rows from before are written on the other."""
        written = self.position
        async with aclosing(increments_ahead(self._log, self._view, stop)) as found:
            async for increment, following in found:
                await self.run(self._view.write, increment)
                waiting = self.position - written
                if waiting >= (_CHECKPOINT_EVENTS if following.done() else _IDLE_CHECKPOINT_EVENTS):
                    await self.run(self._view.checkpoint)
                    written = self.position

    async def _advance(self, stop: int | None) -> None:
        """Fold and write by turns."""
        written = self.position
        found = pages(self._log, self._ledger, self.position, stop, events_max=_TRANSACTION_EVENTS)
        async with aclosing(found):
            async for records in found:
                await self.run(self._view.advance, records)
                if self.position - written >= _CHECKPOINT_EVENTS:
                    await self.run(self._view.checkpoint)
                    written = self.position

    async def compare(self, live: dict[str, TableDigest]) -> tuple[TableComparison, ...]:
        """Set the tables as they are now against those of the live view at the same position."""
        rebuilt = await self.run(lambda: digests_of(self._view.cursor()))
        return tuple(
            TableComparison(table=name, live=live[name], rebuilt=rebuilt[name]) for name in COMPARED_TABLES
        )

    async def take_over(
        self, live: Live, detail: str, compared_count: int, tables: tuple[TableComparison, ...]
    ) -> RebuildReport:
        """Write everything to disk and become the live view, which nobody may have open."""
        event_count = self.position
        began = time.perf_counter()
        await self.run(self._view.checkpoint)
        await self.run(self._view.close)
        self._seconds += time.perf_counter() - began
        previous = await self.run(switch, self._file, self._path)
        return RebuildReport(
            ledger=self._ledger,
            path=str(self._path),
            event_count=event_count,
            seconds=self._seconds,
            live=live,
            detail=detail,
            compared_count=compared_count,
            tables=tables,
            previous=str(previous or ""),
        )

    async def run(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Call ``function`` on the thread that owns the scratch view."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(function, *arguments, **options))

    def _remove(self) -> None:
        shutil.rmtree(f"{self._file}.tmp", ignore_errors=True)
        for suffix in ("", ".wal", ".lock"):
            self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)


def digests_of(connection: duckdb.DuckDBPyConnection) -> dict[str, TableDigest]:
    """Row count and digest of every table that two views of one history must agree on.

    The digest is made of the sum and the exclusive or of the rows' 64-bit hashes, so the order of rows does
    not matter.  It finds faults; it is no commitment against somebody who can write the file.  It holds
    within one version of DuckDB, which both views were just read with.
    """
    found = {}
    for name in COMPARED_TABLES:
        query = f"SELECT count(*), sum(hash(rows)), bit_xor(hash(rows)) FROM {name} AS rows"
        ((row_count, total, parity),) = connection.execute(query).fetchall()
        total, parity = total or 0, parity or 0
        found[name] = TableDigest(row_count=row_count, digest=f"{total % (1 << 64):016x}{parity:016x}")
    return found


def switch(scratch: Path, path: Path) -> Path | None:
    """Put the closed file ``scratch`` in the place of ``path``, durably; returns where the previous file
    went.

    A log that a crash left beside the old file goes with it: it must not be applied to the new one.
    """
    previous = path.with_name(path.name + ".previous")
    log, previous_log = (file.with_name(file.name + ".wal") for file in (path, previous))
    try:
        _sync(scratch)
        for old in (previous, previous_log):
            old.unlink(missing_ok=True)
        if had_live := path.exists():
            try:
                os.link(path, previous)  # so that the name never points nowhere
            except OSError:
                os.replace(path, previous)
        if log.exists():
            os.replace(log, previous_log)
        os.replace(scratch, path)
        _sync(path.parent)
    except OSError as error:
        raise ViewStorageError(path, str(error)) from error
    return previous if had_live else None


def _look_at(path: Path, ledger: str) -> tuple[Live, str, dict[str, TableDigest], int]:
    """The live view as it stands: whether it can be read, its digests and its position."""
    if not path.exists():
        return "missing", "there was no view", {}, 0
    try:
        with contextlib.closing(connect(path)) as connection:
            position = read_position(connection, ledger, path)
            return "compared", "", digests_of(connection), position.next_index
    except MalformedViewError as error:
        return "unreadable", error.actual, {}, 0
    except duckdb.Error as error:
        return "unreadable", str(error)[:300], {}, 0


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
