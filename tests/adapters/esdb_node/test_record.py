"""The bytes of records: what protobuf makes of them, in every form a client may ask for."""

from __future__ import annotations

from uuid import UUID

from esdbclient.protos.Grpc import persistent_pb2, shared_pb2, streams_pb2
from hypothesis import given
from hypothesis import strategies as st

from adapters.esdb_node import record
from adapters.esdb_node.group_settings import GroupSettings
from adapters.esdb_node.stream_metadata import StreamMetadata, parse_metadata, with_truncate_before

numbers = st.integers(0, 2**63 - 1)
names = st.text(min_size=1, max_size=60)


@given(
    stream=names, kind=names, content_type=st.sampled_from([record.JSON, record.OCTETS]), revision=numbers,
    position=numbers, created=st.integers(0, 2**62), event_id=st.uuids(), metadata=st.binary(max_size=300),
    data=st.binary(max_size=300), tries=st.integers(0, 2**31 - 1),
)  # fmt: skip
def test_a_record_is_the_answer_protobuf_would_make(
    stream: str, kind: str, content_type: str, revision: int, position: int, created: int, event_id: UUID,
    metadata: bytes, data: bytes, tries: int,
) -> None:  # fmt: skip
    framed = record.record(
        stream=record.stream_field(stream), kind=record.kind_fields(kind, content_type),
        created=record.created_field(created), revision=revision, position=position, event_id=str(event_id),
        metadata=metadata, data=data,
    )  # fmt: skip
    assert framed[:5] == b"\0" + (len(framed) - 5).to_bytes(4, "big")
    wanted = streams_pb2.ReadResp()
    wanted.event.commit_position = position
    event = wanted.event.event
    event.id.string = str(event_id)
    event.stream_identifier.stream_name = stream.encode()
    event.stream_revision, event.prepare_position, event.commit_position = revision, position, position
    event.metadata.update({"type": kind, "content-type": content_type, "created": str(created)})
    event.custom_metadata, event.data = metadata, data
    assert streams_pb2.ReadResp.FromString(framed[5:]) == wanted
    assert record.parse(framed) == event
    assert record.event_id(framed) == str(event_id)

    part = record.event_part(framed)
    assert streams_pb2.ReadResp.FromString(record.read_answer(part, None, position)[5:]) == wanted
    linked = streams_pb2.ReadResp.FromString(record.read_answer(None, part, position)[5:])
    assert (linked.event.HasField("event"), linked.event.link) == (False, event)

    numbered = streams_pb2.ReadResp.ReadEvent.RecordedEvent.FromString(record.structured(part))
    assert record.canonical_id(numbered.id) == str(event_id)
    numbered.id.string = str(event_id)
    assert numbered == event

    sent = persistent_pb2.ReadResp.FromString(record.delivery(part, part, position, tries)[5:])
    assert (sent.event.retry_count, sent.event.commit_position) == (tries, position)
    assert sent.event.event.SerializeToString(deterministic=True) == event.SerializeToString(
        deterministic=True
    )


@given(st.uuids())
def test_ids_are_taken_in_any_spelling(identifier: UUID) -> None:
    for spelling in (
        str(identifier),
        str(identifier).upper(),
        identifier.hex,
        f"{{{identifier}}}",
        identifier.urn,
    ):
        assert record.canonical_id(shared_pb2.UUID(string=spelling)) == str(identifier)


@given(st.binary(max_size=200))
def test_settings_that_are_none_ask_for_nothing(document: bytes) -> None:
    assert isinstance(parse_metadata(document), StreamMetadata)
    assert parse_metadata(with_truncate_before(document, 7)).truncate_before == 7


def test_settings_of_the_wrong_kind_ask_for_nothing() -> None:
    for document in (
        b'{"$maxCount":"2"}',
        b'{"$maxCount":-1}',
        b'{"$maxCount":true}',
        b'{"$tb":1e99}',
        b"[]",
        b"7",
    ):
        assert parse_metadata(document) == StreamMetadata()


def test_a_window_of_revisions_is_the_narrower_of_count_and_truncation() -> None:
    assert StreamMetadata(max_count=3, truncate_before=5).first_revision(9) == 7
    assert StreamMetadata(max_count=30, truncate_before=5).first_revision(9) == 5


def test_positions_of_groups_are_printed_as_clients_parse_them() -> None:
    assert GroupSettings(stream="$all", group="g").place(-1) == "C:-1/P:-1"
    assert GroupSettings(stream="s", group="g").place(4) == "4"
