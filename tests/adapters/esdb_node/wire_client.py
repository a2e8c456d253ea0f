"""A client that speaks HTTP/2 frame by frame, to send the node what well-behaved clients never would."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from typing import NamedTuple

from hpack import Decoder, Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes


class WireClient:
    """One connection; reads block for at most five seconds."""

    def __init__(self, port: int, settings: bytes = b"", *, greet: bool = True) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder, self.decoder = Encoder(), Decoder()
        self._buffer = b""
        if greet:
            self.socket.sendall(PREFACE)
            self.send(SETTINGS, 0, 0, settings)

    def __enter__(self) -> WireClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big")
        with contextlib.suppress(ConnectionError):  # The node may have closed; reading tells.
            self.socket.sendall(head + payload)

    def headers(self, path: str, extra: Iterable[tuple[str, str]] = ()) -> bytes:
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "node"), *extra]
        return self.encoder.encode(fields)

    def call(
        self, stream_id: int, path: str, *messages: bytes, extra: Iterable[tuple[str, str]] = ()
    ) -> None:
        self.send(HEADERS, END_HEADERS, stream_id, self.headers(path, extra))
        for message in messages:
            self.send(DATA, 0, stream_id, framed(message))
        self.send(DATA, END_STREAM, stream_id, b"")

    def frame(self) -> Frame | None:
        """The next frame, None when the node closed the connection."""
        head = self._exactly(9)
        if head is None:
            return None
        payload = self._exactly(int.from_bytes(head[:3], "big"))
        assert payload is not None
        return Frame(head[3], head[4], int.from_bytes(head[5:9], "big"), payload)

    def answer(self, stream_id: int) -> tuple[list[bytes], dict[str, str]]:
        """Messages and trailers of a call."""
        data, fields = b"", {}
        while True:
            frame = self.frame()
            assert frame is not None, "the connection closed before the answer was complete"
            if frame.kind == HEADERS:
                found = dict(self.decoder.decode(frame.payload))
                if frame.stream_id == stream_id:
                    fields |= found
            if frame.stream_id != stream_id:
                continue
            if frame.kind == DATA:
                data += frame.payload
            if frame.kind in (DATA, HEADERS) and frame.flags & END_STREAM:
                return unframed(data), fields

    def _exactly(self, count: int) -> bytes | None:
        while len(self._buffer) < count:
            try:
                more = self.socket.recv(65_536)
            except ConnectionResetError:  # The node closed while we were still sending.
                return None
            if not more:
                return None
            self._buffer += more
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def unframed(data: bytes) -> list[bytes]:
    messages = []
    while data:
        size = int.from_bytes(data[1:5], "big")
        assert len(data) >= 5 + size
        messages.append(data[5 : 5 + size])
        data = data[5 + size :]
    return messages
