"""Streams through esdbclient: appending, expected versions, retries, reading, deletion, settings."""

from __future__ import annotations

import json
import time
from uuid import UUID, uuid4

import grpc
import pytest
from esdbclient import EventStoreDBClient, NewEvent, StreamState
from esdbclient.exceptions import (
    EventStoreDBClientException,
    FailedPrecondition,
    MaximumAppendSizeExceededError,
    NotFound,
    StreamIsDeleted,
    WrongCurrentVersion,
)
from esdbclient.protos.Grpc import shared_pb2, streams_pb2
from esdbclient.protos.Grpc.streams_pb2_grpc import StreamsStub

from adapters.esdb_node.append_methods import APPEND_BYTES_MAX
from tests.adapters.esdb_node.events import ANY, EXISTS, NO_STREAM, event, events, ids, name

REVISION_MAX = 2**63 - 1
#: esdbclient knows the second one only by its status when a single event is appended.
GONE = (StreamIsDeleted, FailedPrecondition)


def test_what_was_appended_is_read_back_whole(client: EventStoreDBClient) -> None:
    stream, wanted = (
        name("größe"),
        NewEvent(type="Größe", data=b"\x00\xff", metadata=b"\x01", content_type="application/octet-stream"),
    )
    before = time.time()
    position = client.append_to_stream(stream, current_version=NO_STREAM, events=wanted)
    (found,) = client.get_stream(stream)
    assert (found.type, found.data, found.metadata, found.content_type, found.id) == (
        wanted.type,
        wanted.data,
        wanted.metadata,
        wanted.content_type,
        wanted.id,
    )
    assert (found.stream_name, found.stream_position) == (stream, 0)
    assert found.commit_position == found.prepare_position == position
    assert found.recorded_at is not None
    assert before - 1 <= found.recorded_at.timestamp() <= time.time() + 1


def test_a_stream_is_read_from_either_end_and_from_the_middle(client: EventStoreDBClient) -> None:
    stream, all_events = name(), events(5)
    client.append_to_stream(stream, current_version=NO_STREAM, events=all_events)
    wanted = ids(all_events)
    assert ids(client.get_stream(stream)) == wanted
    assert ids(client.get_stream(stream, backwards=True)) == wanted[::-1]
    assert ids(client.get_stream(stream, stream_position=3)) == wanted[3:]
    assert ids(client.get_stream(stream, stream_position=3, backwards=True)) == wanted[3::-1]
    assert ids(client.get_stream(stream, stream_position=1, limit=2)) == wanted[1:3]
    assert ids(client.get_stream(stream, backwards=True, limit=2)) == wanted[:2:-1]
    assert client.get_stream(stream, stream_position=9) == ()
    assert ids(client.get_stream(stream, stream_position=9, backwards=True)) == wanted[::-1]


def test_a_long_stream_is_read_over_many_pages(client: EventStoreDBClient) -> None:
    stream, count = name(), 2_500
    client.append_to_stream(stream, current_version=NO_STREAM, events=events(count))
    assert [found.stream_position for found in client.get_stream(stream)] == list(range(count))
    backwards = client.get_stream(stream, backwards=True)
    assert [found.stream_position for found in backwards] == list(range(count))[::-1]


def test_a_stream_that_was_never_written_is_not_found(client: EventStoreDBClient) -> None:
    for options in ({}, {"backwards": True}, {"stream_position": 1}, {"limit": 3}):
        with pytest.raises(NotFound):
            client.get_stream(name(), **options)


def test_an_append_position_is_the_position_of_its_last_event(client: EventStoreDBClient) -> None:
    stream = name()
    first = client.append_to_stream(stream, current_version=NO_STREAM, events=event())
    last = client.append_to_stream(stream, current_version=0, events=events(3))
    positions = [found.commit_position or 0 for found in client.get_stream(stream)]
    assert positions == sorted(set(positions))
    assert (positions[0], positions[-1]) == (first, last)
    assert client.get_commit_position() == last


@pytest.mark.parametrize("batch", [False, True])
def test_an_expected_version_that_does_not_hold_is_refused(client: EventStoreDBClient, batch: bool) -> None:
    def append(expected: int | StreamState) -> int:
        new = event()
        return client.append_to_stream(stream, current_version=expected, events=[new] if batch else new)

    stream = name()
    for expected in (EXISTS, 0, 7):
        with pytest.raises(WrongCurrentVersion, match="does not exist"):
            append(expected)
    append(NO_STREAM)
    for expected in (NO_STREAM, 1, 7):
        with pytest.raises(WrongCurrentVersion, match="Stream position of last event is 0"):
            append(expected)
    append(0)
    append(EXISTS)
    append(ANY)
    assert client.get_current_version(stream) == 3


