"""The node as a whole: what it says about itself, who may call, TLS, starting and stopping."""

from __future__ import annotations

import asyncio
import datetime
import re
import sqlite3
import ssl
from pathlib import Path

import esdbclient
import grpc
import pytest
from esdbclient import EventStoreDBClient
from esdbclient.exceptions import FollowerNotFound, ServiceUnavailable
from esdbclient.gossip import NODE_STATE_LEADER
from esdbclient.protos.Grpc import (
    cluster_pb2,
    cluster_pb2_grpc,
    gossip_pb2,
    persistent_pb2,
    projections_pb2,
    shared_pb2,
    streams_pb2,
)

from adapters.esdb_node.node import Node, NodeOptions, node_in_thread
from adapters.esdb_node.tls import make_certificate
from domain.errors import ConflictError, InvalidError
from tests.adapters.esdb_node.events import NO_STREAM, event, name
from tests.adapters.esdb_node.wire_client import WireClient

FEATURES = "/event_store.client.server_features.ServerFeatures/GetSupportedMethods"


def supported(node: Node) -> bytes:
    with WireClient(node.port) as wire:
        wire.call(1, FEATURES, b"")
        return wire.answer(1)[0][0]


def test_every_method_of_the_shipped_services_is_there_but_projections_and_elections(
    memory_node: Node,
) -> None:
    offered = supported(memory_node)
    for module in (streams_pb2, persistent_pb2, gossip_pb2, projections_pb2, cluster_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                line = (
                    f"{method.name.lower()}".encode()
                    + b"\x12"
                    + bytes([len(service.full_name)])
                    + service.full_name.lower().encode()
                )
                assert (line in offered) == (service.name not in ("Projections", "Elections")), (
                    method.full_name
                )


def test_the_version_is_one_that_clients_can_compare(memory_node: Node) -> None:
    assert re.search(rb"\x12.\d+\.\d+\.\d+$", supported(memory_node))


def test_gossip_knows_one_leader(memory_node: Node, client: EventStoreDBClient) -> None:
    (member,) = client.read_gossip()
    assert (member.state, member.address, member.port) == (NODE_STATE_LEADER, "127.0.0.1", memory_node.port)
    with grpc.insecure_channel(f"127.0.0.1:{memory_node.port}") as channel:
        (other,) = cluster_pb2_grpc.GossipStub(channel).Read(shared_pb2.Empty()).members
    assert other.http_end_point.port == memory_node.port


def test_a_client_may_discover_the_node(memory_node: Node) -> None:
    uri = f"esdb+discover://127.0.0.1:{memory_node.port}?Tls=false&MaxDiscoverAttempts=1&DiscoveryInterval=0"
    with EventStoreDBClient(uri) as client:
        client.append_to_stream(name(), current_version=NO_STREAM, events=event())
    with pytest.raises(FollowerNotFound):
        EventStoreDBClient(f"{uri}&NodePreference=follower")


def test_projections_are_unimplemented(client: EventStoreDBClient) -> None:
    with pytest.raises(esdbclient.exceptions.GrpcError) as refused:
        client.create_projection(name=name(), query="fromAll()")
    (error,) = refused.value.args
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "JavaScript projections" in error.details()


def test_on_tls_the_right_password_is_needed_and_gossip_is_open(tmp_path: Path) -> None:
    stream, options = name(), NodeOptions(port=0, tls=True, password="s3cret", path=tmp_path / "node.db")
    with node_in_thread(options) as node:
        assert node.certificate is not None
        root = node.certificate.decode()
        with EventStoreDBClient(node.uri, root_certificates=root) as client:
            client.append_to_stream(stream, current_version=NO_STREAM, events=event())
            assert len(client.get_stream(stream)) == 1
        with EventStoreDBClient(node.uri.replace("s3cret", "guess"), root_certificates=root) as client:
            with pytest.raises(esdbclient.exceptions.GrpcError) as refused:
                client.get_stream(stream)
            assert refused.value.args[0].code() is grpc.StatusCode.UNAUTHENTICATED
        channel = grpc.secure_channel(
            f"localhost:{node.port}", grpc.ssl_channel_credentials(node.certificate)
        )
        with channel:
            gossip = channel.unary_unary("/event_store.client.gossip.Gossip/Read")
            assert gossip(b"")
            with pytest.raises(grpc.RpcError) as nobody:
                list(channel.unary_stream("/event_store.client.streams.Streams/Read")(b""))
        assert nobody.value.code() is grpc.StatusCode.PERMISSION_DENIED
        with (
            EventStoreDBClient(f"esdb://127.0.0.1:{node.port}?Tls=false") as client,
            pytest.raises(ServiceUnavailable),
        ):
            client.get_stream(stream)


def test_a_given_certificate_is_served(tmp_path: Path) -> None:
    with node_in_thread(NodeOptions(port=0, tls=True)) as first:
        made = first.certificate
    assert made is not None
    certificate, key = make_certificate(("localhost",), datetime.datetime.now(datetime.UTC))
    (tmp_path / "c.pem").write_bytes(certificate)
    (tmp_path / "k.pem").write_bytes(key)
    options = NodeOptions(port=0, tls=True, certificate_path=tmp_path / "c.pem", key_path=tmp_path / "k.pem")
    with node_in_thread(options) as node:
        served = ssl.get_server_certificate(("127.0.0.1", node.port))
    assert ssl.PEM_cert_to_DER_cert(served) == ssl.PEM_cert_to_DER_cert(certificate.decode())


def test_a_log_has_one_node(tmp_path: Path) -> None:
    options = NodeOptions(port=0, path=tmp_path / "node.db")
    with node_in_thread(options), pytest.raises(ConflictError), node_in_thread(options):
        pass
    with node_in_thread(options):
        pass


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(InvalidError), node_in_thread(NodeOptions(port=0, path=path)):
        pass


def test_a_port_that_is_taken_is_an_error_and_leaves_the_log_free(memory_node: Node, tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    with pytest.raises(OSError), node_in_thread(NodeOptions(port=memory_node.port, path=path)):
        pass
    with node_in_thread(NodeOptions(port=0, path=path)):
        pass


def test_a_node_that_stops_ends_its_calls(tmp_path: Path) -> None:
    with node_in_thread(NodeOptions(port=0)) as node:
        client = EventStoreDBClient(node.uri)
        subscription = client.subscribe_to_all()
    with pytest.raises(ServiceUnavailable):
        list(subscription)
    client.close()


def test_a_node_runs_in_any_event_loop() -> None:
    async def run() -> None:
        async with Node(NodeOptions(port=0, advertise_host="localhost")) as node:
            assert node.uri == f"esdb://localhost:{node.port}?Tls=false"

    asyncio.run(run())


def test_the_node_says_what_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with node_in_thread(NodeOptions(port=0, tls=True, password="s3cret")):
        pass
    assert "development node (not EventStoreDB, not for production)" in caplog.text
    assert "s3cret" not in caplog.text
