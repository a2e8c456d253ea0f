"""Rates of the EventStoreDB development node, beside plain SQLite with the same bytes in the same run.

Run with ``python -m tests.benchmarks.bench_esdb_node``.  The node is a process of its own; clients share the
machine with it.  A thin client (below) shows what the node can do, since esdbclient itself spends about 40 µs
on every message it reads; esdbclient's own rates stand next to it, because they are what Tallystick gets.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from esdbclient import AsyncEventStoreDBClient, NewEvent, StreamState
from esdbclient.protos.Grpc import streams_pb2

DATA = b"x" * 300
STREAMS = "/event_store.client.streams.Streams"
NODE = """
import sys
from pathlib import Path
import uvloop, asyncio
from adapters.esdb_node.node import Node, NodeOptions
async def main():
    async with Node(NodeOptions(path=Path(sys.argv[1]), port=0)) as node:
        print(node.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
uvloop.run(main())
"""


class ThinClient:
    """Just enough HTTP/2 to keep a node busy: no flow control of its own, no header tables."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = b"\0\x04\x7f\xff\xff\xff\0\x05\0\x0f\xff\xff"
        hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, settings)
        self._socket.sendall(hello + frame(8, 0, 0, (2**31 - 1 - 65_535).to_bytes(4, "big")))
        self._buffer = b""
        self._next = 1
        self.messages = 0
        self.ended = 0

    def begin(self, path: str, *messages: bytes, ends: bool = True) -> int:
        """Send a call."""
        stream_id, self._next = self._next, self._next + 2
        fields = (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "node"),
            ("te", "trailers"),
        )
        block = b"".join(b"\0" + short(name) + short(value) for name, value in fields)
        out = [frame(1, 4, stream_id, block)]
        for message in messages:
            out.append(data_frames(stream_id, message))
        if ends:
            out.append(frame(0, 1, stream_id, b""))
        self._socket.sendall(b"".join(out))
        return stream_id

    def go_on(self, stream_id: int, message: bytes) -> None:
        """Send one more message on a call."""
        self._socket.sendall(data_frames(stream_id, message))

    def take(self) -> None:
        """Read what is there and count messages and ended calls."""
        data = self._buffer + self._socket.recv(1 << 20)
        position = 0
        while len(data) - position >= 9:
            length = int.from_bytes(data[position : position + 3], "big")
            if len(data) - position - 9 < length:
                break
            kind, flags = data[position + 3], data[position + 4]
            if kind == 0:
                self.messages += self._count(data[position + 9 : position + 9 + length])
            elif kind == 1 and flags & 1:
                self.ended += 1
            elif kind == 6 and not flags & 1:
                self._socket.sendall(frame(6, 1, 0, data[position + 9 : position + 17]))
            position += 9 + length
        self._buffer = data[position:]

    _skip = 0
    _head = b""

    def _count(self, data: bytes) -> int:
        """Messages that begin in this piece of the one call that is read."""
        data = self._head + data
        self._head = b""
        position, count = self._skip, 0
        while position + 5 <= len(data):
            position += 5 + int.from_bytes(data[position + 1 : position + 5], "big")
            count += 1
        if position >= len(data):
            self._skip = position - len(data)
        else:
            self._head, self._skip = data[position:], 0
        return count


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def data_frames(stream_id: int, message: bytes) -> bytes:
    whole = b"\0" + len(message).to_bytes(4, "big") + message
    pieces = [whole[at : at + 16_384] for at in range(0, len(whole), 16_384)]
    return b"".join(frame(0, 0, stream_id, piece) for piece in pieces)


def short(text: str) -> bytes:
    return bytes((len(text),)) + text.encode()


def append_messages(stream: str, count: int) -> tuple[bytes, ...]:
    request = streams_pb2.AppendReq()
    request.options.stream_identifier.stream_name = stream.encode()
    request.options.any.SetInParent()
    messages = [request.SerializeToString()]
    for _ in range(count):
        request = streams_pb2.AppendReq()
        fill(request.proposed_message)
        messages.append(request.SerializeToString())
    return tuple(messages)


def batch_message(stream: str, count: int) -> bytes:
    request = streams_pb2.BatchAppendReq(is_final=True)
    request.correlation_id.string = str(uuid.uuid4())
    request.options.stream_identifier.stream_name = stream.encode()
    request.options.any.SetInParent()
    for _ in range(count):
        fill(request.proposed_messages.add())
    return request.SerializeToString()


def fill(message: streams_pb2.AppendReq.ProposedMessage | streams_pb2.BatchAppendReq.ProposedMessage) -> None:
    message.id.string = str(uuid.uuid4())
    message.metadata["type"] = "sample.recorded.v1"
    message.metadata["content-type"] = "application/json"
    message.data = DATA


def thin_single(port: int, count: int, in_flight: int) -> float:
    requests = [append_messages(f"single-{index % 50}", 1) for index in range(count)]
    client = ThinClient(port)
    begun = time.perf_counter()
    sent = 0
    while client.ended < count:
        while sent < count and sent - client.ended < in_flight:
            client.begin(f"{STREAMS}/Append", *requests[sent])
            sent += 1
        client.take()
    return count / (time.perf_counter() - begun)


