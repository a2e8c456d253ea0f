"""Persistent subscriptions through esdbclient: who gets what, what happens to the rest, and what survives."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from esdbclient import EventStoreDBClient, NewEvent, RecordedEvent
from esdbclient.exceptions import (
    AlreadyExists,
    EventStoreDBClientException,
    InternalError,
    MaximumSubscriptionsReached,
    NotFound,
)
from esdbclient.persistent import PersistentSubscription
from esdbclient.protos.Grpc import persistent_pb2, shared_pb2
from esdbclient.protos.Grpc.persistent_pb2_grpc import PersistentSubscriptionsStub

from adapters.esdb_node.node import Node, NodeOptions, node_in_thread
from tests.adapters.esdb_node.events import ANY, NO_STREAM, event, events, ids, name


def take(subscription: PersistentSubscription, count: int) -> list[RecordedEvent]:
    """Receive and acknowledge."""
    found = []
    for one in itertools.islice(subscription, count):
        subscription.ack(one)
        found.append(one)
    return found


def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens soon; acknowledgements travel in bundles."""
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


@pytest.mark.parametrize("options, first", [({}, 0), ({"stream_position": 1}, 1), ({"from_end": True}, 3)])
def test_a_group_of_a_stream_begins_where_it_says(
    client: EventStoreDBClient, options: dict[str, Any], first: int
) -> None:
    group, stream, before, after = name("g"), name(), events(3), events(3)
    client.append_to_stream(stream, current_version=NO_STREAM, events=before)
    client.create_subscription_to_stream(group, stream, **options)
    client.append_to_stream(stream, current_version=2, events=after)
    wanted = ids(before + after)[first:]
    with client.read_subscription_to_stream(group, stream) as subscription:
        assert subscription.subscription_id == f"{stream}::{group}"
        assert ids(take(subscription, len(wanted))) == wanted


def test_a_group_of_all_takes_position_end_and_filter(client: EventStoreDBClient) -> None:
    stream, new = name(), [event("A"), event("B"), event("C")]
    from_end, filtered, from_position = name("g"), name("g"), name("g")
    client.create_subscription_to_all(from_end, from_end=True)
    client.create_subscription_to_all(filtered, filter_include=[stream], filter_by_stream_name=True)
    position = client.append_to_stream(stream, current_version=NO_STREAM, events=new[0])
    client.append_to_stream(stream, current_version=0, events=new[1:])
    client.create_subscription_to_all(from_position, commit_position=position)
    for group in (from_end, filtered, from_position):
        with client.read_subscription_to_all(group) as subscription:
            assert ids(take(subscription, 3)) == ids(new)


def test_a_group_of_all_does_not_feed_on_its_own_book_keeping(client: EventStoreDBClient) -> None:
    group, stream = name("g"), name()
    client.create_subscription_to_all(
        group,
        from_end=True,
        filter_exclude=[],
        min_checkpoint_count=1,
        max_checkpoint_count=1,
        checkpoint_after=0.001,
    )
    client.append_to_stream(stream, current_version=NO_STREAM, events=events(3))
    with client.read_subscription_to_all(group) as subscription:
        seen = []
        for one in subscription:
            subscription.ack(one)
            seen.append(one)
            if one.stream_name == stream and one.stream_position == 2:
                break
        until(lambda: client.get_subscription_info(group).last_checkpointed_event_position != "")
        client.append_to_stream(stream, current_version=2, events=event())
        (last,) = take(subscription, 1)
        assert (last.stream_name, last.stream_position) == (stream, 3)
    assert not any("$persistentsubscription-$all" in one.stream_name for one in seen)


