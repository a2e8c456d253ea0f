"""Reads of and subscriptions to $all against a list as the model: positions, limits, filters, checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import grpc
import pytest
from esdbclient.protos.Grpc import streams_pb2
from esdbclient.protos.Grpc.streams_pb2_grpc import StreamsStub
from hypothesis import given
from hypothesis import strategies as st

from adapters.esdb_node.node import NodeOptions, node_in_thread
from tests.adapters.esdb_node.events import event
from tests.adapters.esdb_node.test_streams import batch_request

STREAMS = ("alpha-1", "alpha-2", "beta", "$system")
TYPES = ("Opened", "Closed", "OpenedAgain", "$kind")
EXPRESSIONS = (
    "^Opened$",
    "Opened",
    "^(?!(\\$.+$))",
    "^Opened|Closed$",
    "alpha",
    "^beta$",
    "-1$",
    "nothing",
    "",
)


class Recorded(NamedTuple):
    position: int
    stream: str
    type: str


class Log(NamedTuple):
    """A node with a log of several streams, and what is in it."""

    stub: StreamsStub
    records: list[Recorded]


@pytest.fixture(scope="module")
def log() -> Iterator[Log]:
    with (
        node_in_thread(NodeOptions(port=0)) as node,
        grpc.insecure_channel(f"127.0.0.1:{node.port}") as channel,
    ):
        stub = StreamsStub(channel)
        requests = [
            batch_request(
                STREAMS[number * 7 % 4],
                *(event(TYPES[(number + extra) % 4]) for extra in range(number % 3 + 1)),
            )
            for number in range(40)
        ]
        assert all(answer.HasField("success") for answer in stub.BatchAppend(iter(requests)))
        records = [recorded(answer) for answer in stub.Read(request("start"))]
        yield Log(stub, records)


def recorded(answer: streams_pb2.ReadResp) -> Recorded:
    found = answer.event.event
    assert answer.event.commit_position == found.commit_position == found.prepare_position
    return Recorded(
        found.commit_position, found.stream_identifier.stream_name.decode(), found.metadata["type"]
    )


def request(
    start: int | str,
    *,
    down: bool = False,
    count: int = 2**40,
    by: str = "",
    expression: str = "",
    prefixes: Iterable[str] = (),
) -> streams_pb2.ReadReq:
    made = streams_pb2.ReadReq()
    options = made.options
    if isinstance(start, int):
        options.all.position.commit_position = options.all.position.prepare_position = start
    else:
        getattr(options.all, start).SetInParent()
    options.read_direction = int(down)  # type: ignore[assignment]
    options.count = count
    options.uuid_option.string.SetInParent()
    if by:
        chosen = getattr(options.filter, by)
        chosen.regex = expression
        chosen.prefix.extend(prefixes)
        chosen.SetInParent()
        options.filter.max = 32
        options.filter.checkpointIntervalMultiplier = 1
    else:
        options.no_filter.SetInParent()
    return made


def follow(made: streams_pb2.ReadReq) -> streams_pb2.ReadReq:
    made.options.subscription.SetInParent()
    return made


def hidden(record: Recorded) -> bool:
    return record.stream == "$epoch-information"


def test_the_log_begins_with_system_events(log: Log) -> None:
    assert log.records[0].type.startswith("$")
    assert log.records[0].position == 0
    assert [record.position for record in log.records] == sorted({record.position for record in log.records})


@given(at=st.integers(0, 200), down=st.booleans(), count=st.integers(0, 100))
def test_a_read_begins_at_its_position_forwards_and_before_it_backwards(
    log: Log, at: int, down: bool, count: int
) -> None:
    at %= len(log.records)
    found = [
        recorded(answer)
        for answer in log.stub.Read(request(log.records[at].position, down=down, count=count))
    ]
    assert found == (log.records[:at][::-1] if down else log.records[at:])[:count]


@given(
    at=st.integers(0, 200),
    down=st.booleans(),
    count=st.integers(0, 40),
    by=st.sampled_from(["stream_identifier", "event_type"]),
    expression=st.sampled_from(EXPRESSIONS),
    prefixes=st.lists(st.sampled_from(["alpha", "Open", "b", "$", "Closed"]), max_size=2),
)
def test_a_filtered_read_gives_what_a_search_of_the_names_gives(
    log: Log, at: int, down: bool, count: int, by: str, expression: str, prefixes: list[str]
) -> None:
    at %= len(log.records)
    made = request(
        log.records[at].position, down=down, count=count, by=by, expression=expression, prefixes=prefixes
    )

    def passes(record: Recorded) -> bool:
        subject = record.stream if by == "stream_identifier" else record.type
        if hidden(record):
            return False
        return subject.startswith(tuple(prefixes)) if prefixes else re.search(expression, subject) is not None

    considered = log.records[:at][::-1] if down else log.records[at:]
    assert [recorded(answer) for answer in log.stub.Read(made)] == list(filter(passes, considered))[:count]


@given(
    at=st.integers(0, 200),
    by=st.sampled_from(["", "stream_identifier", "event_type"]),
    expression=st.sampled_from(EXPRESSIONS),
)
def test_a_subscription_goes_on_after_its_position_and_says_when_it_caught_up(
    log: Log, at: int, by: str, expression: str
) -> None:
    at %= len(log.records)
    call = log.stub.Read(follow(request(log.records[at].position, by=by, expression=expression)))
    assert next(call).WhichOneof("content") == "confirmation"
    found, checkpoints = [], []
    for answer in call:
        kind = answer.WhichOneof("content")
        if kind == "caught_up":
            break
        if kind == "event":
            found.append(recorded(answer))
        else:
            assert kind == "checkpoint"
            checkpoints.append(answer.checkpoint.commit_position)
    call.cancel()
    after = log.records[at + 1 :]
    if not by:
        assert (found, checkpoints) == (after, [])
        return
    subject = 1 if by == "stream_identifier" else 2
    assert found == [one for one in after if re.search(expression, one[subject]) and not hidden(one)]
    every = [one.position for one in after[31::32]]
    assert checkpoints == every + ([after[-1].position] if after and len(after) % 32 else [])


def test_resuming_from_any_checkpoint_misses_nothing(log: Log) -> None:
    made = request("start", by="event_type", expression="^Closed$")
    made.options.filter.max = 3
    wanted = [one for one in log.records if one.type == "Closed"]
    seen: list[Recorded] = []
    cuts: list[tuple[int, int]] = []
    call = log.stub.Read(follow(made))
    for answer in call:
        kind = answer.WhichOneof("content")
        if kind == "event":
            seen.append(recorded(answer))
        elif kind == "checkpoint":
            cuts.append((answer.checkpoint.commit_position, len(seen)))
        elif kind == "caught_up":
            break
    call.cancel()
    assert seen == wanted
    assert cuts[-1][0] == log.records[-1].position
    for position, count in cuts[:: max(1, len(cuts) // 8)]:
        rest = [
            recorded(answer)
            for answer in log.stub.Read(request(position, by="event_type", expression="^Closed$"))
        ]
        assert [one for one in rest if one.position > position] == wanted[count:]


def test_a_position_where_no_record_begins_is_refused(log: Log) -> None:
    between = log.records[3].position + 1
    for made, code, words in (
        (request(between), grpc.StatusCode.UNKNOWN, "Unexpected ReadAllResult: InvalidPosition"),
        (
            request(between, by="event_type"),
            grpc.StatusCode.UNKNOWN,
            "Unexpected FilteredReadAllResult: InvalidPosition",
        ),
        (
            follow(request(between)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "Trying to read from an invalid position.",
        ),
        (
            follow(request(2**63)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "Trying to read from an invalid position.",
        ),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            list(log.stub.Read(made))
        assert (refused.value.code(), refused.value.details()) == (code, words)


@pytest.mark.parametrize("expression", ["(", "x" * 20_000, "[z-a]"])
def test_an_expression_that_is_none_is_refused(log: Log, expression: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        list(log.stub.Read(request("start", by="event_type", expression=expression)))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_both_ends_have_nothing_beyond_them(log: Log) -> None:
    assert list(log.stub.Read(request("end"))) == []
    assert list(log.stub.Read(request("start", down=True))) == []
    assert [recorded(answer) for answer in log.stub.Read(request("end", down=True))] == log.records[::-1]
