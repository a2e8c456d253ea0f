"""An event log in memory, for as long as a test lasts: the port's promises, and faults on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from domain.errors import InvalidError
from ledger.errors import LedgerConflictError
from ledger.ports import Record, nothing


class MemoryLog:
    """An ``EventLog`` over lists.

    ``is_repeating`` delivers the tail of what was delivered before with every page, as a store may that
    promises to deliver at least once.  ``read_limit_max`` makes pages small.
    """

    def __init__(self, *, is_repeating: bool = False, read_limit_max: int = 10_000) -> None:
        self._records: dict[str, list[Record]] = {}
        self._grown = asyncio.Event()
        self._is_repeating = is_repeating
        self._read_limit_max = read_limit_max
        self.largest_read = 0

    async def append(
        self,
        ledger: str,
        expected_size: int,
        records: Sequence[Record],
        after: Record | None = None,
        meanwhile: Callable[[], None] = nothing,
    ) -> None:
        stored = self._records.setdefault(ledger, [])
        if len(stored) != expected_size:
            raise LedgerConflictError(ledger, expected_size=expected_size, actual_size=len(stored))
        if any(record.index != expected_size + offset for offset, record in enumerate(records)):
            raise InvalidError("records are not in sequence", field="index")
        stored += records
        self._grown.set()
        self._grown = asyncio.Event()

    async def size(self, ledger: str) -> int:
        return len(self._records.get(ledger, []))

    async def read(self, ledger: str, start: int, limit: int) -> list[Record]:
        self.largest_read = max(self.largest_read, limit)
        stored = self._records.get(ledger, [])
        return stored[start : start + min(limit, self._read_limit_max)]

    async def follow(self, ledger: str, start: int) -> AsyncIterator[Sequence[Record]]:
        while True:
            grown = self._grown
            if page := await self.read(ledger, start, self._read_limit_max):
                again = self._records[ledger][max(0, start - 3) : start] if self._is_repeating else []
                start += len(page)
                yield again + page
                if self._is_repeating:
                    yield page
            else:
                await grown.wait()

    async def ledgers(self) -> list[str]:
        return sorted(self._records)

    async def check_storage(self, ledger: str) -> list[str]:
        return []

    async def close(self) -> None:
        pass

    def replace(self, ledger: str, records: Sequence[Record]) -> None:
        """Put another history in the place of a ledger, as restoring a backup does."""
        self._records[ledger] = list(records)


async def log_of(records: Sequence[Record], ledger: str, **options: bool) -> MemoryLog:
    """A log that holds ``records`` as ``ledger``."""
    log = MemoryLog(**options)
    await log.append(ledger, 0, records)
    return log