def test_refused_messages_are_retried_parked_or_skipped(client: EventStoreDBClient) -> None:
    group, stream, new = name("g"), name(), events(4)
    client.create_subscription_to_stream(group, stream)
    client.append_to_stream(stream, current_version=NO_STREAM, events=new)
    with client.read_subscription_to_stream(group, stream) as subscription:
        first = list(itertools.islice(subscription, 4))
        assert [one.retry_count for one in first] == [0] * 4
        for one, action in zip(first, ("retry", "park", "skip", "unknown"), strict=True):
            subscription.nack(one, action)
        again = take(subscription, 2)
        assert [(one.id, one.retry_count) for one in again] == [(new[0].id, 1), (new[3].id, 1)]
        until(lambda: client.get_subscription_info(group, stream).parked_message_count == 1)
    (parked,) = client.get_stream(f"$persistentsubscription-{stream}::{group}-parked", resolve_links=True)
    assert parked.id == new[1].id
    assert parked.link is not None
    assert json.loads(parked.link.metadata)["reason"]


def test_parked_messages_come_back_when_asked_for_and_leave_when_settled(client: EventStoreDBClient) -> None:
    group, stream, new = name("g"), name(), events(5)
    client.create_subscription_to_stream(group, stream)
    client.append_to_stream(stream, current_version=NO_STREAM, events=new)
    with client.read_subscription_to_stream(group, stream) as subscription:
        for one in itertools.islice(subscription, 5):
            subscription.nack(one, "park")
        until(lambda: client.get_subscription_info(group, stream).parked_message_count == 5)
        client.replay_parked_events(group, stream_name=stream)
        replayed = take(subscription, 5)
        assert ids(replayed) == ids(new)
        assert all(one.link is not None and one.link.stream_name.endswith("-parked") for one in replayed)
        until(lambda: client.get_subscription_info(group, stream).parked_message_count == 0)


def test_only_as_many_parked_messages_come_back_as_asked_for(
    client: EventStoreDBClient, memory_node: Node
) -> None:
    group, stream, new = name("g"), name(), events(3)
    client.create_subscription_to_stream(group, stream)
    client.append_to_stream(stream, current_version=NO_STREAM, events=new)
    with client.read_subscription_to_stream(group, stream) as subscription:
        for one in itertools.islice(subscription, 3):
            subscription.nack(one, "park")
        until(lambda: client.get_subscription_info(group, stream).parked_message_count == 3)
        with grpc.insecure_channel(f"127.0.0.1:{memory_node.port}") as channel:
            request = persistent_pb2.ReplayParkedReq()
            request.options.group_name = group
            request.options.stream_identifier.stream_name = stream.encode()
            request.options.stop_at = 2
            PersistentSubscriptionsStub(channel).ReplayParked(request)
        assert ids(take(subscription, 2)) == ids(new[:2])
        until(lambda: client.get_subscription_info(group, stream).parked_message_count == 1)
        client.replay_parked_events(group, stream_name=stream)
        assert ids(take(subscription, 1)) == ids(new[2:])


def test_a_message_nobody_answers_is_sent_again_and_parked_at_last(client: EventStoreDBClient) -> None:
    group, stream, new = name("g"), name(), events(2)
    client.create_subscription_to_stream(group, stream, message_timeout=0.3, max_retry_count=1)
    client.append_to_stream(stream, current_version=NO_STREAM, events=new)
    with client.read_subscription_to_stream(group, stream, event_buffer_size=1) as subscription:
        tries = list(itertools.islice(subscription, 2))
        assert [(one.id, one.retry_count) for one in tries] == [(new[0].id, 0), (new[0].id, 1)]
        assert ids(take(subscription, 1)) == ids(new[1:])
    (parked,) = client.get_stream(f"$persistentsubscription-{stream}::{group}-parked", resolve_links=True)
    assert parked.id == new[0].id


def test_what_a_lost_consumer_had_goes_to_the_next(client: EventStoreDBClient) -> None:
    group, stream, new = name("g"), name(), events(3)
    client.create_subscription_to_stream(group, stream)
    client.append_to_stream(stream, current_version=NO_STREAM, events=new)
    with client.read_subscription_to_stream(group, stream) as first:
        assert ids(itertools.islice(first, 3)) == ids(new)
    with client.read_subscription_to_stream(group, stream) as second:
        again = take(second, 3)
        assert ids(again) == ids(new)
        assert {one.retry_count for one in again} == {1}


