"""Streams.Read: reads of a stream or of $all, and catch-up subscriptions to them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Final

from esdbclient.protos.Grpc import shared_pb2, streams_pb2
from google.protobuf.message import DecodeError

from adapters.esdb_node import reading
from adapters.esdb_node.call import Call, CollectedTask, Receiver, frame
from adapters.esdb_node.filters import EventFilter, event_filter
from adapters.esdb_node.reading import NO_LIMIT, Reading
from adapters.esdb_node.record import REVISION_MAX
from adapters.esdb_node.records_file import PAGE_ROWS_MAX
from adapters.esdb_node.store import Store
from adapters.esdb_node.streams import Stream
from adapters.esdb_node.wire_errors import (
    invalid_argument,
    invalid_read_position,
    invalid_subscription_position,
    stream_deleted,
)

Options = streams_pb2.ReadReq.Options

_CAUGHT_UP: Final = frame(streams_pb2.ReadResp(caught_up=streams_pb2.ReadResp.CaughtUp()).SerializeToString())


class ReadMethod:
    """The method ``Read``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, call: Call) -> Receiver:
        """Receiver for one read or subscription."""
        return CollectedTask(call, self._answer)

    async def _answer(self, call: Call, messages: list[bytes]) -> None:
        options = _options(messages)
        which_id = options.uuid_option.WhichOneof("content")
        if which_id is None:
            raise invalid_argument("'uuid_option' is required.")
        form = Reading(self._store, resolve_links=options.resolve_links, structured=which_id == "structured")
        chosen = event_filter(self._store, options.filter) if options.HasField("filter") else None
        which_count = options.WhichOneof("count_option")
        if which_count is None:
            raise invalid_argument("'count_option' is required.")
        subscribes = which_count == "subscription"
        match options.WhichOneof("stream_option"), subscribes:
            case "stream", False:
                await self._read_stream(call, options, form)
            case "stream", True:
                await self._follow_stream(call, options, form)
            case "all", False:
                await self._read_all(call, options, form, chosen)
            case "all", True:
                await self._follow_all(call, options, form, chosen)
            case _:
                raise invalid_argument("'stream_option' is required.")
        call.finish()

    # -- reads

    async def _read_stream(self, call: Call, options: Options, form: Reading) -> None:
        store = self._store
        name = stream_name(options.stream.stream_identifier)
        stream = reading.readable(store, name)
        if stream is None:
            call.send(_not_found(name))
            return
        left = options.count
        down = options.read_direction == Options.Backwards
        # Clients that ask for compatibility 1 want to hear where the stream begins and ends.
        tells_ends = options.control_option.compatibility >= 1
        revision = _first_revision(options, stream.durable_revision if down else 0)
        page = reading.backwards if down else reading.forwards
        if tells_ends and not down and left:
            first = reading.forwards(store, stream, 0, 1)
            if first and first[0][2] > 0:
                call.send(frame(streams_pb2.ReadResp(first_stream_position=first[0][2]).SerializeToString()))
        while left > 0 and revision >= 0:
            rows = page(store, stream, revision, left)
            if not rows:
                break
            call.send(form.answers(rows))
            left -= len(rows)
            revision = rows[-1][2] + (-1 if down else 1)
            await call.drain()
        if tells_ends and left > 0:
            last = streams_pb2.ReadResp(last_stream_position=stream.durable_revision)
            call.send(frame(last.SerializeToString()))

    async def _read_all(
        self, call: Call, options: Options, form: Reading, chosen: EventFilter | None
    ) -> None:
        store = self._store
        left = options.count
        down = options.read_direction == Options.Backwards
        which = options.all.WhichOneof("all_option")
        position = store.next_position if which == "end" else 0
        if which == "position":
            position = options.all.position.commit_position
            if not reading.is_position(store, position):
                kind = "ReadAllResult" if chosen is None else "FilteredReadAllResult"
                raise invalid_read_position(kind)
        page = store.file.all_backwards if down else store.file.all_forwards
        while left > 0:
            rows = page(position, left if chosen is None else PAGE_ROWS_MAX)
            if not rows:
                break
            position = rows[-1][0] + (0 if down else 1)
            if chosen is not None:
                rows = [row for row in rows if chosen.admits(row[1], row[3])][:left]
            if rows:
                call.send(form.answers(rows))
                left -= len(rows)
            await call.drain()

    # -- subscriptions

    async def _follow_stream(self, call: Call, options: Options, form: Reading) -> None:
        store = self._store
        name = stream_name(options.stream.stream_identifier)
        reading.readable(store, name)
        stream = store.stream(name)
        which = options.stream.WhichOneof("revision_option")
        if which == "end":
            revision = stream.durable_revision + 1
        else:
            revision = options.stream.revision + 1 if which == "revision" else 0
        call.send(_confirmation())
        news = _News(stream.watchers)
        caught_up = False
        try:
            while True:
                news.clear()
                rows = reading.forwards(store, stream, revision, NO_LIMIT)
                if rows:
                    call.send(form.answers(rows))
                    revision = rows[-1][2] + 1
                    await call.drain()
                    continue
                if _tombstoned(store, stream):
                    raise stream_deleted(name)
                if not caught_up:
                    caught_up = True
                    call.send(_CAUGHT_UP)
                await news.wait()
        finally:
            news.close()

    async def _follow_all(
        self, call: Call, options: Options, form: Reading, chosen: EventFilter | None
    ) -> None:
        store = self._store
        which = options.all.WhichOneof("all_option")
        position = store.last_position + 1 if which == "end" else 0
        if which == "position":
            given = options.all.position.commit_position
            if not reading.is_position(store, given):
                raise invalid_subscription_position()
            position = min(given + 1, store.next_position) if given != store.next_position else given
        interval = _checkpoint_interval(options) if chosen is not None else 0
        considered = 0
        told = position - 1
        call.send(_confirmation())
        news = _News(store.watchers)
        caught_up = False
        try:
            while True:
                news.clear()
                rows = store.file.all_forwards(position, PAGE_ROWS_MAX)
                if rows:
                    position = rows[-1][0] + 1
                    if chosen is None:
                        call.send(form.answers(rows))
                    else:
                        out = []
                        for row in rows:
                            if chosen.admits(row[1], row[3]):
                                out.append(form.answer(row))
                            considered += 1
                            if interval and considered >= interval:
                                considered, told = 0, row[0]
                                out.append(_checkpoint(told))
                        if out:
                            call.send(b"".join(out))
                    await call.drain()
                    continue
                if not caught_up:
                    caught_up = True
                    if interval and position - 1 > told:
                        considered, told = 0, position - 1
                        call.send(_checkpoint(told))
                    call.send(_CAUGHT_UP)
                await news.wait()
        finally:
            news.close()


