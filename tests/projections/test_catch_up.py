"""Pages bring every record once, in order, in bounded memory, and fail where reading fails."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.ports import Record
from projections.catch_up import PAGE_BYTES_AIM, READ_EVENTS_MAX, pages
from tests.projections.memory_log import MemoryLog, log_of
from tests.projections.story import LEDGER, Story, tell

RECORDS = tell(91, rounds=3).records


async def collected(log: MemoryLog, start: int, stop: int | None, events_max: int) -> list[list[Record]]:
    return [page async for page in pages(log, LEDGER, start, stop, events_max=events_max)]


@given(
    start=st.integers(0, len(RECORDS)),
    stop=st.none() | st.integers(0, len(RECORDS) + 5),
    limit=st.integers(1, 50),
    events_max=st.integers(1, 100),
)
def test_pages_are_the_records_from_start_to_stop(
    start: int, stop: int | None, limit: int, events_max: int
) -> None:
    async def run() -> list[list[Record]]:
        log = MemoryLog(read_limit_max=limit)
        await log.append(LEDGER, 0, RECORDS)
        return await collected(log, start, stop, events_max)

    found = asyncio.run(run())
    end = len(RECORDS) if stop is None else max(start, stop)
    assert [record for page in found for record in page] == RECORDS[start:end]
    assert all(0 < len(page) <= events_max for page in found)


def test_pages_of_large_bodies_are_small() -> None:
    body_bytes = 800_000
    story = Story(1)
    for number in range(150):
        story.add_bytes("thing.happened.v1", b"x" * body_bytes, f"thing/{number}")
    log = asyncio.run(log_of(story.records, LEDGER))
    found = asyncio.run(collected(log, 0, None, 100_000))
    assert sum(map(len, found)) == 150
    assert max(map(len, found)) <= 2 * PAGE_BYTES_AIM // body_bytes
    assert log.largest_read <= READ_EVENTS_MAX


def test_a_reader_that_leaves_early_leaves_nothing_behind() -> None:
    async def run() -> int:
        log = MemoryLog(read_limit_max=1)
        await log.append(LEDGER, 0, RECORDS)
        async with aclosing(pages(log, LEDGER, 0, events_max=2)) as found:
            async for _ in found:
                break
        await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    assert asyncio.run(run()) == 1


def test_what_the_log_raises_is_raised_after_what_came_before_it() -> None:
    class Failing(MemoryLog):
        async def read(self, ledger: str, start: int, limit: int) -> list[Record]:
            if start >= 100:
                raise ConnectionError("the store went away")
            return await super().read(ledger, start, min(limit, 100 - start))

    found: list[Record] = []

    async def run() -> None:
        log = Failing()
        await log.append(LEDGER, 0, RECORDS)
        async for page in pages(log, LEDGER, 0):
            found.extend(page)

    with pytest.raises(ConnectionError):
        asyncio.run(run())
    assert len(found) == 100
