"""The embedded SQLite file under the node: one append-only table of records, ordered by position.

``records`` is the log.  ``streams`` and ``event_types`` only give names short numbers.  Nothing is ever
updated or deleted; deletion, truncation and subscription state are themselves records.

The file is in WAL mode with ``synchronous = FULL``, so a commit that returned survives a crash of the
machine.  Rows are inserted on the thread of the event loop, where the interpreter lock already is, and only
the commit, which waits for the disk, runs on a thread of its own.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from domain.errors import ConflictError, InvalidError

#: Pages fetched by one read; a reader goes on with the next page, so that others get their turn.
PAGE_ROWS_MAX: Final = 1000
PAGE_BYTES_MAX: Final = 1024 * 1024
#: A log grows to this unless told otherwise, so that a forgotten node does not fill the disk.
LOG_BYTES_MAX: Final = 64 * 1024 * 1024 * 1024
#: Frames in the WAL before SQLite copies them back; about 32 MiB, so that copying is rare and recovery quick.
_WAL_PAGES: Final = 8000

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS streams (stream_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS event_types (type_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS records (
    position  INTEGER PRIMARY KEY,
    stream_id INTEGER NOT NULL,
    revision  INTEGER NOT NULL,
    type_id   INTEGER NOT NULL,
    created   INTEGER NOT NULL,
    frame     BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS records_by_stream ON records (stream_id, revision);
CREATE TRIGGER IF NOT EXISTS records_are_not_changed BEFORE UPDATE ON records
    BEGIN SELECT RAISE(ABORT, 'records are append-only'); END;
CREATE TRIGGER IF NOT EXISTS records_are_not_removed BEFORE DELETE ON records
    BEGIN SELECT RAISE(ABORT, 'records are append-only'); END;
"""
#: Raised when the layout of ``frame`` or of a table changes.
_FORMAT: Final = 1

#: position, stream_id, revision, type_id, created (100-ns ticks since 1970), frame
Row = tuple[int, int, int, int, int, bytes]
_COLUMNS: Final = "position, stream_id, revision, type_id, created, frame"


