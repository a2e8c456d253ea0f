"""The work queue on EventStoreDB: one persistent subscription per ledger and destination.

The group is called as the destination is, on the stream ``ledger-<tenant>``.  The server hands out, counts
attempts, parks, and stores a checkpoint over what was acknowledged; what the checkpoint does not cover yet
comes again when the server restarts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal, TypeVar

from esdbclient import AsyncEventStoreDBClient, RecordedEvent
from esdbclient.common import AbstractAsyncPersistentSubscription
from esdbclient.exceptions import (
    AlreadyExists,
    NotFound,
    ProgrammingError,
)

from adapters.esdb_connection import CLOSE_SECONDS_MAX, Connection, give_up_after
from adapters.esdb_errors import explain
from adapters.esdb_record import parse_event
from domain.errors import InvalidError, TallystickError
from domain.identifiers import parse_identifier
from ledger.errors import UnreachableStoreError
from ledger.work_queue import (
    ATTEMPTS_MAX,
    BUFFER_RECORDS_MAX,
    LEASE_SECONDS,
    WORKERS_MAX,
    WorkItem,
    WorkSession,
)

T = TypeVar("T")

#: The server writes a checkpoint after this, however few records were done.
CHECKPOINT_SECONDS: Final = 1.0
#: Acknowledgements wait this long for others to be sent with.
ACK_SECONDS: Final = 0.05
RETRY_SECONDS: Final = 0.1
RETRY_SECONDS_MAX: Final = 5.0

logger = logging.getLogger(__name__)


class EventStoreDBWorkQueue:
    """A ``WorkQueue`` over the connection of an ``EventStoreDBLog``, which the log closes."""

    def __init__(
        self,
        connection: Connection,
        *,
        lease_seconds: float = LEASE_SECONDS,
        buffer_records: int = BUFFER_RECORDS_MAX,
    ) -> None:
        self._connection = connection
        self._lease_seconds = lease_seconds
        self._buffer_records = buffer_records

    @asynccontextmanager
    async def work(self, ledger: str, destination: str, *, start: int = 0) -> AsyncIterator[WorkSession]:
        """See ``WorkQueue.work``."""
        _check(ledger, destination)
        await self._create(ledger, destination, start)
        session = _Session(self._connection, ledger, destination, self._buffer_records)
        await session.open()
        try:
            yield session
        finally:
            await session.close()

    async def position(self, ledger: str, destination: str) -> int:
        """See ``WorkQueue.position``."""
        _check(ledger, destination)

        async def info(client: AsyncEventStoreDBClient) -> int:
            found = await client.get_subscription_info(
                destination, ledger, timeout=self._connection.seconds_max
            )
            if found.last_checkpointed_event_position:
                return int(found.last_checkpointed_event_position) + 1
            return int(found.start_from or 0)

        try:
            return await self._connection.call(info)
        except NotFound:
            return 0

    async def parked(self, ledger: str, destination: str) -> list[int]:
        """See ``WorkQueue.parked``."""
        _check(ledger, destination)
        stream = f"$persistentsubscription-{ledger}::{destination}-parked"

        async def read(client: AsyncEventStoreDBClient) -> list[int]:
            links = await client.get_stream(stream, timeout=self._connection.seconds_max)
            return sorted({int(link.data.partition(b"@")[0]) for link in links})

        try:
            return await self._connection.call(read)
        except NotFound:
            return []

    async def replay_parked(self, ledger: str, destination: str) -> None:
        """See ``WorkQueue.replay_parked``."""
        _check(ledger, destination)

        async def replay(client: AsyncEventStoreDBClient) -> None:
            await client.replay_parked_events(destination, ledger, timeout=self._connection.seconds_max)

        with contextlib.suppress(NotFound):
            await self._connection.call(replay)

    async def forget(self, ledger: str, destination: str) -> None:
        """See ``WorkQueue.forget``."""
        _check(ledger, destination)

        async def delete(client: AsyncEventStoreDBClient) -> None:
            await client.delete_subscription(destination, ledger, timeout=self._connection.seconds_max)

        with contextlib.suppress(NotFound):
            await self._connection.call(delete)

    async def close(self) -> None:
        """See ``WorkQueue.close``; the connection belongs to the log."""

    async def _create(self, ledger: str, destination: str, start: int) -> None:
        async def create(client: AsyncEventStoreDBClient) -> None:
            await client.create_subscription_to_stream(
                destination,
                ledger,
                stream_position=start,
                consumer_strategy="RoundRobin",
                message_timeout=self._lease_seconds,
                max_retry_count=ATTEMPTS_MAX - 1,
                min_checkpoint_count=1,
                max_checkpoint_count=500,
                checkpoint_after=CHECKPOINT_SECONDS,
                max_subscriber_count=WORKERS_MAX,
                timeout=self._connection.seconds_max,
            )

        with contextlib.suppress(AlreadyExists):
            await self._connection.call(create)


class _Session:
    """Reads the subscription in a task of its own, so that whoever waits for a record can be cancelled: the
    client would take that for the end of the subscription and forget acknowledgements on their way."""

    def __init__(self, connection: Connection, ledger: str, destination: str, buffer_records: int) -> None:
        self._connection = connection
        self._ledger = ledger
        self._destination = destination
        self._buffer_records = buffer_records
        self._arrived: asyncio.Queue[WorkItem | TallystickError] = asyncio.Queue()
        self._sources: dict[tuple[int, int], tuple[AbstractAsyncPersistentSubscription, RecordedEvent]] = {}
        self._subscription: AbstractAsyncPersistentSubscription | None = None
        self._reading: asyncio.Task[None] | None = None
        self._is_closing = False

    async def open(self) -> None:
        """Subscribe, so that a refusal is raised here."""
        await self._subscribe()
        self._reading = asyncio.create_task(
            self._read(), name=f"work of {self._destination} on {self._ledger}"
        )

    async def close(self) -> None:
        """Send what was acknowledged, then let the rest go."""
        self._is_closing = True
        if self._subscription is not None:
            await give_up_after(CLOSE_SECONDS_MAX, self._subscription.stop())
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def __aiter__(self) -> _Session:
        return self

    async def __anext__(self) -> WorkItem:
        arrived = await self._arrived.get()
        if isinstance(arrived, TallystickError):
            self._arrived.put_nowait(arrived)
            raise arrived
        return arrived

    async def done(self, item: WorkItem) -> None:
        await self._settle(item, "ack")

    async def again(self, item: WorkItem) -> None:
        await self._settle(item, "retry")

    async def park(self, item: WorkItem) -> None:
        await self._settle(item, "park")

    async def _settle(self, item: WorkItem, how: Literal["ack", "retry", "park"]) -> None:
        source = self._sources.pop((item.record.index, item.attempt), None)
        if source is None:
            return
        subscription, event = source
        try:
            if how == "ack":
                await subscription.ack(event)
            else:
                await subscription.nack(event, how)
        except ProgrammingError:
            # The connection it came over is gone; the server hands it out again.
            logger.info("%s[%d] comes again: its connection was lost", self._ledger, item.record.index)

    async def _subscribe(self) -> None:
        async def subscribe(client: AsyncEventStoreDBClient) -> AbstractAsyncPersistentSubscription:
            return await client.read_subscription_to_stream(
                self._destination,
                self._ledger,
                event_buffer_size=self._buffer_records,
                max_ack_delay=ACK_SECONDS,
                stopping_grace=ACK_SECONDS,
            )

        try:
            self._subscription = await self._connection.call(subscribe)
        except NotFound:
            raise InvalidError(
                "somebody deleted this destination's subscription",
                field=f"{self._ledger}::{self._destination}",
            ) from None

    async def _read(self) -> None:
        pause = RETRY_SECONDS
        while True:
            try:
                if self._subscription is None:
                    await self._subscribe()
                    pause = RETRY_SECONDS
                await self._take_all()
                if self._is_closing:
                    return
                # Somebody else connected anew, and the client stopped this subscription with the connection.
                self._forget_arrived()
                continue
            except Exception as error:
                found = explain(error, self._connection.target, self._connection.seconds_max)
                self._forget_arrived()
                if not isinstance(found, UnreachableStoreError):
                    self._arrived.put_nowait(found)
                    return
                logger.warning("work of %s on %s: %s", self._destination, self._ledger, found)
            await asyncio.sleep(pause)
            pause = min(2 * pause, RETRY_SECONDS_MAX)

    def _forget_arrived(self) -> None:
        """What came over a connection that was lost comes again over the next."""
        self._subscription = None
        self._sources.clear()
        while not self._arrived.empty():
            self._arrived.get_nowait()

    async def _take_all(self) -> None:
        subscription = self._subscription
        assert subscription is not None
        async for event in subscription:
            record = parse_event(event.stream_position, str(event.id), event.type, event.metadata, event.data)
            item = WorkItem(record=record, attempt=(event.retry_count or 0) + 1)
            self._sources[record.index, item.attempt] = (subscription, event)
            self._arrived.put_nowait(item)


def _check(ledger: str, destination: str) -> None:
    parse_identifier(ledger.removeprefix("ledger-"), "ledger")
    parse_identifier(destination, "destination")
