"""The work queue beside an embedded log: who holds which record until when, in one small SQLite file per
ledger.

A record that was taken is a row with a lease.  Done deletes the row; a lease that ran out is anybody's.  The
place of a destination is the first index that has a row or was never handed out, so it moves over finished
work only.  Losing the last moments of this file (it is not fsynced at every step) hands some records out
again and loses none.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar
from uuid import uuid4

from domain.errors import InvalidError, LimitError
from domain.identifiers import parse_identifier
from ledger.ports import Clock, EventLog
from ledger.work_queue import (
    ATTEMPTS_MAX,
    BUFFER_RECORDS_MAX,
    LEASE_SECONDS,
    WORKERS_MAX,
    WorkItem,
    WorkSession,
)

T = TypeVar("T")

#: How often a worker without work looks for some: for new records, and for leases that ran out.
POLL_SECONDS: Final = 0.1
BUSY_TIMEOUT_SECONDS: Final = 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS destination (name TEXT PRIMARY KEY, next_index INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS worker (
    name TEXT PRIMARY KEY, destination TEXT NOT NULL, until_ns INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS item (
    destination TEXT NOT NULL,
    ledger_index INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('taken', 'waiting', 'parked')),
    worker TEXT NOT NULL,
    until_ns INTEGER NOT NULL,
    PRIMARY KEY (destination, ledger_index)
) STRICT, WITHOUT ROWID;
"""


class SQLiteWorkQueue:
    """A ``WorkQueue`` in a folder, over the records of ``log``, which its owner closes."""

    def __init__(
        self,
        folder: Path,
        log: EventLog,
        *,
        lease_seconds: float = LEASE_SECONDS,
        clock: Clock = time.time_ns,
    ) -> None:
        self._folder = folder
        self._log = log
        self._lease_ns = int(lease_seconds * 1e9)
        self._clock = clock
        self._files: dict[str, _QueueFile] = {}
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @asynccontextmanager
    async def work(self, ledger: str, destination: str, *, start: int = 0) -> AsyncIterator[WorkSession]:
        """See ``WorkQueue.work``."""
        file = self._file(ledger, destination)
        session = _Session(file, self._log, ledger, destination, self._lease_ns, self._clock)
        await session.open(start)
        try:
            yield session
        finally:
            await session.close()

    async def position(self, ledger: str, destination: str) -> int:
        """See ``WorkQueue.position``."""
        return await self._file(ledger, destination).run(lambda db: _position(db, destination))

    async def parked(self, ledger: str, destination: str) -> list[int]:
        """See ``WorkQueue.parked``."""

        def read(db: sqlite3.Connection) -> list[int]:
            rows = db.execute(
                "SELECT ledger_index FROM item WHERE destination = ? AND state = 'parked' ORDER BY 1",
                (destination,),
            )
            return [index for (index,) in rows]

        return await self._file(ledger, destination).run(read)

    async def replay_parked(self, ledger: str, destination: str) -> None:
        """See ``WorkQueue.replay_parked``."""

        def replay(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE item SET state = 'waiting', attempt = 0 WHERE destination = ? AND state = 'parked'",
                (destination,),
            )

        await self._file(ledger, destination).run(replay)

    async def forget(self, ledger: str, destination: str) -> None:
        """See ``WorkQueue.forget``."""

        def forget(db: sqlite3.Connection) -> None:
            for table, column in (
                ("item", "destination"),
                ("worker", "destination"),
                ("destination", "name"),
            ):
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (destination,))

        await self._file(ledger, destination).run(forget)

    async def close(self) -> None:
        """See ``WorkQueue.close``."""
        for file in self._files.values():
            await file.close()
        self._files.clear()

    def _file(self, ledger: str, destination: str) -> _QueueFile:
        parse_identifier(ledger.removeprefix("ledger-"), "ledger")
        parse_identifier(destination, "destination")
        if ledger not in self._files:
            self._files[ledger] = _QueueFile(self._folder / f"{ledger}.queue")
        return self._files[ledger]


