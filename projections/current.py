"""The view as it should be right now, for one command that reads and leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from ledger.ports import EventLog
from projections.catch_up import pages
from projections.errors import MalformedViewError, ViewInUseError, ViewMismatchError, ViewStorageError
from projections.view import View, check_history


@asynccontextmanager
async def current_view(log: EventLog, ledger: str, path: Path | None) -> AsyncIterator[View]:
    """A view that holds every entry the ledger has now.

    The file at ``path`` is brought up to date when nobody else has it.  While a server serves it, or when
    it is damaged, the ledger is folded into memory instead: slower, and right all the same.  Raises:
    ProjectionStoppedError at an entry that cannot be folded.
    """
    view = await asyncio.to_thread(_open, ledger, path)
    try:
        try:
            await check_history(log, view)
        except ViewMismatchError:
            await asyncio.to_thread(view.close)
            view = await asyncio.to_thread(View, None, ledger)
        async with aclosing(pages(log, ledger, view.position.next_index)) as found:
            async for page in found:
                await asyncio.to_thread(view.advance, page)
        yield view
    finally:
        await asyncio.to_thread(view.close)


def _open(ledger: str, path: Path | None) -> View:
    try:
        return View(path, ledger)
    except (ViewInUseError, MalformedViewError, ViewStorageError):
        return View(None, ledger)
