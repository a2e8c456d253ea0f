"""A client of EventStoreDB that only keeps a server busy: what a node can do, and not what a client can.

esdbclient spends about 350 µs on an append call and 40 to 80 µs on an event it reads; this one builds its
requests beforehand and counts answers.
"""

from __future__ import annotations

import socket
import time
import uuid

from esdbclient.protos.Grpc import streams_pb2

DATA = b"x" * 300
STREAMS = "/event_store.client.streams.Streams"


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
    return bytes(request.SerializeToString())


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