def thin_batches(port: int, batches: int, size: int, in_flight: int) -> float:
    requests = [batch_message(f"batch-{index % 10}", size) for index in range(batches)]
    client = ThinClient(port)
    begun = time.perf_counter()
    call = client.begin(f"{STREAMS}/BatchAppend", ends=False)
    sent = 0
    while client.messages < batches:
        while sent < batches and sent - client.messages < in_flight:
            client.go_on(call, requests[sent])
            sent += 1
        client.take()
    return batches * size / (time.perf_counter() - begun)


def thin_read(port: int) -> tuple[float, int]:
    request = streams_pb2.ReadReq()
    request.options.all.start.SetInParent()
    request.options.count = 2**63
    request.options.no_filter.SetInParent()
    request.options.uuid_option.string.SetInParent()
    client = ThinClient(port)
    begun = time.perf_counter()
    client.begin(f"{STREAMS}/Read", request.SerializeToString())
    while not client.ended:
        client.take()
    return client.messages / (time.perf_counter() - begun), client.messages


async def client_single(port: int, count: int, writers: int) -> float:
    client = AsyncEventStoreDBClient(f"esdb://127.0.0.1:{port}?Tls=false")
    await client.connect()

    async def write(name: str) -> None:
        for _ in range(count // writers):
            event = NewEvent(type="sample.recorded.v1", data=DATA)
            await client.append_to_stream(name, current_version=StreamState.ANY, events=event)

    begun = time.perf_counter()
    await asyncio.gather(*(write(f"client-{index}") for index in range(writers)))
    rate = count / (time.perf_counter() - begun)
    await client.close()
    return rate


async def client_batches(port: int, batches: int, size: int, writers: int) -> float:
    client = AsyncEventStoreDBClient(f"esdb://127.0.0.1:{port}?Tls=false")
    await client.connect()

    async def write(name: str) -> None:
        for _ in range(batches // writers):
            events = [NewEvent(type="sample.recorded.v1", data=DATA) for _ in range(size)]
            await client.append_to_stream(name, current_version=StreamState.ANY, events=events)

    begun = time.perf_counter()
    await asyncio.gather(*(write(f"client-batch-{index}") for index in range(writers)))
    rate = batches * size / (time.perf_counter() - begun)
    await client.close()
    return rate


async def client_read(port: int, count: int) -> float:
    client = AsyncEventStoreDBClient(f"esdb://127.0.0.1:{port}?Tls=false")
    await client.connect()
    begun = time.perf_counter()
    events = 0
    async for _ in await client.read_all(limit=count):
        events += 1
    rate = events / (time.perf_counter() - begun)
    await client.close()
    return rate


def sqlite_rates(folder: Path) -> tuple[float, float, float]:
    """Rows a second with a commit each, with a commit per 100, and read."""
    database = sqlite3.connect(folder / "plain.db", isolation_level=None)
    database.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 8000;"
    )
    database.execute("CREATE TABLE records (position INTEGER PRIMARY KEY, frame BLOB NOT NULL)")
    row = bytes(len(DATA) + 160)

    def timed(count: int, work: Callable[[], object]) -> float:
        begun = time.perf_counter()
        work()
        return count / (time.perf_counter() - begun)

    def insert(transactions: int, size: int) -> None:
        for _ in range(transactions):
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT INTO records (frame) VALUES (?)", [(row,)] * size)
            database.execute("COMMIT")

    single = timed(1_000, lambda: insert(1_000, 1))
    batched = timed(50_000, lambda: insert(500, 100))
    read = timed(
        51_000, lambda: sum(len(found[0]) for found in database.execute("SELECT frame FROM records"))
    )
    database.close()
    return single, batched, read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the number of events")
    scale = parser.parse_args().scale
    with tempfile.TemporaryDirectory() as folder:
        single, batched, read = sqlite_rates(Path(folder))
        arguments = [sys.executable, "-c", NODE, str(Path(folder, "node.db"))]
        node = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert node.stdout is not None
        port = int(node.stdout.readline())
        rows: list[tuple[str, float, float]] = []
        try:
            thin_single(port, 500, 64)
            rows.append(
                ("single appends, one call each", thin_single(port, int(10_000 * scale), 128), single)
            )
            rows.append(
                (
                    "single appends, one BatchAppend call",
                    thin_batches(port, int(20_000 * scale), 1, 256),
                    single,
                )
            )
            rows.append(
                ("events in batches of 100", thin_batches(port, int(1_500 * scale), 100, 16), batched)
            )
            rate, _ = thin_read(port)
            rows.append(("events read from $all", rate, read))
            rows.append(
                (
                    "single appends, esdbclient",
                    asyncio.run(client_single(port, int(4_000 * scale), 64)),
                    single,
                )
            )
            rows.append(
                (
                    "batches of 100, esdbclient",
                    asyncio.run(client_batches(port, int(400 * scale), 100, 4)),
                    batched,
                )
            )
            rows.append(
                ("events read, esdbclient", asyncio.run(client_read(port, int(30_000 * scale))), read)
            )
        finally:
            node.communicate("")
        print(f"{'work':42}{'node/s':>12}{'SQLite/s':>12}{'ratio':>8}")
        for work, node_rate, sqlite_rate in rows:
            print(f"{work:42}{node_rate:12,.0f}{sqlite_rate:12,.0f}{node_rate / sqlite_rate:8.2f}")


if __name__ == "__main__":
    main()
