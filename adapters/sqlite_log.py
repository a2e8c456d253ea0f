"""The embedded event log: one SQLite file per ledger.

The file is an append-only table whose primary key is the ledger index, so the sequence is explicit and
survives VACUUM; triggers refuse UPDATE and DELETE.  WAL with ``synchronous=FULL`` makes a committed append
durable (one fsync of the WAL per atomic append).  An append is one statement that takes the write lock before
it looks at the head, as ``BEGIN IMMEDIATE`` does, so that two processes never build on the same head.

All calls into SQLite happen on two threads per file, one that writes and one that reads; the event loop never
waits for a disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from adapters.sqlite_columns import SQLiteColumns, check_types
from domain.errors import InvalidError, LimitError, MalformedError
from domain.identifiers import parse_identifier
from ledger.errors import DamagedStoreError, LedgerConflictError
from ledger.ports import APPEND_EVENTS_MAX, Record, RecordColumns, nothing

T = TypeVar("T")
_Value = int | str | bytes | None

SCHEMA_VERSION = 1
BUSY_TIMEOUT_SECONDS = 30.0
# How often a follower looks for what other processes appended; its own process wakes it at once.
POLL_SECONDS = 0.1
READ_LIMIT_MAX = 10_000
_SUFFIX = ".sqlite"

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS store (
        one INTEGER PRIMARY KEY CHECK (one = 1), ledger TEXT NOT NULL, schema_version INTEGER NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS records (
        ledger_index INTEGER PRIMARY KEY,
        event_id BLOB NOT NULL UNIQUE CHECK (length(event_id) = 16),
        event_type TEXT NOT NULL,
        entry BLOB NOT NULL,
        payload BLOB NOT NULL,
        seal BLOB NOT NULL
    ) STRICT""",
    """CREATE TRIGGER IF NOT EXISTS records_are_never_updated BEFORE UPDATE ON records
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: records are never updated'); END""",
    """CREATE TRIGGER IF NOT EXISTS records_are_never_deleted BEFORE DELETE ON records
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: records are never deleted'); END""",
)
_COLUMNS = "ledger_index, event_id, event_type, entry, payload, seal"
# One statement stores a whole append, if the ledger is as large as the writer believes: SQLite takes the
# write lock, looks, stores and commits without holding the interpreter.  Several statements would each have
# to ask for the interpreter back, and while another thread computes, each would wait for that thread's turn
# to end.  Rows are made up with some empty ones, so that few statements are prepared.
_COLUMN_COUNT = 6
_STATEMENTS_MAX = 128


@cache
def _insert(row_count: int) -> str:
    return (
        f"INSERT INTO records ({_COLUMNS})"
        f" SELECT * FROM (VALUES {','.join(['(?, ?, ?, ?, ?, ?)'] * row_count)}) WHERE column1 IS NOT NULL"
        " AND (SELECT coalesce(max(ledger_index) + 1, 0) FROM records) = ?"
        " AND (SELECT count(*) FROM records WHERE ledger_index = ? AND entry = ? AND payload = ?) = ?"
    )


def _room(record_count: int) -> int:
    """Rows of the statement that stores so many records: at most an eighth more."""
    step = 1 << max(0, (record_count - 1).bit_length() - 4)
    return -(-record_count // step) * step


PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "trusted_schema=OFF",
    "cache_size=-65536",
    # Pages in the write-ahead log before they are copied into the file.  Event ids lie all over the file;
    # what is changed again before the copy is copied once.
    "wal_autocheckpoint=4000",
    # What a statement may have to undo is kept in memory, not in a file of its own.
    "temp_store=MEMORY",
)


