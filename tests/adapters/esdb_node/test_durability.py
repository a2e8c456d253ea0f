"""What was acknowledged is there after a crash, and what could not be written was not acknowledged."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from esdbclient import AsyncEventStoreDBClient, EventStoreDBClient
from esdbclient.exceptions import EventStoreDBClientException, ServiceUnavailable, UnknownError

from adapters.esdb_node.node import Node, NodeOptions, node_in_thread
from adapters.esdb_node.record import event_id
from adapters.esdb_node.records_file import RecordsFile
from adapters.esdb_node.store import Store
from adapters.esdb_node.streams import ANY, NO_STREAM, Appended, Proposed, WrongVersion
from adapters.esdb_node.wire_errors import WireError
from tests.adapters.esdb_node import events

NODE = """
import asyncio, sys
from pathlib import Path
from adapters.esdb_node.node import Node, NodeOptions
async def main():
    async with Node(NodeOptions(path=Path(sys.argv[1]), port=0)) as node:
        print(node.port, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def proposed(number: int, size: int = 10) -> Proposed:
    return Proposed(str(UUID(int=number)), "T", "application/json", b"", bytes(size))


def test_a_node_that_is_killed_has_all_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    acknowledged: dict[UUID, tuple[str, int]] = {}
    for seconds in (0.6, 0.4):
        node = subprocess.Popen([sys.executable, "-c", NODE, str(path)], stdout=subprocess.PIPE, text=True)
        assert node.stdout is not None
        port = int(node.stdout.readline())
        asyncio.run(write_until_killed(port, node, seconds, acknowledged))
        node.wait()
        node.stdout.close()
    assert len(acknowledged) > 50
    with node_in_thread(NodeOptions(path=path, port=0)) as again, EventStoreDBClient(again.uri) as client:
        found = {one.id: (one.stream_name, one.commit_position) for one in client.read_all()}
        for stream in {stream for stream, _ in acknowledged.values()}:
            revisions = [one.stream_position for one in client.get_stream(stream)]
            assert revisions == list(range(len(revisions)))
    assert {one: found.get(one) for one in acknowledged} == acknowledged


async def write_until_killed(
    port: int, node: subprocess.Popen[str], seconds: float, acknowledged: dict[UUID, tuple[str, int]]
) -> None:
    client = AsyncEventStoreDBClient(f"esdb://127.0.0.1:{port}?Tls=false")
    await client.connect()

    async def write(stream: str, batch: bool) -> None:
        while True:
            new = [events.event() for _ in range(3 if batch else 1)]
            try:
                position = await client.append_to_stream(
                    stream, current_version=events.ANY, events=new if batch else new[0], timeout=5
                )
            except EventStoreDBClientException:
                return
            acknowledged[new[-1].id] = (stream, position)

    writers = [asyncio.create_task(write(f"stream-{number}", number % 2 == 0)) for number in range(6)]
    await asyncio.sleep(seconds)
    os.kill(node.pid, signal.SIGKILL)
    await asyncio.wait(writers, timeout=10)
    for writer in writers:
        writer.cancel()
    await client.close()


def test_a_full_log_refuses_appends_and_loses_nothing(tmp_path: Path) -> None:
    path, stream, acknowledged = tmp_path / "node.db", events.name(), 0
    with (
        node_in_thread(NodeOptions(path=path, port=0, log_bytes_max=400_000)) as node,
        EventStoreDBClient(node.uri) as client,
    ):
        for number in range(20):
            new = events.event("Big", bytes(50_000))
            try:
                client.append_to_stream(stream, current_version=events.ANY, events=new)
            except ServiceUnavailable:
                break
            acknowledged = number + 1
        assert 0 < acknowledged < 20
        assert len(client.get_stream(stream)) == acknowledged
        with pytest.raises(UnknownError):
            client.append_to_stream(stream, current_version=acknowledged - 1, events=[new])
    with node_in_thread(NodeOptions(path=path, port=0)) as node, EventStoreDBClient(node.uri) as client:
        client.append_to_stream(stream, current_version=acknowledged - 1, events=new)
        assert [one.stream_position for one in client.get_stream(stream)] == list(range(acknowledged + 1))


def test_appends_that_wait_for_one_commit_share_it_and_its_failure(tmp_path: Path) -> None:
    class FailingFile(RecordsFile):
        failing = False

        def commit(self) -> None:
            if self.failing:
                raise OSError(5, "Input/output error")
            super().commit()

    async def run() -> None:
        store = Store(tmp_path / "node.db")
        store.file.close()
        file = store.file = FailingFile(tmp_path / "node.db")
        await store.start()
        taken = [store.append("a", number - 1, [proposed(number)]) for number in range(3)]
        flushes = {one.flush for one in taken}
        assert len(flushes) == 1
        await store.settled()
        before = (store.next_position, store.last_position)
        file.failing = True
        lost = store.append("a", 2, [proposed(7)])
        conflict = store.append("a", 2, [proposed(8)])
        assert isinstance(lost, Appended)
        assert isinstance(conflict, WrongVersion)
        for one in (lost, conflict):
            assert one.flush is not None
            with pytest.raises(WireError):
                await one.flush.wait()
        assert (store.next_position, store.last_position) == before
        file.failing = False
        again = store.append("a", 2, [proposed(7)])
        new = store.append("b", NO_STREAM, [proposed(9)])
        assert isinstance(again, Appended)
        assert isinstance(new, Appended)
        await store.settled()
        assert again.revision == 3
        stream = store.stream("a")
        assert stream.stream_id is not None
        rows = file.stream_forwards(stream.stream_id, 0, 9, 100)
        assert [event_id(row[5]) for row in rows] == [str(UUID(int=number)) for number in (0, 1, 2, 7)]
        await store.stop()

    asyncio.run(run())


def test_a_retry_is_recognised_after_a_restart(tmp_path: Path) -> None:
    path, stream, new = tmp_path / "node.db", events.name(), events.events(3)
    with node_in_thread(NodeOptions(path=path, port=0)) as node, EventStoreDBClient(node.uri) as client:
        position = client.append_to_stream(stream, current_version=events.ANY, events=new)
    with node_in_thread(NodeOptions(path=path, port=0)) as node, EventStoreDBClient(node.uri) as client:
        for expected in (events.ANY, events.NO_STREAM):
            assert client.append_to_stream(stream, current_version=expected, events=new) == position
        assert len(client.get_stream(stream)) == 3


def test_streams_that_are_not_cached_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.esdb_node.store.STREAMS_CACHED_MAX", 4)

    async def run() -> None:
        store = Store(tmp_path / "node.db")
        await store.start()
        for turn in range(3):
            for number in range(12):
                taken = store.append(f"s-{number}", turn - 1, [proposed(100 * turn + number)])
                assert isinstance(taken, Appended)
                await store.settled()
        assert [store.stream(f"s-{number}").last_revision for number in range(12)] == [2] * 12
        assert isinstance(store.append("s-0", ANY, [proposed(0)]), Appended)
        assert store.stream("s-0").last_revision == 2
        await store.stop()

    asyncio.run(run())


def test_records_cannot_be_changed_even_with_the_file_at_hand(tmp_path: Path) -> None:
    async def run() -> None:
        async with Node(NodeOptions(path=tmp_path / "node.db", port=0)):
            pass

    asyncio.run(run())
    database = sqlite3.connect(tmp_path / "node.db")
    for statement in ("DELETE FROM records", "UPDATE records SET revision = 7"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            database.execute(statement)
    database.close()
