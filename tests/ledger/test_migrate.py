"""Moving a ledger between stores: every byte, at any crash, or a clear refusal."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from msgspec import structs

from adapters.esdb_log import EventStoreDBLog
from adapters.esdb_node.node import NodeOptions, node_in_thread
from adapters.sqlite_log import SQLiteLog
from domain.errors import InvalidError, UnknownError
from ledger import migrate as migration
from ledger.audit import audit
from ledger.errors import LedgerConflictError, UnreachableStoreError
from ledger.ledger import ledger_name
from ledger.merkle import leaf_hash
from ledger.migrate import DivergedTargetError, MigrationReport, migrate
from ledger.policy import policy_of_log
from ledger.ports import EventLog, Record
from ledger.tlog_proof import verify_tlog_proof
from tests.adapters.esdb_node.fixture import esdb_uri
from tests.ledger.desk import TENANT, open_ledger
from tests.ledger.names_apart import NamesApart
from tests.ledger.records import make_records
from tests.ledger.test_ledger import batch

__all__ = ["esdb_uri"]

NAME = ledger_name(TENANT)
OpenStore = Callable[[str], EventLog]


@pytest.fixture
def stores(esdb_uri: str, tmp_path: Path) -> OpenStore:
    """Stores by name; those whose names begin with ``esdb`` are on EventStoreDB."""

    def open_store(name: str) -> EventLog:
        if name.startswith("esdb"):
            return NamesApart(EventStoreDBLog(esdb_uri), tmp_path / name)
        return SQLiteLog(tmp_path / name)

    return open_store


class Meddled:
    """A real store with one call of it changed."""

    def __init__(self, log: EventLog, **changed: Callable[..., Any]) -> None:
        self._log = log
        self._changed = changed

    def __getattr__(self, name: str) -> Any:
        if name in self._changed:
            return lambda *arguments: self._changed[name](self._log, *arguments)
        return getattr(self._log, name)


async def fill(log: EventLog, folder: Path, *append_counts: int, first: int = 0) -> None:
    """Real entries, in atomic appends of these sizes, after the two that open the ledger."""
    async with open_ledger(folder, log=log, index_name="source") as ledger:
        for count in append_counts:
            await ledger.record(*(batch(number) for number in range(first, first + count)))
            first += count


async def everything(log: EventLog) -> list[Record]:
    records: list[Record] = []
    while page := await log.read(NAME, len(records), 10_000):
        records += page
    return records


@asynccontextmanager
async def closing(*logs: EventLog) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for log in logs:
            await log.close()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("source_name", "target_name"), [("a", "esdb b"), ("esdb a", "b"), ("a", "b"), ("esdb a", "esdb b")]
)
async def test_a_ledger_is_the_same_to_the_byte_in_the_other_store(
    stores: OpenStore, tmp_path: Path, source_name: str, target_name: str
) -> None:
    source, target = stores(source_name), stores(target_name)
    async with closing(source, target):
        await fill(source, tmp_path, 1, 700, 1, 1, 650, 3)
        report = await migrate(source, target, NAME)
        ours = await everything(source)
        assert await everything(target) == ours
        assert report == MigrationReport(
            ledger=NAME,
            size=len(ours),
            source_size=len(ours),
            root=(await audit(source, NAME)).root,
            checkpoint=ours[-1].seal.decode(),
            copied_count=len(ours),
            seal_count=sum(bool(record.seal) for record in ours),
            receipt_count=0,
        )
        found = await audit(target, NAME)
        assert found.is_clean
        assert (found.size, found.root) == (report.size, report.root)
        again = await migrate(source, target, NAME)
        assert (again.copied_count, again.root) == (0, report.root)


@pytest.mark.anyio
async def test_proofs_from_either_store_are_the_same_and_the_ledger_goes_on(
    stores: OpenStore, tmp_path: Path
) -> None:
    source, target = stores("a"), stores("esdb b")
    async with closing(source, target):
        await fill(source, tmp_path, 300, 5)
        await migrate(source, target, NAME)
        async with (
            open_ledger(tmp_path, log=source, index_name="source") as before,
            open_ledger(tmp_path, log=target, index_name="target") as after,
        ):
            for index in (0, 1, 150, 306):
                assert before.prove(index) == after.prove(index)
            (added,) = await after.record(batch(9_999))
            assert added.index == 307
            record = (await after.read(307, 1))[0]
            verify_tlog_proof(after.prove(307), leaf_hash(record.entry), policy_of_log(after.verifier_key))
        assert (await audit(target, NAME)).is_clean


@pytest.mark.anyio
async def test_every_append_to_the_target_ends_with_a_seal(stores: OpenStore, tmp_path: Path) -> None:
    appended: list[list[Record]] = []

    async def append(log: EventLog, ledger: str, size: int, records: Sequence[Record]) -> None:
        appended.append(list(records))
        await log.append(ledger, size, records)

    source = stores("a")
    target = Meddled(stores("b"), append=append)
    async with closing(source, target):
        await fill(source, tmp_path, *[1] * 40, 600, 100, 200, *[2] * 300)
        await migrate(source, target, NAME)
        assert all(records[-1].seal and len(records) <= 1_024 for records in appended)
        assert len(appended) < 10


@pytest.mark.anyio
@pytest.mark.parametrize("is_stored", [False, True], ids=["not stored", "stored but reported lost"])
@pytest.mark.parametrize("crash", range(4))
async def test_a_migration_that_crashed_goes_on_where_the_target_ends(
    stores: OpenStore, tmp_path: Path, crash: int, is_stored: bool
) -> None:
    calls = 0

    async def append(log: EventLog, ledger: str, size: int, records: Sequence[Record]) -> None:
        nonlocal calls
        calls += 1
        if calls == crash + 1 and not is_stored:
            raise OSError("power lost")
        await log.append(ledger, size, records)
        if calls == crash + 1:
            raise OSError("power lost")

    source, plain = stores("a"), stores("b")
    target = Meddled(plain, append=append)
    async with closing(source, plain):
        await fill(source, tmp_path, *[500] * 4)
        with pytest.raises(OSError, match="power lost"):
            await migrate(source, target, NAME)
        left = await everything(plain)
        assert not left or left[-1].seal
        assert left == (await everything(source))[: len(left)]
        report = await migrate(source, plain, NAME)
        assert report.copied_count == report.size - len(left)
        assert await everything(plain) == await everything(source)


def _migrate_and_die(folder: str, uri: str, place: str, entry_count: int) -> None:
    def progress(done: int, size: int) -> None:
        if done >= entry_count:
            os.kill(os.getpid(), signal.SIGKILL)

    async def work() -> None:
        target = NamesApart(EventStoreDBLog(uri), Path(place), suffix="-killed")
        await migrate(SQLiteLog(Path(folder)), target, NAME, progress=progress)

    asyncio.run(work())


@pytest.mark.anyio
async def test_a_migration_that_was_killed_again_and_again_ends_all_the_same(
    esdb_uri: str, tmp_path: Path
) -> None:
    source, place = SQLiteLog(tmp_path / "a"), f"killed-{uuid4()}"
    await fill(source, tmp_path, *[300] * 8)
    context = multiprocessing.get_context("spawn")
    for entry_count in (1, 900, 1_800):
        child = context.Process(
            target=_migrate_and_die, args=(str(tmp_path / "a"), esdb_uri, place, entry_count)
        )
        child.start()
        await asyncio.to_thread(child.join, 60)
        assert child.exitcode == -signal.SIGKILL
    target = NamesApart(EventStoreDBLog(esdb_uri), Path(place), suffix="-killed")
    async with closing(source, target):
        left = await target.size(NAME)
        assert left >= 600
        report = await migrate(source, target, NAME)
        assert (report.size, report.copied_count) == (2_402, 2_402 - left)
        assert await everything(target) == await everything(source)


@pytest.mark.anyio
async def test_a_target_server_that_dies_meanwhile_is_found_again(tmp_path: Path) -> None:
    source = SQLiteLog(tmp_path / "a")
    await fill(source, tmp_path, *[300] * 8)
    options = NodeOptions(port=0, path=tmp_path / "node.db")
    with node_in_thread(options) as node:
        port = node.port
        target = EventStoreDBLog(node.uri)

        async def append(log: EventLog, ledger: str, size: int, records: Sequence[Record]) -> None:
            await log.append(ledger, size, records)
            if size >= 600:
                await asyncio.to_thread(stop.set)

        stop = threading.Event()
        moving = asyncio.create_task(migrate(source, Meddled(target, append=append), NAME))
        await asyncio.to_thread(stop.wait, 60)
    (failed,) = await asyncio.gather(moving, return_exceptions=True)
    assert isinstance(failed, UnreachableStoreError | MigrationReport)
    with node_in_thread(structs.replace(options, port=port)):
        async with closing(source, target):
            reports: list[MigrationReport] = []
            while not reports:
                try:
                    reports.append(await migrate(source, target, NAME))
                except UnreachableStoreError:
                    await asyncio.sleep(0.2)
            assert reports[0].size == 2_402
            assert (await audit(target, NAME)).is_clean


@pytest.mark.anyio
async def test_a_source_in_use_is_followed_until_it_stands_still(stores: OpenStore, tmp_path: Path) -> None:
    source, target = stores("a"), stores("esdb b")
    async with closing(source, target):
        await fill(source, tmp_path, 500, 500)
        async with open_ledger(tmp_path, log=source, index_name="source") as ledger:

            async def go_on() -> None:
                for number in range(5_000, 5_050):
                    await ledger.record(batch(number))

            report, _ = await asyncio.gather(migrate(source, target, NAME), go_on())
            assert report.size <= report.source_size
            moved = await everything(target)
            assert moved == (await everything(source))[: report.size]
            assert moved[-1].seal.decode() == report.checkpoint
        last = await migrate(source, target, NAME)
        assert last.size == last.source_size == 1_052
        assert (await audit(target, NAME)).is_clean


@pytest.mark.anyio
async def test_a_source_that_never_stands_still_is_said_to_have_grown(
    stores: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "ROUNDS_MAX", 2)
    source, target = stores("a"), stores("b")
    async with closing(source, target):
        await fill(source, tmp_path, 10)
        async with open_ledger(tmp_path, log=source, index_name="source") as ledger:
            number = 100

            async def size(log: EventLog, name: str) -> int:
                nonlocal number
                number += 1
                await ledger.record(batch(number))
                return await log.size(name)

            report = await migrate(Meddled(source, size=size), target, NAME)
        assert report.source_size > report.size
        assert await everything(target) == (await everything(source))[: report.size]


@pytest.mark.anyio
@pytest.mark.parametrize("index", [0, 1, 77, 203])
async def test_a_target_that_differs_is_refused_where_it_does(
    stores: OpenStore, tmp_path: Path, index: int
) -> None:
    source, target = stores("a"), stores("b")
    async with closing(source, target):
        await fill(source, tmp_path, 200, 2, 300)
        records = (await everything(source))[:204]
        other = make_records(1, start=index, seed="somebody else")[0]
        records[index] = Record(**{**_fields(records[index]), "payload": other.payload})
        await target.append(NAME, 0, records)
        with pytest.raises(DivergedTargetError, match="payload") as caught:
            await migrate(source, target, NAME)
        assert caught.value.index == index
        assert len(await everything(target)) == 204


@pytest.mark.anyio
async def test_a_target_that_is_ahead_is_refused(stores: OpenStore, tmp_path: Path) -> None:
    source, target = stores("a"), stores("b")
    async with closing(source, target):
        await fill(source, tmp_path, 50)
        await migrate(source, target, NAME)
        async with open_ledger(tmp_path, log=target, index_name="target") as ledger:
            await ledger.record(batch(999))
        with pytest.raises(DivergedTargetError) as caught:
            await migrate(source, target, NAME)
        assert caught.value.index == 52


@pytest.mark.anyio
async def test_somebody_who_writes_to_the_target_is_noticed(stores: OpenStore, tmp_path: Path) -> None:
    source, plain = stores("a"), stores("b")

    async def append(log: EventLog, ledger: str, size: int, records: Sequence[Record]) -> None:
        await log.append(ledger, size, make_records(3, start=size, seed="me first"))
        await log.append(ledger, size, records)

    async with closing(source, plain):
        await fill(source, tmp_path, 50)
        with pytest.raises(LedgerConflictError):
            await migrate(source, Meddled(plain, append=append), NAME)


@pytest.mark.anyio
async def test_a_target_that_gives_back_something_else_is_caught(stores: OpenStore, tmp_path: Path) -> None:
    source, plain = stores("a"), stores("b")

    async def read(log: EventLog, ledger: str, start: int, limit: int) -> list[Record]:
        records = await log.read(ledger, start, limit)
        return [
            Record(**{**_fields(record), "seal": b"another\n"}) if record.index == 51 else record
            for record in records
        ]

    async with closing(source, plain):
        await fill(source, tmp_path, 50)
        with pytest.raises(DivergedTargetError, match="seal") as caught:
            await migrate(source, Meddled(plain, read=read), NAME)
        assert caught.value.index == 51


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("change", "index"),
    [
        ("UPDATE records SET payload = CAST(payload || ' ' AS BLOB) WHERE ledger_index = 30", 30),
        (
            "UPDATE records SET seal = (SELECT seal FROM records WHERE ledger_index = 1)"
            " WHERE ledger_index = 51",
            51,
        ),
        ("UPDATE records SET event_type = 'note.v1' WHERE ledger_index = 7", 7),
        ("DELETE FROM records WHERE ledger_index = 20", 20),
        ("UPDATE records SET event_id = randomblob(16) WHERE ledger_index = 9", 9),
    ],
    ids=["body", "seal", "type", "hole", "event id"],
)
async def test_a_damaged_ledger_does_not_move(
    stores: OpenStore, tmp_path: Path, change: str, index: int
) -> None:
    source, target = stores("a"), stores("b")
    async with closing(source, target):
        await fill(source, tmp_path, 50)
        await source.close()
        with sqlite3.connect(tmp_path / "a" / f"{NAME}.sqlite") as db:
            for trigger in ("records_are_never_updated", "records_are_never_deleted"):
                db.execute(f"DROP TRIGGER {trigger}")
            db.execute(change)
        with pytest.raises(InvalidError, match=rf"\[{index}\]"):
            await migrate(source, target, NAME)
        assert await target.size(NAME) == 0


@pytest.mark.anyio
async def test_entries_that_no_seal_covers_do_not_move(stores: OpenStore, tmp_path: Path) -> None:
    source, target = stores("a"), stores("b")
    async with closing(source, target):
        await fill(source, tmp_path, 50, 50)
        records = await everything(source)
        half = stores("c")
        await half.append(NAME, 0, records[:80])
        with pytest.raises(InvalidError, match="no seal covers"):
            await migrate(half, target, NAME)
        await target.append(NAME, await target.size(NAME), records[await target.size(NAME) : 80])
        with pytest.raises(InvalidError, match="inside an atomic append"):
            await migrate(source, target, NAME)
        await half.close()


@pytest.mark.anyio
async def test_a_ledger_that_does_not_exist_does_not_move(stores: OpenStore) -> None:
    source, target = stores("a"), stores("b")
    async with closing(source, target):
        with pytest.raises(UnknownError):
            await migrate(source, target, NAME)


@pytest.mark.anyio
async def test_progress_ends_at_the_size(stores: OpenStore, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    source, target = stores("a"), stores("b")
    async with closing(source, target):
        await fill(source, tmp_path, 600, 600)
        await migrate(source, target, NAME, progress=lambda done, size: seen.append((done, size)))
    assert seen[-1] == (1_202, 1_202)
    assert all(one <= other for one, other in seen)


def _fields(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in Record.__struct_fields__}
