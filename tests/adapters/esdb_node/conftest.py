from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from esdbclient import EventStoreDBClient
from esdbclient.protos.Grpc.streams_pb2_grpc import StreamsStub

from adapters.esdb_node.node import Node
from tests.adapters.esdb_node.fixture import memory_node

__all__ = ["memory_node"]


@pytest.fixture
def client(memory_node: Node) -> Iterator[EventStoreDBClient]:
    """esdbclient, connected to the node that the whole session shares; streams have names of their own."""
    with EventStoreDBClient(memory_node.uri) as connected:
        yield connected


@pytest.fixture
def streams(memory_node: Node) -> Iterator[StreamsStub]:
    """The bare stub, for what esdbclient cannot ask."""
    with grpc.insecure_channel(f"127.0.0.1:{memory_node.port}") as channel:
        yield StreamsStub(channel)
