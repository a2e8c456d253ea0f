"""Reading an embedded ledger column by column, from any process (``ledger.ports.ColumnReader``)."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing

from msgspec import Struct

from domain.errors import InvalidError
from ledger.ports import RecordColumns

# Rows that are handed on together: enough that the work per row counts, few enough to stay in a core's cache.
ROWS_MAX = 1_024
# Bodies can be large; so much of them is read at a time where the last rows foretell it.
READ_BYTES = 8 * 1024 * 1024
BUSY_TIMEOUT_SECONDS = 30.0
# Every page is read once, and what the system caches is enough: more pages here would only drive the rows
# out of the core's cache (2 MB of them cost a seventh more, and mapping the file is hardly faster).
CACHE_PAGES = 16

_SELECT = """
SELECT ledger_index, event_id, event_type, entry, payload, seal FROM records
WHERE ledger_index >= ? AND ledger_index < ? ORDER BY ledger_index
"""
# Long bodies and what lies behind them are on pages of their own, which are not touched unless asked for.
_SELECT_EVENTS = """
SELECT ledger_index, x'', event_type, entry, CASE WHEN event_type IN ({}) THEN x'' ELSE payload END, x''
FROM records WHERE ledger_index >= ? AND ledger_index < ? ORDER BY ledger_index
"""


class SQLiteColumns(Struct, frozen=True, kw_only=True):
    """A ledger's file by its absolute path."""

    path: str

    def columns(self, start: int, stop: int) -> Iterator[RecordColumns]:
        """See ``ColumnReader.columns``."""
        return self._found(_SELECT, (start, stop))

    def events(self, start: int, stop: int, without_body: Collection[str]) -> Iterator[RecordColumns]:
        """As ``columns``, without ids and seals, and without the bodies of these event types: all of them are
        empty."""
        question = _SELECT_EVENTS.format(", ".join("?" * len(without_body)))
        return self._found(question, (*without_body, start, stop))

    def _found(self, question: str, values: tuple[str | int, ...]) -> Iterator[RecordColumns]:
        with closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)) as db:
            db.execute("PRAGMA query_only=ON")
            db.execute(f"PRAGMA cache_size={CACHE_PAGES}")
            rows = db.execute(question, values)
            limit = ROWS_MAX
            while some := rows.fetchmany(limit):
                columns = RecordColumns(*zip(*some, strict=True))
                check_types(columns)
                yield columns
                bytes_each = 1 + sum(map(len, columns.payloads)) // len(some)
                limit = max(1, min(ROWS_MAX, READ_BYTES // bytes_each))


def check_types(columns: RecordColumns) -> None:
    """Raises: InvalidError for values of other types than the table has, which a damaged page can give."""
    for name, column in zip(columns._fields, columns, strict=True):
        kinds = set(map(type, column))
        if kinds != {_KINDS[name]}:
            raise InvalidError(
                "a record is damaged",
                field=f"{name} of one of the entries {columns.indices[0]} to {columns.indices[-1]}",
                expected=_KINDS[name].__name__,
                actual=", ".join(sorted(kind.__name__ for kind in kinds)),
                remedy="Run tally audit, and look at the disk.",
            )


_KINDS: dict[str, type] = {
    "indices": int,
    "event_ids": bytes,
    "event_types": str,
    "entries": bytes,
    "payloads": bytes,
    "seals": bytes,
}
