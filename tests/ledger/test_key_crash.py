"""A rotation that is killed at any step: the ledger audits, opens, and can be rotated again."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.key_store_file import FileKeyStore
from adapters.sqlite_log import SQLiteLog
from ledger.audit import audit
from ledger.key_change import rotate_key
from ledger.ledger import ledger_name
from tests.adapters.killed_process import needs_strace, run_and_kill
from tests.ledger.desk import ORIGIN, TENANT, open_ledger
from tests.ledger.test_ledger import batch

ROTATE = """
import asyncio, os, sys
from pathlib import Path
from adapters.key_store_file import FileKeyStore
from ledger.key_change import rotate_key
from tests.ledger.desk import open_ledger

async def rotate():
    folder = Path(sys.argv[1])
    store = FileKeyStore(folder / "keys")
    async with open_ledger(folder, keys=store) as ledger:
        os.write(1, b"opened ")
        await rotate_key(ledger, store, reason="once a year", actor="cli")
        os.write(1, b"acknowledged")

asyncio.run(rotate())
"""


async def audited(folder: Path) -> bool:
    log = SQLiteLog(folder / "log")
    try:
        return (await audit(log, ledger_name(TENANT))).is_clean
    finally:
        await log.close()


@needs_strace
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("system_call", "nth"),
    [
        ("fchmod", 1),  # the key is staged
        ("fsync", 1),
        ("link", 1),  # it gets its name
        ("fsync", 2),
        ("unlink", 1),
        ("fdatasync", 1),  # the event is written
        ("fdatasync", 2),
    ],
)
async def test_killed_at_any_step_a_rotation_is_done_or_can_be_done(
    tmp_path: Path, system_call: str, nth: int
) -> None:
    store = FileKeyStore(tmp_path / "keys")
    async with open_ledger(tmp_path, keys=store) as ledger:
        await ledger.record(batch(1))
    killed = run_and_kill(ROTATE, [str(tmp_path)], system_call=system_call, nth=nth)
    assert b"acknowledged" not in killed.stdout
    assert await audited(tmp_path)
    held = [signer.public_key for signer in FileKeyStore(tmp_path / "keys").signers(ORIGIN)]
    store = FileKeyStore(tmp_path / "keys")
    async with open_ledger(tmp_path, keys=store) as ledger:
        was_rotated = len(ledger.state.keys.spans) == 2
        await ledger.record(batch(2))
        if not was_rotated:
            await rotate_key(ledger, store, reason="once a year", actor="cli")
        await ledger.record(batch(3))
        now = [signer.public_key for signer in store.signers(ORIGIN)]
    assert len(now) == 2
    assert set(held) <= set(now)
    assert await audited(tmp_path)
