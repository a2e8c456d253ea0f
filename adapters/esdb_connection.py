"""A connection to EventStoreDB from a connection string, with the client's quirks mended.

``esdb://user:password@host:2113?tlsCaFile=/path/ca.pem`` names one node or several (comma-separated),
``esdb+discover://name`` a cluster.  Option names are case-insensitive.  What esdbclient 1.1.7 does not do as
documented, and what is done about it here:

- user name and password are not percent-decoded: decoded here, so that any password can be given;
- ``keepAliveInterval`` sets a gRPC option that does not exist, and gRPC 1.71 goes by the timeout of pings,
  not by that of keep-alive: the ones that work are set, 10 s by default, so that a peer that went silent is
  noticed while a subscription waits (-1 turns it off);
- certificate and key of the client are only read from ``userCertFile`` and ``userKeyFile``: both or neither,
  and missing files are named;
- ``tlsVerifyCert=false`` is ignored: refused, because a ledger should not be written to whoever answers;
- after a failure gRPC waits up to two minutes before it looks again: two seconds here;
- a cancelled read looks like a read that ended: every call runs in a task of its own, so that a cancelled
  caller is cancelled;
- reconnecting closes the old connection, which waits for each of its persistent subscriptions to say
  good-bye, and one whose call has died never does: every other call would wait for that for ever.  It is
  closed beside what goes on here, and closing everything at the end takes ``CLOSE_SECONDS_MAX`` at most;
- what others read over that connection looks as if it had come to its end: an end that means something is
  looked at twice (``adapters.esdb_log``), and one that was not asked for is none
  (``adapters.esdb_subscriptions``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import grpc
from esdbclient import AsyncEventStoreDBClient
from esdbclient.connection_spec import ConnectionOptions, ConnectionSpec
from esdbclient.exceptions import AlreadyExists, EventStoreDBClientException, NotFound, WrongCurrentVersion

from adapters.esdb_errors import explain
from domain.errors import InvalidError, MalformedError
from ledger.errors import ClosedError

T = TypeVar("T")

SCHEMES: Final = ("esdb://", "esdb+discover://")
#: How long one call may take unless the connection string has a defaultDeadline: longer than a leader
#: election or a slow fsync, shorter than a person's patience.
CALL_SECONDS_MAX: Final = 30.0
#: As other EventStoreDB clients have it.
KEEP_ALIVE_MS: Final = 10_000
#: An address that swallows packets is given up after this.
CONNECT_MS_MAX: Final = 5_000
RECONNECT_MS_MAX: Final = 2_000
#: The client gives what is under way on a connection five seconds.
CLOSE_SECONDS_MAX: Final = 10.0
#: Largest answer in one message, above the server's largest append.
RECEIVE_BYTES_MAX: Final = 17 * 1024 * 1024

#: What callers decide on.
_ANSWERS: Final = (WrongCurrentVersion, NotFound, AlreadyExists)


class Connection:
    """One server or cluster, connected to on first use and again after it was lost."""

    def __init__(self, uri: str) -> None:
        """Raises: MalformedError for a connection string that cannot be used, InvalidError for missing
        certificate files.  Neither repeats the password."""
        #: With the password; not for people.
        self.uri = uri
        self._spec = _parse(uri)
        self._client: AsyncEventStoreDBClient | None = None
        self._connecting = asyncio.Lock()
        self._is_closed = False
        self.target = ",".join(self._spec.targets)
        self.seconds_max = float(self._spec.options.DefaultDeadline or CALL_SECONDS_MAX)

    async def call(self, work: Callable[[AsyncEventStoreDBClient], Awaitable[T]]) -> T:
        """Run ``work`` with the client.

        Raises: WrongCurrentVersion, NotFound and AlreadyExists as the client does; everything else as
        ``adapters.esdb_errors.explain`` says it.
        """
        return await self._alone(self._work(work))

    async def client(self) -> AsyncEventStoreDBClient:
        """The client, connected.  Raises: UnreachableStoreError, UntrustedStoreError."""
        if self._client is None:
            async with self._connecting:
                if self._client is None:
                    self._client = await self._connect()
        return self._client

    @property
    def node(self) -> str:
        """The node that was found; the first that was named as long as there is no connection."""
        return self._client.connection_target if self._client is not None else self._spec.targets[0]

    async def close(self) -> None:
        """End every call and the connection."""
        self._is_closed = True
        client, self._client = self._client, None
        if client is not None:
            await give_up_after(CLOSE_SECONDS_MAX, client.close())

    async def _work(self, work: Callable[[AsyncEventStoreDBClient], Awaitable[T]]) -> T:
        client = await self.client()
        try:
            return await work(client)
        except _ANSWERS:
            raise
        except (EventStoreDBClientException, grpc.RpcError, grpc.aio.UsageError) as error:
            raise explain(error, self.target, self.seconds_max) from error

    @staticmethod
    async def _alone(work: Awaitable[T]) -> T:
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            task.add_done_callback(_look_away)
            raise
        return task.result()

    async def _connect(self) -> AsyncEventStoreDBClient:
        if self._is_closed:
            raise ClosedError("the store is closed", field=self.target)
        try:
            client = Client(self.uri)
            await client.connect()
        except (EventStoreDBClientException, grpc.RpcError) as error:
            raise explain(error, self.target, self.seconds_max) from error
        return client


class Client(AsyncEventStoreDBClient):
    """The client with the options it means to set."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.grpc_options = _grpc_options(self.connection_spec.options)
        self._closing: set[asyncio.Task[None]] = set()

    async def reconnect(self, grpc_target: str | None = None) -> None:
        """As the client does, without waiting for the old connection to be closed."""
        self._is_reconnection_required.set()
        async with self._reconnection_lock:
            if self._is_reconnection_required.is_set():
                new = await self._connect(grpc_target)
                old, self._connection = self._connection, new
                closing = asyncio.create_task(give_up_after(CLOSE_SECONDS_MAX, old.close()))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
                self._is_reconnection_required.clear()

    def construct_call_credentials(
        self, username: str | None, password: str | None
    ) -> grpc.CallCredentials | None:
        return super().construct_call_credentials(unquote(username or ""), unquote(password or ""))