class SQLiteLog:
    """An ``EventLog`` in a folder, one ``<ledger>.sqlite`` per ledger."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, _LedgerFile] = {}
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def append(
        self,
        ledger: str,
        expected_size: int,
        records: Sequence[Record],
        after: Record | None = None,
        meanwhile: Callable[[], None] = nothing,
    ) -> None:
        """See ``EventLog.append``."""
        if not records:
            return
        if len(records) > APPEND_EVENTS_MAX:
            raise LimitError(
                "too many records in one append", expected=f"<= {APPEND_EVENTS_MAX}", actual=str(len(records))
            )
        if any(record.index != expected_size + offset for offset, record in enumerate(records)):
            raise InvalidError(
                "records are not in sequence", field="index", expected=f"{expected_size} and following"
            )
        await self._file(ledger).append(expected_size, records, after, meanwhile)

    async def size(self, ledger: str) -> int:
        """See ``EventLog.size``."""
        if ledger not in self._files and not self._path(ledger).exists():
            return 0
        return await self._file(ledger).size()

    async def read(self, ledger: str, start: int, limit: int) -> list[Record]:
        """See ``EventLog.read``."""
        if ledger not in self._files and not self._path(ledger).exists():
            return []
        return await self._file(ledger).read(start, min(limit, READ_LIMIT_MAX))

    async def follow(self, ledger: str, start: int) -> AsyncIterator[Sequence[Record]]:
        """See ``EventLog.follow``."""
        file = self._file(ledger)
        while True:
            woken = file.grown
            records = await file.read(start, 1_000)
            if records:
                start = records[-1].index + 1
                yield records
                continue
            try:
                await asyncio.wait_for(asyncio.shield(woken.wait()), POLL_SECONDS)
            except TimeoutError:
                continue

    async def ledgers(self) -> list[str]:
        """See ``EventLog.ledgers``."""
        return sorted(path.name.removesuffix(_SUFFIX) for path in self._folder.glob(f"*{_SUFFIX}"))

    async def check_storage(self, ledger: str) -> list[str]:
        """SQLite's own ``integrity_check`` of the file, and that no record is missing in the sequence."""
        if ledger not in self._files and not self._path(ledger).exists():
            return [f"{self._path(ledger).name} does not exist"]
        try:
            return await self._file(ledger).check()
        except InvalidError as error:
            return [str(error)]

    async def close(self) -> None:
        """See ``EventLog.close``."""
        for file in self._files.values():
            await file.close()
        self._files.clear()

    def column_reader(self, ledger: str) -> SQLiteColumns:
        """See ``ColumnLog.column_reader``."""
        return SQLiteColumns(path=str(self._path(ledger).absolute()))

    def path(self, ledger: str) -> Path:
        """Where a ledger's file lies."""
        return self._path(ledger)

    def _path(self, ledger: str) -> Path:
        return (
            self._folder / f"{parse_identifier(ledger.removeprefix('ledger-'), 'ledger') and ledger}{_SUFFIX}"
        )

    def _file(self, ledger: str) -> _LedgerFile:
        if ledger not in self._files:
            self._files[ledger] = _LedgerFile(ledger, self._path(ledger))
        return self._files[ledger]


