"""A home whose process was killed, or whose disk failed, at any step of what people do to it.

Each act runs on a home in which the story was told, as a process of its own (``tests.faults.acts``), and is
hit at one occurrence of one kind of system call.  Afterwards what it had acknowledged holds, the ledger
audits, and the same act done again ends well.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from adapters.checkpoint_memory import FileCheckpointMemory
from adapters.tile_directory import TileDirectory
from api.demo import CONNECTION
from api.workplace import open_workplace
from domain.errors import UnknownError
from domain.events import LedgerRestored
from ledger.audit import audit
from ledger.errors import UnknownSubjectKeyError
from ledger.holdings import holdings
from ledger.ingest import batch_bytes, ingest
from ledger.recorded import recorded_of
from ledger.seen import InvalidHistoryError
from ledger.tile_mirror import shown_checkpoint
from ledger.tiles import verify_tiles
from ledger.worker import settle
from tests.adapters.killed_process import needs_strace
from tests.faults import acts
from tests.faults.aftermath import NAME, answers, check_at_rest, check_goes_on, root_of_store
from tests.faults.injection import points, run_injected
from tests.story.test_erasure import persons_batches
from tests.story.told import at_desk, payload_upload, settings, tell_into

pytestmark = needs_strace

KILL = "signal=KILL"
PWRITE, SYNC, WRITE, LINK = "pwrite64", "fsync,fdatasync", "write", "link,linkat"
UNLINK, RENAME, MKDIR, TRUNCATE = "unlink,unlinkat", "rename,renameat,renameat2", "mkdir,mkdirat", "ftruncate"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("told")
    tell_into(home)
    return home


@pytest.fixture
def home(told: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(told, tmp_path / "home"))


def hit(act: str, home: Path, calls: str, nth: int, fault: str = KILL) -> list[dict[str, Any]]:
    """What the act had answered before, or in spite of, the fault."""
    run = run_injected("tests.faults.acts", [act, str(home)], calls=calls, fault=fault, nth=nth)
    if fault != KILL:
        assert run.returncode >= 0, run.stderr
    return answers(run.stdout)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("calls", "nth", "fault"),
    [
        *((PWRITE, n, KILL) for n in points([40], 105)),
        *((SYNC, n, KILL) for n in points([], 28)),
        *((WRITE, n, KILL) for n in points([], 16)),
        *((LINK, n, KILL) for n in points([], 10)),
        *((UNLINK, n, KILL) for n in points([], 10)),
        *((RENAME, n, KILL) for n in points([], 3)),
        *((MKDIR, n, KILL) for n in points([], 10)),
        *((TRUNCATE, n, KILL) for n in points([], 3)),
        *((SYNC, n, "error=EIO") for n in points([9], 28)),
        *((PWRITE, n, "error=ENOSPC") for n in points([], 105)),
        *((LINK, n, "error=EIO") for n in points([], 10)),
        *((MKDIR, n, "error=ENOSPC") for n in points([], 10)),
    ],
)
async def test_from_upload_to_receipt(home: Path, calls: str, nth: int, fault: str) -> None:
    said = hit("take-in", home, calls, nth, fault)
    await check_at_rest(home, said)
    await check_goes_on(home, said)
    # Sent again, as a sender would that got no answer: the same batches, with their receipts.
    async with at_desk(home) as (_, desk):
        recorded, _ = await ingest(desk, payload_upload(acts.PAYLOAD), "test")
        assert await settle(desk) == ()
        for one in said[:1]:
            assert recorded.index == one["index"]
        assert await batch_bytes(desk, recorded.event)  # type: ignore[arg-type]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("calls", "nth", "fault"),
    [
        *((PWRITE, n, KILL) for n in points([], 26)),
        *((SYNC, n, KILL) for n in points([], 12)),
        *((WRITE, n, KILL) for n in points([], 5)),
        *((LINK, n, KILL) for n in points([2], 3)),
        *((UNLINK, n, KILL) for n in points([3], 4)),
        *((RENAME, n, KILL) for n in points([], 2)),
        *((MKDIR, n, KILL) for n in points([], 3)),
        *((SYNC, n, "error=EIO") for n in points([], 12)),
        *((LINK, n, "error=EIO") for n in points([], 3)),
    ],
)
async def test_an_erasure_is_whole_or_did_not_happen(home: Path, calls: str, nth: int, fault: str) -> None:
    said = hit("erase", home, calls, nth, fault)
    await check_at_rest(home, said)
    async with at_desk(home) as (_, desk):
        source = desk.source(CONNECTION)
        if source.erased_index is None:
            assert said == []
            assert await batch_bytes(desk, (await persons_batches(desk))[0])
        else:
            with pytest.raises(UnknownSubjectKeyError) as gone:
                desk.keys.subject_key(source.subject_key_id)
            assert gone.value.is_destroyed
            assert desk.erasures.subject_keys() == {source.subject_key_id}
            assert not list((home / "keys").rglob("*.key"))
    await check_goes_on(home, said)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("calls", "nth", "fault"),
    [
        *((PWRITE, n, KILL) for n in points([15], 26)),
        *((SYNC, n, KILL) for n in points([], 8)),
        *((WRITE, n, KILL) for n in points([], 10)),
        *((LINK, n, KILL) for n in points([], 3)),
        *((UNLINK, n, KILL) for n in points([], 3)),
        *((SYNC, n, "error=EIO") for n in points([], 8)),
        *((PWRITE, n, "error=EIO") for n in points([], 26)),
    ],
)
async def test_a_rotation_of_keys(home: Path, calls: str, nth: int, fault: str) -> None:
    said = hit("rotate", home, calls, nth, fault)
    await check_at_rest(home, said)
    await check_goes_on(home, said)
    await acts.rotate(home)
    await check_goes_on(home, said)
    async with at_desk(home) as (_, desk):
        spans = desk.ledger.state.keys.spans
        assert len(spans) >= 3
        assert len(desk.keys.signers(desk.ledger.origin)) == len(spans)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("calls", "nth", "fault"),
    [
        *((PWRITE, n, KILL) for n in points([60], 104)),
        *((SYNC, n, KILL) for n in points([], 10)),
        *((TRUNCATE, n, KILL) for n in points([], 3)),
        *((UNLINK, n, KILL) for n in points([], 3)),
        *((PWRITE, n, "error=EIO") for n in points([], 104)),
        *((SYNC, n, "error=EIO") for n in points([], 10)),
    ],
)
async def test_a_migration(home: Path, calls: str, nth: int, fault: str) -> None:
    size, root = await root_of_store(home / "ledgers")
    said = hit("move", home, calls, nth, fault)
    moved_size, moved_root = await root_of_store(home / "moved")
    if said:
        assert (moved_size, moved_root) == (size, root)
    assert moved_size <= size
    await acts.move(home)
    assert await root_of_store(home / "moved") == await root_of_store(home / "ledgers") == (size, root)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("calls", "nth", "fault"),
    [
        *((WRITE, n, KILL) for n in points([], 12)),
        *((SYNC, n, KILL) for n in points([], 12)),
        *((RENAME, n, KILL) for n in points([5], 8)),
        *((UNLINK, n, KILL) for n in points([], 4)),
        *((MKDIR, n, KILL) for n in points([], 16)),
        *((SYNC, n, "error=EIO") for n in points([], 12)),
        *((WRITE, n, "error=ENOSPC") for n in points([], 12)),
        *((RENAME, n, "error=EIO") for n in points([], 8)),
    ],
)
async def test_a_mirror_of_tiles(home: Path, calls: str, nth: int, fault: str) -> None:
    said = hit("show", home, calls, nth, fault)
    await check_at_rest(home, [])
    shown = _check_shown(home)
    if said:
        assert shown >= said[-1]["size"]
    await acts.show(home)
    assert _check_shown(home) > shown


def _check_shown(home: Path) -> int:
    """Everything under the checkpoint that a mirror shows is there and hashes to its root."""
    shelf = TileDirectory(home / "mirror")
    try:
        shelf.checkpoint()
    except UnknownError:
        return 0
    checkpoint = shown_checkpoint(shelf, "tallystick.local/demo")
    verify_tiles(shelf, checkpoint.size, checkpoint.root)
    return checkpoint.size


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("calls", "nth"),
    [
        *((PWRITE, n) for n in points([], 104)),
        *((LINK, n) for n in points([6], 17)),
        *((SYNC, n) for n in points([], 48)),
        *((UNLINK, n) for n in points([], 18)),
        *((RENAME, n) for n in points([], 4)),
        *((MKDIR, n) for n in points([], 24)),
    ],
)
async def test_a_backup(home: Path, calls: str, nth: int) -> None:
    hit("copy", home, calls, nth)
    await check_at_rest(home, [])
    await acts.copy(home)
    assert (await root_of_store(home / "backup/ledgers"))[0] == (await root_of_store(home / "ledgers"))[0]
    async with open_workplace(settings(home / "backup")) as workplace:
        vault = workplace.vault("demo")
        assert (await audit(workplace.log, NAME, vault=vault)).findings == ()
        for digest in (await holdings(workplace.log, NAME)).objects:
            assert await vault.get(digest)


@pytest.fixture(scope="module")
def newer(told: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of the told story after it went on."""
    home = Path(shutil.copytree(told, tmp_path_factory.mktemp("newer") / "home"))

    async def go_on() -> None:
        async with at_desk(home) as (_, desk):
            await ingest(desk, payload_upload(acts.PAYLOAD), "test")
            await settle(desk)

    asyncio.run(go_on())
    return home / "seen/demo/checkpoint"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("calls", "nth"),
    [
        *((PWRITE, n) for n in points([], 24)),
        *((SYNC, n) for n in points([], 10)),
        *((RENAME, n) for n in points([1], 3)),
    ],
)
async def test_accepting_an_older_state(home: Path, newer: Path, calls: str, nth: int) -> None:
    shutil.copy(newer, home / "seen/demo/checkpoint")
    seen = FileCheckpointMemory(home / "seen/demo").last()
    said = hit("accept", home, calls, nth)
    is_open = True
    try:
        async with at_desk(home):
            pass
    except InvalidHistoryError:
        is_open = False
    assert is_open or said == []
    await acts.accept(home)
    async with at_desk(home) as (_, desk):
        events = [recorded_of(record).event for record in await desk.ledger.read(0, 1_000)]
        assert [event.seen.encode() for event in events if isinstance(event, LedgerRestored)] == [seen]
    await check_goes_on(home, said)
