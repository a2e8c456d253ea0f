"""The server side of HTTP/2 (RFC 9113) as far as gRPC uses it: one connection, many calls.

Why not ``grpc.aio``: it hands every message to the event loop on its own, about 40 µs each, which caps one
process near 20,000 messages a second.  gRPC messages may share DATA frames, so here a page of events leaves
in one write; and a call costs one object instead of a task.  Measurements and drawbacks are in
``docs/adr/0006-the-development-node-brings-its-own-http2.md``.

Order of things: bytes come in → frames → header block or DATA → :class:`~adapters.esdb_node.call.Call` →
method.  Out: DATA within the windows of stream and connection, the rest waits in the call until a
WINDOW_UPDATE arrives.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable, Mapping
from typing import Final, cast

from hpack import Decoder
from hpack.exceptions import HPACKError

from adapters.esdb_node import http2_frames as wire
from adapters.esdb_node.call import UNSENT_BYTES_HIGH, Call, Method
from adapters.esdb_node.wire_errors import Status, WireError, unknown_method

logger = logging.getLogger(__name__)

#: Connections of a node; each client needs one.
CONNECTIONS_MAX: Final = 1_000
#: Calls open at once on one connection; a client that needs more opens a second connection.
CALLS_MAX: Final = 4096
#: What a client may send on one call before we say more; large, because a development node has one client
#: machine.
RECEIVE_WINDOW: Final = 4 * 1024 * 1024
RECEIVE_WINDOW_CONNECTION: Final = 32 * 1024 * 1024
#: Frames a client may send us; the default of RFC 9113, fine for requests.
RECEIVE_FRAME_BYTES_MAX: Final = 16_384
#: A block of request headers; real ones have less than 1 KiB.
HEADER_BLOCK_BYTES_MAX: Final = 64 * 1024
#: Largest DATA frame we make even when the client would take more, so that calls share the connection.
SEND_FRAME_BYTES_MAX: Final = 64 * 1024
#: Decoded header blocks kept per connection; clients repeat a handful.
HEADER_BLOCKS_CACHED_MAX: Final = 256


class Connection(asyncio.Protocol):
    """One client connection.

    ``routes`` maps paths (``/package.Service/Method``) to methods; ``admit`` may raise :class:`WireError` for
    a call whose headers do not carry what the node wants; ``busy`` says that the store has enough to write
    for the moment.
    """

    def __init__(
        self,
        routes: Mapping[str, Method],
        admit: Callable[[Mapping[str, str]], None],
        connections: set[Connection],
        busy: Callable[[Connection], bool],
    ) -> None:
        self._routes = routes
        self._admit = admit
        self._connections = connections
        self._busy = busy
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._greeted = False
        self._decoder = Decoder(max_header_list_size=HEADER_BLOCK_BYTES_MAX)
        self._blocks: dict[bytes, dict[str, str]] = {}
        self._block: tuple[int, bool, bytearray] | None = None
        self._calls: dict[int, Call] = {}
        self._call_last = 0
        self._out: list[bytes | memoryview] = []
        self._flush_planned = False
        self._window = 65_535
        self._window_initial = 65_535
        self._frame_max = 16_384
        self._received_unacknowledged = 0
        self._blocked: dict[int, Call] = {}
        self._paused = False
        self._closing = False
        self.peer = ""
        #: Done when the connection is gone.
        self.lost: asyncio.Future[None] = self._loop.create_future()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if len(self._connections) >= CONNECTIONS_MAX:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=4 * UNSENT_BYTES_HIGH)
        self._connections.add(self)
        name = transport.get_extra_info("peername")
        self.peer = f"{name[0]}:{name[1]}" if name else ""
        settings = ((wire.MAX_CONCURRENT, CALLS_MAX), (wire.INITIAL_WINDOW, RECEIVE_WINDOW))
        payload = b"".join(struct.pack(">HI", key, value) for key, value in settings)
        self._write(wire.head(len(payload), wire.SETTINGS, 0, 0) + payload)
        self._write(wire.window_update(0, RECEIVE_WINDOW_CONNECTION - 65_535))

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else bytes(data)
        try:
            used = self._consume(data)
        except wire.ProtocolViolation as violation:
            self.close(violation.code)
            return
        except Exception:
            logger.exception("a connection failed")
            self.close(wire.INTERNAL_ERROR)
            return
        self._buffer = data[used:]
        if self._out:
            self._flush()
        if self._busy(self) and self._transport is not None:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        for call in list(self._calls.values()):
            call.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connections.discard(self)
        self.lost.set_result(None)
        self._closing = True
        calls = list(self._calls.values())
        self._calls.clear()
        self._blocked.clear()
        for call in calls:
            call.abandon()

    # -- for the node

    def resume_reading(self) -> None:
        """The store is no longer busy."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close without waiting for the client to take what was sent."""
        if self._transport is not None:
            self._transport.abort()

    def close(self, code: int = wire.NO_ERROR) -> None:
        """Close; calls under way end with UNAVAILABLE, or without a word after a violation."""
        if self._transport is None or self._closing:
            return
        if code == wire.NO_ERROR:
            for call in list(self._calls.values()):
                call.fail(WireError(Status.UNAVAILABLE, "Server Is Shutting Down"))
        self._closing = True
        self._write(wire.head(8, wire.GOAWAY, 0, 0) + struct.pack(">II", self._call_last, code))
        self._flush()
        self._transport.close()

    # -- for calls

    def send_headers(self, stream_id: int, extra: tuple[tuple[str, str], ...]) -> None:
        block = wire.RESPONSE_HEADERS + b"".join(wire.literal(name, value) for name, value in extra)
        self._write(wire.head(len(block), wire.HEADERS, wire.END_HEADERS, stream_id) + block)

    def send_data(self, call: Call, data: bytes) -> None:
        if call.unsent:
            call.unsent.append(data)
            call.unsent_bytes += len(data)
            return
        length = len(data)
        if length <= self._frame_max and length <= call.window and length <= self._window:
            call.window -= length
            self._window -= length
            self._write(wire.head(length, wire.DATA, 0, call.stream_id))
            self._write(data)
            return
        call.unsent.append(memoryview(data))
        call.unsent_bytes += length
        self._send_unsent(call)

    def send_whole(self, call: Call, data: bytes) -> bool:
        """The whole answer of a call in one write, if the windows allow it: the hot path of appends."""
        length = len(data)
        if length > self._frame_max or length > call.window or length > self._window:
            return False
        self._window -= length
        stream_id = call.stream_id
        self._write(
            b"".join(
                (
                    wire.head(len(wire.RESPONSE_HEADERS), wire.HEADERS, wire.END_HEADERS, stream_id),
                    wire.RESPONSE_HEADERS,
                    wire.head(length, wire.DATA, 0, stream_id),
                    data,
                    wire.head(
                        len(wire.TRAILERS_OK), wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, stream_id
                    ),
                    wire.TRAILERS_OK,
                )
            )
        )
        self._calls.pop(stream_id, None)
        return True

    def send_trailers(
        self, call: Call, status: int, sentence: str, extra: tuple[tuple[str, str], ...]
    ) -> None:
        if status == 0 and not extra:
            block = wire.TRAILERS_OK
        else:
            block = wire.literal("grpc-status", str(status)) + wire.literal(
                "grpc-message", sentence.replace("%", "%25")
            )
            block += b"".join(wire.literal(name, value) for name, value in extra)
        if not call.headers_sent:
            call.headers_sent = True
            block = wire.RESPONSE_HEADERS + block
        if call.unsent:
            call.trailer_block = block
        else:
            self._send_last(call, block)

    def saturated(self, call: Call) -> bool:
        return call.unsent_bytes > UNSENT_BYTES_HIGH or self._paused

    def forget(self, call: Call) -> None:
        if not call.unsent:
            self._calls.pop(call.stream_id, None)

    # -- out

    def _send_unsent(self, call: Call) -> None:
        unsent = call.unsent
        while unsent:
            room = min(self._frame_max, call.window, self._window)
            if room <= 0:
                self._blocked[call.stream_id] = call
                return
            chunk = unsent[0]
            if len(chunk) <= room:
                unsent.popleft()
                part = chunk
            else:
                whole = chunk if isinstance(chunk, memoryview) else memoryview(chunk)
                part = whole[:room]
                unsent[0] = whole[room:]
            length = len(part)
            call.window -= length
            self._window -= length
            call.unsent_bytes -= length
            self._write(wire.head(length, wire.DATA, 0, call.stream_id))
            self._write(part)
        self._blocked.pop(call.stream_id, None)
        if call.trailer_block is not None:
            self._send_last(call, call.trailer_block)
            self._calls.pop(call.stream_id, None)
        elif not self._paused:
            call.wake()

    def _send_last(self, call: Call, block: bytes) -> None:
        self._write(
            wire.head(len(block), wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, call.stream_id) + block
        )
        if not call.half_closed:
            self._write(wire.head(4, wire.RST_STREAM, 0, call.stream_id) + b"\0\0\0\0")

    def _write(self, data: bytes | memoryview) -> None:
        self._out.append(data)
        if not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        if self._out and self._transport is not None:
            out, self._out = self._out, []
            self._transport.write(b"".join(out))

    # -- in

    def _consume(self, data: bytes) -> int:
        position, end = 0, len(data)
        if not self._greeted:
            if end < len(wire.PREFACE):
                if not wire.PREFACE.startswith(data):
                    raise wire.ProtocolViolation(wire.PROTOCOL_ERROR, "not HTTP/2")
                return 0
            if not data.startswith(wire.PREFACE):
                raise wire.ProtocolViolation(wire.PROTOCOL_ERROR, "not HTTP/2")
            self._greeted = True
            position = len(wire.PREFACE)
        while end - position >= 9:
            length = int.from_bytes(data[position : position + 3], "big")
            if length > RECEIVE_FRAME_BYTES_MAX:
                raise wire.ProtocolViolation(wire.PROTOCOL_ERROR, "frame too large")
            if end - position - 9 < length:
                break
            kind, flags = data[position + 3], data[position + 4]
            stream_id = int.from_bytes(data[position + 5 : position + 9], "big") & wire.WINDOW_MAX
            start = position + 9
            position = start + length
            payload = data[start:position]
            if self._block is not None and kind != wire.CONTINUATION:
                raise wire.ProtocolViolation(wire.PROTOCOL_ERROR, "header block interrupted")
            if kind == wire.DATA:
                self._on_data(stream_id, flags, payload)
            elif kind == wire.HEADERS:
                self._on_headers(stream_id, flags, payload)
            elif kind == wire.WINDOW_UPDATE:
                self._on_window_update(stream_id, payload)
            elif kind == wire.PING:
                if not flags & wire.ACK:
                    self._write(wire.head(8, wire.PING, wire.ACK, 0) + payload)
            elif kind == wire.RST_STREAM:
                self._on_reset(stream_id)
            elif kind == wire.SETTINGS:
                self._on_settings(flags, payload)
            elif kind == wire.CONTINUATION:
                self._on_continuation(stream_id, flags, payload)
        return position

    def _on_data(self, stream_id: int, flags: int, payload: bytes) -> None:
        received = len(payload)
        self._received_unacknowledged += received
        if self._received_unacknowledged > RECEIVE_WINDOW_CONNECTION // 2:
            self._write(wire.window_update(0, self._received_unacknowledged))
            self._received_unacknowledged = 0
        call = self._calls.get(stream_id)
        if call is None:
            return
        if flags & wire.PADDED:
            payload = wire.unpadded(payload)
        if payload:
            call.feed(payload)
        if flags & wire.END_STREAM:
            call.feed_end()
        elif not call.done:
            call.received_unacknowledged += received
            if call.received_unacknowledged > RECEIVE_WINDOW // 2:
                self._write(wire.window_update(stream_id, call.received_unacknowledged))
                call.received_unacknowledged = 0

    def _on_headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        if flags & wire.PADDED:
            payload = wire.unpadded(payload)
        if flags & wire.HAS_PRIORITY:
            payload = payload[5:]
        if flags & wire.END_HEADERS:
            self._open(stream_id, bool(flags & wire.END_STREAM), payload)
        else:
            self._block = (stream_id, bool(flags & wire.END_STREAM), bytearray(payload))

    def _on_continuation(self, stream_id: int, flags: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream_id:
            raise wire.ProtocolViolation(wire.PROTOCOL_ERROR, "continuation of nothing")
        _, ends, block = self._block
        block += payload
        if len(block) > HEADER_BLOCK_BYTES_MAX:
            raise wire.ProtocolViolation(wire.PROTOCOL_ERROR, "header block too large")
        if flags & wire.END_HEADERS:
            self._block = None
            self._open(stream_id, ends, bytes(block))

    def _open(self, stream_id: int, ends: bool, block: bytes) -> None:
        headers = self._headers(block)
        known = self._calls.get(stream_id)
        if known is not None or stream_id <= self._call_last:  # Trailers of a request carry nothing for us.
            if known is not None and ends:
                known.feed_end()
            return
        if stream_id % 2 == 0:
            raise wire.ProtocolViolation(wire.PROTOCOL_ERROR, "clients open odd streams")
        self._call_last = stream_id
        if len(self._calls) >= CALLS_MAX or self._closing:
            self._write(wire.head(4, wire.RST_STREAM, 0, stream_id) + wire.REFUSED_STREAM.to_bytes(4, "big"))
            return
        call = Call(self, stream_id, headers, self._window_initial)
        self._calls[stream_id] = call
        try:
            self._admit(headers)
            method = self._routes.get(headers.get(":path", ""))
            if method is None:
                raise unknown_method(headers.get(":path", ""))
            call.receiver = method(call)
        except WireError as error:
            call.half_closed = ends
            call.fail(error)
            return
        if ends:
            call.feed_end()

    def _headers(self, block: bytes) -> Mapping[str, str]:
        """Decode a block; blocks that leave the decoder's table alone are remembered until it changes."""
        known = self._blocks.get(block)
        if known is not None:
            return known
        entries = self._decoder.header_table.dynamic_entries
        before = (entries[0] if entries else None, len(entries))
        try:
            headers = {str(name): str(value) for name, value in self._decoder.decode(block)}
        except HPACKError as error:
            raise wire.ProtocolViolation(wire.COMPRESSION_ERROR, str(error)) from error
        after = (entries[0] if entries else None, len(entries))
        resized = bool(block) and block[0] & 0xE0 == 0x20
        if before[0] is not after[0] or before[1] != after[1] or resized:
            self._blocks.clear()
        elif len(self._blocks) < HEADER_BLOCKS_CACHED_MAX:
            self._blocks[block] = headers
        return headers

    def _on_window_update(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise wire.ProtocolViolation(wire.PROTOCOL_ERROR, "window update has four bytes")
        increment = int.from_bytes(payload, "big") & wire.WINDOW_MAX
        if stream_id == 0:
            self._window += increment
            if self._window > wire.WINDOW_MAX:
                raise wire.ProtocolViolation(wire.FLOW_CONTROL_ERROR, "window overflow")
            for call in list(self._blocked.values()):
                self._send_unsent(call)
            return
        known = self._calls.get(stream_id)
        if known is not None:
            known.window += increment
            if known.unsent:
                self._send_unsent(known)

    def _on_reset(self, stream_id: int) -> None:
        call = self._calls.pop(stream_id, None)
        if call is not None:
            self._blocked.pop(stream_id, None)
            call.unsent.clear()
            call.abandon()

    def _on_settings(self, flags: int, payload: bytes) -> None:
        if flags & wire.ACK:
            return
        if len(payload) % 6:
            raise wire.ProtocolViolation(wire.PROTOCOL_ERROR, "settings come in sixes")
        for key, value in struct.iter_unpack(">HI", payload):
            if key == wire.INITIAL_WINDOW:
                if value > wire.WINDOW_MAX:
                    raise wire.ProtocolViolation(wire.FLOW_CONTROL_ERROR, "window too large")
                change, self._window_initial = value - self._window_initial, value
                for call in list(self._calls.values()):
                    call.window += change
                    if change > 0 and call.unsent:
                        self._send_unsent(call)
            elif key == wire.MAX_FRAME:
                self._frame_max = min(value, SEND_FRAME_BYTES_MAX)
        self._write(wire.head(0, wire.SETTINGS, wire.ACK, 0))
