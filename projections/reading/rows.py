"""From result rows to frozen structs, and pages of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

from duckdb import DuckDBPyConnection
from msgspec import Struct

from domain.errors import InvalidError
from projections.errors import UnknownRowError

T = TypeVar("T")
R = TypeVar("R", bound=Struct)

# Enough for a screen; a reader of everything uses the ledger itself or the Parquet export.
PAGE_ROWS_MAX: Final = 500
PAGE_ROWS: Final = 50


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """Some of the answers, newest first; ``next_before`` asks for those that follow, ``None`` when there
    are none."""

    items: tuple[T, ...]
    next_before: int | None


class Conditions:
    """The WHERE of a query: sentences with their parameters, none for what was not asked."""

    def __init__(self) -> None:
        self._sentences: list[str] = []
        self.parameters: list[Any] = []

    def add(self, sentence: str, *values: Any) -> None:
        """Add a condition unless one of its values is ``None``."""
        if None not in values:
            self._sentences.append(sentence)
            self.parameters += values

    def __str__(self) -> str:
        return " AND ".join(self._sentences) or "true"

    def __bool__(self) -> bool:
        return bool(self._sentences)


def fetch(
    connection: DuckDBPyConnection, kind: type[R], source: str, parameters: Sequence[Any] = ()
) -> tuple[R, ...]:
    """Select the fields of ``kind`` from ``source`` (what follows FROM)."""
    names = kind.__struct_fields__
    selected = ", ".join(f'"{name}"' for name in names)
    rows = connection.execute(f"SELECT {selected} FROM {source}", list(parameters)).fetchall()
    return tuple(kind(**dict(zip(names, row, strict=True))) for row in rows)


class Listing(Struct, Generic[R], frozen=True):
    """Things that can be listed: rows of ``view`` as ``kind``, each standing for one fact of table ``facts``.

    ``key`` is the column of the view with the fact's entry index, ``name`` what one of them is called.
    """

    name: str
    kind: type[R]
    view: str
    key: str
    facts: str

    def page(
        self, connection: DuckDBPyConnection, conditions: Conditions, *, before: int | None, limit: int
    ) -> Page[R]:
        """A page of those whose fact meets ``conditions`` and stands before index ``before``.

        Raises: InvalidError for a limit below 1.
        """
        if limit < 1:
            expected = f"1 to {PAGE_ROWS_MAX}"
            raise InvalidError("a page has rows", field="limit", expected=expected, actual=str(limit))
        limit = min(limit, PAGE_ROWS_MAX)
        conditions.add("entry_index < ?", before)
        found = self._newest(connection, conditions, limit + 1)
        items = found[:limit]
        return Page(items=items, next_before=getattr(items[-1], self.key) if len(found) > limit else None)

    def one(self, connection: DuckDBPyConnection, column: str, identifier: str) -> R:
        """The newest whose fact has ``identifier`` in ``column``.  Raises: UnknownRowError."""
        condition = Conditions()
        condition.add(f"{column} = ?", identifier)
        found = self._newest(connection, condition, 1)
        if not found:
            raise UnknownRowError(self.name, identifier)
        return found[0]

    def _newest(self, connection: DuckDBPyConnection, conditions: Conditions, limit: int) -> tuple[R, ...]:
        # Facts are chosen before the view joins anything to them, so that the cost hardly grows with the
        # ledger; facts never change, so both statements see the same ones.
        newest = f"SELECT entry_index FROM {self.facts} WHERE {conditions} ORDER BY entry_index DESC"
        rows = connection.execute(f"{newest} LIMIT {limit}", conditions.parameters).fetchall()
        if not rows:
            return ()
        marks = ", ".join("?" * len(rows))
        source = f"{self.view} WHERE {self.key} IN ({marks}) ORDER BY {self.key} DESC"
        return fetch(connection, self.kind, source, [row[0] for row in rows])
