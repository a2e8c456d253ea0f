"""Searching entries: by what they are filed under, and by when they were recorded.

The derived index says where to look (``ledger.mentions``), the entries themselves say whether they are meant.
Times never go backwards in a ledger, so a span of time is a span of indices, found by halving.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from ledger.entry import parse_entry
from ledger.ledger import Ledger
from ledger.mentions import filings_of
from ledger.ports import Record
from ledger.recorded import TOGETHER_MAX, record_at, stretches


async def first_recorded_from(ledger: Ledger, time_ns: int) -> int:
    """Index of the first entry recorded at ``time_ns`` or later; the size where there is none."""
    low, high = 0, ledger.size
    while low < high:
        middle = (low + high) // 2
        entry = parse_entry((await record_at(ledger.log, ledger.name, middle)).entry)
        if entry.recorded_at_ns < time_ns:
            low = middle + 1
        else:
            high = middle
    return low


class Found(Struct, frozen=True):
    """Records in order, and from which index to go on; ``None`` when there are no more."""

    records: tuple[Record, ...]
    next_start: int | None


async def search_entries(
    ledger: Ledger, topics: Sequence[str], start: int, stop: int, limit: int, bytes_max: int
) -> Found:
    """Up to ``limit`` records from ``start`` to before ``stop`` filed under all of ``topics``, ascending.

    There are fewer when their bodies pass ``bytes_max`` together.  Raises: LimitError for too many topics.
    """
    found: list[Record] = []
    byte_count = 0
    while start < stop:
        indices = await asyncio.to_thread(ledger.index.find_entries, topics, start, limit + 1)
        chosen = {index for index in indices if index < stop}
        for first, last in stretches(sorted(chosen)):
            for record in await ledger.read(first, last - first + 1):
                if record.index not in chosen or not _is_filed(record, topics):
                    continue
                if len(found) == limit or byte_count > bytes_max:
                    return Found(tuple(found), record.index)
                found.append(record)
                byte_count += len(record.payload)
        if len(indices) <= limit:
            break
        start = indices[-1] + 1
    return Found(tuple(found), None)


async def read_entries(
    ledger: Ledger, topics: Sequence[str], start: int, stop: int, limit: int, bytes_max: int
) -> Found:
    """As ``search_entries`` with no topic: all of them, in order."""
    found: list[Record] = []
    byte_count = 0
    while start < stop:
        for record in await ledger.read(start, min(TOGETHER_MAX, stop - start)):
            if len(found) == limit or byte_count > bytes_max:
                return Found(tuple(found), record.index)
            found.append(record)
            byte_count += len(record.payload)
        start += TOGETHER_MAX
    return Found(tuple(found), None)


def _is_filed(record: Record, topics: Sequence[str]) -> bool:
    return filings_of(record) >= set(topics)
