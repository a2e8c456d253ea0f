"""The view as it should be right now, for one command that reads and leaves."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path

from ledger.ports import EventLog
from projections.ahead import increments_ahead
from projections.catch_up import pages
from projections.errors import MalformedViewError, ViewInUseError, ViewMismatchError, ViewStorageError
from projections.view import View, check_history


@asynccontextmanager
async def current_view(log: EventLog, ledger: str, path: Path) -> AsyncIterator[View]:
    """A view that holds every entry the ledger has now.

    The file at ``path`` is brought up to date when nobody else has it.  While a server serves it, or when it
    is damaged or of another history, it is left alone, and the ledger is folded into a temporary file:
    slower, and right all the same; the ``path`` of the view is then ``None``.
    Raises: ProjectionStoppedError at an entry that cannot be folded.
    """
    with tempfile.TemporaryDirectory(prefix="tallystick-view-") as folder:
        view = await _open(log, ledger, path)
        if view is None:
            temporary = Path(folder) / "view.duckdb"
            view = await asyncio.to_thread(partial(View, temporary, ledger, is_scratch=True))
            view.path = None  # nobody else finds it there
        try:
            # Whatever goes wrong this way is met again below, entry by entry.
            with contextlib.suppress(Exception):
                async with aclosing(increments_ahead(log, view)) as ahead:
                    async for increment, _ in ahead:
                        await asyncio.to_thread(view.write, increment)
            async with aclosing(pages(log, ledger, view.position.next_index)) as found:
                async for page in found:
                    await asyncio.to_thread(view.advance, page)
            yield view
        finally:
            await asyncio.to_thread(view.close)


async def _open(log: EventLog, ledger: str, path: Path) -> View | None:
    try:
        view = await asyncio.to_thread(View, path, ledger)
    except (ViewInUseError, MalformedViewError, ViewStorageError):
        return None
    try:
        await check_history(log, view)
    except ViewMismatchError:
        await asyncio.to_thread(view.close)
        return None
    return view
