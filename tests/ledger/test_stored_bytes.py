"""What is stored is read back before anything more is sealed on top of it, and all of it on opening."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from adapters.sqlite_log import SQLiteLog
from domain.errors import InvalidError
from ledger.audit import audit
from ledger.ledger import ledger_name
from tests.ledger.desk import TENANT, open_ledger
from tests.ledger.test_ledger import batch

NAME = ledger_name(TENANT)
FLIPPED = 0x10


def flip(path: Path, needle: bytes) -> None:
    """Flip one bit of these bytes where they lie on the disk, behind everybody's back."""
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = path.read_bytes()
    assert data.count(needle) == 1
    with path.open("r+b") as file:
        file.seek(data.index(needle))
        file.write(bytes((needle[0] ^ FLIPPED,)))


@pytest.mark.anyio
@pytest.mark.parametrize("needle", [b'"batch_id":"b7"', b"\nbatch/b7\n"])
async def test_a_bit_that_flips_in_the_last_entry_or_body_is_found_before_it_is_sealed_over(
    tmp_path: Path, needle: bytes
) -> None:
    path = tmp_path / "log" / f"{NAME}.sqlite"
    async with open_ledger(tmp_path) as ledger:
        await ledger.record(batch(6), batch(7))
        seal = ledger.checkpoint
        await ledger.read(0, 10)
        flip(path, needle)
        for _ in range(2):
            with pytest.raises(InvalidError, match="not what was sealed"):
                await ledger.record(batch(8))
        assert (ledger.size, ledger.checkpoint) == (4, seal)
        flip(path, bytes((needle[0] ^ FLIPPED,)) + needle[1:])
        assert (await ledger.record(batch(8)))[0].index == 4
    log = SQLiteLog(tmp_path / "log")
    assert (await audit(log, NAME)).is_clean
    await log.close()


@pytest.mark.anyio
@pytest.mark.parametrize("number", [0, 3, 150, 299])
async def test_a_bit_that_flipped_anywhere_is_found_on_opening(tmp_path: Path, number: int) -> None:
    async with open_ledger(tmp_path) as ledger:
        for start in range(0, 300, 50):
            await ledger.record(*(batch(at) for at in range(start, start + 50)))
    flip(tmp_path / "log" / f"{NAME}.sqlite", b"\nbatch/b%d\n" % number)
    with pytest.raises(InvalidError, match=f"{NAME}.{number + 2}"):
        async with open_ledger(tmp_path):
            pass


@pytest.mark.anyio
async def test_an_index_that_says_something_else_than_a_sound_log_is_made_again(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        for start in range(0, 300, 50):
            await ledger.record(*(batch(at) for at in range(start, start + 50)))
        seal, proof = ledger.checkpoint, ledger.prove(17)
    with sqlite3.connect(tmp_path / "index.sqlite") as db:
        ((level, hashes),) = db.execute("SELECT level, hashes FROM edges WHERE level = 0")
        changed = bytes((hashes[0] ^ 1,)) + hashes[1:]
        db.execute("UPDATE edges SET hashes = ? WHERE level = ?", (changed, level))
    async with open_ledger(tmp_path) as ledger:
        assert ledger.checkpoint == seal
        assert ledger.prove(17) == proof
        assert (await ledger.record(batch(3)))[0].index == 5
        assert (await ledger.record(batch(300)))[0].index == 302
