"""Work queues on both stores: the contract, and what each store adds to it."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from adapters import esdb_subscriptions, sqlite_work_queue
from adapters.esdb_log import EventStoreDBLog
from adapters.esdb_node.node import Node, NodeOptions, node_in_thread
from adapters.esdb_subscriptions import EventStoreDBWorkQueue
from adapters.event_logs import open_work_queue
from adapters.sqlite_log import SQLiteLog
from adapters.sqlite_work_queue import SQLiteWorkQueue
from domain.errors import InvalidError, LimitError
from ledger.errors import UnreachableStoreError
from ledger.ports import EventLog
from ledger.work_queue import WorkQueue
from tests.adapters.esdb_node.fixture import esdb_uri
from tests.adapters.faulty_proxy import faulty_proxy
from tests.contracts.work_queue_contract import WorkQueueContract, take, take_and_finish, until
from tests.ledger.records import make_records

__all__ = ["esdb_uri"]


def new_ledger() -> str:
    return f"ledger-{uuid4()}"


class TestSQLiteWorkQueue(WorkQueueContract):
    def ledger(self) -> str:
        return new_ledger()

    @asynccontextmanager
    async def open_queue(self, place: Path) -> AsyncIterator[tuple[WorkQueue, EventLog]]:
        log = SQLiteLog(place / "log")
        queue = SQLiteWorkQueue(place / "queue", log, lease_seconds=1.0)
        yield queue, log
        await queue.close()
        await log.close()


@pytest.mark.usefixtures("_uri")
class TestEventStoreDBWorkQueue(WorkQueueContract):
    uri = ""

    @pytest.fixture
    def _uri(self, esdb_uri: str) -> None:
        self.uri = esdb_uri

    def ledger(self) -> str:
        return new_ledger()

    @asynccontextmanager
    async def open_queue(self, place: Path) -> AsyncIterator[tuple[WorkQueue, EventLog]]:
        async with open_on(self.uri) as found:
            yield found


@asynccontextmanager
async def open_on(uri: str) -> AsyncIterator[tuple[WorkQueue, EventLog]]:
    log = EventStoreDBLog(uri)
    yield EventStoreDBWorkQueue(log.connection, lease_seconds=1.0), log
    await log.close()


@pytest.mark.anyio
async def test_a_worker_goes_on_after_its_connection_was_lost() -> None:
    with node_in_thread(NodeOptions(port=0)) as node, faulty_proxy(node.port) as proxy:
        async with open_on(f"esdb://127.0.0.1:{proxy.port}?Tls=false") as (queue, log):
            name = new_ledger()
            await log.append(name, 0, make_records(6))
            async with queue.work(name, "a") as session:
                held = await take(session)
                await session.done(await take(session))
                proxy.drop()
                finished: set[int] = set()
                while not finished >= {0, 2, 3, 4, 5}:
                    item = await take(session)
                    finished.add(item.record.index)
                    await session.done(item)
                await session.done(held)
                await until(lambda: _is_at(queue, name, 6))


@pytest.mark.anyio
async def test_a_server_that_was_restarted_hands_out_what_was_not_done(tmp_path: Path) -> None:
    options = NodeOptions(port=0, path=tmp_path / "node.db")
    name = new_ledger()
    with node_in_thread(options) as node:
        async with open_on(node.uri) as (queue, log):
            await log.append(name, 0, make_records(10))
            async with queue.work(name, "a") as session:
                await take_and_finish(session, 4)
                await until(lambda: _is_at(queue, name, 4))
    with node_in_thread(options) as node:
        async with open_on(node.uri) as (queue, _), queue.work(name, "a") as session:
            items = await take_and_finish(session, 6)
            assert [item.record.index for item in items] == [4, 5, 6, 7, 8, 9]


@pytest.mark.anyio
async def test_while_a_server_is_gone_nobody_waits_for_ever_and_nothing_seems_to_be_missing(
    tmp_path: Path,
) -> None:
    options = NodeOptions(port=0, path=tmp_path / "node.db")
    name = new_ledger()
    with node_in_thread(options) as node:
        port = node.port
        log = EventStoreDBLog(f"esdb://127.0.0.1:{port}?tls=false&defaultDeadline=1")
        queue = EventStoreDBWorkQueue(log.connection)
        await log.append(name, 0, make_records(1))
        working = [queue.work(name, destination) for destination in ("a", "b", "c")]
        sessions = [await each.__aenter__() for each in working]
        for session in sessions:
            await take_and_finish(session, 1)
    for _ in range(10):
        # Whoever finds the server gone connects anew, while workers try to subscribe over the old connection.
        asked = [asyncio.wait_for(call, 30) for call in (log.size(name), log.read(name, 0, 1))]
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(answer, UnreachableStoreError), repr(answer)
        await asyncio.sleep(0.02)
    with node_in_thread(NodeOptions(port=port, path=options.path)):
        await until(lambda: _answers(log, name))
        await log.append(name, 1, make_records(1, start=1))
        for session in sessions:
            while (await take_and_finish(session, 1))[0].record.index != 1:
                pass
        for each in working:
            await asyncio.wait_for(each.__aexit__(None, None, None), 30)
    await asyncio.wait_for(log.close(), 30)


async def _answers(log: EventLog, name: str) -> bool:
    try:
        return await log.size(name) == 1
    except UnreachableStoreError:
        return False


@pytest.mark.anyio
async def test_a_worker_goes_on_when_somebody_else_connects_anew(own_node: Node) -> None:
    async with open_on(own_node.uri) as (queue, log):
        name = new_ledger()
        await log.append(name, 0, make_records(1))
        async with queue.work(name, "a") as session:
            await take_and_finish(session, 1)
            assert isinstance(log, EventStoreDBLog)
            await (await log.connection.client()).reconnect()
            await log.append(name, 1, make_records(1, start=1))
            async with asyncio.timeout(30):
                while (await take_and_finish(session, 1))[0].record.index != 1:
                    pass


@pytest.fixture
def own_node() -> Iterator[Node]:
    with node_in_thread(NodeOptions(port=0)) as node:
        yield node


@pytest.mark.anyio
async def test_a_subscription_that_somebody_deleted_is_said_to_be_gone(own_node: Node) -> None:
    async with open_on(own_node.uri) as (queue, log):
        name = new_ledger()
        await log.append(name, 0, make_records(1))
        async with queue.work(name, "a") as session:
            await take_and_finish(session, 1)
            await queue.forget(name, "a")
            for _ in range(2):
                with pytest.raises(InvalidError):
                    await take(session)


@pytest.mark.anyio
@pytest.mark.parametrize("store", ["SQLite", "EventStoreDB"])
async def test_more_workers_than_there_may_be_are_refused(
    store: str, esdb_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (esdb_subscriptions, sqlite_work_queue):
        monkeypatch.setattr(module, "WORKERS_MAX", 2)
    log = SQLiteLog(tmp_path / "log") if store == "SQLite" else EventStoreDBLog(esdb_uri)
    queue = open_work_queue(log, tmp_path / "queue")
    name = new_ledger()
    async with queue.work(name, "a"), queue.work(name, "a"):
        with pytest.raises(LimitError, match="too many workers"):
            async with queue.work(name, "a"):
                pass
        async with queue.work(name, "b"):
            pass
    async with queue.work(name, "a"):
        pass
    await queue.close()
    await log.close()


def _work_until_done(folder: str, name: str, count: int) -> None:
    async def work() -> list[int]:
        log = SQLiteLog(Path(folder, "log"))
        queue = SQLiteWorkQueue(Path(folder, "queue"), log)
        done: list[int] = []
        async with queue.work(name, "a") as session:
            while await queue.position(name, "a") < count:
                try:
                    item = await asyncio.wait_for(anext(session), 0.5)
                except TimeoutError:
                    continue
                done.append(item.record.index)
                await session.done(item)
        await queue.close()
        await log.close()
        return done

    done = asyncio.run(work())
    Path(folder, f"done-{uuid4().hex}").write_text("\n".join(map(str, done)))


def test_processes_share_the_work_of_an_embedded_ledger(tmp_path: Path) -> None:
    name = new_ledger()

    async def fill() -> None:
        log = SQLiteLog(tmp_path / "log")
        await log.append(name, 0, make_records(200))
        await log.close()

    asyncio.run(fill())
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work_until_done, args=(str(tmp_path), name, 200)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    done = [int(line) for path in tmp_path.glob("done-*") for line in path.read_text().split()]
    assert sorted(done) == list(range(200))


@pytest.mark.anyio
async def test_a_damaged_queue_file_is_a_clear_error_and_harms_no_ledger(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "log")
    await log.append("ledger-a", 0, make_records(1))
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "ledger-a.queue").write_bytes(b"this is no database" * 300)
    queue = SQLiteWorkQueue(tmp_path / "queue", log)
    with pytest.raises(InvalidError, match="delete it"):
        await queue.position("ledger-a", "a")
    await queue.close()
    assert await log.ledgers() == ["ledger-a"]
    await log.close()


async def _is_at(queue: WorkQueue, name: str, position: int) -> bool:
    return await queue.position(name, "a") == position
