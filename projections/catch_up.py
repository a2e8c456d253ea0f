"""Reading a ledger in pages, the next one while the caller folds this one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from ledger.ports import EventLog, Record

# One transaction of a view that people read meanwhile.
PAGE_EVENTS_MAX: Final = 8_192
# Where a page ends by its size; the read that crosses it is still in.
PAGE_BYTES_AIM: Final = 48 * 1024 * 1024
# Nobody knows the size of a read before: bodies have up to 900 kB each.
READ_EVENTS_MAX: Final = 1_024
_FIRST_READ_EVENTS: Final = 64


async def pages(
    log: EventLog, ledger: str, start: int, stop: int | None = None, *, events_max: int = PAGE_EVENTS_MAX
) -> AsyncGenerator[list[Record], None]:
    """Records from position ``start`` to before ``stop`` (to the end of the ledger as it is when reached), at
    most ``events_max`` at a time."""
    waiting: asyncio.Queue[list[Record]] = asyncio.Queue(1)
    reading = asyncio.create_task(_read(log, ledger, start, stop, events_max, waiting))
    try:
        while page := await waiting.get():
            yield page
        await reading
    finally:
        reading.cancel()


async def _read(
    log: EventLog,
    ledger: str,
    start: int,
    stop: int | None,
    events_max: int,
    waiting: asyncio.Queue[list[Record]],
) -> None:
    """Put pages into the queue, and an empty one after the last or when reading fails; then this task says
    why."""
    page: list[Record] = []
    page_bytes = 0
    limit = _FIRST_READ_EVENTS
    try:
        while True:
            wanted = min(limit, events_max - len(page), limit if stop is None else stop - start)
            found = await log.read(ledger, start, wanted) if wanted > 0 else []
            if found:
                start = found[-1].index + 1
                found_bytes = sum(len(record.payload) for record in found) + 1
                limit = max(1, min(READ_EVENTS_MAX, 4 * limit, len(found) * PAGE_BYTES_AIM // found_bytes))
                page += found
                page_bytes += found_bytes
            if page and (not found or len(page) >= events_max or page_bytes >= PAGE_BYTES_AIM):
                await waiting.put(page)
                page, page_bytes = [], 0
            if not found:
                break
    except Exception:
        if page:
            await waiting.put(page)
        await waiting.put([])
        raise
    await waiting.put([])
