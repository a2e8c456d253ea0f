"""The log on EventStoreDB when the server or the way to it fails: nothing is lost, nothing is stored twice,
and the person is told what to do."""

from __future__ import annotations

import asyncio
import datetime
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.esdb_connection import Client
from adapters.esdb_errors import UntrustedStoreError
from adapters.esdb_log import EventStoreDBLog
from adapters.esdb_node.node import Node, NodeOptions, node_in_thread
from adapters.esdb_node.tls import make_certificate
from domain.errors import InvalidError, MalformedError, TallystickError
from ledger.errors import ClosedError, UnreachableStoreError
from ledger.ports import Record
from tests.adapters.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.adapters.test_esdb_log import new_ledger, open_esdb
from tests.ledger.records import make_records


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with node_in_thread(NodeOptions(port=0)) as node:
        yield node


@pytest.fixture
def proxy(node: Node) -> Iterator[FaultyProxy]:
    with faulty_proxy(node.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def tls_node() -> Iterator[Node]:
    with node_in_thread(NodeOptions(port=0, tls=True, username="an a", password="s@fe/&?")) as node:
        yield node


@pytest.fixture
def ca_file(tls_node: Node, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    assert tls_node.certificate is not None
    path.write_bytes(tls_node.certificate)
    return path


def through(proxy: FaultyProxy, options: str = "") -> str:
    return f"esdb://127.0.0.1:{proxy.port}?Tls=false{options}"


@pytest.mark.anyio
async def test_an_append_whose_answer_was_lost_is_stored_once(node: Node, proxy: FaultyProxy) -> None:
    name = new_ledger()
    async with open_esdb(through(proxy)) as log:
        await log.append(name, 0, make_records(2))
        proxy.fault = Fault.LOSE_ANSWERS
        with pytest.raises(UnreachableStoreError, match="Repeat"):
            await log.append(name, 2, make_records(3, start=2))
        assert proxy.calls_lost
        proxy.fault = Fault.NONE
        await log.append(name, 2, make_records(3, start=2))
        assert await log.size(name) == 5
    async with open_esdb(node.uri) as direct:
        assert await direct.read(name, 2, 10) == make_records(3, start=2)


@pytest.mark.anyio
async def test_an_append_whose_request_was_lost_can_be_repeated(proxy: FaultyProxy) -> None:
    name = new_ledger()
    async with open_esdb(through(proxy)) as log:
        await log.append(name, 0, make_records(2))
        proxy.fault = Fault.LOSE_REQUESTS
        proxy.drop()
        with pytest.raises(UnreachableStoreError, match="not reachable"):
            await log.append(name, 2, make_records(3, start=2))
        proxy.fault = Fault.NONE
        assert await log.size(name) == 2
        await log.append(name, 2, make_records(3, start=2))
        assert await log.size(name) == 5


@pytest.mark.anyio
async def test_a_connection_that_breaks_once_is_not_even_noticed(proxy: FaultyProxy) -> None:
    name = new_ledger()
    async with open_esdb(through(proxy)) as log:
        for index in range(0, 10, 2):
            await log.append(name, index, make_records(2, start=index))
            proxy.drop()
            assert len(await log.read(name, 0, 100)) == index + 2
            proxy.drop()
        assert await log.size(name) == 10


@pytest.mark.anyio
async def test_a_follower_goes_on_after_what_it_processed_when_the_connection_was_lost(
    node: Node, proxy: FaultyProxy
) -> None:
    name = new_ledger()
    seen: list[Record] = []
    async with open_esdb(through(proxy)) as log, open_esdb(node.uri) as writer:
        follower = log.follow(name, 0)
        for start in range(0, 12, 3):
            waiting = asyncio.create_task(anext(follower))
            await asyncio.sleep(0.05)
            proxy.drop()
            if start == 6:
                proxy.fault = Fault.REFUSE
                await asyncio.sleep(0.2)
            await writer.append(name, start, make_records(3, start=start))
            proxy.fault = Fault.NONE
            seen += await asyncio.wait_for(waiting, 20)
            while len(seen) < start + 3:
                seen += await asyncio.wait_for(anext(follower), 20)
    assert [record.index for record in seen] == list(range(12))


@pytest.mark.anyio
async def test_a_peer_that_went_silent_is_noticed_by_keep_alive(node: Node, proxy: FaultyProxy) -> None:
    """Without it the follower would wait on the dead connection for ever: nothing tells it."""
    name = new_ledger()
    uri = through(proxy, "&KeepAliveInterval=100&KeepAliveTimeout=200")
    async with open_esdb(uri) as log, open_esdb(node.uri) as writer:
        await writer.append(name, 0, make_records(1))
        follower = log.follow(name, 1)
        waiting = asyncio.create_task(anext(follower))
        await asyncio.sleep(0.2)
        proxy.go_deaf()
        await writer.append(name, 1, make_records(1, start=1))
        (record,) = await asyncio.wait_for(waiting, 30)
        assert record.index == 1


@pytest.mark.anyio
async def test_a_server_that_is_restarted_is_found_again_with_all_it_acknowledged(tmp_path: Path) -> None:
    name = new_ledger()
    with node_in_thread(NodeOptions(port=0, path=tmp_path / "node.db")) as first:
        port, uri = first.port, first.uri
        log = EventStoreDBLog(uri)
        await log.append(name, 0, make_records(3))
    with pytest.raises(UnreachableStoreError):
        await log.append(name, 3, make_records(1, start=3))
    with node_in_thread(NodeOptions(port=port, path=tmp_path / "node.db")):
        await asyncio.sleep(0.2)
        for _ in range(20):
            try:
                await log.append(name, 3, make_records(1, start=3))
                break
            except UnreachableStoreError:
                await asyncio.sleep(0.2)
        assert [record.index for record in await log.read(name, 0, 10)] == [0, 1, 2, 3]
        await log.close()


@pytest.mark.anyio
async def test_a_server_that_is_not_there_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with open_esdb(f"esdb://127.0.0.1:{port}?Tls=false") as log:
        for work in (
            log.append("ledger-a", 0, make_records(1)),
            log.read("ledger-a", 0, 1),
            log.ledgers(),
        ):
            with pytest.raises(UnreachableStoreError, match=f"127.0.0.1:{port}.*Start it"):
                await work


@pytest.mark.anyio
async def test_a_cluster_that_cannot_be_discovered_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    uri = f"esdb+discover://127.0.0.1:{port}?Tls=false&MaxDiscoverAttempts=1&GossipTimeout=1"
    async with open_esdb(uri) as log:
        with pytest.raises(UnreachableStoreError, match=str(port)):
            await log.size("ledger-a")


@pytest.mark.anyio
async def test_a_cluster_is_discovered(node: Node) -> None:
    name = new_ledger()
    async with open_esdb(f"esdb+discover://127.0.0.1:{node.port}?Tls=false") as log:
        await log.append(name, 0, make_records(2))
        assert await log.read(name, 0, 5) == make_records(2)


@pytest.mark.anyio
async def test_a_server_that_does_not_answer_is_given_up_in_time(proxy: FaultyProxy) -> None:
    name = new_ledger()
    async with open_esdb(through(proxy, "&DefaultDeadline=1&KeepAliveInterval=-1")) as log:
        await log.append(name, 0, make_records(1))
        proxy.go_deaf()
        with pytest.raises(UnreachableStoreError, match=r"in time.*<= 1 s"):
            await log.append(name, 1, make_records(1, start=1))


@pytest.mark.anyio
async def test_tls_and_credentials_come_from_the_connection_string(tls_node: Node, ca_file: Path) -> None:
    name = new_ledger()
    uri = f"esdb://an%20a:s%40fe%2F%26%3F@127.0.0.1:{tls_node.port}?tlsCAFile={ca_file}"
    async with open_esdb(uri) as log:
        records = make_records(4)
        await log.append(name, 0, records[:2])
        assert await log.read(name, 0, 5) == records[:2]
        waiting = asyncio.create_task(anext(log.follow(name, 2)))
        await asyncio.sleep(0.05)
        await log.append(name, 2, records[2:])
        assert list(await asyncio.wait_for(waiting, 20)) == records[2:]
        assert name in await log.ledgers()
        assert await log.check_storage(name) == []


@pytest.mark.anyio
@pytest.mark.parametrize("keep_alive", ["", "&keepAliveInterval=50&keepAliveTimeout=500"])
async def test_keep_alive_goes_with_tls(tls_node: Node, ca_file: Path, keep_alive: str) -> None:
    uri = f"esdb://an%20a:s%40fe%2F%26%3F@localhost:{tls_node.port}?tlsCaFile={ca_file}{keep_alive}"
    name = new_ledger()
    async with open_esdb(uri) as log:
        waiting = asyncio.create_task(anext(log.follow(name, 0)))
        await asyncio.sleep(0.4)
        await log.append(name, 0, make_records(1))
        assert list(await asyncio.wait_for(waiting, 20)) == make_records(1)


@pytest.mark.anyio
async def test_a_clients_certificate_is_read_from_the_files_that_are_named(
    tls_node: Node, ca_file: Path, tmp_path: Path
) -> None:
    certificate, key = make_certificate(("client.local",), datetime.datetime.now(datetime.UTC))
    (tmp_path / "user.pem").write_bytes(certificate)
    (tmp_path / "user.key").write_bytes(key)
    uri = (
        f"esdb://an%20a:s%40fe%2F%26%3F@127.0.0.1:{tls_node.port}?tlsCaFile={ca_file}"
        f"&userCertFile={tmp_path / 'user.pem'}&userKeyFile={tmp_path / 'user.key'}"
    )
    client = Client(uri)
    assert (client.certificate_chain, client.private_key) == (certificate, key)
    async with open_esdb(uri) as log:
        assert await log.size(new_ledger()) == 0
        assert await log.read(new_ledger(), 0, 1) == []


@pytest.mark.anyio
async def test_a_wrong_password_is_said_to_be_one(tls_node: Node, ca_file: Path) -> None:
    async with open_esdb(f"esdb://admin:wrong@127.0.0.1:{tls_node.port}?tlsCaFile={ca_file}") as log:
        for work in (
            log.append("ledger-a", 0, make_records(1)),
            log.read("ledger-a", 0, 1),
            log.size("ledger-a"),
        ):
            with pytest.raises(UntrustedStoreError, match="refused the credentials") as caught:
                await work
            assert "wrong" not in str(caught.value)


@pytest.mark.anyio
async def test_a_certificate_nobody_vouches_for_is_not_trusted(tls_node: Node) -> None:
    async with open_esdb(f"esdb://admin:changeit@127.0.0.1:{tls_node.port}") as log:
        for work in (log.size("ledger-a"), log.read("ledger-a", 0, 1)):
            with pytest.raises(TallystickError, match=r"tlsCaFile|tls=false"):
                await work


@pytest.mark.parametrize(
    "uri",
    [
        "esdb://",
        "http://127.0.0.1:2113",
        "esdb://127.0.0.1:2113",
        "esdb://admin:hunter2@127.0.0.1:2113?tls=perhaps",
        "esdb://admin:hunter2@127.0.0.1:2113?colour=red",
        "esdb://admin:hunter2@127.0.0.1:2113?tlsVerifyCert=false",
        "esdb://admin:hunter2@127.0.0.1:2113?userCertFile=/etc/hosts",
        "esdb://admin:hunter2@127.0.0.1:port",
        "esdb://admin:hunter2@127.0.0.1:99999",
        "esdb://admin:hunter2@127.0.0.1:2113?KeepAliveInterval=soon",
        "esdb+discover://admin:hunter2@one:2113,two:2113",
    ],
)
def test_a_connection_string_that_cannot_be_used_is_refused_without_its_password(uri: str) -> None:
    with pytest.raises(MalformedError) as caught:
        EventStoreDBLog(uri)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("option", ["tlsCaFile", "userCertFile"])
def test_a_missing_certificate_file_is_named(option: str, tmp_path: Path) -> None:
    path = tmp_path / "missing.pem"
    both = f"&userKeyFile={path}" if option == "userCertFile" else ""
    with pytest.raises(InvalidError, match=r"missing\.pem"):
        EventStoreDBLog(f"esdb://admin:changeit@127.0.0.1:2113?{option}={path}{both}")


@pytest.mark.anyio
async def test_a_closed_log_says_so(node: Node) -> None:
    log = EventStoreDBLog(node.uri)
    assert await log.size("ledger-a") == 0
    await log.close()
    await log.close()
    with pytest.raises(ClosedError, match="closed"):
        await log.size("ledger-a")
