"""Two machines work one ledger off together: each run is computed once, and none is lost with a machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from adapters.esdb_log import EventStoreDBLog
from adapters.esdb_node.node import NodeOptions, node_in_thread
from adapters.esdb_subscriptions import EventStoreDBWorkQueue
from adapters.setup_files import parse_setup
from adapters.sqlite_work_queue import SQLiteWorkQueue
from api.demo import DATA
from api.settings import settings_from
from api.setup import apply_setup
from api.workplace import open_workplace
from domain.events import BatchIngested, ReceiptIssued
from domain.flow import DeriveDataset, ExecuteRun, StartRun
from ledger.audit import audit
from ledger.desk import Desk
from ledger.errors import RefusedByStoreError
from ledger.ingest import Upload, ingest
from ledger.shared_work import FLOW, cause_of, work_together
from ledger.work_queue import WorkQueue
from ledger.worker import Stuck
from tests.story.told import TENANT, payload_upload

PATIENCE_SECONDS = 60
NIGHT = "sleep_2026-03-29_final.json"


@pytest.fixture(params=["SQLite", "EventStoreDB"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "SQLite":
        yield str(tmp_path / "home" / "ledgers")
        return
    with node_in_thread(NodeOptions(port=0)) as node:
        yield node.uri


class Machine:
    """A desk with a queue, and how many tasks its executor was given; ``before`` is awaited before each."""

    def __init__(self, desk: Desk, queue: WorkQueue) -> None:
        self.ran: list[str] = []
        self.stuck: list[Stuck] = []
        self.before: Callable[[], Awaitable[None]] = _nothing
        self.queue = queue
        self._executor = desk.executor
        self.desk = replace(desk, executor=self)
        self._task: asyncio.Task[None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    async def run(self, task: Any) -> Any:
        self.ran.append(task.procedure)
        await self.before()
        return await self._executor.run(task)

    def start(self) -> None:
        self._task = asyncio.create_task(work_together(self.desk, self.queue, self.stuck.append))

    async def die(self) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def _nothing() -> None:
    pass


@asynccontextmanager
async def machines(store: str, home: Path, count: int) -> AsyncIterator[list[Machine]]:
    """Machines with the demo's setup in one ledger of the store; what one has in its home they all have."""
    async with AsyncExitStack() as stack:
        found = []
        for number in range(count):
            settings = settings_from({}, home=str(home), store=store, tenant=TENANT)
            workplace = await stack.enter_async_context(open_workplace(settings))
            desk = await workplace.desk()
            if number == 0:
                setup = parse_setup((DATA / "setup.yaml").read_bytes(), "setup.yaml")
                await apply_setup(desk, setup, lambda name: (DATA / name).read_bytes(), "test")
            log = workplace.log
            queue: WorkQueue = (
                EventStoreDBWorkQueue(log.connection, lease_seconds=PATIENCE_SECONDS, buffer_records=64)
                if isinstance(log, EventStoreDBLog)
                else SQLiteWorkQueue(home / "queue", log, lease_seconds=PATIENCE_SECONDS)
            )
            found.append(Machine(desk, queue))
        yield found
        for machine in found:
            with contextlib.suppress(AssertionError):
                await machine.die()
            await machine.queue.close()


def nights(count: int) -> list[Upload]:
    """So many different nights."""
    upload = payload_upload(NIGHT)
    document = msgspec.json.decode(upload.data)
    uploads = []
    for number in range(count):
        document["data"][0]["id"] = f"{document['data'][0]['id'][:-4]}{number:04}"
        uploads.append(replace(upload, data=msgspec.json.encode(document)))
    return uploads


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await is_so():  # noqa: ASYNC110 - another task, or another machine, makes it so
            await asyncio.sleep(0.02)


async def receipt_count(desk: Desk) -> int:
    await desk.ledger.catch_up()
    records = await desk.ledger.read(0, 1_000)
    return sum(record.event_type == ReceiptIssued.TYPE for record in records)


