"""The EventStoreDB development node: start, stop, and the paths it serves.

It speaks the protocol of EventStoreDB 24 over an embedded file, for development and tests where no server can
be had. It is one process, one machine, one user; it is *not* EventStoreDB and not for production.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import signal
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from adapters.esdb_node.append_methods import AppendMethods
from adapters.esdb_node.call import Method
from adapters.esdb_node.credentials import DEFAULT_PASSWORD, DEFAULT_USERNAME, Credentials, admit_all
from adapters.esdb_node.gossip_methods import GossipMethods, ServerFeatures
from adapters.esdb_node.group_methods import GroupMethods
from adapters.esdb_node.http2 import Connection
from adapters.esdb_node.read_method import ReadMethod
from adapters.esdb_node.records_file import LOG_BYTES_MAX
from adapters.esdb_node.store import Store
from adapters.esdb_node.tls import make_certificate, server_context

logger = logging.getLogger(__name__)

#: Where EventStoreDB listens.
DEFAULT_PORT: Final = 2113
#: How long a stop waits for clients to take their last bytes.
STOP_SECONDS: Final = 2.0


class NodeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to run a node.

    ``path`` is the file of the log, None keeps it in memory; ``log_bytes_max`` is how large it may get;
    ``port`` 0 takes a free one; ``advertise_host`` is what gossip says, the listening host by default.  With
    ``tls`` and without certificate files a certificate is made for this start.  ``username`` and ``password``
    are asked for on TLS only.
    """

    path: Path | None = None
    log_bytes_max: int = LOG_BYTES_MAX
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    advertise_host: str = ""
    tls: bool = False
    certificate_path: Path | None = None
    key_path: Path | None = None
    username: str = DEFAULT_USERNAME
    password: str = DEFAULT_PASSWORD


class Node:
    """A development node in the running event loop: ``async with Node(options) as node: … node.uri …``."""

    def __init__(self, options: NodeOptions) -> None:
        self.options = options
        #: PEM of the certificate when TLS is on; give it to clients as root certificate.
        self.certificate: bytes | None = None
        self._store: Store | None = None
        self._groups: GroupMethods | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()

    async def __aenter__(self) -> Node:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None, "the node is not started"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def uri(self) -> str:
        """The connection string for clients."""
        options = self.options
        target = f"{options.advertise_host or options.host}:{self.port}"
        if options.tls:
            return f"esdb://{options.username}:{options.password}@{target}"
        return f"esdb://{target}?Tls=false"

    def watchers_of(self, stream_name: str) -> int:
        """How many subscriptions wait for news of a stream; for tests and people."""
        assert self._store is not None, "the node is not started"
        return len(self._store.stream(stream_name).watchers)

    async def start(self) -> None:
        """Open the log and listen.

        Raises:
            ConflictError: Another node uses the file.
            OSError: The port is taken.
        """
        options = self.options
        context = self._tls()
        store = self._store = Store(options.path, options.log_bytes_max)
        try:
            await store.start()
            groups = self._groups = GroupMethods(store)
            await groups.start()
            admit = Credentials(options.username, options.password).admit if options.tls else admit_all
            paths = routes(store, groups, self._address)
            self._server = await asyncio.get_running_loop().create_server(
                lambda: self._accept(paths, admit), options.host, options.port, ssl=context, backlog=512
            )
        except BaseException:
            await self.stop()
            raise
        logger.warning(
            "development node (not EventStoreDB, not for production) listens on %s, log %s",
            self.uri.replace(f":{options.password}@", ":…@"),
            options.path or "in memory",
        )

    async def stop(self) -> None:
        """Stop listening, end calls, write what is under way, close the log."""
        if self._server is not None:
            self._server.close()
        if self._groups is not None:
            await self._groups.stop()
        for connection in list(self._connections):
            connection.close()
        if self._connections:
            await asyncio.wait([one.lost for one in self._connections], timeout=STOP_SECONDS)
        for connection in list(self._connections):
            connection.abort()
        if self._store is not None:
            await self._store.stop()
        self._server = self._groups = self._store = None

    def _accept(
        self, paths: Mapping[str, Method], admit: Callable[[Mapping[str, str]], None]
    ) -> asyncio.Protocol:
        store = self._store
        assert store is not None

        def busy(connection: Connection) -> bool:
            return store.busy(connection.resume_reading)

        return Connection(paths, admit, self._connections, busy)

    def _address(self) -> tuple[str, int]:
        return self.options.advertise_host or self.options.host, self.port

    def _tls(self) -> ssl.SSLContext | None:
        options = self.options
        if not options.tls:
            return None
        if options.certificate_path is not None and options.key_path is not None:
            certificate, key = options.certificate_path.read_bytes(), options.key_path.read_bytes()
        else:
            hosts = {options.host, "localhost", "127.0.0.1", *filter(None, (options.advertise_host,))}
            now = datetime.datetime.now(datetime.UTC)
            certificate, key = make_certificate(tuple(sorted(hosts)), now)
        self.certificate = certificate
        return server_context(certificate, key)


def routes(store: Store, groups: GroupMethods, address: Callable[[], tuple[str, int]]) -> dict[str, Method]:
    """Every method the node has, by path."""
    reads, appends, gossip = ReadMethod(store), AppendMethods(store), GossipMethods(store, address)
    paths: dict[str, Method] = {}
    features = ServerFeatures(paths)
    streams = "/event_store.client.streams.Streams"
    persistent = "/event_store.client.persistent_subscriptions.PersistentSubscriptions"
    paths |= {
        f"{streams}/Read": reads.read,
        f"{streams}/Append": appends.append,
        f"{streams}/BatchAppend": appends.batch_append,
        f"{streams}/Delete": appends.delete,
        f"{streams}/Tombstone": appends.tombstone,
        f"{persistent}/Create": groups.create,
        f"{persistent}/Update": groups.update,
        f"{persistent}/Delete": groups.delete,
        f"{persistent}/Read": groups.read,
        f"{persistent}/GetInfo": groups.get_info,
        f"{persistent}/ReplayParked": groups.replay_parked,
        f"{persistent}/List": groups.list_groups,
        f"{persistent}/RestartSubsystem": groups.restart,
        "/event_store.client.gossip.Gossip/Read": gossip.read,
        "/event_store.cluster.Gossip/Read": gossip.read_cluster,
        "/event_store.cluster.Gossip/Update": gossip.read_cluster,
        "/event_store.client.server_features.ServerFeatures/GetSupportedMethods": features.supported_methods,
    }
    return paths


def run_node(options: NodeOptions) -> None:
    """Run a node until SIGINT or SIGTERM; what ``tally node`` calls."""
    import uvloop

    uvloop.run(_run(options))


@contextlib.contextmanager
def node_in_thread(options: NodeOptions) -> Iterator[Node]:
    """A node on a thread of its own, for callers without an event loop: tests with the synchronous client."""
    started: list[Node | BaseException] = []
    ready, leave = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        try:
            async with Node(options) as node:
                started.append(node)
                ready.set()
                await leave.wait()
        except BaseException as error:
            started.append(error)
            raise
        finally:
            ready.set()

    def run() -> None:
        with contextlib.suppress(Exception):
            asyncio.run(serve())

    thread = threading.Thread(target=run, name="esdb-node")
    thread.start()
    ready.wait()
    if isinstance(started[0], BaseException):
        thread.join()
        raise started[0]
    try:
        yield started[0]
    finally:
        loops[0].call_soon_threadsafe(leave.set)
        thread.join()


async def _run(options: NodeOptions) -> None:
    leave = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)
    async with Node(options):
        await leave.wait()
