"""Reading the views from the command line: brought up to date first, whoever else is running."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from duckdb import DuckDBPyConnection

from api.commands.command import DONE, at_workplace
from api.workplace import Workplace
from domain.errors import MalformedError
from ledger.ledger import ledger_name
from projections.current import current_view
from projections.reading.rows import PAGE_ROWS_MAX, Page
from projections.schema import view_path

T = TypeVar("T")

LIMIT_DEFAULT = 20
LIMIT_MAX = 10_000


def add_limit(parser: argparse.ArgumentParser) -> None:
    """``--limit``, for lists."""
    parser.add_argument(
        "--limit", type=int, default=LIMIT_DEFAULT, help=f"rows, newest first (default {LIMIT_DEFAULT})"
    )


def at_views(
    arguments: argparse.Namespace, read: Callable[[DuckDBPyConnection], T], show: Callable[[T], None]
) -> int:
    """Read from the tenant's views as they should be now, then show it; returns the exit status."""

    async def work(workplace: Workplace) -> int:
        tenant = workplace.settings.tenant
        await workplace.check_exists(tenant)
        folder = workplace.settings.views_folder
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        async with current_view(workplace.log, ledger_name(tenant), view_path(folder, tenant)) as view:
            if view.path is None:
                print("note: another process has the view; this was read from the ledger.", file=sys.stderr)
            found = await asyncio.to_thread(_read, view.cursor, read)
        show(found)
        return DONE

    return at_workplace(arguments, work)


def rows_of(page: Callable[..., Page[T]], limit: int, **conditions: Any) -> list[T]:
    """The newest ``limit`` rows, page by page.  Raises: MalformedError."""
    if not 1 <= limit <= LIMIT_MAX:
        raise MalformedError(
            "not a number of rows", field="--limit", expected=f"1 to {LIMIT_MAX}", actual=str(limit)
        )
    rows: list[T] = []
    before: int | None = None
    while len(rows) < limit:
        found = page(**conditions, before=before, limit=min(limit - len(rows), PAGE_ROWS_MAX))
        rows += found.items
        before = found.next_before
        if before is None:
            break
    return rows


def _read(cursor: Callable[[], DuckDBPyConnection], read: Callable[[DuckDBPyConnection], T]) -> T:
    with cursor() as connection:
        return read(connection)
