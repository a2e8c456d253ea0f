"""The pass over a whole ledger: the same findings whether one process looks or several."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import Struct

import ledger.audit_chain as module
from adapters.sqlite_columns import SQLiteColumns
from adapters.sqlite_log import SQLiteLog
from ledger.audit_chain import ChainAudit
from ledger.chain_processes import PartProcesses, part_processes
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.ledger import ledger_name
from ledger.merkle import leaf_hash, root_of
from ledger.ports import ColumnReader, RecordColumns
from tests.ledger.desk import ORIGIN, TENANT, open_ledger
from tests.ledger.signing_key import SigningKey
from tests.ledger.test_ledger import batch, device

NAME = ledger_name(TENANT)
PART = 16
SIZE = 75


@pytest.fixture(params=["this process", "children first", "both"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parts, examined here, or mostly by children, or as it comes."""
    monkeypatch.setattr(module, "PART_ENTRIES_MAX", PART)
    monkeypatch.setattr(module, "PROCESSES_FROM_BYTES", 1 << 62 if request.param == "this process" else 0)
    if request.param == "children first":
        monkeypatch.setattr(module, "part_processes", children_first)


@asynccontextmanager
async def children_first(reader: ColumnReader) -> AsyncIterator[PartProcesses]:
    """Children are waited for, so that small ledgers are examined by them."""
    async with part_processes(reader) as processes:
        processes.start(2)
        await processes.started()
        # This process stands behind them.
        processes._idle.put_nowait(processes._idle.get_nowait())
        yield processes


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of SIZE entries with seals of one to nine entries."""
    import asyncio

    folder = tmp_path_factory.mktemp("told")

    async def tell() -> None:
        async with open_ledger(folder) as ledger:
            await ledger.record(device(1))
            step = 1
            while ledger.size < SIZE:
                await ledger.record(*(batch(ledger.size + at) for at in range(min(step, SIZE - ledger.size))))
                step = step % 9 + 1

    asyncio.run(tell())
    return folder


def copied(told: Path, folder: Path) -> sqlite3.Connection:
    """The told ledger's file in ``folder``, its protection taken off."""
    (folder / "log").mkdir()
    with sqlite3.connect(told / "log" / f"{NAME}.sqlite") as source:
        db = sqlite3.connect(folder / "log" / f"{NAME}.sqlite", isolation_level=None)
        source.backup(db)
    db.execute("DROP TRIGGER records_are_never_updated")
    db.execute("DROP TRIGGER records_are_never_deleted")
    return db


async def audited(folder: Path, log: SQLiteLog | None = None, **options: object) -> ChainAudit:
    store = log or SQLiteLog(folder / "log")
    chain = ChainAudit(store, NAME, **options)  # type: ignore[arg-type]
    await chain.run()
    await store.close()
    return chain


def first(chain: ChainAudit) -> tuple[int, str]:
    assert len(chain.findings) == 1
    return chain.findings[0].index, chain.findings[0].check


@pytest.mark.anyio
async def test_a_whole_ledger_is_put_together_from_its_parts(told: Path) -> None:
    seen: list[tuple[int, int]] = []
    chain = await audited(told, progress=lambda done, size: seen.append((done, size)))
    assert chain.findings == []
    assert chain.size == SIZE
    log = SQLiteLog(told / "log")
    records = await log.read(NAME, 0, SIZE)
    await log.close()
    assert chain.frontier.root() == root_of(leaf_hash(record.entry) for record in records)
    assert chain.seal_count == sum(1 for record in records if record.seal)
    assert chain.byte_count == sum(len(record.entry) + len(record.payload) for record in records)
    assert seen[-1] == (SIZE, SIZE)


@pytest.mark.anyio
@pytest.mark.parametrize("index", [0, 1, 2, PART - 1, PART, PART + 1, 3 * PART - 1, 4 * PART, SIZE - 1])
async def test_the_first_wrong_position_is_named_wherever_parts_meet(
    told: Path, tmp_path: Path, index: int
) -> None:
    db = copied(told, tmp_path)
    for place in (index, min(index + PART, SIZE - 1)):
        db.execute("UPDATE records SET payload = x'2020' WHERE ledger_index = ?", (place,))
    db.close()
    assert first(await audited(tmp_path)) == (index, "body")


@pytest.mark.anyio
@pytest.mark.parametrize("index", [3, PART, 2 * PART - 1, 2 * PART])
async def test_a_missing_entry_is_named_wherever_parts_meet(told: Path, tmp_path: Path, index: int) -> None:
    db = copied(told, tmp_path)
    db.execute("DELETE FROM records WHERE ledger_index = ?", (index,))
    db.close()
    assert first(await audited(tmp_path)) == (index, "order")


@pytest.mark.anyio
async def test_an_entry_far_beyond_the_others_does_not_keep_the_audit_busy(
    told: Path, tmp_path: Path
) -> None:
    db = copied(told, tmp_path)
    db.execute("UPDATE records SET ledger_index = ? WHERE ledger_index = ?", (1 << 62, SIZE - 1))
    db.close()
    assert first(await audited(tmp_path)) == (SIZE - 1, "order")


