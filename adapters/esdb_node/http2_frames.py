"""HTTP/2 frames and header fields (RFC 9113, RFC 7541) as a gRPC server makes them."""

from __future__ import annotations

from typing import Final

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0x0, 0x1, 0x2, 0x3
REFUSED_STREAM, COMPRESSION_ERROR = 0x7, 0x9
HEADER_TABLE_SIZE, MAX_CONCURRENT, INITIAL_WINDOW, MAX_FRAME = 0x1, 0x3, 0x4, 0x5

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: Windows never grow past this.
WINDOW_MAX: Final = 0x7FFF_FFFF
#: ``:status 200`` and ``content-type: application/grpc``.
RESPONSE_HEADERS: Final = b"\x88\x0f\x10" + bytes([len(b"application/grpc")]) + b"application/grpc"
#: ``grpc-status: 0``.
TRAILERS_OK: Final = b"\x00\x0bgrpc-status\x010"


class ProtocolViolation(Exception):
    """The peer does not speak HTTP/2 as the RFC says; carries the error code for GOAWAY."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def head(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """The nine bytes before a frame's payload."""
    return ((length << 48) | (kind << 40) | (flags << 32) | stream_id).to_bytes(9, "big")


def window_update(stream_id: int, increment: int) -> bytes:
    """A frame that lets the peer send more."""
    return head(4, WINDOW_UPDATE, 0, stream_id) + increment.to_bytes(4, "big")


def unpadded(payload: bytes) -> bytes:
    """The payload of a padded frame.

    Raises:
        ProtocolViolation: The padding is larger than the frame.
    """
    if not payload or payload[0] >= len(payload):
        raise ProtocolViolation(PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]


def literal(name: str, value: str) -> bytes:
    """A header field that no table remembers (RFC 7541, 6.2.2); what is not printable ASCII is
    percent-encoded.
    """
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
