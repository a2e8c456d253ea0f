"""Pages of a stream, read at a tenth of the client's price.

esdbclient spends more than 100 µs on every event it reads, most of it in waking the event loop once per
message and in building objects that are thrown away.  A ledger of a million entries is read whole when it
is opened or audited, so pages are read here with the same protocol messages over a channel that gRPC serves
on the calling thread (about 10 µs per event).  Where to connect, with which certificates and which
credentials is asked of the client, and when the node has moved on it is the client that finds the new one.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
import grpc.experimental
from esdbclient import AsyncEventStoreDBClient
from esdbclient.common import handle_rpc_error
from esdbclient.exceptions import (
    EventStoreDBClientException,
    GrpcError,
    NodeIsNotLeader,
    NotFound,
    ServiceUnavailable,
    StreamIsDeleted,
)
from esdbclient.protos.Grpc import shared_pb2, streams_pb2

from adapters.esdb_record import parse_event
from ledger.ports import Record

#: Events asked for at once; bounds what a slow reader keeps the server busy with.
PAGE_EVENTS_MAX: Final = 4_096
#: A page ends early after this many bytes of bodies and entries, so that large bodies do not fill the memory.
PAGE_BYTES_MAX: Final = 32 * 1024 * 1024
#: Pages that are read at the same time.
READERS_MAX: Final = 4
#: How often a page is asked for again, as the client does for its own calls.
ATTEMPTS_MAX: Final = 3
_RETRY_SECONDS: Final = 0.1


class PageReader:
    """Reads pages for one client."""

    def __init__(self, client: AsyncEventStoreDBClient, seconds_max: float) -> None:
        self._client = client
        self._seconds_max = seconds_max
        self._threads = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="read EventStoreDB")
        self._channel: grpc.Channel | None = None
        self._target = ""

    async def read(self, stream: str, start: int, limit: int) -> list[Record]:
        """Up to ``limit`` records from position ``start``, in the order and with the positions stored.

        Raises: NotFound when there is no such stream, and what the client raises.
        """
        for attempt in range(ATTEMPTS_MAX):
            call = self._begin(stream, start, min(limit, PAGE_EVENTS_MAX))
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, drain_page, call)
            except asyncio.CancelledError:
                call.cancel()
                raise
            except grpc.RpcError as rpc_error:
                error = _explain(rpc_error)
                if attempt + 1 == ATTEMPTS_MAX or not isinstance(error, GrpcError | NodeIsNotLeader):
                    raise error from None
            await self._recover(error)
        raise AssertionError("unreachable")

    async def _recover(self, error: EventStoreDBClientException) -> None:
        if isinstance(error, NodeIsNotLeader):
            await self._client.reconnect(error.leader_grpc_target)
        elif isinstance(error, ServiceUnavailable):
            await self._client.reconnect()
        await asyncio.sleep(_RETRY_SECONDS)

    async def close(self) -> None:
        """End the calls and the threads."""
        if self._channel is not None:
            self._channel.close()
        await asyncio.to_thread(self._threads.shutdown)

    def _begin(self, stream: str, start: int, limit: int) -> Any:
        client = self._client
        if self._channel is None or self._target != client.connection_target:
            # A channel to the node before is let go, not closed: other pages may still come over it.
            self._target = client.connection_target
            self._channel = open_channel(client, self._target)
        return begin_page(client, self._channel, stream, start, limit, self._seconds_max)


def open_channel(client: AsyncEventStoreDBClient, target: str) -> grpc.Channel:
    """A channel with the client's options and certificates whose answers are read on the calling thread."""
    options = (*client.grpc_options, (grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1))
    if not client.connection_spec.options.Tls:
        return grpc.insecure_channel(target, options)
    credentials = grpc.ssl_channel_credentials(
        client.root_certificates, client.private_key, client.certificate_chain
    )
    return grpc.secure_channel(target, credentials, options)


def begin_page(
    client: AsyncEventStoreDBClient,
    channel: grpc.Channel,
    stream: str,
    start: int,
    limit: int,
    seconds_max: float,
) -> Any:
    """Ask for a page; ``drain_page`` reads it."""
    options = streams_pb2.ReadReq.Options(
        read_direction=streams_pb2.ReadReq.Options.Forwards,
        resolve_links=False,
        count=limit,
    )
    options.stream.stream_identifier.stream_name = stream.encode()
    options.stream.revision = start
    options.no_filter.CopyFrom(shared_pb2.Empty())
    options.uuid_option.string.CopyFrom(shared_pb2.Empty())
    spec = client.connection_spec
    read = channel.unary_stream(
        "/event_store.client.streams.Streams/Read",
        request_serializer=streams_pb2.ReadReq.SerializeToString,
        response_deserializer=streams_pb2.ReadResp.FromString,
    )
    return read(
        streams_pb2.ReadReq(options=options),
        timeout=seconds_max,
        metadata=(
            ("connection-name", spec.options.ConnectionName),
            ("requires-leader", "true" if spec.options.NodePreference == "leader" else "false"),
        ),
        credentials=client.construct_call_credentials(spec.username, spec.password),
    )


def drain_page(call: Any) -> list[Record]:
    """The records of a page.  Raises: NotFound when there is no such stream, grpc.RpcError."""
    records: list[Record] = []
    byte_count = 0
    for answer in call:
        which = answer.WhichOneof("content")
        if which == "event":
            event = answer.event.event
            metadata, data = event.custom_metadata, event.data
            records.append(
                parse_event(event.stream_revision, event.id.string, event.metadata["type"], metadata, data)
            )
            byte_count += len(metadata) + len(data)
            if byte_count > PAGE_BYTES_MAX:
                call.cancel()
                break
        elif which == "stream_not_found":
            call.cancel()
            raise NotFound
    return records


def _explain(error: grpc.RpcError) -> EventStoreDBClientException:
    if error.code() is grpc.StatusCode.FAILED_PRECONDITION and "is deleted" in (error.details() or ""):
        return StreamIsDeleted(error.details())
    return handle_rpc_error(error)
