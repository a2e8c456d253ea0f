"""The embedded log: the contract every log keeps, and what only SQLite can promise."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.sqlite_log import SQLiteLog
from domain.errors import InvalidError, MalformedError
from ledger.errors import LedgerConflictError
from ledger.ports import EventLog
from tests.contracts.event_log_contract import EventLogContract
from tests.ledger.records import make_records

LEDGER = "ledger-demo"


class TestSQLiteLog(EventLogContract):
    @asynccontextmanager
    async def open_log(self, place: Path) -> AsyncIterator[EventLog]:
        log = SQLiteLog(place / "store")
        try:
            yield log
        finally:
            await log.close()


def _stored(folder: Path, record_count: int = 3) -> Path:
    async def store() -> Path:
        log = SQLiteLog(folder)
        await log.append(LEDGER, 0, make_records(record_count))
        await log.close()
        return log.path(LEDGER)

    return asyncio.run(store())


@pytest.mark.parametrize(
    "statement", ["UPDATE records SET payload = x'00'", "DELETE FROM records WHERE ledger_index = 1"]
)
def test_records_are_never_changed_in_place(tmp_path: Path, statement: str) -> None:
    path = _stored(tmp_path)
    with sqlite3.connect(path) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(statement)


def test_an_append_is_fsynced_before_it_is_acknowledged(tmp_path: Path) -> None:
    async def settings() -> tuple[str, int]:
        log = SQLiteLog(tmp_path)
        await log.append(LEDGER, 0, make_records(1))
        file = log._file(LEDGER)
        found = await file._on(
            file._writing,
            lambda db: (
                db.execute("PRAGMA journal_mode").fetchone()[0],
                db.execute("PRAGMA synchronous").fetchone()[0],
            ),
        )
        await log.close()
        return found

    assert asyncio.run(settings()) == ("wal", 2)


def test_a_hole_in_the_sequence_is_found(tmp_path: Path) -> None:
    path = _stored(tmp_path)
    with sqlite3.connect(path) as db:
        db.executescript("DROP TRIGGER records_are_never_deleted; DELETE FROM records WHERE ledger_index = 1")

    async def check() -> list[str]:
        log = SQLiteLog(tmp_path)
        try:
            return await log.check_storage(LEDGER)
        finally:
            await log.close()

    findings = asyncio.run(check())
    assert any("holes" in finding for finding in findings)


@pytest.mark.parametrize("trigger", ["records_are_never_updated", "records_are_never_deleted"])
def test_a_removed_trigger_is_found(tmp_path: Path, trigger: str) -> None:
    path = _stored(tmp_path)
    with sqlite3.connect(path) as db:
        db.execute(f"DROP TRIGGER {trigger}")

    async def check() -> list[str]:
        log = SQLiteLog(tmp_path)
        try:
            return await log.check_storage(LEDGER)
        finally:
            await log.close()

    assert any("trigger" in finding for finding in asyncio.run(check()))


def test_a_damaged_file_is_a_clear_error(tmp_path: Path) -> None:
    path = _stored(tmp_path, 500)
    data = bytearray(path.read_bytes())
    data[4_096 : 4_096 * 3] = b"\xff" * 4_096 * 2
    path.write_bytes(data)

    async def read() -> None:
        log = SQLiteLog(tmp_path)
        try:
            await log.read(LEDGER, 0, 1_000)
        finally:
            await log.close()

    with pytest.raises(InvalidError, match="tally audit"):
        asyncio.run(read())


def test_a_file_of_another_ledger_is_refused(tmp_path: Path) -> None:
    _stored(tmp_path).rename(tmp_path / "ledger-other.sqlite")

    async def read() -> None:
        log = SQLiteLog(tmp_path)
        try:
            await log.read("ledger-other", 0, 1)
        finally:
            await log.close()

    with pytest.raises(InvalidError, match="another ledger"):
        asyncio.run(read())


@pytest.mark.parametrize("name", ["ledger-../x", "ledger-", "ledger-a/b", "ledger-A", "ledger-\0"])
def test_names_that_could_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    async def append() -> None:
        log = SQLiteLog(tmp_path)
        try:
            await log.append(name, 0, make_records(1))
        finally:
            await log.close()

    with pytest.raises(MalformedError):
        asyncio.run(append())


def _append_until(folder: str, writer: int, append_count: int) -> None:
    async def run() -> None:
        log = SQLiteLog(Path(folder))
        done = 0
        while done < append_count:
            size = await log.size(LEDGER)
            try:
                await log.append(LEDGER, size, make_records(2, start=size, seed=f"{writer}-{done}"))
            except LedgerConflictError:
                continue
            done += 1
        await log.close()

    asyncio.run(run())


def test_processes_that_write_the_same_ledger_never_lose_an_append(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_until, args=(str(tmp_path), n, 20)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0

    async def look() -> tuple[int, list[int], list[str]]:
        log = SQLiteLog(tmp_path)
        records = await log.read(LEDGER, 0, 1_000)
        findings = await log.check_storage(LEDGER)
        await log.close()
        return len(records), [record.index for record in records], findings

    count, indices, findings = asyncio.run(look())
    assert count == 3 * 20 * 2
    assert indices == list(range(count))
    assert findings == []


@pytest.mark.parametrize("column", ["event_id", "entry", "payload", "seal"])
@pytest.mark.parametrize("value", ["'text'", "NULL", "7"])
def test_a_damaged_page_that_gives_something_else_than_bytes_is_said(
    tmp_path: Path, column: str, value: str
) -> None:
    path = _stored(tmp_path)
    with sqlite3.connect(path) as db:
        db.executescript(
            "CREATE TABLE damaged"
            "(ledger_index INTEGER PRIMARY KEY, event_id, event_type, entry, payload, seal);"
            "INSERT INTO damaged SELECT * FROM records;"
            f"UPDATE damaged SET {column} = {value} WHERE ledger_index = 1;"
            "DROP TABLE records; ALTER TABLE damaged RENAME TO records;"
        )
    db.close()

    async def read() -> None:
        log = SQLiteLog(tmp_path)
        try:
            with pytest.raises(InvalidError, match="damaged"):
                await log.read(LEDGER, 0, 10)
            with pytest.raises(InvalidError, match="damaged"):
                list(log.column_reader(LEDGER).columns(0, 10))
        finally:
            await log.close()

    asyncio.run(read())
