"""An older state that is put back is refused, unless somebody accepts it on record; erased stays erased."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from adapters.checkpoint_memory import FileCheckpointMemory
from adapters.sqlite_log import SQLiteLog
from api.command_line import main
from api.commands.command import CHECK_FAILED, DONE, USAGE
from api.demo import CONNECTION
from api.workplace import open_workplace
from domain.errors import InvalidError, MalformedError
from domain.events import LedgerRestored
from ledger.audit import audit
from ledger.checkpoint import parse_checkpoint
from ledger.erasure import ErasureReason, erase_subject
from ledger.errors import UnknownSubjectKeyError
from ledger.ingest import ingest
from ledger.notes import parse_note
from ledger.recorded import event_of
from ledger.seen import Acceptance, InvalidHistoryError
from ledger.worker import settle
from tests.story.told import at_desk, payload_upload, settings

ACCEPTED = Acceptance(actor="test", reason="the disk of machine 7 died")


def size_of(note: bytes) -> int:
    return parse_checkpoint(parse_note(note).text).size


async def grow(home: Path, name: str) -> int:
    async with at_desk(home) as (_, desk):
        await ingest(desk, payload_upload(name), "test")
        await settle(desk)
        return desk.ledger.size


async def put_back_older(home: Path, tmp_path: Path) -> tuple[int, int]:
    """Grow the ledger after copying it, and put the copy back; returns both sizes."""
    shutil.copytree(home / "ledgers", tmp_path / "backup")
    older = size_of(FileCheckpointMemory(home / "seen/demo").last())
    newer = await grow(home, "sleep_2026-03-28.json")
    shutil.rmtree(home / "ledgers")
    shutil.copytree(tmp_path / "backup", home / "ledgers")
    return older, newer


@pytest.mark.anyio
async def test_what_was_seen_is_remembered_when_a_ledger_is_closed(home: Path) -> None:
    size = await grow(home, "sleep_2026-03-28.json")
    assert size_of(FileCheckpointMemory(home / "seen/demo").last()) == size


@pytest.mark.anyio
async def test_an_older_backup_is_refused_with_what_to_do(home: Path, tmp_path: Path) -> None:
    older, newer = await put_back_older(home, tmp_path)
    with pytest.raises(InvalidHistoryError) as refused:
        async with at_desk(home):
            pass
    assert (refused.value.found_size, refused.value.seen.size) == (older, newer)
    for hint in ("tally restore", "witness", "--checkpoint", "--accept"):
        assert hint in refused.value.remedy
    async with open_workplace(settings(home)) as workplace:
        kept = FileCheckpointMemory(home / "seen/demo").last()
        report = await audit(workplace.log, "ledger-demo", kept_checkpoint=kept)
        assert [finding.check for finding in report.findings] == ["truncated"]


@pytest.mark.anyio
async def test_an_older_store_under_a_running_process_takes_nothing(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "ledgers", tmp_path / "backup")
    async with at_desk(home) as (_, desk):
        await ingest(desk, payload_upload("sleep_2026-03-28.json"), "test")
        older = SQLiteLog(tmp_path / "backup")
        size = await older.size(desk.ledger.name)
        newest, desk.ledger.log = desk.ledger.log, older
        with pytest.raises(InvalidError, match="lost entries"):
            await ingest(desk, payload_upload("sleep_2026-03-29_late_tentative.json"), "test")
        assert await older.size(desk.ledger.name) == size
        desk.ledger.log = newest
        await settle(desk)
        await older.close()


@pytest.mark.anyio
async def test_another_history_of_the_same_length_is_refused(home: Path, tmp_path: Path) -> None:
    await put_back_older(home, tmp_path)
    (home / "seen/demo/checkpoint").rename(tmp_path / "seen")
    await grow(home, "sleep_2026-03-29_late_tentative.json")
    await grow(home, "sleep_2026-03-29_final.json")
    shutil.copy(tmp_path / "seen", home / "seen/demo/checkpoint")
    with pytest.raises(InvalidHistoryError, match="another history"):
        async with at_desk(home):
            pass


@pytest.mark.anyio
async def test_a_lost_store_is_not_quietly_begun_anew(home: Path) -> None:
    shutil.rmtree(home / "ledgers")
    with pytest.raises(InvalidHistoryError):
        async with at_desk(home):
            pass
    assert not list((home / "ledgers").glob("*.sqlite"))


@pytest.mark.anyio
async def test_accepting_goes_on_and_is_recorded_with_both_checkpoints(home: Path, tmp_path: Path) -> None:
    older, newer = await put_back_older(home, tmp_path)
    seen = FileCheckpointMemory(home / "seen/demo").last()
    async with open_workplace(settings(home)) as workplace:
        ledger = (await workplace.desk(acceptance=ACCEPTED)).ledger
        event = event_of((await ledger.get(older))[1], LedgerRestored)
        assert (event.seen, event.reason) == (seen.decode(), ACCEPTED.reason)
        assert size_of(event.found.encode()) == older
        assert size_of(event.seen.encode()) == newer
    assert await grow(home, "sleep_2026-03-28.json") > older + 1
    async with open_workplace(settings(home)) as workplace:
        assert (await audit(workplace.log, "ledger-demo")).is_clean


@pytest.mark.anyio
async def test_a_crash_between_accepting_and_remembering_accepts_once(home: Path, tmp_path: Path) -> None:
    older, _ = await put_back_older(home, tmp_path)
    kept = tmp_path / "seen"
    shutil.copy(home / "seen/demo/checkpoint", kept)
    async with open_workplace(settings(home)) as workplace:
        await workplace.desk(acceptance=ACCEPTED)
    shutil.copy(kept, home / "seen/demo/checkpoint")
    async with open_workplace(settings(home)) as workplace:
        ledger = (await workplace.desk(acceptance=ACCEPTED)).ledger
        assert ledger.size == older + 1
    async with at_desk(home) as (_, desk):
        assert desk.ledger.size == older + 1


@pytest.mark.anyio
async def test_accepting_what_is_whole_records_nothing(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        size = desk.ledger.size
    async with open_workplace(settings(home)) as workplace:
        assert (await workplace.desk(acceptance=ACCEPTED)).ledger.size == size
    with pytest.raises(InvalidError):
        Acceptance(actor="test", reason="")


@pytest.mark.anyio
async def test_erased_stays_erased_after_ledger_and_keys_come_back_from_a_backup(
    home: Path, tmp_path: Path
) -> None:
    for name in ("ledgers", "keys"):
        shutil.copytree(home / name, tmp_path / name)
    async with at_desk(home) as (_, desk):
        subject_key_id = desk.source(CONNECTION).subject_key_id
        await erase_subject(desk, CONNECTION, ErasureReason.OBJECTION, "test")
    for name in ("ledgers", "keys"):
        shutil.rmtree(home / name)
        shutil.copytree(tmp_path / name, home / name)
    assert list((home / "keys").rglob(f"{subject_key_id}.key"))
    async with open_workplace(settings(home)) as workplace:
        desk = await workplace.desk(acceptance=ACCEPTED)
        assert desk.source(CONNECTION).erased_index is not None
        with pytest.raises(UnknownSubjectKeyError) as gone:
            desk.keys.subject_key(subject_key_id)
        assert gone.value.is_destroyed
    assert not list((home / "keys").rglob(f"{subject_key_id}.key"))


def test_the_command_compares_refuses_and_accepts(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(put_back_older(home, tmp_path))
    at = ["--home", str(home)]
    assert main(["restore", *at]) == CHECK_FAILED
    assert "an older state" in capsys.readouterr().out
    assert main(["key", *at]) == USAGE
    assert "tally restore --accept" in capsys.readouterr().err
    assert main(["restore", *at, "--accept", "the disk died"]) == DONE
    assert "ledger.restored.v1" in capsys.readouterr().out
    assert main(["restore", *at]) == DONE
    assert main(["audit", *at]) == DONE


def test_a_memory_only_moves_forward_and_says_when_it_cannot_be_read(home: Path, tmp_path: Path) -> None:
    newest = FileCheckpointMemory(home / "seen/demo").last()
    memory = FileCheckpointMemory(tmp_path / "elsewhere")
    assert memory.last() == b""
    memory.keep(newest)
    older = newest.replace(str(size_of(newest)).encode(), b"1", 1)
    memory.keep(older)
    assert memory.last() == newest
    memory.give_up(older, older)
    assert memory.last() == newest
    memory.give_up(newest, older)
    assert memory.last() == older
    memory.path.write_bytes(b"not a note")
    with pytest.raises(MalformedError) as damaged:
        memory.last()
    assert "witness" in damaged.value.remedy


def test_the_command_erases_only_when_it_is_meant(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    erase = ["erase", CONNECTION, "--home", str(home), "--reason", "consent-withdrawn"]
    assert main(erase) == USAGE
    assert "--yes" in capsys.readouterr().err
    assert main([*erase, "--yes"]) == DONE
    assert "was erased by entry" in capsys.readouterr().out
    assert main(["erase", "nobody", "--home", str(home), "--reason", "objection", "--yes"]) == USAGE
    assert main(["erase", CONNECTION, "--home", str(home), "--reason", "Anna moved", "--yes"]) == USAGE
    assert main(["audit", "--home", str(home)]) == DONE
