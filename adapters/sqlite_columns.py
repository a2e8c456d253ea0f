"""Reading an embedded ledger column by column, from any process (``ledger.ports.ColumnReader``)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from msgspec import Struct

from ledger.ports import RecordColumns

# Rows that are handed on together: enough that the work per row counts, few enough to stay in a core's cache.
ROWS_MAX = 1_024
# Bodies can be large; so much of them is read at a time where the last rows foretell it.
READ_BYTES = 8 * 1024 * 1024
BUSY_TIMEOUT_SECONDS = 30.0
# More than any part has, so that a part of a large file is mapped wherever it lies; SQLite maps 2 GB at most.
MAPPED_BYTES_MAX = 1 << 40

_SELECT = """
SELECT ledger_index, event_id, event_type, entry, payload, seal FROM records
WHERE ledger_index >= ? AND ledger_index < ? ORDER BY ledger_index
"""


class SQLiteColumns(Struct, frozen=True, kw_only=True):
    """A ledger's file by its absolute path."""

    path: str

    def columns(self, start: int, stop: int, *, is_expendable: bool = False) -> Iterator[RecordColumns]:
        """See ``ColumnReader.columns``."""
        with closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)) as db:
            db.execute("PRAGMA query_only=ON")
            # Every page is read once; what the system caches is enough.
            db.execute("PRAGMA cache_size=-2048")
            if is_expendable:
                # Bytes are copied once instead of twice.  A process ends where what it mapped cannot be read.
                db.execute(f"PRAGMA mmap_size={MAPPED_BYTES_MAX}")
            rows = db.execute(_SELECT, (start, stop))
            limit = ROWS_MAX
            while some := rows.fetchmany(limit):
                columns = RecordColumns(*zip(*some, strict=True))
                yield columns
                bytes_each = 1 + sum(map(len, columns.payloads)) // len(some)
                limit = max(1, min(ROWS_MAX, READ_BYTES // bytes_each))
