"""Catch-up subscriptions through esdbclient while others write."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from esdbclient import AsyncEventStoreDBClient, EventStoreDBClient, NewEvent
from esdbclient.events import CaughtUp, Checkpoint
from esdbclient.exceptions import GrpcDeadlineExceeded, StreamIsDeleted

from adapters.esdb_node.node import Node, NodeOptions
from tests.adapters.esdb_node.events import ANY, NO_STREAM, event, events, ids, name


def test_a_stream_is_followed_from_its_start_its_end_or_after_a_revision(client: EventStoreDBClient) -> None:
    for options, first in (({}, 0), ({"stream_position": 1}, 2), ({"from_end": True}, 3)):
        stream, before, after = name(), events(3), events(3)
        client.append_to_stream(stream, current_version=NO_STREAM, events=before)
        with client.subscribe_to_stream(stream, **options) as subscription:
            client.append_to_stream(name(), current_version=NO_STREAM, events=events(2))
            client.append_to_stream(stream, current_version=2, events=after)
            wanted = ids(before + after)[first:]
            assert ids(itertools.islice(subscription, len(wanted))) == wanted


def test_a_stream_can_be_followed_before_it_exists(client: EventStoreDBClient) -> None:
    stream, new = name(), events(2)
    with client.subscribe_to_stream(stream, include_caught_up=True) as subscription:
        assert isinstance(next(subscription), CaughtUp)
        client.append_to_stream(stream, current_version=NO_STREAM, events=new)
        assert ids(itertools.islice(subscription, 2)) == ids(new)


def test_all_is_followed_from_its_end_or_after_a_position(client: EventStoreDBClient) -> None:
    new = events(3)
    with client.subscribe_to_all(from_end=True) as subscription:
        position = client.append_to_stream(name(), current_version=NO_STREAM, events=new[0])
        client.append_to_stream(name(), current_version=NO_STREAM, events=new[1:])
        assert ids(itertools.islice(subscription, 3)) == ids(new)
    with client.subscribe_to_all(commit_position=position) as subscription:
        assert ids(itertools.islice(subscription, 2)) == ids(new[1:])


def test_a_filtered_subscription_tells_how_far_it_looked(client: EventStoreDBClient) -> None:
    position = client.append_to_stream(name(), current_version=NO_STREAM, events=events(7))
    options = {"filter_exclude": ".*", "include_checkpoints": True, "include_caught_up": True}
    with client.subscribe_to_all(window_size=2, checkpoint_interval_multiplier=2, **options) as subscription:
        seen = list(itertools.takewhile(lambda one: not isinstance(one, CaughtUp), subscription))
        assert {type(one) for one in seen} == {Checkpoint}
        assert seen[-1].commit_position == position
        later = client.append_to_stream(name(), current_version=NO_STREAM, events=events(4))
        told = next(one for one in subscription)
        assert isinstance(told, Checkpoint)
        assert position < (told.commit_position or 0) <= later


def test_a_tombstone_ends_the_subscription(client: EventStoreDBClient) -> None:
    stream = name()
    client.append_to_stream(stream, current_version=NO_STREAM, events=event())
    with client.subscribe_to_stream(stream) as subscription:
        next(subscription)
        client.tombstone_stream(stream, current_version=ANY)
        with pytest.raises(StreamIsDeleted):
            next(subscription)
    with pytest.raises(StreamIsDeleted):
        client.subscribe_to_stream(stream)


def test_links_are_followed_live(client: EventStoreDBClient) -> None:
    source, links, sources = name(), name("links"), events(2)
    client.append_to_stream(source, current_version=NO_STREAM, events=sources)
    with client.subscribe_to_stream(links, resolve_links=True) as subscription:
        new = [NewEvent(type="$>", data=f"{revision}@{source}".encode()) for revision in (1, 0)]
        client.append_to_stream(links, current_version=NO_STREAM, events=new)
        assert ids(itertools.islice(subscription, 2)) == ids(sources[::-1])


def test_a_client_that_stops_or_times_out_leaves_nothing_behind(
    client: EventStoreDBClient, memory_node: Node
) -> None:
    stream = name()
    subscriptions = [client.subscribe_to_stream(stream) for _ in range(5)]
    for subscription in subscriptions:
        subscription.stop()
        assert list(subscription) == []
    with pytest.raises(GrpcDeadlineExceeded):
        list(client.subscribe_to_stream(stream, timeout=0.2))
    client.append_to_stream(stream, current_version=NO_STREAM, events=event())
    assert memory_node.watchers_of(stream) == 0


def test_many_writers_and_readers_agree_on_the_order() -> None:
    async def run() -> None:
        async with Node(NodeOptions(port=0)) as node:
            client = AsyncEventStoreDBClient(node.uri)
            await client.connect()

            async def write(stream: str) -> None:
                for number in range(25):
                    await client.append_to_stream(
                        stream, current_version=ANY, events=event("N", b"%d" % number)
                    )

            async def read() -> list[tuple[str, int, int]]:
                seen = []
                async with await client.subscribe_to_all() as subscription:
                    async for one in subscription:
                        seen.append((one.stream_name, one.stream_position, one.commit_position or 0))
                        if len(seen) == 200:
                            break
                return seen

            readers = [asyncio.create_task(read()) for _ in range(3)]
            await asyncio.gather(*(write(f"writer-{number}") for number in range(8)))
            results = await asyncio.gather(*readers)
            assert results[0] == results[1] == results[2]
            positions = [position for _, _, position in results[0]]
            assert positions == sorted(set(positions))
            for number in range(8):
                mine = [revision for stream, revision, _ in results[0] if stream == f"writer-{number}"]
                assert mine == list(range(25))
            await client.close()

    asyncio.run(run())