@pytest.mark.parametrize("expected", [NO_STREAM, ANY])
def test_a_repeated_append_is_answered_as_the_first_time(
    client: EventStoreDBClient, expected: StreamState
) -> None:
    stream, new = name(), events(3)
    position = client.append_to_stream(stream, current_version=expected, events=new)
    client.append_to_stream(stream, current_version=2, events=event("Later"))
    assert client.append_to_stream(stream, current_version=expected, events=new) == position
    assert client.append_to_stream(stream, current_version=expected, events=new[:2]) < position
    assert len(client.get_stream(stream)) == 4


def test_a_repeat_with_a_revision_needs_the_same_events_at_the_same_place(client: EventStoreDBClient) -> None:
    stream, new = name(), events(4)
    client.append_to_stream(stream, current_version=NO_STREAM, events=new[:3])
    assert client.append_to_stream(stream, current_version=0, events=new[1:3]) == client.get_commit_position()
    for wrong in ([new[2], new[1]], [new[1], new[2], new[3]], [event()]):
        with pytest.raises(WrongCurrentVersion):
            client.append_to_stream(stream, current_version=0, events=wrong)
    assert ids(client.get_stream(stream)) == ids(new[:3])


def test_half_a_repeat_is_refused(client: EventStoreDBClient) -> None:
    stream, new = name(), events(3)
    client.append_to_stream(stream, current_version=NO_STREAM, events=new[:2])
    with pytest.raises(WrongCurrentVersion):
        client.append_to_stream(stream, current_version=ANY, events=new)
    client.append_to_stream(stream, current_version=ANY, events=[new[2], new[0]])
    assert len(client.get_stream(stream)) == 4


def test_the_same_event_may_go_to_two_streams(client: EventStoreDBClient) -> None:
    new, first, second = events(2), name(), name()
    for stream in (first, second, first, second):
        client.append_to_stream(stream, current_version=ANY, events=new)
    assert ids(client.get_stream(first)) == ids(client.get_stream(second)) == ids(new)


