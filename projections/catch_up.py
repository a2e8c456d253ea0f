"""Reading a ledger in pages, the next one while the caller folds this one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from ledger.ports import EventLog, Record

# One transaction of the view; larger ones win nothing more.
PAGE_EVENTS_MAX: Final = 8_192
# A page with its rows takes about four times its bytes in memory; bodies may have 900 kB each, so the page
# has to adapt.
PAGE_BYTES_AIM: Final = 16 * 1024 * 1024
_FIRST_PAGE_EVENTS: Final = 512


async def pages(
    log: EventLog, ledger: str, start: int, stop: int | None = None
) -> AsyncGenerator[list[Record], None]:
    """Records from position ``start`` to before ``stop`` (to the end of the ledger as it is when reached),
    in pages."""
    limit = _FIRST_PAGE_EVENTS
    reading = asyncio.ensure_future(log.read(ledger, start, _within(limit, start, stop)))
    try:
        while page := await reading:
            start = page[-1].index + 1
            page_bytes = sum(len(record.payload) for record in page) + 1
            limit = max(1, min(PAGE_EVENTS_MAX, 4 * limit, len(page) * PAGE_BYTES_AIM // page_bytes))
            if _within(limit, start, stop) <= 0:
                yield page
                return
            reading = asyncio.ensure_future(log.read(ledger, start, _within(limit, start, stop)))
            yield page
    finally:
        reading.cancel()


def _within(limit: int, start: int, stop: int | None) -> int:
    return limit if stop is None else min(limit, stop - start)
