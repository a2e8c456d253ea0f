"""The event log on EventStoreDB: one stream per ledger, one event per record.

The stream's revision *is* the ledger index, so the server's expected revision does what ``BEGIN IMMEDIATE``
does in the embedded log, and one ``BatchAppend`` is one atomic append.  Event ids are derived from entries:
when an answer is lost, what is stored is compared by id, and a repeated append succeeds without effect.

What EventStoreDB can do to a stream behind our back is never read around: a stream that was deleted, or whose
beginning is hidden by its metadata, is refused by name, because a ledger that begins in its middle would be
another ledger.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Final

from esdbclient import AsyncEventStoreDBClient, NewEvent, StreamState
from esdbclient.common import AbstractAsyncCatchupSubscription
from esdbclient.exceptions import NotFound, WrongCurrentVersion

from adapters.esdb_columns import EventStoreDBColumns
from adapters.esdb_connection import Connection
from adapters.esdb_pages import PageReader
from adapters.esdb_record import format_event, links_of
from domain.errors import InvalidError, LimitError, TallystickError
from domain.identifiers import parse_identifier
from ledger.errors import DamagedStoreError, LedgerConflictError, UnreachableStoreError
from ledger.ports import APPEND_EVENTS_MAX, Record, nothing

OPENED_TYPE: Final = "ledger.opened.v1"
_PREFIX: Final = "ledger-"
#: Event ids of recent entries kept in memory, of all ledgers together, to name causes without asking.
CAUSES_MAX: Final = 65_536
#: Records handed to a follower at once.
FOLLOW_RECORDS_MAX: Final = 1_000
#: How long a follower waits before it looks for a server that went away; doubled up to the maximum.
RETRY_SECONDS: Final = 0.1
RETRY_SECONDS_MAX: Final = 5.0
#: Metadata that hides the beginning of a stream.
_HIDING: Final = ("$maxCount", "$maxAge", "$tb")

logger = logging.getLogger(__name__)


class EventStoreDBLog:
    """An ``EventLog`` on the server that a connection string names (``adapters.esdb_connection``)."""

    def __init__(self, uri: str) -> None:
        self.connection = Connection(uri)
        self._pages: PageReader | None = None
        self._recent: dict[tuple[str, int], bytes] = {}

    async def append(
        self,
        ledger: str,
        expected_size: int,
        records: Sequence[Record],
        after: Record | None = None,
        meanwhile: Callable[[], None] = nothing,
    ) -> None:
        """See ``EventLog.append``."""
        if not records:
            return
        _check(ledger, expected_size, records)
        if after is not None:
            await self._compare(ledger, expected_size, after)
        if expected_size == 0:
            # The server lets a deleted stream be continued as if it did not exist.
            await self._refuse_deleted(ledger)
        events = await self._events(ledger, records)
        expected = expected_size - 1 if expected_size else StreamState.NO_STREAM

        asyncio.get_running_loop().call_soon(meanwhile)

        async def work(client: AsyncEventStoreDBClient) -> None:
            await client.append_to_stream(
                ledger, current_version=expected, events=events, timeout=self.connection.seconds_max
            )

        try:
            await self.connection.call(work)
        except WrongCurrentVersion:
            if not await self._is_stored(ledger, expected_size, records):
                size = await self.size(ledger)
                raise LedgerConflictError(ledger, expected_size=expected_size, actual_size=size) from None
        except UnreachableStoreError:
            # Not answered is not the same as not stored.
            if not await self._is_stored_or_unknown(ledger, expected_size, records):
                raise
        self._remember(ledger, records)

    async def size(self, ledger: str) -> int:
        """See ``EventLog.size``."""
        _check_name(ledger)

        async def last(client: AsyncEventStoreDBClient) -> Sequence[Any]:
            return await client.get_stream(
                ledger, backwards=True, limit=1, timeout=self.connection.seconds_max
            )

        try:
            events = await self.connection.call(last)
        except NotFound:
            await self._refuse_deleted(ledger)
            return 0
        if events:
            return int(events[0].stream_position) + 1
        # There is nothing there, or somebody else connected anew and this read was cut off.
        if not await self.read(ledger, 0, 1):
            return 0
        return await self.size(ledger)

    async def read(self, ledger: str, start: int, limit: int) -> list[Record]:
        """See ``EventLog.read``.

        Raises: InvalidError when the records from ``start`` on are not all there.
        """
        _check_name(ledger)
        try:
            records = await self._read_page(ledger, start, limit)
        except NotFound:
            await self._refuse_deleted(ledger)
            return []
        if start == 0 and limit > 0 and not records:
            raise _hidden(ledger, "every entry is hidden")
        for offset, record in enumerate(records):
            if record.index != start + offset:
                if offset == 0:
                    raise _hidden(ledger, f"the entries {start} to {record.index - 1} are gone")
                return records[:offset]
        return records

    async def follow(self, ledger: str, start: int) -> AsyncIterator[Sequence[Record]]:
        """See ``EventLog.follow``.

        At the end of the stream a catch-up subscription from the last record that was handed out waits for
        the next; its events are only a wake-up call.  So whatever happens to a connection, the place to go on
        from is the one that was processed, never a checkpoint of the server's.
        """
        pause = RETRY_SECONDS
        while True:
            try:
                records = await self.read(ledger, start, FOLLOW_RECORDS_MAX)
                if not records:
                    await self._wait_for(ledger, start)
                pause = RETRY_SECONDS
            except UnreachableStoreError as error:
                logger.warning("following %s from %d: %s", ledger, start, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_SECONDS_MAX)
                continue
            if records:
                start = records[-1].index + 1
                yield records

    async def ledgers(self) -> list[str]:
        """See ``EventLog.ledgers``.  The server looks through its whole log for the events that open a
        ledger."""

        async def opened(client: AsyncEventStoreDBClient) -> list[str]:
            response = await client.read_all(filter_include=(OPENED_TYPE.replace(".", r"\."),))
            return [event.stream_name async for event in response if event.stream_position == 0]

        return sorted({name for name in await self.connection.call(opened) if name.startswith(_PREFIX)})

    async def check_storage(self, ledger: str) -> list[str]:
        """Whether the stream is whole: not deleted, nothing that hides its beginning or will.

        A server numbers the events of a stream without gaps and removes them from the beginning only, so a
        hole elsewhere means a damaged disk; ``read`` stops there.
        """
        _check_name(ledger)
        findings: list[str] = []
        try:
            metadata = await self._metadata(ledger)
            for name in _HIDING:
                if name in metadata:
                    findings.append(
                        f"the metadata of stream {ledger} sets {name} to {metadata[name]!r}: "
                        "it hides entries, and a scavenge removes them for ever"
                    )
            first = await self._read_page(ledger, 0, 1)
            if not first or first[0].index:
                until = f"the first {first[0].index}" if first else "all"
                findings.append(f"{until} entries of stream {ledger} are hidden or removed")
        except NotFound:
            findings.append(f"stream {ledger} does not exist")
        except InvalidError as error:
            findings.append(str(error))
        return findings

    async def close(self) -> None:
        """See ``EventLog.close``."""
        pages, self._pages = self._pages, None
        if pages is not None:
            await pages.close()
        await self.connection.close()

    def column_reader(self, ledger: str) -> EventStoreDBColumns:
        """See ``ColumnLog.column_reader``."""
        _check_name(ledger)
        connection = self.connection
        return EventStoreDBColumns(
            uri=connection.uri, target=connection.node, stream=ledger, seconds_max=connection.seconds_max
        )

    async def _compare(self, ledger: str, expected_size: int, after: Record) -> None:
        """Raises: DamagedStoreError when other bytes than ``after`` are stored at the end.  Where the stream
        has another size, the append itself is refused."""
        found = await self.read(ledger, expected_size - 1, 1)
        is_last = bool(found) and found[0].index == after.index == expected_size - 1
        if is_last and (found[0].entry, found[0].payload) != (after.entry, after.payload):
            raise DamagedStoreError(ledger, after.index)

    # -- reading

    async def _read_page(self, ledger: str, start: int, limit: int) -> list[Record]:
        if limit <= 0:
            return []

        async def work(client: AsyncEventStoreDBClient) -> list[Record]:
            if self._pages is None:
                self._pages = PageReader(client, self.connection.seconds_max)
            return await self._pages.read(ledger, start, limit)

        return await self.connection.call(work)

    async def _wait_for(self, ledger: str, start: int) -> None:
        """Return when there may be a record at ``start``, or when the subscription ended."""
        subscription: AbstractAsyncCatchupSubscription | None = None

        async def work(client: AsyncEventStoreDBClient) -> None:
            nonlocal subscription
            subscription = await client.subscribe_to_stream(
                ledger, stream_position=start - 1 if start else None
            )
            async for _ in subscription:
                return

        try:
            await self.connection.call(work)
        finally:
            if subscription is not None:
                await subscription.stop()

    async def _metadata(self, ledger: str) -> dict[str, Any]:
        async def work(client: AsyncEventStoreDBClient) -> dict[str, Any]:
            return (await client.get_stream_metadata(ledger, timeout=self.connection.seconds_max))[0]

        try:
            metadata = await self.connection.call(work)
        except ValueError:
            raise InvalidError("the stream's metadata is not JSON", field=ledger) from None
        except IndexError:  # a read that was cut off, which the client takes for a whole one
            raise UnreachableStoreError(
                "EventStoreDB could not be asked for a stream's metadata",
                field=ledger,
                remedy="Repeat it: nothing was changed.",
            ) from None
        return metadata if isinstance(metadata, dict) else {}

    async def _refuse_deleted(self, ledger: str) -> None:
        """Raises: InvalidError when the stream that seems not to exist was deleted."""
        if "$tb" in await self._metadata(ledger):
            raise _hidden(ledger, "the stream was deleted")

    # -- writing

    async def _events(self, ledger: str, records: Sequence[Record]) -> list[NewEvent]:
        links = [links_of(record.entry) for record in records]
        first = records[0].index
        causes = {cause for _, cause in links if 0 <= cause < first}
        known = {cause: self._recent.get((ledger, cause), b"") for cause in causes}
        known |= await self._ids(ledger, [cause for cause, found in known.items() if not found])

        def cause_id(cause: int) -> bytes:
            return records[cause - first].event_id if cause >= first else known.get(cause, b"")

        return [
            format_event(record, subject, cause_id(cause) if 0 <= cause < record.index else b"")
            for record, (subject, cause) in zip(records, links, strict=True)
        ]

    async def _ids(self, ledger: str, indices: Iterable[int]) -> dict[int, bytes]:
        """Event ids at these positions, as far as there are any; nothing depends on one that is missing."""

        async def find(index: int) -> tuple[int, bytes]:
            try:
                records = await self._read_page(ledger, index, 1)
            except (NotFound, TallystickError):
                return index, b""
            return index, records[0].event_id if records and records[0].index == index else b""

        return dict(await asyncio.gather(*(find(index) for index in indices)))

    def _remember(self, ledger: str, records: Sequence[Record]) -> None:
        self._recent.update(((ledger, record.index), record.event_id) for record in records)
        if len(self._recent) > CAUSES_MAX:
            self._recent = dict(islice(self._recent.items(), CAUSES_MAX // 2, None))

    async def _is_stored(self, ledger: str, start: int, records: Sequence[Record]) -> bool:
        """Whether exactly these events are stored at exactly these positions (a retried append)."""
        stored: list[Record] = []
        while len(stored) < len(records) and (
            page := await self.read(ledger, start + len(stored), len(records) - len(stored))
        ):
            stored += page
        return [record.event_id for record in stored] == [record.event_id for record in records]

    async def _is_stored_or_unknown(self, ledger: str, start: int, records: Sequence[Record]) -> bool:
        try:
            return await self._is_stored(ledger, start, records)
        except TallystickError:
            return False


def _check(ledger: str, expected_size: int, records: Sequence[Record]) -> None:
    _check_name(ledger)
    if len(records) > APPEND_EVENTS_MAX:
        raise LimitError(
            "too many records in one append", expected=f"<= {APPEND_EVENTS_MAX}", actual=str(len(records))
        )
    if any(record.index != expected_size + offset for offset, record in enumerate(records)):
        raise InvalidError(
            "records are not in sequence", field="index", expected=f"{expected_size} and following"
        )


def _check_name(ledger: str) -> None:
    """A name of another stream, a system stream above all, is refused.  Raises: MalformedError."""
    parse_identifier(ledger.removeprefix(_PREFIX), "ledger")


def _hidden(ledger: str, what: str) -> InvalidError:
    return InvalidError(
        f"{what}, so this is not the whole ledger",
        field=ledger,
        remedy="Remove $tb, $maxCount and $maxAge from the stream's metadata; what a scavenge has removed "
        "comes back from a backup only.",
    )