class RecordsFile:
    """Tables and queries; ``path`` None keeps everything in memory and forgets it.

    Appends fail once the file has ``bytes_max`` bytes.
    """

    def __init__(self, path: Path | None, bytes_max: int = LOG_BYTES_MAX) -> None:
        self.path = path
        target = ":memory:" if path is None else os.fspath(path)
        self._lock = None if path is None else _lock(path)
        self._writer = sqlite3.connect(target, isolation_level=None, check_same_thread=False)
        if path is not None:
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.execute("PRAGMA synchronous = FULL")
            self._writer.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        self._reader = self._writer
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _FORMAT):
            self.close()
            raise InvalidError(
                f"{target} has another format",
                expected=str(_FORMAT),
                actual=str(version),
                remedy="Use a new file.",
            )
        self._writer.executescript(_SCHEMA)
        page_bytes = self._writer.execute("PRAGMA page_size").fetchone()[0]
        self._writer.execute(f"PRAGMA max_page_count = {max(1, bytes_max // page_bytes)}")
        self._writer.execute(f"PRAGMA user_version = {_FORMAT}")
        if path is not None:
            self._reader = sqlite3.connect(target, isolation_level=None, check_same_thread=False)
            self._reader.execute("PRAGMA query_only = ON")

    @property
    def durable(self) -> bool:
        """Whether a commit waits for a disk."""
        return self.path is not None

    def close(self) -> None:
        """Close both connections; the last one out copies the WAL back."""
        if self._reader is not self._writer:
            self._reader.close()
        self._writer.close()
        if self._lock is not None:
            os.close(self._lock)

    # -- write

    def insert(
        self, streams: Iterable[tuple[int, str]], types: Iterable[tuple[int, str]], rows: Iterable[Row]
    ) -> None:
        """Begin a transaction and put the rows into it."""
        writer = self._writer
        writer.execute("BEGIN IMMEDIATE")
        writer.executemany("INSERT INTO streams VALUES (?, ?)", streams)
        writer.executemany("INSERT INTO event_types VALUES (?, ?)", types)
        writer.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", rows)

    def commit(self) -> None:
        """End the transaction; when this returns the rows are on disk."""
        self._writer.execute("COMMIT")

    def roll_back(self) -> None:
        """Undo what is not committed."""
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    # -- read

    def ends(self) -> tuple[int, int, Row | None]:
        """Largest stream number, largest type number and the last record."""
        stream_id = self._reader.execute("SELECT max(stream_id) FROM streams").fetchone()[0] or 0
        type_id = self._reader.execute("SELECT max(type_id) FROM event_types").fetchone()[0] or 0
        last = self._reader.execute(
            f"SELECT {_COLUMNS} FROM records ORDER BY position DESC LIMIT 1"
        ).fetchone()
        return stream_id, type_id, last

    def recent_ids(self, after: int, count: int) -> list[tuple[int, int, int, bytes]]:
        """stream_id, revision, position and event id (36 characters) of the last records, oldest first."""
        found = self._reader.execute(
            "SELECT stream_id, revision, position, substr(frame, -36)"
            " FROM records WHERE position > ? ORDER BY position DESC LIMIT ?",
            (after, count),
        ).fetchall()
        found.reverse()
        return found

    def stream_id(self, name: str) -> int | None:
        """The number of a stream."""
        found = self._reader.execute("SELECT stream_id FROM streams WHERE name = ?", (name,)).fetchone()
        return None if found is None else int(found[0])

    def stream_name(self, stream_id: int) -> str:
        """The name of a stream."""
        return str(
            self._reader.execute("SELECT name FROM streams WHERE stream_id = ?", (stream_id,)).fetchone()[0]
        )

    def type_id(self, name: str) -> int | None:
        """The number of an event type."""
        found = self._reader.execute("SELECT type_id FROM event_types WHERE name = ?", (name,)).fetchone()
        return None if found is None else int(found[0])

    def type_name(self, type_id: int) -> str:
        """The name of an event type."""
        return str(
            self._reader.execute("SELECT name FROM event_types WHERE type_id = ?", (type_id,)).fetchone()[0]
        )

    def last_of_stream(self, stream_id: int) -> Row | None:
        """The record with the highest revision."""
        found: Row | None = self._reader.execute(
            f"SELECT {_COLUMNS} FROM records WHERE stream_id = ? ORDER BY revision DESC LIMIT 1", (stream_id,)
        ).fetchone()
        return found

    def at(self, stream_id: int, revision: int) -> Row | None:
        """One record of a stream."""
        found: Row | None = self._reader.execute(
            f"SELECT {_COLUMNS} FROM records WHERE stream_id = ? AND revision = ?", (stream_id, revision)
        ).fetchone()
        return found

    def has_position(self, position: int) -> bool:
        """Whether a record starts there."""
        return (
            self._reader.execute("SELECT 1 FROM records WHERE position = ?", (position,)).fetchone()
            is not None
        )

    def stream_forwards(self, stream_id: int, first: int, last: int, count: int) -> list[Row]:
        """Records with ``first <= revision <= last``, a page of at most ``count``."""
        return self._page(
            f"SELECT {_COLUMNS} FROM records"
            " WHERE stream_id = ? AND revision BETWEEN ? AND ? ORDER BY revision LIMIT ?",
            (stream_id, first, last, min(count, PAGE_ROWS_MAX)),
        )

    def stream_backwards(self, stream_id: int, first: int, last: int, count: int) -> list[Row]:
        """The same from ``last`` down to ``first``."""
        return self._page(
            f"SELECT {_COLUMNS} FROM records"
            " WHERE stream_id = ? AND revision BETWEEN ? AND ? ORDER BY revision DESC LIMIT ?",
            (stream_id, first, last, min(count, PAGE_ROWS_MAX)),
        )

    def all_forwards(self, position: int, count: int) -> list[Row]:
        """Records at or after ``position``."""
        return self._page(
            f"SELECT {_COLUMNS} FROM records WHERE position >= ? ORDER BY position LIMIT ?",
            (position, min(count, PAGE_ROWS_MAX)),
        )

    def all_backwards(self, position: int, count: int) -> list[Row]:
        """Records before ``position``, the newest first."""
        return self._page(
            f"SELECT {_COLUMNS} FROM records WHERE position < ? ORDER BY position DESC LIMIT ?",
            (position, min(count, PAGE_ROWS_MAX)),
        )

    def _page(self, query: str, arguments: tuple[int, ...]) -> list[Row]:
        """At least one row if there is any, and no more bytes than a page should have."""
        cursor = self._reader.execute(query, arguments)
        rows: list[Row] = []
        size = 0
        while size < PAGE_BYTES_MAX:
            some = cursor.fetchmany(100)
            if not some:
                break
            rows += some
            size += sum(len(row[5]) for row in some)
        cursor.close()
        return rows


def _lock(path: Path) -> int:
    """Positions are given out from memory, so a file has one node; the lock ends with the process."""
    handle = os.open(f"{os.fspath(path)}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise ConflictError(
            f"{path} is in use by another development node", remedy="Stop it, or give this one its own file."
        ) from None
    return handle
