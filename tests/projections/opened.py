"""Views for tests: opened, filled, read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ledger.ports import Record
from projections.rebuild import TableDigest, digests_of
from projections.view import View
from tests.projections.story import LEDGER


@contextmanager
def opened(path: Path | None, records: Sequence[Record] = ()) -> Iterator[View]:
    """A view of ``LEDGER`` that holds ``records``."""
    view = View(path, LEDGER)
    try:
        view.advance(records)
        yield view
    finally:
        view.close()


def contents(view: View) -> dict[str, TableDigest]:
    """What every compared table holds."""
    with view.cursor() as connection:
        return digests_of(connection)


def rows(view: View, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Answer of a query."""
    with view.cursor() as connection:
        return connection.execute(query, list(parameters)).fetchall()
