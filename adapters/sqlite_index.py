"""Derived memory beside a ledger: lookup names, full Merkle tiles and the frontier, in one SQLite file.

Nothing here is truth.  It is written without fsync, a little behind the log; what is lost in a crash is read
again from the log when the ledger is opened.  Names and tiles wait in memory and are written in bulk.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Sequence
from pathlib import Path

from ledger.merkle import HASH_BYTES, Frontier, root_of
from ledger.ports import Record

SCHEMA_VERSION = 1
# Names held in memory before they are written together; bounds both memory and what is re-read after a crash.
BUFFERED_NAMES_MAX = 4_096
BUFFERED_ENTRIES_MAX = 8_192
# Names looked up in one question to SQLite.
NAMES_TOGETHER = 256
TILE_WIDTH = 256
_TILE_BYTES = TILE_WIDTH * HASH_BYTES

_SCHEMA = """
CREATE TABLE IF NOT EXISTS position (
    one INTEGER PRIMARY KEY CHECK (one = 1), frontier BLOB NOT NULL, last_leaf TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY, ledger_index INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tiles (
    level INTEGER NOT NULL, number INTEGER NOT NULL, hashes BLOB NOT NULL, PRIMARY KEY (level, number)
);
CREATE TABLE IF NOT EXISTS edges (level INTEGER PRIMARY KEY, hashes BLOB NOT NULL);
"""


class SQLiteIndex:
    """A ``LedgerIndex`` in a file.  Calls are quick and may come from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
        try:
            self._prepare()
        except sqlite3.DatabaseError:
            # It is derived: a damaged file is thrown away, not repaired.
            self._db.close()
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
            self._prepare()
        self._names: dict[str, int] = {}
        self._tiles: dict[tuple[int, int], bytes] = {}
        self._entries = 0
        self._frontier, self._last_leaf = self._stored_position()
        self._edges = self._stored_edges()

    def find(self, name: str) -> int | None:
        """See ``LedgerIndex.find``."""
        with self._lock:
            row = self._db.execute("SELECT ledger_index FROM names WHERE name = ?", (name,)).fetchone()
            return self._names.get(name) if row is None else int(row[0])

    def find_all(self, names: Collection[str]) -> dict[str, int]:
        """See ``LedgerIndex.find_all``."""
        wanted = list(names)
        with self._lock:
            found = {name: self._names[name] for name in wanted if name in self._names}
            for start in range(0, len(wanted), NAMES_TOGETHER):
                some = wanted[start : start + NAMES_TOGETHER]
                marks = ",".join("?" * len(some))
                # What is stored came before what waits in memory.
                found.update(
                    self._db.execute(f"SELECT name, ledger_index FROM names WHERE name IN ({marks})", some)
                )
        return found

    def frontier(self) -> tuple[Frontier, str]:
        """See ``LedgerIndex.frontier``."""
        with self._lock:
            return self._frontier.copy(), self._last_leaf

    def advance(
        self, records: Sequence[Record], leaves: Sequence[bytes], names: Sequence[Sequence[str]]
    ) -> None:
        """See ``LedgerIndex.advance``."""
        with self._lock:
            for record, leaf, entry_names in zip(records, leaves, names, strict=True):
                if record.index < self._frontier.size:
                    continue
                for name in entry_names:
                    self._names.setdefault(name, record.index)
                self._frontier.append(leaf)
                self._last_leaf = leaf.hex()
                self._add_to_tiles(0, record.index, leaf)
            self._entries += len(records)
            if len(self._names) >= BUFFERED_NAMES_MAX or self._entries >= BUFFERED_ENTRIES_MAX:
                self.flush()

    def tile_hashes(self, level: int, number: int) -> bytes | None:
        """See ``LedgerIndex.tile_hashes``."""
        with self._lock:
            if (level, number) in self._tiles:
                return self._tiles[level, number]
            if number == (self._frontier.size >> (8 * level)) // TILE_WIDTH:
                return bytes(self._edges.get(level, b"")) or None
            row = self._db.execute(
                "SELECT hashes FROM tiles WHERE level = ? AND number = ?", (level, number)
            ).fetchone()
            return None if row is None else bytes(row[0])

    def flush(self) -> None:
        """Write what waits in memory."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT OR IGNORE INTO names VALUES (?, ?)", sorted(self._names.items()))
                self._db.executemany(
                    "INSERT OR IGNORE INTO tiles VALUES (?, ?, ?)",
                    [(level, number, hashes) for (level, number), hashes in self._tiles.items()],
                )
                self._db.execute(
                    "INSERT OR REPLACE INTO position VALUES (1, ?, ?)",
                    (self._frontier.to_bytes(), self._last_leaf),
                )
                self._db.executemany(
                    "INSERT OR REPLACE INTO edges VALUES (?, ?)",
                    [(level, bytes(edge)) for level, edge in self._edges.items()],
                )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._names.clear()
            self._tiles.clear()
            self._entries = 0

    def reset(self) -> None:
        """See ``LedgerIndex.reset``."""
        with self._lock:
            self._db.executescript(
                "DELETE FROM names; DELETE FROM tiles; DELETE FROM edges; DELETE FROM position;"
            )
            self._names.clear()
            self._tiles.clear()
            self._edges = {}
            self._frontier, self._last_leaf = self._stored_position()

    def close(self) -> None:
        """See ``LedgerIndex.close``."""
        with self._lock:
            self.flush()
            self._db.close()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise sqlite3.DatabaseError("another version of the derived index")
        self._db.executescript(f"{_SCHEMA} PRAGMA user_version={SCHEMA_VERSION};")

    def _stored_position(self) -> tuple[Frontier, str]:
        row = self._db.execute("SELECT frontier, last_leaf FROM position").fetchone()
        if row is None:
            return Frontier(), "0" * 64
        return Frontier.from_bytes(bytes(row[0])), str(row[1])

    def _stored_edges(self) -> dict[int, bytearray]:
        return {
            int(level): bytearray(hashes)
            for level, hashes in self._db.execute("SELECT level, hashes FROM edges")
        }

    def _add_to_tiles(self, level: int, place: int, hash_: bytes) -> None:
        """Put a hash at ``place`` of ``level``; a tile that becomes full is kept and its root goes one level
        up (8 tree levels)."""
        edge = self._edges.setdefault(level, bytearray())
        edge += hash_
        if len(edge) == _TILE_BYTES:
            number = place // TILE_WIDTH
            tile = bytes(edge)
            edge.clear()
            self._tiles[level, number] = tile
            row = [tile[at : at + HASH_BYTES] for at in range(0, _TILE_BYTES, HASH_BYTES)]
            self._add_to_tiles(level + 1, number, root_of(row))