def settled(machine: Machine, count: int) -> Callable[[], Awaitable[bool]]:
    """Everything has its receipt, and the queue knows that all is done."""

    async def look() -> bool:
        ledger = machine.desk.ledger
        if await receipt_count(machine.desk) < count or ledger.pending:
            return False
        return await machine.queue.position(ledger.name, FLOW) == ledger.size

    return look


@pytest.mark.anyio
async def test_two_machines_compute_every_run_once(store: str, tmp_path: Path) -> None:
    async with machines(store, tmp_path / "home", 2) as (one, other):
        uploads = nights(8)
        for upload in uploads[:4]:
            await ingest(one.desk, upload, "test")
        one.start()
        other.start()
        for upload in uploads[4:]:
            await ingest(other.desk, upload, "test")
        await until(settled(one, 8))
        assert len(one.ran) + len(other.ran) == 8
        assert one.stuck == other.stuck == []
        report = await audit(one.desk.ledger.log, one.desk.ledger.name, vault=one.desk.vault)
        assert report.is_clean
        assert report.receipt_count == 8


@pytest.mark.anyio
async def test_what_a_machine_held_that_died_is_done_by_another(store: str, tmp_path: Path) -> None:
    async with machines(store, tmp_path / "home", 2) as (dying, other):
        begun = asyncio.Event()

        async def hang() -> None:
            begun.set()
            await asyncio.Event().wait()

        dying.before = hang
        dying.start()
        await ingest(dying.desk, nights(1)[0], "test")
        await asyncio.wait_for(begun.wait(), PATIENCE_SECONDS)
        await dying.die()
        other.start()
        await until(settled(other, 1))
        assert (len(dying.ran), len(other.ran)) == (1, 1)


@pytest.mark.anyio
async def test_what_fails_is_told_and_tried_again_and_holds_up_nobody(store: str, tmp_path: Path) -> None:
    async with machines(store, tmp_path / "home", 1) as (machine,):
        failures = iter([OSError("no space left on device")])

        async def fail_once() -> None:
            for error in failures:
                raise error

        machine.before = fail_once
        machine.start()
        for upload in nights(3):
            await ingest(machine.desk, upload, "test")
        await until(settled(machine, 3))
        assert [str(stuck.error) for stuck in machine.stuck] == ["no space left on device"]
        assert len(machine.ran) == 4


@pytest.mark.anyio
async def test_work_that_was_left_over_before_there_was_a_queue_is_found(store: str, tmp_path: Path) -> None:
    async with machines(store, tmp_path / "home", 1) as (machine,):
        for upload in nights(2):
            await ingest(machine.desk, upload, "test")
        first = min(map(cause_of, machine.desk.ledger.pending))
        machine.start()
        await until(settled(machine, 2))
        record, _ = await machine.desk.ledger.get(first)
        assert record.event_type == BatchIngested.TYPE


@pytest.mark.anyio
async def test_a_store_that_refuses_queues_is_worked_off_without_one(tmp_path: Path) -> None:
    class Refused(SQLiteWorkQueue):
        @asynccontextmanager
        async def work(self, ledger: str, destination: str, *, start: int = 0) -> AsyncIterator[Any]:
            raise RefusedByStoreError("access denied")
            yield

    store = str(tmp_path / "home" / "ledgers")
    async with machines(store, tmp_path / "home", 1) as (machine,):
        machine.queue = Refused(tmp_path / "refused", machine.desk.ledger.log)
        machine.start()
        await ingest(machine.desk, nights(1)[0], "test")

        async def is_done() -> bool:
            return await receipt_count(machine.desk) == 1

        await until(is_done)


def test_every_command_is_asked_for_by_the_entry_that_completed_what_it_needs() -> None:
    assert cause_of(DeriveDataset("b", 7)) == 7
    assert cause_of(StartRun(1, (5, 9))) == 9
    assert cause_of(ExecuteRun("run-1", 11)) == 11