def test_no_more_messages_are_out_than_the_consumer_has_room_for(client: EventStoreDBClient) -> None:
    group, stream, new = name("g"), name(), events(5)
    client.create_subscription_to_stream(group, stream)
    client.append_to_stream(stream, current_version=NO_STREAM, events=new)
    with client.read_subscription_to_stream(group, stream, event_buffer_size=2) as subscription:
        until(lambda: client.get_subscription_info(group, stream).total_in_flight_messages == 2)
        time.sleep(0.1)
        assert client.get_subscription_info(group, stream).total_in_flight_messages == 2
        assert ids(take(subscription, 5)) == ids(new)


def test_round_robin_takes_turns(client: EventStoreDBClient) -> None:
    group, stream, new = name("g"), name(), events(6)
    client.create_subscription_to_stream(group, stream, consumer_strategy="RoundRobin")
    consumers = [client.read_subscription_to_stream(group, stream) for _ in range(3)]
    client.append_to_stream(stream, current_version=NO_STREAM, events=new)
    for number, consumer in enumerate(consumers):
        assert ids(take(consumer, 2)) == ids(new[number::3])
        consumer.stop()


def test_dispatch_to_single_uses_one_until_it_is_full(client: EventStoreDBClient) -> None:
    group, stream, new = name("g"), name(), events(3)
    client.create_subscription_to_stream(group, stream, consumer_strategy="DispatchToSingle")
    first = client.read_subscription_to_stream(group, stream, event_buffer_size=2)
    second = client.read_subscription_to_stream(group, stream, event_buffer_size=2)
    client.append_to_stream(stream, current_version=NO_STREAM, events=new)
    assert ids(take(second, 1)) == ids(new[2:])
    assert ids(take(first, 2)) == ids(new[:2])
    first.stop()
    second.stop()


@pytest.mark.parametrize("strategy", ["Pinned", "PinnedByCorrelation"])
def test_pinned_groups_keep_what_belongs_together_with_one_consumer(
    client: EventStoreDBClient, strategy: str
) -> None:
    group, prefix = name("g"), name("pin")
    client.create_subscription_to_all(
        group,
        from_end=True,
        consumer_strategy=strategy,  # type: ignore[arg-type]
        filter_include=f"{prefix}.*",
        filter_by_stream_name=True,
    )
    consumers = [client.read_subscription_to_all(group) for _ in range(2)]
    for number in range(48):
        key = number % 8
        metadata = b'{"$correlationId": "c-%d"}' % key
        stream = f"{prefix}-{number if strategy == 'PinnedByCorrelation' else key}"
        new = NewEvent(type="T", data=b"%d" % key, metadata=metadata)
        client.append_to_stream(stream, current_version=ANY, events=new)
    until(lambda: client.get_subscription_info(group).total_items == 48)
    counts = connection_totals(client, group)
    keys = [
        {one.data for one in take(consumer, count)} for consumer, count in zip(consumers, counts, strict=True)
    ]
    assert keys[0] | keys[1] == {b"%d" % key for key in range(8)}
    assert not keys[0] & keys[1]
    for consumer in consumers:
        consumer.stop()


def connection_totals(client: EventStoreDBClient, group: str) -> list[int]:
    """Messages per consumer, which esdbclient's info leaves out."""
    request = persistent_pb2.GetInfoReq()
    request.options.all.SetInParent()
    request.options.group_name = group
    with grpc.insecure_channel(client.connection_target) as channel:
        info = PersistentSubscriptionsStub(channel).GetInfo(request).subscription_info
    return [one.total_items for one in info.connections]


def test_links_are_followed_and_acknowledged_by_their_own_id(client: EventStoreDBClient) -> None:
    group, source, links, sources = name("g"), name(), name("links"), events(2)
    client.append_to_stream(source, current_version=NO_STREAM, events=sources)
    new = [NewEvent(type="$>", data=f"{revision}@{source}".encode()) for revision in range(2)]
    client.append_to_stream(links, current_version=NO_STREAM, events=new)
    client.create_subscription_to_stream(group, links, resolve_links=True, message_timeout=0.3)
    with client.read_subscription_to_stream(group, links) as subscription:
        found = take(subscription, 2)
        assert ids(found) == ids(sources)
        assert [one.ack_id for one in found] == ids(new)
        until(lambda: client.get_subscription_info(group, links).total_in_flight_messages == 0)


