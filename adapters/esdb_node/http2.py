"""The server side of HTTP/2 (RFC 9113) as far as gRPC uses it: one connection, many calls.

Why not ``grpc.aio``: it hands every message to the event loop on its own, about 40 µs each, which caps one process near
25,000 messages a second.  gRPC messages may share DATA frames, so here a page of events leaves in one write; and a
call costs one object instead of a task.  ``docs/adr/esdb-node-transport.md`` has the measurements.

Order of things: bytes come in → frames → header block or DATA → :class:`~adapters.esdb_node.call.Call` → method.  Out:
DATA within the windows of stream and connection, the rest waits in the call until a WINDOW_UPDATE arrives.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import Final, cast

from hpack import Decoder
from hpack.exceptions import HPACKError

from adapters.esdb_node.call import UNSENT_BYTES_HIGH, Call, Method
from adapters.esdb_node.wire_errors import Status, WireError, unimplemented

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = range(10)
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_NO_ERROR, _PROTOCOL_ERROR, _FLOW_CONTROL_ERROR, _REFUSED_STREAM, _COMPRESSION_ERROR = 0x0, 0x1, 0x3, 0x7, 0x9
_HEADER_TABLE_SIZE, _MAX_CONCURRENT, _INITIAL_WINDOW, _MAX_FRAME = 0x1, 0x3, 0x4, 0x5

#: Calls open at once on one connection; a client that needs more opens a second connection.
CALLS_MAX: Final = 4096
#: What a client may send on one call before we say more; large, because a development node has one client machine.
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

_CONTENT_TYPE = b"\x0f\x10" + bytes([len(b"application/grpc")]) + b"application/grpc"
_RESPONSE_HEADERS = b"\x88" + _CONTENT_TYPE
_TRAILERS_OK = b"\x00\x0bgrpc-status\x010"


class ProtocolViolation(Exception):
    """The peer does not speak HTTP/2 as the RFC says; carries the error code for GOAWAY."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Connection(asyncio.Protocol):
    """One client connection.

    ``routes`` maps paths (``/package.Service/Method``) to methods; ``admit`` may raise :class:`WireError` for a call
    whose headers do not carry what the node wants; ``busy`` says that the store has enough to write for the moment.
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

    # -- asyncio.Protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=4 * UNSENT_BYTES_HIGH)
        self._connections.add(self)
        name = transport.get_extra_info("peername")
        self.peer = f"{name[0]}:{name[1]}" if name else ""
        settings = ((_MAX_CONCURRENT, CALLS_MAX), (_INITIAL_WINDOW, RECEIVE_WINDOW))
        payload = b"".join(struct.pack(">HI", key, value) for key, value in settings)
        self._write(_head(len(payload), _SETTINGS, 0, 0) + payload)
        self._write(_window_update(0, RECEIVE_WINDOW_CONNECTION - 65_535))

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else bytes(data)
        try:
            used = self._consume(data)
        except ProtocolViolation as violation:
            self.close(violation.code)
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
        self._closing = True
        calls = list(self._calls.values())
        self._calls.clear()
        self._blocked.clear()
        for call in calls:
            call.abandon()

    # -- for the node ------------------------------------------------------------------------------------------

    def resume_reading(self) -> None:
        """The store is no longer busy."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self, code: int = _NO_ERROR) -> None:
        """Say goodbye and close; calls under way end with UNAVAILABLE, or are cut off after a protocol error."""
        if self._transport is None or self._closing:
            return
        if code == _NO_ERROR:
            for call in list(self._calls.values()):
                call.fail(WireError(Status.UNAVAILABLE, "Server Is Shutting Down"))
        self._closing = True
        self._write(_head(8, _GOAWAY, 0, 0) + struct.pack(">II", self._call_last, code))
        self._flush()
        self._transport.close()

    # -- for calls ---------------------------------------------------------------------------------------------

    def send_headers(self, stream_id: int, extra: tuple[tuple[str, str], ...]) -> None:
        block = _RESPONSE_HEADERS + b"".join(_literal(name, value) for name, value in extra)
        self._write(_head(len(block), _HEADERS, _END_HEADERS, stream_id) + block)

    def send_data(self, call: Call, data: bytes) -> None:
        if call.unsent:
            call.unsent.append(data)
            call.unsent_bytes += len(data)
            return
        length = len(data)
        if length <= self._frame_max and length <= call.window and length <= self._window:
            call.window -= length
            self._window -= length
            self._write(_head(length, _DATA, 0, call.stream_id))
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
                    _head(len(_RESPONSE_HEADERS), _HEADERS, _END_HEADERS, stream_id),
                    _RESPONSE_HEADERS,
                    _head(length, _DATA, 0, stream_id),
                    data,
                    _head(len(_TRAILERS_OK), _HEADERS, _END_HEADERS | _END_STREAM, stream_id),
                    _TRAILERS_OK,
                )
            )
        )
        self._calls.pop(stream_id, None)
        return True

    def send_trailers(
        self, call: Call, status: int, sentence: str, extra: tuple[tuple[str, str], ...]
    ) -> None:
        if status == 0 and not extra:
            block = _TRAILERS_OK
        else:
            block = _literal("grpc-status", str(status)) + _literal("grpc-message", sentence.replace("%", "%25"))
            block += b"".join(_literal(name, value) for name, value in extra)
        if not call.headers_sent:
            call.headers_sent = True
            block = _RESPONSE_HEADERS + block
        if call.unsent:
            call.trailer_block = block
        else:
            self._send_last(call, block)

    def saturated(self, call: Call) -> bool:
        return call.unsent_bytes > UNSENT_BYTES_HIGH or self._paused

    def forget(self, call: Call) -> None:
        if not call.unsent:
            self._calls.pop(call.stream_id, None)

    # -- out ---------------------------------------------------------------------------------------------------

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
            self._write(_head(length, _DATA, 0, call.stream_id))
            self._write(part)
        self._blocked.pop(call.stream_id, None)
        if call.trailer_block is not None:
            self._send_last(call, call.trailer_block)
            self._calls.pop(call.stream_id, None)
        elif not self._paused:
            call.wake()

    def _send_last(self, call: Call, block: bytes) -> None:
        self._write(_head(len(block), _HEADERS, _END_HEADERS | _END_STREAM, call.stream_id) + block)
        if not call.half_closed:
            self._write(_head(4, _RST_STREAM, 0, call.stream_id) + b"\0\0\0\0")

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

    # -- in ----------------------------------------------------------------------------------------------------

    def _consume(self, data: bytes) -> int:
        position, end = 0, len(data)
        if not self._greeted:
            if end < len(PREFACE):
                if not PREFACE.startswith(data):
                    raise ProtocolViolation(_PROTOCOL_ERROR, "not HTTP/2")
                return 0
            if not data.startswith(PREFACE):
                raise ProtocolViolation(_PROTOCOL_ERROR, "not HTTP/2")
            self._greeted = True
            position = len(PREFACE)
        while end - position >= 9:
            length = int.from_bytes(data[position : position + 3], "big")
            if length > RECEIVE_FRAME_BYTES_MAX:
                raise ProtocolViolation(_PROTOCOL_ERROR, "frame too large")
            if end - position - 9 < length:
                break
            kind, flags = data[position + 3], data[position + 4]
            stream_id = int.from_bytes(data[position + 5 : position + 9], "big") & 0x7FFF_FFFF
            start = position + 9
            position = start + length
            payload = data[start:position]
            if self._block is not None and kind != _CONTINUATION:
                raise ProtocolViolation(_PROTOCOL_ERROR, "header block interrupted")
            if kind == _DATA:
                self._on_data(stream_id, flags, payload)
            elif kind == _HEADERS:
                self._on_headers(stream_id, flags, payload)
            elif kind == _WINDOW_UPDATE:
                self._on_window_update(stream_id, payload)
            elif kind == _PING:
                if not flags & _ACK:
                    self._write(_head(8, _PING, _ACK, 0) + payload)
            elif kind == _RST_STREAM:
                self._on_reset(stream_id)
            elif kind == _SETTINGS:
                self._on_settings(flags, payload)
            elif kind == _CONTINUATION:
                self._on_continuation(stream_id, flags, payload)
        return position

    def _on_data(self, stream_id: int, flags: int, payload: bytes) -> None:
        received = len(payload)
        self._received_unacknowledged += received
        if self._received_unacknowledged > RECEIVE_WINDOW_CONNECTION // 2:
            self._write(_window_update(0, self._received_unacknowledged))
            self._received_unacknowledged = 0
        call = self._calls.get(stream_id)
        if call is None:
            return
        if flags & _PADDED:
            payload = _unpadded(payload)
        if payload:
            call.feed(payload)
        if flags & _END_STREAM:
            call.feed_end()
        elif not call.done:
            call.received_unacknowledged += received
            if call.received_unacknowledged > RECEIVE_WINDOW // 2:
                self._write(_window_update(stream_id, call.received_unacknowledged))
                call.received_unacknowledged = 0

    def _on_headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        if flags & _PADDED:
            payload = _unpadded(payload)
        if flags & _HAS_PRIORITY:
            payload = payload[5:]
        if flags & _END_HEADERS:
            self._open(stream_id, bool(flags & _END_STREAM), payload)
        else:
            self._block = (stream_id, bool(flags & _END_STREAM), bytearray(payload))

    def _on_continuation(self, stream_id: int, flags: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream_id:
            raise ProtocolViolation(_PROTOCOL_ERROR, "continuation of nothing")
        _, ends, block = self._block
        block += payload
        if len(block) > HEADER_BLOCK_BYTES_MAX:
            raise ProtocolViolation(_PROTOCOL_ERROR, "header block too large")
        if flags & _END_HEADERS:
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
            raise ProtocolViolation(_PROTOCOL_ERROR, "clients open odd streams")
        self._call_last = stream_id
        if len(self._calls) >= CALLS_MAX or self._closing:
            self._write(_head(4, _RST_STREAM, 0, stream_id) + _REFUSED_STREAM.to_bytes(4, "big"))
            return
        call = Call(self, stream_id, headers, self._window_initial)
        self._calls[stream_id] = call
        try:
            self._admit(headers)
            method = self._routes.get(headers.get(":path", ""))
            if method is None:
                raise unimplemented(f"The development node has no method {headers.get(':path', '')}.")
            call.receiver = method(call)
        except WireError as error:
            call.half_closed = ends
            call.fail(error)
            return
        if ends:
            call.feed_end()

    def _headers(self, block: bytes) -> Mapping[str, str]:
        """Decode a header block; blocks that leave the decoder's table alone are remembered until it changes."""
        known = self._blocks.get(block)
        if known is not None:
            return known
        entries = self._decoder.header_table.dynamic_entries
        before = (entries[0] if entries else None, len(entries))
        try:
            headers = {str(name): str(value) for name, value in self._decoder.decode(block)}
        except HPACKError as error:
            raise ProtocolViolation(_COMPRESSION_ERROR, str(error)) from error
        after = (entries[0] if entries else None, len(entries))
        resized = bool(block) and block[0] & 0xE0 == 0x20
        if before[0] is not after[0] or before[1] != after[1] or resized:
            self._blocks.clear()
        elif len(self._blocks) < HEADER_BLOCKS_CACHED_MAX:
            self._blocks[block] = headers
        return headers

    def _on_window_update(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolViolation(_PROTOCOL_ERROR, "window update has four bytes")
        increment = int.from_bytes(payload, "big") & 0x7FFF_FFFF
        if stream_id == 0:
            self._window += increment
            if self._window > 0x7FFF_FFFF:
                raise ProtocolViolation(_FLOW_CONTROL_ERROR, "window overflow")
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
        if flags & _ACK:
            return
        if len(payload) % 6:
            raise ProtocolViolation(_PROTOCOL_ERROR, "settings come in sixes")
        for key, value in struct.iter_unpack(">HI", payload):
            if key == _INITIAL_WINDOW:
                if value > 0x7FFF_FFFF:
                    raise ProtocolViolation(_FLOW_CONTROL_ERROR, "window too large")
                change, self._window_initial = value - self._window_initial, value
                for call in list(self._calls.values()):
                    call.window += change
                    if change > 0 and call.unsent:
                        self._send_unsent(call)
            elif key == _MAX_FRAME:
                self._frame_max = min(value, SEND_FRAME_BYTES_MAX)
        self._write(_head(0, _SETTINGS, _ACK, 0))


def _head(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    return ((length << 48) | (kind << 40) | (flags << 32) | stream_id).to_bytes(9, "big")


def _window_update(stream_id: int, increment: int) -> bytes:
    return _head(4, _WINDOW_UPDATE, 0, stream_id) + increment.to_bytes(4, "big")


def _unpadded(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise ProtocolViolation(_PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]


def _literal(name: str, value: str) -> bytes:
    """A header field that no table remembers (RFC 7541, 6.2.2); other characters than ASCII are percent-encoded."""
    encoded = "".join(
        character if " " <= character <= "~" else _percent(character) for character in value
    ).encode("ascii")
    return b"\0" + _length(len(name)) + name.encode("ascii") + _length(len(encoded)) + encoded


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "replace"))


def _length(length: int) -> bytes:
    """A string length as a 7-bit prefixed integer (RFC 7541, 5.1), not Huffman coded."""
    if length < 127:
        return bytes([length])
    out, rest = bytearray(b"\x7f"), length - 127
    while rest >= 128:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)
