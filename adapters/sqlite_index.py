"""Derived memory beside a ledger: what entries are filed under, full Merkle tiles and the tree's edge, in one
SQLite file.

Nothing here is truth.  It is written without fsync, a little behind the log; what is lost in a crash is read
again from the log when the ledger is opened.  It waits in memory and is written in bulk, by a thread with a
connection of its own, so that nobody waits for it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import Struct

from adapters.sqlite_postings import (
    FORGET_POSTINGS,
    POSTINGS_SCHEMA,
    TOPICS_MAX,
    Postings,
    postings_from,
    postings_of,
    stored_postings,
    write_postings,
)
from domain.errors import InvalidError, LimitError
from ledger.merkle import HASH_BYTES, Frontier, perfect_root

SCHEMA_VERSION = 3
# Entries that wait in memory before they are written together; bounds both memory and what is read again
# after a crash.
BUFFERED_ENTRIES_MAX = 32_768
# When the thread that writes is so far behind, the ledger waits for it.
BEHIND_FACTOR = 4
TILE_WIDTH = 256
BUSY_TIMEOUT_SECONDS = 30.0
_TILE_BYTES = TILE_WIDTH * HASH_BYTES

_SCHEMA = """
CREATE TABLE IF NOT EXISTS position (
    one INTEGER PRIMARY KEY CHECK (one = 1), frontier BLOB NOT NULL, last_leaf TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS tiles (
    level INTEGER NOT NULL, number INTEGER NOT NULL, hashes BLOB NOT NULL, PRIMARY KEY (level, number)
);
CREATE TABLE IF NOT EXISTS edges (level INTEGER PRIMARY KEY, hashes BLOB NOT NULL);
"""


class _Unwritten(Struct, kw_only=True):
    """What waits to be written, or is being written."""

    tiles: dict[tuple[int, int], bytes]
    postings: Postings
    edges: dict[int, bytes]
    size: int
    last_leaf: str


class SQLiteIndex:
    """A ``LedgerIndex`` in a file.  Calls are quick and may come from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._lock = threading.RLock()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"index {path.stem}")
        self._writing: Future[None] | None = None
        try:
            self._db = self._connect()
        except sqlite3.DatabaseError:
            # It is derived: a damaged file is thrown away, not repaired.
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._db = self._connect()
        self._write_db = self._connect()
        self._idle: list[sqlite3.Connection] = []
        self._begin()

    def find_entries(self, topics: Sequence[str], start: int, limit: int) -> list[int]:
        """See ``LedgerIndex.find_entries``."""
        if not 1 <= len(topics) <= TOPICS_MAX:
            raise LimitError("too many topics", expected=f"1 to {TOPICS_MAX}", actual=str(len(topics)))
        with self._lock:
            # What waits or is being written is not looked for in the file, wherever the writer is by now.
            held = [self._postings] if self._old is None else [self._old.postings, self._postings]
            below = held[0].start
            waiting = [index for postings in held for index in postings.filed(topics) if index >= start]
        with self._reading() as db:
            found = list(islice(stored_postings(db, topics, start, below), limit))
        return [*found, *waiting][:limit]

    def frontier(self) -> tuple[Frontier, str]:
        """See ``LedgerIndex.frontier``."""
        with self._lock:
            return _frontier_of(self._edges, self._size), self._last_leaf

    def filings(self, topics: Sequence[Sequence[str]]) -> Any:
        """See ``LedgerIndex.filings``."""
        return postings_of(topics)

    def advance(self, start: int, leaves: Sequence[bytes], filings: Any) -> None:
        """See ``LedgerIndex.advance``."""
        with self._lock:
            done = self._size - start
            if done >= len(leaves):
                return
            if done < 0:
                raise InvalidError(
                    "entries were left out of the derived index",
                    field=self._path.name,
                    expected=str(self._size),
                    actual=str(start),
                    remedy="Open the ledger again; what is missing is read from the log.",
                )
            if done:
                leaves, filings = leaves[done:], postings_from(filings, done)
            self._postings.take(filings, len(leaves))
            self._add_leaves(leaves)
            self._last_leaf = leaves[-1].hex()
            self._waiting_entries += len(leaves)
            if self._waiting_entries >= BUFFERED_ENTRIES_MAX:
                self._write_soon()

    def tile_hashes(self, level: int, number: int) -> bytes | None:
        """See ``LedgerIndex.tile_hashes``."""
        with self._lock:
            for tiles in (self._tiles, self._old.tiles if self._old is not None else {}):
                if (level, number) in tiles:
                    return tiles[level, number]
            if number == (self._size >> (8 * level)) // TILE_WIDTH:
                return bytes(self._edges.get(level, b"")) or None
            row = self._db.execute(
                "SELECT hashes FROM tiles WHERE level = ? AND number = ?", (level, number)
            ).fetchone()
            return None if row is None else bytes(row[0])

    def flush(self) -> None:
        """Write what waits in memory, and wait until it is written."""
        with self._lock:
            self._settle()
            self._write_soon()
            self._wait()

    def reset(self) -> None:
        """See ``LedgerIndex.reset``."""
        with self._lock:
            self._settle()
            self._db.executescript(
                "BEGIN IMMEDIATE;"
                f"{FORGET_POSTINGS}"
                "DELETE FROM tiles; DELETE FROM edges; DELETE FROM position;"
                "COMMIT;"
            )
            self._begin()

    def close(self) -> None:
        """See ``LedgerIndex.close``."""
        with self._lock:
            try:
                self.flush()
            finally:
                self._writer.shutdown(wait=True)
                for db in (*self._idle, self._write_db, self._db):
                    db.close()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_SECONDS
        )
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA temp_store=MEMORY")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version not in (0, SCHEMA_VERSION):
                raise sqlite3.DatabaseError("another version of the derived index")
            db.executescript(f"{_SCHEMA} {POSTINGS_SCHEMA} PRAGMA user_version={SCHEMA_VERSION};")
        except BaseException:
            db.close()
            raise
        return db

    def _begin(self) -> None:
        """Stand where the file stands."""
        self._tiles: dict[tuple[int, int], bytes] = {}
        self._waiting_entries = 0
        self._old: _Unwritten | None = None
        row = self._db.execute("SELECT frontier, last_leaf FROM position").fetchone()
        self._size = 0 if row is None else Frontier.from_bytes(bytes(row[0])).size
        self._last_leaf = "0" * 64 if row is None else str(row[1])
        self._postings: Postings = Postings(self._size)
        self._edges: dict[int, bytearray] = {
            int(level): bytearray(hashes)
            for level, hashes in self._db.execute("SELECT level, hashes FROM edges")
        }

    def _add_leaves(self, leaves: Sequence[bytes]) -> None:
        """Put leaf hashes at the edge of the tree; a tile that becomes full is kept and its root goes one
        level up (8 tree levels)."""
        self._size += len(leaves)
        level, row, end = 0, leaves, self._size
        while row:
            edge = self._edges.setdefault(level, bytearray())
            number = (end - len(row)) // TILE_WIDTH
            above: list[bytes] = []
            edge += b"".join(row)
            while len(edge) >= _TILE_BYTES:
                tile = self._tiles[level, number] = bytes(edge[:_TILE_BYTES])
                del edge[:_TILE_BYTES]
                above.append(perfect_root(_hashes(tile)))
                number += 1
            level, row, end = level + 1, above, number

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the file; whoever searches long holds up nobody else."""
        try:
            db = self._idle.pop()
        except IndexError:
            db = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_SECONDS
            )
        try:
            db.execute("BEGIN")
            yield db
            db.execute("ROLLBACK")
        except BaseException:
            db.close()
            raise
        self._idle.append(db)

    # -- writing

    def _write_soon(self) -> None:
        """Hand what waits in memory to the thread that writes, if it is idle or too far behind."""
        if self._writing is not None:
            is_behind = self._waiting_entries >= BEHIND_FACTOR * BUFFERED_ENTRIES_MAX
            if not self._writing.done() and not is_behind:
                return
            self._settle()
        old = _Unwritten(
            tiles=self._tiles,
            postings=self._postings,
            edges={level: bytes(edge) for level, edge in self._edges.items()},
            size=self._size,
            last_leaf=self._last_leaf,
        )
        self._tiles, self._waiting_entries, self._old = {}, 0, old
        self._postings = Postings(self._size)
        self._writing = self._writer.submit(self._write, old)

    def _settle(self) -> None:
        """Wait for the thread that writes.  A failure waits for the next one to write: the entries themselves
        are safe in the log."""
        with suppress(sqlite3.Error):
            self._wait()

    def _wait(self) -> None:
        """Wait for the thread that writes.  What it could not write waits in memory again."""
        writing, old = self._writing, self._old
        self._writing = self._old = None
        if writing is None or old is None:
            return
        try:
            writing.result()
        except BaseException:
            self._tiles = {**old.tiles, **self._tiles}
            self._postings = old.postings.joined(self._postings)
            raise

    def _write(self, old: _Unwritten) -> None:
        db = self._write_db
        db.execute("BEGIN IMMEDIATE")
        try:
            write_postings(db, old.postings)
            db.executemany(
                "INSERT OR IGNORE INTO tiles VALUES (?, ?, ?)",
                [(level, number, hashes) for (level, number), hashes in old.tiles.items()],
            )
            db.execute(
                "INSERT OR REPLACE INTO position VALUES (1, ?, ?)",
                (_frontier_of(old.edges, old.size).to_bytes(), old.last_leaf),
            )
            db.executemany("INSERT OR REPLACE INTO edges VALUES (?, ?)", list(old.edges.items()))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def _frontier_of(edges: Mapping[int, bytes | bytearray], size: int) -> Frontier:
    """The frontier of a tree from the hashes at each tile level that do not fill a tile."""
    peaks: list[bytes] = []
    for level in sorted(edges, reverse=True):
        hashes = _hashes(bytes(edges[level]))
        start = 0
        for power in range(7, -1, -1):
            if len(hashes) >> power & 1:
                peaks.append(perfect_root(hashes[start : start + (1 << power)]))
                start += 1 << power
    return Frontier.from_bytes(size.to_bytes(8, "big") + b"".join(peaks))


def _hashes(joined: bytes) -> list[bytes]:
    return [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]