async def give_up_after(seconds: float, closing: Awaitable[None]) -> None:
    """Wait for something to be closed, and no longer than that."""
    with contextlib.suppress(TimeoutError, EventStoreDBClientException, grpc.RpcError):
        await asyncio.wait_for(closing, seconds)


def _parse(uri: str) -> ConnectionSpec:
    try:
        spec = ConnectionSpec(uri)
        for target in spec.targets:
            if not 0 < int(target.rpartition(":")[2]) < 65_536:
                raise ValueError(f"no such port: {target}")
    except ValueError as error:
        # The client's sentences end with the whole string, password included.
        raise MalformedError(
            "not a connection string for EventStoreDB",
            field="store",
            expected="esdb://user:password@host:2113 or esdb://host:2113?tls=false",
            actual=str(error).replace(f": {uri}", "").replace(uri, "…"),
        ) from None
    options = spec.options
    if not options.TlsVerifyCert:
        raise MalformedError(
            "tlsVerifyCert=false is not possible",
            field="store",
            remedy="Give the CA of the server's certificate with tlsCaFile=<pem>.",
        )
    if bool(options.UserCertFile) != bool(options.UserKeyFile):
        raise MalformedError("userCertFile and userKeyFile belong together", field="store")
    for name in ("TlsCaFile", "UserCertFile", "UserKeyFile"):
        path = getattr(options, name)
        if path and not Path(path).is_file():
            raise InvalidError("no such file", field=name, actual=path)
    return spec


def _grpc_options(options: ConnectionOptions) -> tuple[tuple[str, str | int], ...]:
    found: list[tuple[str, str | int]] = [
        ("grpc.max_receive_message_length", RECEIVE_BYTES_MAX),
        ("grpc.min_reconnect_backoff_ms", CONNECT_MS_MAX),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
    ]
    interval = options.KeepAliveInterval
    if interval is None or interval >= 0:
        found += [
            ("grpc.keepalive_time_ms", KEEP_ALIVE_MS if interval is None else interval),
            ("grpc.keepalive_timeout_ms", options.KeepAliveTimeout or KEEP_ALIVE_MS),
            ("grpc.http2.ping_timeout_ms", options.KeepAliveTimeout or KEEP_ALIVE_MS),
            # A waiting subscription sends nothing; without this gRPC stops after two pings.
            ("grpc.http2.max_pings_without_data", 0),
        ]
    return tuple(found)


def _look_away(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()