def test_groups_are_listed_found_and_missed(client: EventStoreDBClient) -> None:
    group, stream = name("g"), name()
    for work in (
        lambda: client.get_subscription_info(group, stream),
        lambda: client.delete_subscription(group, stream),
        lambda: client.update_subscription_to_stream(group, stream),
        lambda: client.replay_parked_events(group, stream),
        lambda: client.read_subscription_to_stream(group, stream),
    ):
        with pytest.raises(NotFound):
            work()
    assert client.list_subscriptions_to_stream(stream) == []
    client.create_subscription_to_stream(group, stream)
    with pytest.raises(AlreadyExists):
        client.create_subscription_to_stream(group, stream)
    assert [one.group_name for one in client.list_subscriptions_to_stream(stream)] == [group]
    assert (stream, group) in [(one.event_source, one.group_name) for one in client.list_subscriptions()]
    client.delete_subscription(group, stream)
    assert client.list_subscriptions_to_stream(stream) == []


def test_settings_are_kept_shown_and_changed(client: EventStoreDBClient) -> None:
    group, all_group, stream = name("g"), name("g"), name()
    settings = {
        "message_timeout": 12.345, "max_retry_count": 3, "min_checkpoint_count": 4, "max_checkpoint_count": 5,
        "checkpoint_after": 1.5, "max_subscriber_count": 6, "live_buffer_size": 70, "read_batch_size": 8,
        "history_buffer_size": 90, "extra_statistics": True, "resolve_links": True,
        "consumer_strategy": "Pinned",
    }  # fmt: skip
    client.create_subscription_to_stream(group, stream, stream_position=7, **settings)
    info = client.get_subscription_info(group, stream)
    assert {key: getattr(info, key) for key in settings} == settings
    assert info.start_from == "7"
    client.update_subscription_to_stream(group, stream, from_end=True, message_timeout=1.0)
    changed = client.get_subscription_info(group, stream)
    assert {key: getattr(changed, key) for key in settings} == {**settings, "message_timeout": 1.0}
    assert changed.start_from == "-1"
    client.create_subscription_to_all(all_group)
    assert client.get_subscription_info(all_group).start_from == "C:0/P:0"
    client.update_subscription_to_all(all_group, commit_position=12)
    assert client.get_subscription_info(all_group).start_from == "C:12/P:12"


@pytest.mark.parametrize(
    "settings",
    [
        {"read_batch_size": 500, "history_buffer_size": 500},
        {"consumer_strategy": "Lottery"},
        {"history_buffer_size": 10**7},
    ],
)
def test_settings_that_cannot_work_are_refused(client: EventStoreDBClient, settings: dict[str, Any]) -> None:
    with pytest.raises(InternalError, match="failed"):
        client.create_subscription_to_all(name("g"), **settings)


def test_a_full_group_takes_no_more_consumers(client: EventStoreDBClient) -> None:
    group, stream = name("g"), name()
    client.create_subscription_to_stream(group, stream, max_subscriber_count=1)
    first = client.read_subscription_to_stream(group, stream)
    with pytest.raises(MaximumSubscriptionsReached):
        client.read_subscription_to_stream(group, stream)
    first.stop()
    until(lambda: connects(client, group, stream))


def connects(client: EventStoreDBClient, group: str, stream: str) -> bool:
    try:
        client.read_subscription_to_stream(group, stream).stop()
    except MaximumSubscriptionsReached:
        return False
    return True


@pytest.mark.parametrize("change", ["update", "delete"])
def test_changing_a_group_drops_its_consumers(client: EventStoreDBClient, change: str) -> None:
    group, stream = name("g"), name()
    client.create_subscription_to_stream(group, stream)
    with client.read_subscription_to_stream(group, stream) as subscription:
        if change == "update":
            client.update_subscription_to_stream(group, stream, max_retry_count=1)
        else:
            client.delete_subscription(group, stream)
        with pytest.raises(EventStoreDBClientException):
            next(subscription)


