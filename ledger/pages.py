"""Pages of records, for whoever looks at many of a ledger one by one and at some of them often."""

from __future__ import annotations

from collections import OrderedDict

from domain.errors import UnknownError
from ledger.ports import EventLog, Record

PAGE_ENTRIES = 64
# What is kept of the pages used last; one page of the largest bodies is nearly as much.
KEPT_BYTES_MAX = 64 * 1024 * 1024


class RecordPages:
    """Reads one ledger in pages and keeps those used last."""

    def __init__(self, log: EventLog, ledger: str) -> None:
        self._log = log
        self._ledger = ledger
        self._pages: OrderedDict[int, list[Record]] = OrderedDict()
        self._bytes = 0

    async def at(self, index: int) -> Record:
        """The record at ``index``.  Raises: UnknownError beyond the end."""
        number, place = divmod(index, PAGE_ENTRIES)
        page = self._pages.get(number)
        if page is not None:
            self._pages.move_to_end(number)
        elif index >= 0:
            page = await self._log.read(self._ledger, number * PAGE_ENTRIES, PAGE_ENTRIES)
            # The last page of a ledger may still grow.
            if len(page) == PAGE_ENTRIES:
                self._keep(number, page)
        if not page or place >= len(page) or page[place].index != index:
            raise UnknownError("no such entry", field="index", actual=str(index))
        return page[place]

    def _keep(self, number: int, page: list[Record]) -> None:
        self._pages[number] = page
        self._bytes += _size(page)
        while self._bytes > KEPT_BYTES_MAX and len(self._pages) > 1:
            _, oldest = self._pages.popitem(last=False)
            self._bytes -= _size(oldest)


def _size(page: list[Record]) -> int:
    return sum(len(record.entry) + len(record.payload) for record in page)