class _LedgerFile:
    """One file with its two connections, each used by one thread only."""

    def __init__(self, ledger: str, path: Path) -> None:
        self._ledger = ledger
        self._path = path
        self._writing = ThreadPoolExecutor(1, thread_name_prefix=f"write {ledger}")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix=f"read {ledger}")
        self._local = threading.local()
        self.grown = asyncio.Event()

    async def append(
        self,
        expected_size: int,
        records: Sequence[Record],
        after: Record | None,
        meanwhile: Callable[[], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        statement, values = _insert(_room(len(records))), _values(expected_size, records, after)

        def store(db: sqlite3.Connection) -> None:
            # The loop gets the interpreter when SQLite gives it back, so the two work side by side.
            loop.call_soon_threadsafe(meanwhile)
            if db.execute(statement, values).rowcount == len(records) or _already_stored(db, records):
                return
            size = _size(db)
            if after is not None and size == expected_size:
                raise DamagedStoreError(self._ledger, after.index)
            raise LedgerConflictError(self._ledger, expected_size=expected_size, actual_size=size)

        await self._on(self._writing, store, afterwards=_forget_pages)
        grown, self.grown = self.grown, asyncio.Event()
        grown.set()

    async def size(self) -> int:
        return await self._on(self._reading, _size)

    async def read(self, start: int, limit: int) -> list[Record]:
        return await self._on(self._reading, lambda db: _read(db, start, limit))

    async def check(self) -> list[str]:
        # On a connection of its own: it reads the whole file, and nobody waits for it.
        def apart() -> list[str]:
            try:
                with closing(self._connect()) as db:
                    return _check(db)
            except sqlite3.DatabaseError as error:
                raise self._refused(error) from error

        return await asyncio.to_thread(apart)

    async def close(self) -> None:
        for pool in (self._writing, self._reading):
            await asyncio.get_running_loop().run_in_executor(pool, self._close_connection)
            pool.shutdown(wait=True)

    async def _on(
        self,
        pool: ThreadPoolExecutor,
        work: Callable[[sqlite3.Connection], T],
        afterwards: Callable[[sqlite3.Connection], None] | None = None,
    ) -> T:
        """What ``work`` gives on the pool's connection; ``afterwards`` is done there when it is answered."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        # As ``run_in_executor``, in fewer steps: every append and read waits for this.
        def call() -> None:
            try:
                answer = work(self._connection())
            except sqlite3.DatabaseError as error:
                loop.call_soon_threadsafe(_fail, future, self._refused(error))
            except BaseException as error:
                loop.call_soon_threadsafe(_fail, future, error)
            else:
                loop.call_soon_threadsafe(_answer, future, answer)
            if afterwards is not None and (db := getattr(self._local, "db", None)) is not None:
                afterwards(db)

        pool.submit(call)
        return await future

    def _refused(self, error: sqlite3.DatabaseError) -> InvalidError:
        refused = InvalidError(
            "the store refused",
            field=self._path.name,
            actual=str(error),
            remedy="Run tally audit on this ledger.",
        )
        refused.__cause__ = error
        return refused

    def _connection(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = self._connect()
        return db

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            cached_statements=_STATEMENTS_MAX,
        )
        for pragma in PRAGMAS:
            db.execute(f"PRAGMA {pragma}")
        if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'records'").fetchone():
            # One transaction: a crash leaves an empty file or a whole one, never tables without a name.
            db.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA:
                db.execute(statement)
            db.execute("INSERT OR IGNORE INTO store VALUES (1, ?, ?)", (self._ledger, SCHEMA_VERSION))
            db.execute("COMMIT")
            self._path.chmod(0o600)
        row = db.execute("SELECT ledger, schema_version FROM store").fetchone()
        if row is None or row[0] != self._ledger:
            raise InvalidError(
                "this file holds another ledger",
                field=self._path.name,
                expected=self._ledger,
                actual=str(row),
            )
        if row[1] != SCHEMA_VERSION:
            raise MalformedError(
                "unknown schema version",
                field=self._path.name,
                expected=str(SCHEMA_VERSION),
                actual=str(row[1]),
            )
        return db

    def _close_connection(self) -> None:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is not None:
            db.close()
            self._local.db = None


def _answer(future: asyncio.Future[T], answer: T) -> None:
    if not future.done():  # nobody waits any more
        future.set_result(answer)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _forget_pages(db: sqlite3.Connection) -> None:
    """Pages that lie in memory are forgotten: what is compared next time comes from the file."""
    with suppress(sqlite3.DatabaseError):
        db.execute("PRAGMA shrink_memory")


def _size(db: sqlite3.Connection) -> int:
    (last,) = db.execute("SELECT max(ledger_index) FROM records").fetchone()
    return 0 if last is None else int(last) + 1


def _values(expected_size: int, records: Sequence[Record], after: Record | None) -> list[_Value]:
    """What is given to the statement that stores ``records`` after ``after``."""
    values: list[_Value] = []
    for record in records:
        values += (
            record.index,
            record.event_id,
            record.event_type,
            record.entry,
            record.payload,
            record.seal,
        )
    values += [None] * (_COLUMN_COUNT * (_room(len(records)) - len(records)))
    if after is None:
        values += (expected_size, None, None, None, 0)
    else:
        values += (expected_size, expected_size - 1, after.entry, after.payload, 1)
    return values


def _read(db: sqlite3.Connection, start: int, limit: int) -> list[Record]:
    # Who reads bytes back to compare them wants to see what became of them.
    _forget_pages(db)
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM records WHERE ledger_index >= ? ORDER BY ledger_index LIMIT ?",
        (start, limit),
    ).fetchall()
    if not rows:
        return []
    columns = RecordColumns(*zip(*rows, strict=True))
    check_types(columns)
    return list(columns.records())


def _check(db: sqlite3.Connection) -> list[str]:
    findings = [str(row[0]) for row in db.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
    count, first, last = db.execute(
        "SELECT count(*), min(ledger_index), max(ledger_index) FROM records"
    ).fetchone()
    if count and (first != 0 or last != count - 1):
        findings.append(f"the sequence has holes: {count} records between index {first} and {last}")
    for trigger in ("records_are_never_updated", "records_are_never_deleted"):
        if not db.execute(
            "SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND name = ?", (trigger,)
        ).fetchone():
            findings.append(f"the trigger {trigger} is gone: somebody opened the file to changes")
    return findings


def _already_stored(db: sqlite3.Connection, records: Sequence[Record]) -> bool:
    """Whether exactly these events are stored at exactly these positions (a retried append)."""
    stored = db.execute(
        "SELECT event_id FROM records WHERE ledger_index >= ? ORDER BY ledger_index LIMIT ?",
        (records[0].index, len(records)),
    ).fetchall()
    return [row[0] for row in stored] == [record.event_id for record in records]