def test_a_group_goes_on_after_a_restart_where_it_was(tmp_path: Path) -> None:
    group, late, stream, new = "g", "late", name(), events(30)
    options = NodeOptions(port=0, path=tmp_path / "node.db")
    with node_in_thread(options) as node, EventStoreDBClient(node.uri) as client:
        client.create_subscription_to_stream(group, stream, message_timeout=5)
        client.append_to_stream(stream, current_version=NO_STREAM, events=new[:10])
        client.create_subscription_to_stream(late, stream, from_end=True)
        client.create_subscription_to_all("all", from_end=True, filter_include="Measured")
        client.append_to_stream(stream, current_version=9, events=new[10:])
        with client.read_subscription_to_stream(group, stream) as subscription:
            found = list(itertools.islice(subscription, 20))
            for one in found[:12] + found[13:15]:
                subscription.ack(one)
            subscription.nack(found[15], "park")
            until(lambda: client.get_subscription_info(group, stream).parked_message_count == 1)
    with node_in_thread(options) as node, EventStoreDBClient(node.uri) as client:
        assert len(client.list_subscriptions()) == 3
        assert client.get_subscription_info(group, stream).last_checkpointed_event_position == "11"
        with client.read_subscription_to_stream(group, stream) as subscription:
            assert ids(take(subscription, 18)) == ids(new[12:])
            client.replay_parked_events(group, stream_name=stream)
            assert ids(take(subscription, 1)) == [new[15].id]
        with client.read_subscription_to_stream(late, stream) as subscription:
            assert ids(take(subscription, 20)) == ids(new[10:])
        with client.read_subscription_to_all("all") as subscription:
            assert ids(take(subscription, 20)) == ids(new[10:])


def test_a_group_made_anew_has_nothing_of_the_one_before(client: EventStoreDBClient) -> None:
    group, stream, new = name("g"), name(), events(2)
    client.append_to_stream(stream, current_version=NO_STREAM, events=new)
    for _ in range(2):
        client.create_subscription_to_stream(group, stream, min_checkpoint_count=1, max_checkpoint_count=1)
        client.replay_parked_events(group, stream)
        with client.read_subscription_to_stream(group, stream) as subscription:
            assert [(one.id, one.retry_count) for one in itertools.islice(subscription, 1)] == [
                (new[0].id, 0)
            ]
            subscription.nack(new[0].id, "park")
            assert ids(take(subscription, 1)) == ids(new[1:])
            until(lambda: client.get_subscription_info(group, stream).parked_message_count == 1)
            client.replay_parked_events(group, stream)
            assert ids(take(subscription, 1)) == ids(new[:1])
        client.delete_subscription(group, stream)


def test_stopping_parks_nothing(tmp_path: Path) -> None:
    options = NodeOptions(port=0, path=tmp_path / "node.db")
    stream, new = name(), events(2)
    with node_in_thread(options) as node:
        client = EventStoreDBClient(node.uri)
        client.create_subscription_to_stream("g", stream, max_retry_count=0)
        client.append_to_stream(stream, current_version=NO_STREAM, events=new)
        subscription = client.read_subscription_to_stream("g", stream)
        assert ids(itertools.islice(subscription, 2)) == ids(new)
    client.close()
    with node_in_thread(options) as node, EventStoreDBClient(node.uri) as client:
        assert client.get_subscription_info("g", stream).parked_message_count == 0
        with client.read_subscription_to_stream("g", stream) as subscription:
            assert ids(take(subscription, 2)) == ids(new)


def test_the_subsystem_can_be_restarted(memory_node: Node, client: EventStoreDBClient) -> None:
    group, stream = name("g"), name()
    client.create_subscription_to_stream(group, stream)
    with grpc.insecure_channel(f"127.0.0.1:{memory_node.port}") as channel:
        PersistentSubscriptionsStub(channel).RestartSubsystem(shared_pb2.Empty())
    assert client.get_subscription_info(group, stream).group_name == group
