"""Folding ahead: the next increment is folded while the one before it is written.

Writing the rows of many entries costs about as much as folding them.  The log is read column by column, a
few entries at a time that stay in the processor's cache, and of long bodies only those that have rows.
Whatever goes wrong here, an increment that was not written changes nothing: the caller folds the same entries
again the ordinary way, and meets the fault there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Protocol, runtime_checkable

from domain.errors import InvalidError
from domain.events import ReceiptIssued
from ledger.ports import ColumnLog, ColumnReader, EventLog, RecordColumns
from projections.facts import WITHOUT_ROWS
from projections.fold import Folding, Increment, Position
from projections.view import View, check_chain

# A transaction costs about 10 ms whatever is in it, but the writer should not wait long for the first.
TRANSACTION_EVENTS: Final = 16_384
FIRST_TRANSACTION_EVENTS: Final = 4_096
# Of entries and bodies; their rows take about as much, and there are rows of four increments at a time.
TRANSACTION_BYTES: Final = 32 * 1024 * 1024
# So that folding goes on while the writer puts what it has on the disk.
_INCREMENTS_AHEAD: Final = 2
# What a receipt's row needs stands in its entry.
_WITHOUT_BODY: Final = WITHOUT_ROWS | {ReceiptIssued.TYPE}


@runtime_checkable
class EventReader(Protocol):
    """A ``ColumnReader`` that can leave out what a view does not look at."""

    def events(self, start: int, stop: int, without_body: Collection[str]) -> Iterator[RecordColumns]:
        """As ``ColumnReader.columns``; ids, seals and the bodies of these event types may be empty."""


async def increments_ahead(
    log: EventLog, view: View, stop: int | None = None
) -> AsyncGenerator[tuple[Increment, Future[Increment | None]]]:
    """Increments that continue ``view``, each with the one after it, which may still be folded on a thread of
    its own; none when ``log`` is not read column by column.  Write each before asking for the next.

    Raises: as ``FoldedAhead.next``.
    """
    if not isinstance(log, ColumnLog) or not await log.size(view.ledger):
        return
    reader = log.column_reader(view.ledger)
    ahead = FoldedAhead(reader, view.ledger, view.position, view.open_runs, stop)
    thread = ThreadPoolExecutor(1, thread_name_prefix=f"fold ahead {view.ledger}")
    try:
        following = deque(thread.submit(ahead.next) for _ in range(_INCREMENTS_AHEAD))
        while (increment := await asyncio.wrap_future(following.popleft())) is not None:
            following.append(thread.submit(ahead.next))
            yield increment, following[0]
    finally:
        # It may still fold in vain; nobody waits for that, nor asks what was wrong with it.
        thread.shutdown(wait=False, cancel_futures=True)


class FoldedAhead:
    """Increments of a ledger from ``position`` on, up to ``stop`` or to its end as it is when reached."""

    def __init__(
        self,
        reader: ColumnReader,
        ledger: str,
        position: Position,
        open_runs: Mapping[str, int],
        stop: int | None = None,
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._folding = Folding(position, open_runs)
        self._stop = stop
        self._limit = min(FIRST_TRANSACTION_EVENTS, TRANSACTION_EVENTS)

    def next(self) -> Increment | None:
        """The next increment, or None at the end.

        Raises: as ``Folding.take``; ViewMismatchError, InvalidError for entries that do not follow each
        other, and what the reader raises.
        """
        folding = self._folding
        start = folding.next_index
        stop = start + self._limit if self._stop is None else min(self._stop, start + self._limit)
        self._limit = min(2 * self._limit, TRANSACTION_EVENTS)
        read_bytes = 0
        for columns in self._read(start, stop):
            if folding.next_index == start:
                check_chain(columns.entries[0], folding.before, self._ledger)
            if list(columns.indices) != list(range(folding.next_index, columns.indices[-1] + 1)):
                raise InvalidError("entries are missing", field="index", expected=str(folding.next_index))
            folding.take(columns)
            read_bytes += sum(map(len, columns.payloads)) + sum(map(len, columns.entries))
            if read_bytes >= TRANSACTION_BYTES:
                break
        return None if folding.next_index == start else folding.increment()

    def _read(self, start: int, stop: int) -> Iterator[RecordColumns]:
        if isinstance(self._reader, EventReader):
            return self._reader.events(start, stop, _WITHOUT_BODY)
        return self._reader.columns(start, stop)
