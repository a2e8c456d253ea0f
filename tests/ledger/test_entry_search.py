"""Searching entries: by type, subject and time, with pages that neither lose nor repeat anything."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from adapters.sqlite_postings import topic_key
from domain.events import StatementAdded
from ledger.entry import parse_entry
from ledger.entry_search import first_recorded_from, read_entries, search_entries
from ledger.ledger import Ledger, Proposal
from ledger.mentions import of_subject, of_type
from ledger.ports import Record
from tests.ledger.desk import open_ledger

COUNT = 300
BYTES_MAX = 1 << 20


def on_ledger(folder: Path, work: Callable[[Ledger], Awaitable[None]]) -> None:
    """A ledger with ``COUNT`` statements of two media types."""

    async def story() -> None:
        async with open_ledger(folder) as ledger:
            for start in range(0, COUNT, 50):
                await ledger.record(
                    *(
                        Proposal(
                            event=StatementAdded(statement=b"%d" % number),
                            actor="cli",
                            subject="statement/a/rare" if number % 70 == 0 else "statement/a/common",
                        )
                        for number in range(start, start + 50)
                    )
                )
            await work(ledger)

    asyncio.run(story())


async def pages(ledger: Ledger, topics: list[str], limit: int, bytes_max: int = BYTES_MAX) -> list[Record]:
    """Every page after the other."""
    found: list[Record] = []
    start: int | None = 0
    while start is not None:
        find = search_entries if topics else read_entries
        page = await find(ledger, topics, start, ledger.size, limit, bytes_max)
        assert len(page.records) <= limit
        found += page.records
        start = page.next_start
    return found


@pytest.mark.parametrize("limit", [1, 2, 7, 50, 299, 300, 301, 1_000])
def test_pages_hold_everything_once_and_in_order(tmp_path: Path, limit: int) -> None:
    async def work(ledger: Ledger) -> None:
        rare = await pages(ledger, [of_type(StatementAdded.TYPE), of_subject("statement/a/rare")], limit)
        assert [record.payload for record in rare] == [b"0", b"70", b"140", b"210", b"280"]
        every = await pages(ledger, [], limit)
        assert [record.index for record in every] == list(range(ledger.size))
        statements = await pages(ledger, [of_type(StatementAdded.TYPE)], limit)
        assert [record.index for record in statements] == list(range(2, ledger.size))

    on_ledger(tmp_path, work)


def test_a_page_ends_early_when_its_bodies_are_large(tmp_path: Path) -> None:
    async def work(ledger: Ledger) -> None:
        page = await search_entries(ledger, [of_type(StatementAdded.TYPE)], 0, ledger.size, 500, 10)
        assert 0 < len(page.records) < 20
        for topics in ([], [of_type(StatementAdded.TYPE)]):
            every = await pages(ledger, topics, 500, 10)
            assert len(every) == ledger.size - (2 if topics else 0)

    on_ledger(tmp_path, work)


def test_two_topics_must_both_hold(tmp_path: Path) -> None:
    async def work(ledger: Ledger) -> None:
        assert await pages(ledger, [of_type("ledger.opened.v1"), of_subject("statement/a/rare")], 10) == []

    on_ledger(tmp_path, work)


def test_a_time_is_found_by_halving(tmp_path: Path) -> None:
    async def work(ledger: Ledger) -> None:
        times = [parse_entry(record.entry).recorded_at_ns for record in await ledger.read(0, 1_000)]
        for time_ns in (0, times[0], times[5], times[5] + 1, times[-1], times[-1] + 1):
            expected = sum(one < time_ns for one in times)
            assert await first_recorded_from(ledger, time_ns) == expected

    on_ledger(tmp_path, work)


def test_what_the_index_gives_too_much_is_left_out(tmp_path: Path) -> None:
    """Two topics may share the 64 bits that the index keeps of them; here all seem filed under one."""

    async def make(ledger: Ledger) -> None:
        assert len(await pages(ledger, [of_subject("statement/a/rare")], 3)) == 5

    on_ledger(tmp_path, make)
    database = sqlite3.connect(tmp_path / "index.sqlite")
    database.executemany(
        "INSERT OR REPLACE INTO postings VALUES (?, ?, ?)",
        [(topic_key(of_subject("statement/a/rare")), block, bytes(range(256))) for block in range(3)],
    )
    database.commit()
    database.close()

    async def look() -> None:
        async with open_ledger(tmp_path) as ledger:
            rare = await pages(ledger, [of_subject("statement/a/rare")], 3)
            assert [record.payload for record in rare] == [b"0", b"70", b"140", b"210", b"280"]

    asyncio.run(look())
