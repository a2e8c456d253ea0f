"""Pages: the record at an index, read once with its neighbours."""

from __future__ import annotations

import pytest

import ledger.pages as module
from domain.errors import UnknownError
from ledger.pages import PAGE_ENTRIES, RecordPages
from ledger.ports import Record
from tests.ledger.records import make_records
from tests.projections.memory_log import MemoryLog

NAME = "ledger-pages"


class CountingLog(MemoryLog):
    """Counts what is read from it."""

    count = 0

    async def read(self, ledger: str, start: int, limit: int) -> list[Record]:
        self.count += 1
        return await super().read(ledger, start, limit)


async def log_of(records: list[Record]) -> CountingLog:
    log = CountingLog()
    await log.append(NAME, 0, records)
    return log


@pytest.mark.anyio
async def test_a_page_is_read_once_and_gives_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    records = make_records(3 * PAGE_ENTRIES + 5)
    log = await log_of(records)
    pages = RecordPages(log, NAME)
    for index in (0, PAGE_ENTRIES - 1, PAGE_ENTRIES, 1):
        assert await pages.at(index) == records[index]
    assert log.count == 2
    assert await pages.at(3 * PAGE_ENTRIES + 4) == records[-1]
    more = make_records(len(records) + 1)[-1:]
    await log.append(NAME, len(records), more)
    assert await pages.at(len(records)) == more[0]
    records += more
    for index in (-1, -PAGE_ENTRIES, len(records), 1 << 40):
        with pytest.raises(UnknownError):
            await pages.at(index)


@pytest.mark.anyio
async def test_no_more_is_kept_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    records = make_records(4 * PAGE_ENTRIES)
    page_bytes = sum(len(record.entry) + len(record.payload) for record in records[:PAGE_ENTRIES])
    monkeypatch.setattr(module, "KEPT_BYTES_MAX", 2 * page_bytes + page_bytes // 2)
    log = await log_of(records)
    pages = RecordPages(log, NAME)
    for index in (0, PAGE_ENTRIES, 1, 2 * PAGE_ENTRIES, 2, 3 * PAGE_ENTRIES, 3):
        assert await pages.at(index) == records[index]
    assert log.count == 4
    await pages.at(PAGE_ENTRIES)
    assert log.count == 5