class _Session:
    """One worker."""

    def __init__(
        self,
        file: _QueueFile,
        log: EventLog,
        ledger: str,
        destination: str,
        lease_ns: int,
        clock: Clock,
    ) -> None:
        self._file = file
        self._log = log
        self._ledger = ledger
        self._destination = destination
        self._lease_ns = lease_ns
        self._clock = clock
        self._name = uuid4().hex
        self._taken: list[WorkItem] = []
        self._taking: asyncio.Task[None] | None = None

    async def open(self, start: int) -> None:
        """Raises: LimitError when there are too many workers."""

        def register(db: sqlite3.Connection) -> bool:
            now = self._clock()
            db.execute("DELETE FROM worker WHERE until_ns < ?", (now,))
            (others,) = db.execute(
                "SELECT count(*) FROM worker WHERE destination = ?", (self._destination,)
            ).fetchone()
            if others >= WORKERS_MAX:
                return False
            db.execute("INSERT OR IGNORE INTO destination VALUES (?, ?)", (self._destination, start))
            self._announce(db, now)
            return True

        if not await self._file.run(register):
            raise LimitError("too many workers", field=self._destination, expected=f"<= {WORKERS_MAX}")

    async def close(self) -> None:
        """Give back what is not finished."""
        if self._taking is not None:
            await asyncio.gather(self._taking, return_exceptions=True)

        def give_back(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM worker WHERE name = ?", (self._name,))
            db.execute(
                "UPDATE item SET state = 'waiting' WHERE worker = ? AND state = 'taken'", (self._name,)
            )

        await self._file.run(give_back)

    def __aiter__(self) -> _Session:
        return self

    async def __anext__(self) -> WorkItem:
        while not self._taken:
            # A wait that is cancelled leaves the task behind, and what it takes to the next one who waits.
            if self._taking is None:
                self._taking = asyncio.create_task(self._fill())
            try:
                await asyncio.shield(self._taking)
            finally:
                if self._taking.done():
                    self._taking = None
            if not self._taken:
                await asyncio.sleep(POLL_SECONDS)
        return self._taken.pop(0)

    async def done(self, item: WorkItem) -> None:
        await self._settle(
            item, "DELETE FROM item WHERE destination = ? AND ledger_index = ? AND state <> 'parked'"
        )

    async def again(self, item: WorkItem) -> None:
        state = "parked" if item.attempt >= ATTEMPTS_MAX else "waiting"
        await self._settle(
            item,
            f"UPDATE item SET state = '{state}' WHERE destination = ? AND ledger_index = ?"
            " AND worker = ? AND state = 'taken'",
            self._name,
        )

    async def park(self, item: WorkItem) -> None:
        await self._settle(
            item,
            "UPDATE item SET state = 'parked' WHERE destination = ? AND ledger_index = ? AND worker = ?",
            self._name,
        )

    async def _settle(self, item: WorkItem, statement: str, *more: str) -> None:
        def settle(db: sqlite3.Connection) -> None:
            db.execute(statement, (self._destination, item.record.index, *more))

        await self._file.run(settle)

    async def _fill(self) -> None:
        self._taken += await self._take()

    async def _take(self) -> list[WorkItem]:
        """Waiting records first, then new ones, up to the buffer's size; leased to this worker."""
        taken = await self._file.run(self._take_waiting)
        items = [
            WorkItem(record=record, attempt=attempt)
            for index, attempt in taken
            for record in await self._log.read(self._ledger, index, 1)
        ]
        if len(items) < BUFFER_RECORDS_MAX:
            items += await self._take_new(BUFFER_RECORDS_MAX - len(items))
        return items

    async def _take_new(self, limit: int) -> list[WorkItem]:
        next_index = await self._file.run(self._next_index)
        records = await self._log.read(self._ledger, next_index, limit)

        def take(db: sqlite3.Connection) -> bool:
            return self._lease_new(db, next_index, len(records))

        if not records or not await self._file.run(take):
            return []
        return [WorkItem(record=record, attempt=1) for record in records]

    def _take_waiting(self, db: sqlite3.Connection) -> list[tuple[int, int]]:
        now = self._clock()
        self._announce(db, now)
        # A lease that ran out counts as an attempt that failed.
        db.execute(
            "UPDATE item SET state = CASE WHEN attempt >= ? THEN 'parked' ELSE 'waiting' END"
            " WHERE destination = ? AND state = 'taken' AND until_ns < ?",
            (ATTEMPTS_MAX, self._destination, now),
        )
        rows = db.execute(
            "SELECT ledger_index, attempt + 1 FROM item WHERE destination = ? AND state = 'waiting'"
            " ORDER BY ledger_index LIMIT ?",
            (self._destination, BUFFER_RECORDS_MAX),
        ).fetchall()
        db.executemany(
            "UPDATE item SET state = 'taken', attempt = ?, worker = ?, until_ns = ?"
            " WHERE destination = ? AND ledger_index = ?",
            [
                (attempt, self._name, now + self._lease_ns, self._destination, index)
                for index, attempt in rows
            ],
        )
        return rows

    def _next_index(self, db: sqlite3.Connection) -> int:
        row = db.execute("SELECT next_index FROM destination WHERE name = ?", (self._destination,)).fetchone()
        if row is None:
            raise InvalidError("somebody forgot this destination", field=self._destination)
        return int(row[0])

    def _lease_new(self, db: sqlite3.Connection, start: int, record_count: int) -> bool:
        """False when another worker was quicker."""
        changed = db.execute(
            "UPDATE destination SET next_index = ? WHERE name = ? AND next_index = ?",
            (start + record_count, self._destination, start),
        ).rowcount
        if changed:
            until = self._clock() + self._lease_ns
            db.executemany(
                "INSERT INTO item VALUES (?, ?, 1, 'taken', ?, ?)",
                [(self._destination, start + offset, self._name, until) for offset in range(record_count)],
            )
        return bool(changed)

    def _announce(self, db: sqlite3.Connection, now: int) -> None:
        db.execute(
            "INSERT OR REPLACE INTO worker VALUES (?, ?, ?)",
            (self._name, self._destination, now + self._lease_ns),
        )


class _QueueFile:
    """A file with its connection on a thread of its own; every call is a transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=path.name)
        self._db: sqlite3.Connection | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def call() -> T:
            try:
                if self._db is None:
                    self._db = self._open()
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    answer = work(self._db)
                    self._db.execute("COMMIT")
                    return answer
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.DatabaseError as error:
                raise InvalidError(
                    "the work queue's file refused",
                    field=self._path.name,
                    actual=str(error),
                    remedy="It holds no facts: delete it, and every destination begins again.",
                ) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def close(self) -> None:
        def close() -> None:
            if self._db is not None:
                self._db.close()

        await asyncio.get_running_loop().run_in_executor(self._thread, close)
        self._thread.shutdown()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.executescript(_SCHEMA)
        self._path.chmod(0o600)
        return db


def _position(db: sqlite3.Connection, destination: str) -> int:
    row = db.execute(
        "SELECT min(ledger_index) FROM item WHERE destination = ? AND state <> 'parked'", (destination,)
    ).fetchone()
    if row[0] is not None:
        return int(row[0])
    row = db.execute("SELECT next_index FROM destination WHERE name = ?", (destination,)).fetchone()
    return int(row[0]) if row else 0
