"""One persistent subscription group: reads its source, hands messages to consumers, waits for their answers.

Life of a message: read from the source into the buffer → sent to a consumer and *outstanding* until it is
acknowledged, refused or timed out → a refused one goes to the retry queue, which is served before the buffer,
or is parked when it was tried too often.  The checkpoint is the place before the oldest message that is not
settled; it is written to the log now and then, so after a crash messages may come again, but none is skipped.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec
from esdbclient.protos.Grpc import persistent_pb2

from adapters.esdb_node import reading, record
from adapters.esdb_node.consumers import Consumer, any_room, strategy
from adapters.esdb_node.filters import EventFilter, everything, matcher
from adapters.esdb_node.group_checkpoint import Checkpoint
from adapters.esdb_node.group_settings import FROM_END, GroupSettings
from adapters.esdb_node.parking import Parking
from adapters.esdb_node.reading import Reading
from adapters.esdb_node.records_file import PAGE_ROWS_MAX, Row
from adapters.esdb_node.store import Store
from adapters.esdb_node.wire_errors import WireError, group_dropped, group_full

logger = logging.getLogger(__name__)

#: How often a group looks for messages that took too long and for a checkpoint to write.  Once a second as
#: in a real
#: server: clients send acknowledgements in bundles, up to 0.2 s late, and set timeouts below that.
TICK_SECONDS: Final = 1.0

Nack = persistent_pb2.ReadReq.Nack


class Message:
    """A record on its way through a group; ``row`` is what the source holds, ``parked`` the link of a
    replayed one.
    """

    __slots__ = ("ack_id", "consumer", "due", "event", "link", "parked", "place", "row", "sequence", "tries")

    def __init__(self, sequence: int, place: int, row: Row, event: bytes | None, link: bytes | None) -> None:
        self.sequence = sequence
        self.place = place
        self.row = row
        self.event = event
        self.link = link
        self.parked: Row | None = None
        self.tries = 0
        self.due = 0.0
        self.consumer: Consumer | None = None
        self.ack_id = (link or event or b"")[-36:].decode()


class Group:
    """A running group; :meth:`start` it, then it works until :meth:`stop`."""

    def __init__(self, store: Store, settings: GroupSettings) -> None:
        self.settings = settings
        self.consumers: list[Consumer] = []
        self.parking = Parking(store, settings)
        self._store = store
        self._strategy = strategy(settings.strategy, self.consumers)
        self._form = Reading(store, resolve_links=settings.resolve_links, structured=False)
        self._filter = _filter(store, settings)
        self._buffer: deque[Message] = deque()
        self._retry: list[Message] = []
        self._replayed: deque[Message] = deque()
        self._outstanding: dict[str, list[Message]] = {}
        self._outstanding_count = 0
        self._sequence = 0
        self._checkpoint = Checkpoint(store, settings)
        self._next_tick = time.monotonic() + TICK_SECONDS
        self._news = asyncio.Event()
        self._wake = self._news.set
        self._task: asyncio.Task[None] | None = None
        self._total = 0
        self._measured = (time.monotonic(), 0, 0)
        self._live = False
        self._next = self._first_place()

    # -- for the service

    def start(self) -> None:
        """Begin to work."""
        self._watchers().add(self._wake)
        self._task = asyncio.ensure_future(self._run())

    async def stop(self, *, remember: bool = True) -> None:
        """Drop all consumers and end; ``remember`` writes a last checkpoint."""
        self._watchers().discard(self._wake)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        if remember:
            self._checkpoint.write(self._oldest_open())
        # What they had is read again by whoever comes next; nobody refused it, so it is not parked.
        dropped = list(self.consumers)
        self.consumers.clear()
        for consumer in dropped:
            consumer.call.fail(group_dropped(self.settings.stream, self.settings.group))

    def join(self, consumer: Consumer) -> None:
        """Let a consumer in.

        Raises:
            WireError: FAILED_PRECONDITION if the group has as many as it wants.
        """
        limit = self.settings.max_subscriber_count
        if limit and len(self.consumers) >= limit:
            raise group_full(self.settings.stream, self.settings.group)
        self.consumers.append(consumer)
        self._wake()

    def leave(self, consumer: Consumer) -> None:
        """A consumer is gone; what it had goes to the others."""
        if consumer not in self.consumers:
            return
        self.consumers.remove(consumer)
        lost = [
            message
            for messages in self._outstanding.values()
            for message in messages
            if message.consumer is consumer
        ]
        for message in sorted(lost, key=lambda message: message.sequence):
            self._take_back(message)
            self._retry_or_park(message, "consumer disconnected")
        self._wake()

    def acknowledge(self, ids: Sequence[str]) -> None:
        """Messages are done with."""
        for ack_id in ids:
            message = self._outstanding_of(ack_id)
            if message is not None:
                self._settle(message)
        self._wake()

    def refuse(self, ids: Sequence[str], action: Nack.Action.ValueType, reason: str) -> None:
        """Messages could not be handled; ``action`` says what to do with them."""
        for ack_id in ids:
            message = self._outstanding_of(ack_id)
            if message is None:
                continue
            if action == Nack.Park:
                self._settle(message)
                self._park(message, reason or "client explicitly NAK'ed message")
            elif action == Nack.Skip:
                self._settle(message)
            elif action in (Nack.Retry, Nack.Unknown):
                self._take_back(message)
                self._retry_or_park(message, reason)
            # Stop leaves it with the consumer until it times out, as a real server does.
        self._wake()

    def replay_parked(self, count: int | None) -> None:
        """Bring parked messages back."""
        self.parking.replay(count)
        self._wake()

    def info(self) -> persistent_pb2.SubscriptionInfo:
        """What an operator sees."""
        settings = self.settings
        now = time.monotonic()
        since, total_then, rate = self._measured
        if now - since >= 1:
            rate = round((self._total - total_then) / (now - since))
            self._measured = (now, self._total, rate)
        checkpoint, last_known = self._checkpoint.place, self._checkpoint.last_known
        return persistent_pb2.SubscriptionInfo(
            event_source=settings.stream,
            group_name=settings.group,
            status="Live" if self._live or not self.consumers else "Behind",
            connections=[_connection_info(consumer) for consumer in self.consumers],
            average_per_second=rate,
            total_items=self._total,
            count_since_last_measurement=self._total - self._measured[1],
            last_checkpointed_event_position="" if checkpoint is None else settings.place(checkpoint),
            last_known_event_position="" if last_known is None else settings.place(last_known),
            resolve_link_tos=settings.resolve_links,
            start_from=settings.place(settings.start_from),
            message_timeout_milliseconds=settings.message_timeout_ms,
            extra_statistics=settings.extra_statistics,
            max_retry_count=settings.max_retry_count,
            live_buffer_size=settings.live_buffer_size,
            buffer_size=settings.history_buffer_size,
            read_batch_size=settings.read_batch_size,
            check_point_after_milliseconds=settings.checkpoint_after_ms,
            min_check_point_count=settings.min_checkpoint_count,
            max_check_point_count=settings.max_checkpoint_count,
            read_buffer_count=len(self._buffer),
            retry_buffer_count=len(self._retry) + len(self._replayed),
            total_in_flight_messages=self._outstanding_count,
            outstanding_messages_count=self._outstanding_count,
            named_consumer_strategy=settings.strategy,
            max_subscriber_count=settings.max_subscriber_count,
            parked_message_count=self.parking.count,
        )

    # -- work

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._news.clear()
            try:
                self._expire()
                more = self._fill()
                self._push()
                if self._checkpoint.behind:
                    self._checkpoint.write_if_due(self._oldest_open())
            except WireError as error:  # The store cannot write now, or the source was tombstoned.
                logger.warning("group %s on %s: %s", self.settings.group, self.settings.stream, error)
                more = False
                await asyncio.sleep(TICK_SECONDS)
            if more:
                await asyncio.sleep(0)
                continue
            tick = None
            if self._outstanding_count or self._checkpoint.behind:
                tick = loop.call_later(max(0.0, self._next_tick - time.monotonic()), self._wake)
            await self._news.wait()
            if tick is not None:
                tick.cancel()

    def _fill(self) -> bool:
        """Read ahead; True if there is more to read and room for it."""
        if not self.consumers:
            return False
        settings = self.settings
        while len(self._replayed) < settings.history_buffer_size:
            page = self.parking.next_page()
            if not page:
                break
            for parked, target in page:
                self._replayed.append(self._replayed_message(parked, target))
        room = settings.history_buffer_size - len(self._buffer)
        if room < settings.read_batch_size:
            return False
        rows = self._rows(settings.read_batch_size)
        self._live = not rows
        for row in rows:
            if len(self._buffer) >= settings.history_buffer_size:
                return False
            place = row[0] if settings.to_all else row[2]
            self._next = place + 1
            if self._filter is None or self._filter.admits(row[1], row[3]):
                self._sequence += 1
                self._buffer.append(self._message(place, row))
        return bool(rows)

    def _rows(self, count: int) -> list[Row]:
        if self.settings.to_all:
            return self._store.file.all_forwards(self._next, PAGE_ROWS_MAX if self._selects else count)
        stream = self._store.stream(self.settings.stream)
        if stream.tombstoned:
            return []
        return reading.forwards(self._store, stream, self._next, count)

    @property
    def _selects(self) -> bool:
        """Whether most of what is read may be thrown away, so that larger pages pay."""
        return self.settings.filter is not None

    def _message(self, place: int, row: Row) -> Message:
        event, link = self._parts(row)
        return Message(self._sequence, place, row, event, link)

    def _replayed_message(self, parked: Row, target: Row) -> Message:
        event, _ = self._parts(target)
        message = Message(0, 0, target, event, record.event_part(parked[5]))
        message.parked = parked
        return message

    def _parts(self, row: Row) -> tuple[bytes | None, bytes | None]:
        if self._form.resolve_links and self._form.is_link(row):
            return self._form.resolved(row)
        return record.event_part(row[5]), None

    def _push(self) -> None:
        if not self.consumers or not any_room(self.consumers):
            return
        for queue in (self._retry, self._replayed, self._buffer):
            if not queue:
                continue
            waiting = deque(queue)
            queue.clear()
            kept: list[Message] = []
            while waiting:
                message = waiting.popleft()
                consumer = self._strategy(partial(self._pin, message))
                if consumer is not None:
                    self._send(message, consumer)
                    continue
                kept.append(message)
                if not any_room(self.consumers):
                    break
            queue.extend(kept)
            queue.extend(waiting)
            if queue and not any_room(self.consumers):
                return

    def _send(self, message: Message, consumer: Consumer) -> None:
        timeout_ms = self.settings.message_timeout_ms
        message.consumer = consumer
        message.due = time.monotonic() + timeout_ms / 1000 if timeout_ms else float("inf")
        consumer.in_flight += 1
        consumer.total += 1
        self._total += 1
        self._outstanding.setdefault(message.ack_id, []).append(message)
        self._outstanding_count += 1
        if message.parked is None:
            self._checkpoint.sent(message.sequence, message.place)
        event, link = message.event, message.link
        if consumer.structured:
            event = None if event is None else record.structured(event)
            link = None if link is None else record.structured(link)
        position = message.row[0] if message.parked is None else message.parked[0]
        consumer.call.send(record.delivery(event, link, position, message.tries))

    def _pin(self, message: Message) -> str:
        """What keeps a message with one consumer: its source stream, or the correlation in its metadata."""
        event = message.event or message.link or b""
        recorded: record.RecordedEvent = record.RecordedEvent.FromString(event)
        if self.settings.strategy == "PinnedByCorrelation":
            correlation = _correlation(recorded.custom_metadata)
            if correlation:
                return correlation
        if recorded.metadata.get("type") == record.LINK_TYPE:
            return str(recorded.data.partition(b"@")[2], "utf-8", "replace")
        return str(recorded.stream_identifier.stream_name, "utf-8", "replace")

    # -- answers

    def _outstanding_of(self, ack_id: str) -> Message | None:
        messages = self._outstanding.get(ack_id)
        return messages[0] if messages else None

    def _take_back(self, message: Message) -> None:
        """The message is no longer with its consumer."""
        messages = self._outstanding[message.ack_id]
        messages.remove(message)
        if not messages:
            del self._outstanding[message.ack_id]
        self._outstanding_count -= 1
        if message.consumer is not None:
            message.consumer.in_flight -= 1
            message.consumer = None

    def _settle(self, message: Message) -> None:
        self._take_back(message)
        if message.parked is not None:
            self.parking.settle(message.parked[2])

    def _retry_or_park(self, message: Message, reason: str) -> None:
        if message.tries >= self.settings.max_retry_count:
            if message.parked is not None:
                self.parking.settle(message.parked[2])
            self._park(message, f"Reached retry count of {self.settings.max_retry_count}. {reason}".strip())
            return
        message.tries += 1
        if message.parked is not None:
            self._replayed.appendleft(message)
        else:
            bisect.insort(self._retry, message, key=lambda message: message.sequence)

    def _park(self, message: Message, reason: str) -> None:
        self.parking.park(message.row[2], self._store.stream_name(message.row[1]), reason)

    def _expire(self) -> None:
        now = time.monotonic()
        if now < self._next_tick:
            return
        self._next_tick = now + TICK_SECONDS
        late = [
            message for messages in self._outstanding.values() for message in messages if message.due <= now
        ]
        for message in late:
            self._take_back(message)
            self._retry_or_park(message, "message timed out")

    # -- places

    def _oldest_open(self) -> int | None:
        """Sequence of the oldest message that was sent and is not settled."""
        oldest = min(
            (
                message.sequence
                for messages in self._outstanding.values()
                for message in messages
                if message.parked is None
            ),
            default=None,
        )
        if self._retry and (oldest is None or self._retry[0].sequence < oldest):
            return self._retry[0].sequence
        return oldest

    def _first_place(self) -> int:
        """Where reading begins: after the checkpoint, or where the settings say."""
        if self._checkpoint.place is not None:
            return self._checkpoint.place + 1
        if self.settings.start_from == FROM_END:
            return self.settings.started_at or 0
        return self.settings.start_from

    def _watchers(self) -> set[Callable[[], None]]:
        if self.settings.to_all:
            return self._store.watchers
        return self._store.stream(self.settings.stream).watchers


def _connection_info(consumer: Consumer) -> persistent_pb2.SubscriptionInfo.ConnectionInfo:
    info = persistent_pb2.SubscriptionInfo.ConnectionInfo(
        username="anonymous",
        total_items=consumer.total,
        available_slots=consumer.slots - consumer.in_flight,
        in_flight_messages=consumer.in_flight,
        connection_name=consumer.name,
    )
    setattr(info, "from", consumer.call.peer)  # A word of Python, so not a keyword argument.
    return info


def _filter(store: Store, settings: GroupSettings) -> EventFilter | None:
    if not settings.to_all:
        return None
    chosen = settings.filter
    if chosen is None:
        return everything(store)
    return EventFilter(store, chosen.by_stream, matcher(chosen.expression, chosen.prefixes))


def _correlation(metadata: bytes) -> str:
    try:
        fields = msgspec.json.decode(metadata)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    value = fields.get("$correlationId") if isinstance(fields, dict) else None
    return value if isinstance(value, str) else ""
