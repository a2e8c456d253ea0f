"""The wire below gRPC: what any HTTP/2 client may do, and what none should."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator

import pytest
from esdbclient.protos.Grpc import streams_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.esdb_node.call import MESSAGE_BYTES_MAX
from adapters.esdb_node.http2 import CALLS_MAX, HEADER_BLOCK_BYTES_MAX
from adapters.esdb_node.node import Node
from tests.adapters.esdb_node.events import event, events, name
from tests.adapters.esdb_node.test_streams import append_requests, read_request
from tests.adapters.esdb_node.wire_client import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WireClient,
    framed,
)

READ = "/event_store.client.streams.Streams/Read"
APPEND = "/event_store.client.streams.Streams/Append"
BATCH_APPEND = "/event_store.client.streams.Streams/BatchAppend"
PATHS = tuple(
    f"/event_store.client.{method}"
    for method in (
        *(f"streams.Streams/{name}" for name in ("Append", "Delete", "Tombstone", "Read", "BatchAppend")),
        *(
            f"persistent_subscriptions.PersistentSubscriptions/{name}"
            for name in ("Create", "Update", "Delete", "GetInfo", "ReplayParked", "List", "Read")
        ),
    )
)
GOSSIP = "/event_store.client.gossip.Gossip/Read"


@pytest.fixture
def wire(memory_node: Node) -> Iterator[WireClient]:
    with WireClient(memory_node.port) as connected:
        yield connected


@pytest.fixture(scope="module")
def filled(memory_node: Node) -> tuple[str, int]:
    """A stream with more bytes than a window."""
    stream = name()
    requests = [request.SerializeToString() for request in append_requests(stream, *events(3_000))]
    with WireClient(memory_node.port) as connected:
        connected.call(1, APPEND, *requests)
        assert connected.answer(1)[1]["grpc-status"] == "0"
    return stream, 3_000


def read_bytes(stream: str, count: int = 10_000) -> bytes:
    request = read_request(stream)
    request.options.count = count
    return request.SerializeToString()


def serves(wire: WireClient, stream_id: int = 99) -> bool:
    wire.call(stream_id, GOSSIP, b"")
    messages, fields = wire.answer(stream_id)
    return len(messages) == 1 and fields["grpc-status"] == "0" and fields[":status"] == "200"


def test_a_call_is_answered_and_header_tables_are_kept(wire: WireClient) -> None:
    for stream_id in range(1, 11, 2):
        assert serves(wire, stream_id)


def test_header_blocks_may_come_in_pieces_and_frames_with_padding(wire: WireClient) -> None:
    block = wire.headers(GOSSIP)
    wire.send(HEADERS, 0, 1, block[:5])
    wire.send(CONTINUATION, 0, 1, block[5:9])
    wire.send(CONTINUATION, END_HEADERS, 1, block[9:])
    wire.send(DATA, PADDED | END_STREAM, 1, b"\x03" + framed(b"") + b"\0\0\0")
    assert wire.answer(1)[1]["grpc-status"] == "0"
    padded = b"\x02" + b"\0\0\0\0\x10" + wire.headers(GOSSIP) + b"\0\0"
    wire.send(HEADERS, END_HEADERS | PADDED | 0x20, 3, padded)
    wire.send(DATA, END_STREAM, 3, framed(b""))
    assert wire.answer(3)[1]["grpc-status"] == "0"


def test_pings_are_returned_and_unknown_frames_passed_over(wire: WireClient) -> None:
    wire.send(PING, 0, 0, b"12345678")
    wire.send(PING, ACK, 0, b"87654321")
    wire.send(0x2, 0, 1, b"\0\0\0\0\x01")
    wire.send(0xFA, 0, 0, b"whatever")
    while (frame := wire.frame()) is not None and frame.kind != PING:
        pass
    assert frame is not None
    assert (frame.flags, frame.payload) == (ACK, b"12345678")
    assert serves(wire)


def test_messages_may_be_cut_anywhere(wire: WireClient) -> None:
    stream = name()
    data = b"".join(framed(one.SerializeToString()) for one in append_requests(stream, *events(3)))
    wire.send(HEADERS, END_HEADERS, 1, wire.headers(APPEND))
    for at in range(0, len(data), 7):
        wire.send(DATA, 0, 1, data[at : at + 7])
    wire.send(DATA, END_STREAM, 1, b"")
    messages, _ = wire.answer(1)
    assert streams_pb2.AppendResp.FromString(messages[0]).success.current_revision == 2


def test_compressed_messages_are_understood(wire: WireClient) -> None:
    wire.send(HEADERS, END_HEADERS, 1, wire.headers(READ, [("grpc-encoding", "gzip")]))
    packed = gzip.compress(read_bytes(name()))
    wire.send(DATA, END_STREAM, 1, b"\x01" + len(packed).to_bytes(4, "big") + packed)
    messages, _ = wire.answer(1)
    assert streams_pb2.ReadResp.FromString(messages[0]).WhichOneof("content") == "stream_not_found"


@pytest.mark.parametrize(
    "encoding, payload, status",
    [
        ("snappy", b"?", "12"),
        ("gzip", b"no gzip", "13"),
        ("gzip", gzip.compress(bytes(MESSAGE_BYTES_MAX + 1)), "8"),
    ],
)
def test_compressed_messages_that_cannot_be_taken_end_the_call(
    wire: WireClient, encoding: str, payload: bytes, status: str
) -> None:
    wire.send(HEADERS, END_HEADERS, 1, wire.headers(READ, [("grpc-encoding", encoding)]))
    for at in range(0, len(payload), 16_000):
        head = b"\x01" + len(payload).to_bytes(4, "big") if at == 0 else b""
        wire.send(DATA, 0, 1, head + payload[at : at + 16_000])
    assert wire.answer(1)[1]["grpc-status"] == status
    assert serves(wire)


def test_a_message_that_claims_to_be_huge_ends_the_call_at_once(wire: WireClient) -> None:
    wire.send(HEADERS, END_HEADERS, 1, wire.headers(APPEND))
    wire.send(DATA, 0, 1, b"\0" + (MESSAGE_BYTES_MAX + 1).to_bytes(4, "big"))
    assert wire.answer(1)[1]["grpc-status"] == "8"
    wire.send(DATA, END_STREAM, 1, b"more of it")
    assert serves(wire)


@pytest.mark.parametrize(
    "path", ["/no.such.Service/Method", "", "/event_store.client.projections.Projections/Create"]
)
def test_a_method_that_is_not_there_is_unimplemented(wire: WireClient, path: str) -> None:
    wire.call(1, path, b"")
    _, fields = wire.answer(1)
    assert fields["grpc-status"] == "12"
    assert ("JavaScript projections" in fields["grpc-message"]) == ("projections" in path)


@pytest.mark.parametrize("path", [READ, APPEND, BATCH_APPEND])
def test_bytes_that_are_no_request_are_refused(wire: WireClient, path: str) -> None:
    wire.call(1, path, b"\xff\xff\xff")
    assert wire.answer(1)[1]["grpc-status"] == "3"
    assert serves(wire)


@pytest.mark.parametrize("window, count", [(1, 3), (70, 60), (16_000, 3_000)])
def test_no_more_is_sent_than_the_client_has_room_for(
    memory_node: Node, filled: tuple[str, int], window: int, count: int
) -> None:
    stream, _ = filled
    with WireClient(memory_node.port, struct.pack(">HI", 4, window)) as wire:
        wire.call(1, READ, read_bytes(stream, count))
        data, credit = b"", window
        while (frame := wire.frame()) is not None:
            if frame.kind == DATA:
                credit -= len(frame.payload)
                assert credit >= 0
                data += frame.payload
                if credit == 0:
                    credit = window
                    wire.send(WINDOW_UPDATE, 0, 1, window.to_bytes(4, "big"))
                    wire.send(WINDOW_UPDATE, 0, 0, window.to_bytes(4, "big"))
            if frame.kind == HEADERS and frame.flags & END_STREAM:
                break
        assert data.count(b"Measured") == count


def test_a_window_that_opens_later_lets_go_what_waits(memory_node: Node, filled: tuple[str, int]) -> None:
    stream, count = filled
    with WireClient(memory_node.port, struct.pack(">HI", 4, 0)) as wire:
        wire.call(1, READ, read_bytes(stream))
        wire.call(3, GOSSIP, b"")
        wire.send(WINDOW_UPDATE, 0, 3, (100).to_bytes(4, "big"))
        assert len(wire.answer(3)[0]) == 1
        wire.send(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31 - 1))
        wire.send(WINDOW_UPDATE, 0, 0, (2**30).to_bytes(4, "big"))
        assert len(wire.answer(1)[0]) == count


def test_a_read_that_is_cancelled_makes_room_for_others(memory_node: Node, filled: tuple[str, int]) -> None:
    stream, _ = filled
    with WireClient(memory_node.port) as wire:
        for stream_id in range(1, 41, 2):
            wire.call(stream_id, READ, read_bytes(stream))
            wire.send(RST_STREAM, 0, stream_id, b"\0\0\0\x08")
        wire.send(WINDOW_UPDATE, 0, 0, (2**30).to_bytes(4, "big"))
        assert serves(wire)


def test_a_client_that_hangs_up_in_the_middle_harms_nobody(
    memory_node: Node, filled: tuple[str, int]
) -> None:
    stream, _ = filled
    for _ in range(5):
        with WireClient(memory_node.port) as wire:
            wire.call(1, READ, read_bytes(stream))
    with WireClient(memory_node.port) as wire:
        assert serves(wire)


def test_more_calls_than_allowed_are_refused_one_by_one(memory_node: Node) -> None:
    with WireClient(memory_node.port) as wire:
        block = wire.headers(BATCH_APPEND)
        wire.send(HEADERS, END_HEADERS, 1, block)
        block = wire.headers(BATCH_APPEND)
        for number in range(1, CALLS_MAX + 1):
            wire.send(HEADERS, END_HEADERS, 2 * number + 1, block)
        while (frame := wire.frame()) is not None and frame.kind != RST_STREAM:
            pass
        assert frame is not None
        assert (frame.stream_id, frame.payload) == (2 * CALLS_MAX + 1, b"\0\0\0\x07")


def good_bye(wire: WireClient) -> int:
    """The error code the node closes the connection with."""
    code = -1
    while (frame := wire.frame()) is not None:
        if frame.kind == GOAWAY:
            code = int.from_bytes(frame.payload[4:8], "big")
    return code


@pytest.mark.parametrize(
    "kind, flags, stream_id, payload, code",
    [
        (HEADERS, END_HEADERS, 2, b"\x82", 1),
        (HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff", 9),
        (HEADERS, END_HEADERS | PADDED, 1, b"\x09\x82", 1),
        (CONTINUATION, END_HEADERS, 1, b"\x82", 1),
        (SETTINGS, 0, 0, b"12345", 1),
        (SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31), 3),
        (WINDOW_UPDATE, 0, 0, b"123", 1),
        (WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff", 3),
        (DATA, 0, 1, bytes(16_385), 1),
    ],
)
def test_a_violation_of_the_protocol_closes_the_connection(
    wire: WireClient, memory_node: Node, kind: int, flags: int, stream_id: int, payload: bytes, code: int
) -> None:
    wire.send(kind, flags, stream_id, payload)
    assert good_bye(wire) == code
    with WireClient(memory_node.port) as other:
        assert serves(other)


def test_a_header_block_without_end_closes_the_connection(wire: WireClient) -> None:
    wire.send(HEADERS, 0, 1, b"\x82")
    for _ in range(HEADER_BLOCK_BYTES_MAX // 16_000 + 1):
        wire.send(CONTINUATION, 0, 1, bytes(16_000))
    assert good_bye(wire) == 1


def test_a_header_block_is_not_interrupted(wire: WireClient) -> None:
    wire.send(HEADERS, 0, 1, b"\x82")
    wire.send(PING, 0, 0, bytes(8))
    assert good_bye(wire) == 1


@pytest.mark.parametrize(
    "words", [b"GET / HTTP/1.1\r\nHost: node\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"\x16\x03\x01"]
)
def test_other_protocols_are_shown_the_door(memory_node: Node, words: bytes) -> None:
    with WireClient(memory_node.port, greet=False) as wire:
        wire.socket.sendall(words)
        assert good_bye(wire) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=400), after_greeting=st.booleans())
def test_noise_never_stops_the_node(memory_node: Node, noise: bytes, after_greeting: bool) -> None:
    with WireClient(memory_node.port, greet=after_greeting) as wire:
        wire.socket.sendall(noise)
    with WireClient(memory_node.port) as wire:
        assert serves(wire)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(block=st.binary(max_size=200), message=st.binary(max_size=60))
def test_no_header_block_and_no_message_upsets_the_node(
    memory_node: Node, caplog: pytest.LogCaptureFixture, block: bytes, message: bytes
) -> None:
    with WireClient(memory_node.port) as wire:
        for stream_id, path in enumerate(PATHS):
            wire.call(2 * stream_id + 1, path, message)
            wire.answer(2 * stream_id + 1)
        wire.send(HEADERS, END_HEADERS, 91, block)
        wire.send(DATA, END_STREAM, 91, framed(message))
        wire.send(SETTINGS, 0, 0, b"123")
        good_bye(wire)
    assert "Traceback" not in caplog.text


def test_errors_are_told_in_any_language(wire: WireClient) -> None:
    stream = "größe 100%"
    requests = append_requests(stream, event())
    requests[0].options.stream_exists.SetInParent()
    wire.call(1, APPEND, *(one.SerializeToString() for one in requests))
    wire.answer(1)
    delete = streams_pb2.DeleteReq()
    delete.options.stream_identifier.stream_name = stream.encode()
    delete.options.any.SetInParent()
    wire.call(3, "/event_store.client.streams.Streams/Delete", delete.SerializeToString())
    _, fields = wire.answer(3)
    assert "gr%C3%B6%C3%9Fe 100%25" in fields["grpc-message"]
    assert fields["stream-name"] == "gr%C3%B6%C3%9Fe 100%"