def test_an_append_larger_than_a_mebibyte_is_refused_whole(
    client: EventStoreDBClient, streams: StreamsStub
) -> None:
    stream = name()
    fits = NewEvent(type="T", data=b"x" * (APPEND_BYTES_MAX - 2))
    client.append_to_stream(stream, current_version=NO_STREAM, events=fits)
    too_much = [NewEvent(type="T", data=b"x" * (APPEND_BYTES_MAX // 2)) for _ in range(2)]
    with pytest.raises(MaximumAppendSizeExceededError):
        client.append_to_stream(stream, current_version=0, events=too_much)
    with pytest.raises(grpc.RpcError) as refused:
        streams.Append(iter(append_requests(stream, *too_much)))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert trailers(refused.value)["maximum-append-size"] == str(APPEND_BYTES_MAX)
    assert client.get_current_version(stream) == 0


def test_an_append_of_nothing_only_checks_the_version(
    client: EventStoreDBClient, streams: StreamsStub
) -> None:
    stream = name()
    answer = streams.Append(iter(append_requests(stream)))
    assert answer.success.WhichOneof("current_revision_option") == "no_stream"
    assert answer.success.WhichOneof("position_option") == "no_position"
    client.append_to_stream(stream, current_version=NO_STREAM, events=event())
    assert streams.Append(iter(append_requests(stream))).success.current_revision == 0


@pytest.mark.parametrize("missing", ["type", "content-type"])
def test_an_event_without_type_or_content_type_is_refused(streams: StreamsStub, missing: str) -> None:
    requests = append_requests(name(), event())
    del requests[1].proposed_message.metadata[missing]
    with pytest.raises(grpc.RpcError) as refused:
        streams.Append(iter(requests))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert trailers(refused.value)["required-metadata-properties"] == "type,content-type"


@pytest.mark.parametrize("stream", ["", "$all", "$$$$settings-of-settings"])
def test_some_names_cannot_be_written(streams: StreamsStub, stream: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        streams.Append(iter(append_requests(stream, event())))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_id_that_is_no_uuid_is_refused(streams: StreamsStub) -> None:
    requests = append_requests(name(), event())
    requests[1].proposed_message.id.string = "seven"
    with pytest.raises(grpc.RpcError) as refused:
        streams.Append(iter(requests))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_ids_come_in_the_form_that_was_asked_for(client: EventStoreDBClient, streams: StreamsStub) -> None:
    stream, wanted = name(), uuid4()
    requests = append_requests(stream, event())
    high, low = wanted.int >> 64, wanted.int & (2**64 - 1)
    requests[1].proposed_message.id.structured.most_significant_bits = high - 2**64 if high >> 63 else high
    requests[1].proposed_message.id.structured.least_significant_bits = low - 2**64 if low >> 63 else low
    streams.Append(iter(requests))
    assert client.get_stream(stream)[0].id == wanted
    request = read_request(stream)
    request.options.uuid_option.structured.SetInParent()
    (answer,) = streams.Read(request)
    halves = answer.event.event.id.structured
    assert (
        UUID(int=(halves.most_significant_bits % 2**64 << 64) + halves.least_significant_bits % 2**64)
        == wanted
    )


def test_batches_are_answered_each_with_its_own_verdict(streams: StreamsStub) -> None:
    stream = name()
    good, conflict, nameless = (batch_request(stream, event()) for _ in range(3))
    conflict.options.stream_position = 9
    nameless.options.stream_identifier.stream_name = b""
    split = batch_request(stream, event())
    split.is_final = False
    rest = streams_pb2.BatchAppendReq(correlation_id=split.correlation_id, is_final=True)
    rest.proposed_messages.extend(batch_request(stream, event()).proposed_messages)
    answers = {
        answer.correlation_id.string: answer
        for answer in streams.BatchAppend(iter([good, split, conflict, nameless, rest]))
    }
    assert answers[good.correlation_id.string].success.current_revision == 0
    assert answers[split.correlation_id.string].success.current_revision == 2
    detail = shared_pb2.WrongExpectedVersion()
    assert answers[conflict.correlation_id.string].error.details.Unpack(detail)
    assert (detail.current_stream_revision, detail.expected_stream_position) == (0, 9)
    assert answers[conflict.correlation_id.string].stream_position == 9
    assert answers[nameless.correlation_id.string].error.details.Is(shared_pb2.BadRequest.DESCRIPTOR)


def test_a_batch_whose_deadline_passed_is_not_written(
    client: EventStoreDBClient, streams: StreamsStub
) -> None:
    late = batch_request(name(), event())
    late.options.deadline_21_10_0.FromSeconds(1)
    (answer,) = streams.BatchAppend(iter([late]))
    assert answer.error.details.Is(shared_pb2.Timeout.DESCRIPTOR)
    with pytest.raises(NotFound):
        client.get_stream(late.options.stream_identifier.stream_name.decode())


def test_a_deleted_stream_is_gone_and_goes_on_counting(client: EventStoreDBClient) -> None:
    stream, last = name(), event("Again")
    for expected in (ANY, NO_STREAM, EXISTS):
        with pytest.raises(NotFound):
            client.delete_stream(stream, current_version=expected)
    client.append_to_stream(stream, current_version=NO_STREAM, events=events(2))
    with pytest.raises(WrongCurrentVersion):
        client.delete_stream(stream, current_version=0)
    client.delete_stream(stream, current_version=1)
    client.delete_stream(stream, current_version=1)
    with pytest.raises(StreamIsDeleted):
        client.delete_stream(stream, current_version=EXISTS)
    for new in (last, [last]):
        with pytest.raises(GONE):
            client.append_to_stream(stream, current_version=EXISTS, events=new)
    with pytest.raises(NotFound):
        client.get_stream(stream)
    assert client.get_stream_metadata(stream)[0] == {"$tb": REVISION_MAX}
    client.append_to_stream(stream, current_version=NO_STREAM, events=last)
    assert [(found.id, found.stream_position) for found in client.get_stream(stream)] == [(last.id, 2)]
    assert client.get_stream_metadata(stream)[0] == {"$tb": 2}


def test_settings_written_to_a_deleted_stream_do_not_bring_its_events_back(
    client: EventStoreDBClient,
) -> None:
    stream = name()
    client.append_to_stream(stream, current_version=NO_STREAM, events=events(2))
    client.delete_stream(stream, current_version=ANY)
    client.set_stream_metadata(stream, metadata={"owner": "me"})
    assert client.get_stream_metadata(stream)[0] == {"owner": "me", "$tb": 2}
    assert client.get_stream(stream) == ()


@pytest.mark.parametrize("expected", [1, ANY, EXISTS])
def test_a_tombstone_is_for_ever(client: EventStoreDBClient, expected: int | StreamState) -> None:
    stream = name()
    client.append_to_stream(stream, current_version=NO_STREAM, events=events(2))
    with pytest.raises(WrongCurrentVersion):
        client.tombstone_stream(stream, current_version=0)
    client.tombstone_stream(stream, current_version=expected)
    for work in (
        lambda: client.get_stream(stream),
        lambda: client.get_stream_metadata(stream),
        lambda: client.append_to_stream(stream, current_version=ANY, events=event()),
        lambda: client.append_to_stream(stream, current_version=ANY, events=[event()]),
        lambda: client.delete_stream(stream, current_version=ANY),
        lambda: client.tombstone_stream(stream, current_version=ANY),
    ):
        with pytest.raises(GONE):
            work()
    client.set_stream_metadata(stream, metadata={"still": "written"})
    _, last = client.read_all(filter_exclude=[], backwards=True, limit=2)
    assert (last.type, last.stream_position) == ("$streamDeleted", REVISION_MAX)


def test_a_stream_that_never_was_can_be_tombstoned_but_not_expected(client: EventStoreDBClient) -> None:
    stream = name()
    with pytest.raises(NotFound):
        client.tombstone_stream(stream, current_version=EXISTS)
    client.tombstone_stream(stream, current_version=ANY)
    with pytest.raises(StreamIsDeleted):
        client.get_stream(stream)


def test_max_count_shows_the_newest_events_only(client: EventStoreDBClient) -> None:
    stream = name()
    client.append_to_stream(stream, current_version=NO_STREAM, events=events(5))
    client.set_stream_metadata(stream, metadata={"$maxCount": 2})
    assert [found.stream_position for found in client.get_stream(stream)] == [3, 4]
    assert [found.stream_position for found in client.get_stream(stream, backwards=True)] == [4, 3]
    client.append_to_stream(stream, current_version=4, events=event())
    assert [found.stream_position for found in client.get_stream(stream)] == [4, 5]
    assert len(list(client.read_all(filter_include=stream, filter_by_stream_name=True))) == 6


def test_truncate_before_hides_what_is_older(client: EventStoreDBClient) -> None:
    stream = name()
    client.append_to_stream(stream, current_version=NO_STREAM, events=events(5))
    client.set_stream_metadata(stream, metadata={"$tb": 3})
    assert [found.stream_position for found in client.get_stream(stream)] == [3, 4]
    assert client.get_stream(stream, stream_position=2, backwards=True) == ()
    client.set_stream_metadata(stream, metadata={"$tb": 9})
    assert client.get_stream(stream) == ()


def test_max_age_hides_what_is_old(client: EventStoreDBClient) -> None:
    stream = name()
    client.append_to_stream(stream, current_version=NO_STREAM, events=events(2))
    client.set_stream_metadata(stream, metadata={"$maxAge": 1})
    time.sleep(1.1)
    client.append_to_stream(stream, current_version=1, events=event())
    assert [found.stream_position for found in client.get_stream(stream)] == [2]
    assert [found.stream_position for found in client.get_stream(stream, backwards=True)] == [2]


def test_settings_are_kept_word_for_word_and_have_versions(client: EventStoreDBClient) -> None:
    stream = name()
    assert client.get_stream_metadata(stream) == ({}, NO_STREAM)
    settings = {"$acl": {"$r": ["$all"]}, "$cacheControl": 12, "mine": [1, None]}
    client.set_stream_metadata(stream, metadata=settings, current_version=NO_STREAM)
    assert client.get_stream_metadata(stream) == (settings, 0)
    with pytest.raises(WrongCurrentVersion):
        client.set_stream_metadata(stream, metadata={}, current_version=5)
    client.append_to_stream(stream, current_version=EXISTS, events=event())
    client.set_stream_metadata(stream, metadata={"mine": 2}, current_version=0)
    only = client.get_stream(f"$${stream}")
    assert [(json.loads(found.data), found.stream_position, found.type) for found in only] == [
        ({"mine": 2}, 1, "$metadata")
    ]


def test_links_are_followed_when_asked(client: EventStoreDBClient) -> None:
    source, links, sources = name(), name("links"), events(3)
    client.append_to_stream(source, current_version=NO_STREAM, events=sources)
    targets = [f"{revision}@{source}" for revision in (2, 0, 7)] + [f"0@{name()}", "no link"]
    new = [
        NewEvent(type="$>", data=target.encode(), content_type="application/octet-stream")
        for target in targets
    ]
    client.append_to_stream(links, current_version=NO_STREAM, events=new)
    plain = client.get_stream(links)
    assert [found.type for found in plain] == ["$>"] * 5
    followed = client.get_stream(links, resolve_links=True)
    assert ids(followed) == [sources[2].id, sources[0].id]
    assert [found.link.id for found in followed if found.link] == ids(new[:2])
    assert followed[0].stream_name == source
    client.set_stream_metadata(source, metadata={"$tb": 1})
    assert ids(client.get_stream(links, resolve_links=True)) == [sources[2].id]
    client.delete_stream(source, current_version=ANY)
    assert client.get_stream(links, resolve_links=True) == ()


def test_ends_of_a_stream_are_told_to_clients_that_ask(
    client: EventStoreDBClient, streams: StreamsStub
) -> None:
    stream = name()
    client.append_to_stream(stream, current_version=NO_STREAM, events=events(3))
    client.set_stream_metadata(stream, metadata={"$tb": 1})
    request = read_request(stream)
    request.options.control_option.compatibility = 1
    contents = [(answer.WhichOneof("content"), answer) for answer in streams.Read(request)]
    assert [kind for kind, _ in contents] == [
        "first_stream_position",
        "event",
        "event",
        "last_stream_position",
    ]
    assert (contents[0][1].first_stream_position, contents[-1][1].last_stream_position) == (1, 2)


def test_requests_that_make_no_sense_are_refused(streams: StreamsStub) -> None:
    without_id_form = read_request(name())
    without_id_form.options.ClearField("uuid_option")
    without_count = read_request(name())
    without_count.options.ClearField("count")
    for request in (streams_pb2.ReadReq(), without_id_form, without_count):
        with pytest.raises(grpc.RpcError) as refused:
            list(streams.Read(request))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    event_first = append_requests(name(), event())[1:]
    for requests in ([], event_first):
        with pytest.raises(grpc.RpcError) as refused:
            streams.Append(iter(requests))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_delete_tells_what_it_found(streams: StreamsStub, client: EventStoreDBClient) -> None:
    stream = name()
    client.append_to_stream(stream, current_version=NO_STREAM, events=events(2))
    request = streams_pb2.DeleteReq()
    request.options.stream_identifier.stream_name = stream.encode()
    request.options.revision = 5
    with pytest.raises(grpc.RpcError) as refused:
        streams.Delete(request)
    assert refused.value.details() == (
        f"Delete failed due to WrongExpectedVersion. Stream: {stream}, Expected version: 5, Actual version: 1"
    )
    wanted = {"exception": "wrong-expected-version", "expected-version": "5", "actual-version": "1"}
    assert wanted.items() <= trailers(refused.value).items()
    request.options.any.SetInParent()
    assert streams.Delete(request).position.commit_position == max(
        found.commit_position or 0 for found in client.read_all(filter_exclude=[])
    )


def test_an_unknown_error_is_no_traceback_for_the_client(client: EventStoreDBClient) -> None:
    with pytest.raises(EventStoreDBClientException):
        client.get_stream("")


def append_requests(stream: str, *new: NewEvent) -> list[streams_pb2.AppendReq]:
    options = streams_pb2.AppendReq()
    options.options.stream_identifier.stream_name = stream.encode()
    options.options.any.SetInParent()
    requests = [options]
    for one in new:
        request = streams_pb2.AppendReq()
        fill(request.proposed_message, one)
        requests.append(request)
    return requests


def batch_request(stream: str, *new: NewEvent) -> streams_pb2.BatchAppendReq:
    request = streams_pb2.BatchAppendReq(is_final=True)
    request.correlation_id.string = str(uuid4())
    request.options.stream_identifier.stream_name = stream.encode()
    request.options.any.SetInParent()
    for one in new:
        fill(request.proposed_messages.add(), one)
    return request


def fill(
    message: streams_pb2.AppendReq.ProposedMessage | streams_pb2.BatchAppendReq.ProposedMessage, one: NewEvent
) -> None:
    message.id.string = str(one.id)
    message.metadata["type"] = one.type
    message.metadata["content-type"] = one.content_type
    message.data = one.data


def read_request(stream: str) -> streams_pb2.ReadReq:
    request = streams_pb2.ReadReq()
    request.options.stream.stream_identifier.stream_name = stream.encode()
    request.options.stream.start.SetInParent()
    request.options.count = 100
    request.options.no_filter.SetInParent()
    request.options.uuid_option.string.SetInParent()
    return request


def trailers(error: grpc.RpcError) -> dict[str, str]:
    return dict(error.trailing_metadata())