@pytest.mark.anyio
async def test_a_wrong_seal_comes_before_a_wrong_entry_behind_it(told: Path, tmp_path: Path) -> None:
    db = copied(told, tmp_path)
    sealed = [index for (index,) in db.execute("SELECT ledger_index FROM records WHERE length(seal) > 0")]
    wrong = next(index for index in sealed if index > PART)
    note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=wrong + 1, root=b"\1" * 32), SigningKey(ORIGIN))
    db.execute("UPDATE records SET seal = ? WHERE ledger_index = ?", (note, wrong))
    db.execute("UPDATE records SET payload = x'20' WHERE ledger_index = ?", (wrong + 1,))
    db.close()
    assert first(await audited(tmp_path)) == (wrong, "seal")


@pytest.mark.anyio
async def test_a_seal_by_somebody_else_is_found_in_every_part(told: Path, tmp_path: Path) -> None:
    for number in range(0, SIZE, PART):
        (tmp_path / str(number)).mkdir()
        db = copied(told, tmp_path / str(number))
        (wrong,) = db.execute(
            "SELECT min(ledger_index) FROM records WHERE length(seal) > 0 AND ledger_index >= ?", (number,)
        ).fetchone()
        note = sign_checkpoint(
            Checkpoint(origin=ORIGIN, size=wrong + 1, root=b"\1" * 32), SigningKey(ORIGIN, "other")
        )
        db.execute("UPDATE records SET seal = ? WHERE ledger_index = ?", (note, wrong))
        db.close()
        assert first(await audited(tmp_path / str(number))) == (wrong, "seal")


@pytest.mark.anyio
@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 4 * PART, SIZE])
async def test_a_kept_checkpoint_is_compared_at_its_size(told: Path, size: int) -> None:
    log = SQLiteLog(told / "log")
    leaves = [leaf_hash(record.entry) for record in await log.read(NAME, 0, size)]
    await log.close()
    signer = SigningKey(ORIGIN)
    kept = sign_checkpoint(Checkpoint(origin=ORIGIN, size=size, root=root_of(leaves)), signer)
    assert (await audited(told, kept_checkpoint=kept)).findings == []
    other = sign_checkpoint(Checkpoint(origin=ORIGIN, size=size, root=b"\1" * 32), signer)
    assert first(await audited(told, kept_checkpoint=other)) == (size - 1, "forked")


@pytest.mark.anyio
async def test_a_kept_checkpoint_beyond_the_end_shows_what_was_cut_off(told: Path) -> None:
    signer = SigningKey(ORIGIN)
    kept = sign_checkpoint(Checkpoint(origin=ORIGIN, size=SIZE + 1, root=b"\1" * 32), signer)
    assert first(await audited(told, kept_checkpoint=kept)) == (SIZE, "truncated")
    stranger = sign_checkpoint(
        Checkpoint(origin=ORIGIN, size=3, root=b"\1" * 32), SigningKey(ORIGIN, "stranger")
    )
    assert first(await audited(told, kept_checkpoint=stranger)) == (-1, "kept checkpoint")


class BrokenColumns(Struct, frozen=True, kw_only=True):
    """A reader that fails in the process it is sent to, politely or not, and politely in this one."""

    is_polite: bool
    parent: int

    def columns(self, start: int, stop: int) -> Iterator[RecordColumns]:
        if self.is_polite or os.getpid() == self.parent:
            raise OSError("no such disk")
        os._exit(3)


class BrokenColumnLog(SQLiteLog):
    is_polite = True

    def column_reader(self, ledger: str) -> SQLiteColumns:
        return BrokenColumns(is_polite=self.is_polite, parent=os.getpid())  # type: ignore[return-value]


@pytest.mark.anyio
@pytest.mark.parametrize("is_polite", [True, False])
async def test_what_a_child_cannot_examine_is_examined_here(told: Path, is_polite: bool) -> None:
    log = BrokenColumnLog(told / "log")
    log.is_polite = is_polite
    chain = await audited(told, log)
    assert chain.findings == []
    assert chain.size == SIZE


@pytest.mark.anyio
async def test_a_store_that_cannot_be_read_is_a_finding(told: Path, tmp_path: Path) -> None:
    db = copied(told, tmp_path)
    db.execute("VACUUM")
    db.close()
    path = tmp_path / "log" / f"{NAME}.sqlite"
    whole = path.read_bytes()
    found = {}
    for page in range(1, len(whole) // 4_096):
        path.write_bytes(whole[: page * 4_096] + bytes(4_096) + whole[(page + 1) * 4_096 :])
        index = _first_unreadable(path)
        if index is not None and index not in found:
            found[index] = first(await audited(tmp_path))
    assert len(found) > 5
    assert found == {index: (index, "storage") for index in found}


def _first_unreadable(path: Path) -> int | None:
    """The first entry that SQLite does not give when it is asked for it alone; ``None`` when it gives all, or
    does not even say how many there are."""
    db = sqlite3.connect(path)
    index = 0
    try:
        db.execute("SELECT max(ledger_index) FROM records").fetchone()
        for index in range(SIZE):
            db.execute("SELECT entry, payload FROM records WHERE ledger_index = ?", (index,)).fetchone()
    except sqlite3.DatabaseError:
        return index or None
    finally:
        db.close()
    return None


@pytest.mark.anyio
async def test_columns_are_the_records(told: Path) -> None:
    log = SQLiteLog(told / "log")
    reader = log.column_reader(NAME)
    for start, stop in ((0, SIZE), (3, 9), (SIZE - 1, SIZE + 9), (SIZE, SIZE + 1)):
        read = [record for columns in reader.columns(start, stop) for record in columns.records()]
        assert read == await log.read(NAME, start, stop - start)
    await log.close()