class _News:
    """Wakes a subscription when something was written that may concern it."""

    def __init__(self, watchers: set[Callable[[], None]]) -> None:
        self._event = asyncio.Event()
        self._watchers = watchers
        self.clear, self.wait = self._event.clear, self._event.wait
        watchers.add(self._event.set)

    def close(self) -> None:
        """Stop listening."""
        self._watchers.discard(self._event.set)


def stream_name(identifier: shared_pb2.StreamIdentifier) -> str:
    """The name in a request.

    Raises:
        WireError: INVALID_ARGUMENT when it is empty or not UTF-8.
    """
    if not identifier.stream_name:
        raise invalid_argument("A stream name is required.")
    try:
        return identifier.stream_name.decode()
    except UnicodeDecodeError:
        raise invalid_argument("A stream name is UTF-8 text.") from None


def _options(messages: list[bytes]) -> Options:
    if len(messages) != 1:
        raise invalid_argument("Read takes one request.")
    try:
        request: streams_pb2.ReadReq = streams_pb2.ReadReq.FromString(messages[0])
    except DecodeError:
        raise invalid_argument("The request is not a ReadReq.") from None
    return request.options


def _first_revision(options: Options, default: int) -> int:
    which = options.stream.WhichOneof("revision_option")
    if which == "revision":
        return min(options.stream.revision, REVISION_MAX)
    if which == "end" and options.read_direction == Options.Forwards:
        return REVISION_MAX
    if which == "start" and options.read_direction == Options.Backwards:
        return 0
    return default


def _checkpoint_interval(options: Options) -> int:
    """How many records are looked at between checkpoints; 0: none are sent."""
    if options.filter.WhichOneof("window") == "count":
        return 0
    return max(1, options.filter.max) * max(1, options.filter.checkpointIntervalMultiplier)


def _tombstoned(store: Store, stream: Stream) -> bool:
    return stream.tombstoned or (stream.is_metastream and store.stream(stream.name[2:]).tombstoned)


def _confirmation() -> bytes:
    confirmed = streams_pb2.ReadResp.SubscriptionConfirmation(subscription_id=str(uuid.uuid4()))
    return frame(streams_pb2.ReadResp(confirmation=confirmed).SerializeToString())


def _checkpoint(position: int) -> bytes:
    checkpoint = streams_pb2.ReadResp.Checkpoint(commit_position=position, prepare_position=position)
    return frame(streams_pb2.ReadResp(checkpoint=checkpoint).SerializeToString())


def _not_found(name: str) -> bytes:
    missing = streams_pb2.ReadResp.StreamNotFound(
        stream_identifier=shared_pb2.StreamIdentifier(stream_name=name.encode())
    )
    return frame(streams_pb2.ReadResp(stream_not_found=missing).SerializeToString())
