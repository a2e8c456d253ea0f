"""A backup is a home: it audits where it lies, is continued, and holds nothing of people who were erased."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from api.backup import Backup, back_up
from api.command_line import main
from api.commands.command import DONE, USAGE
from api.demo import CONNECTION
from api.workplace import open_workplace
from domain.errors import InvalidError
from ledger.audit import audit
from ledger.erasure import ErasureReason, erase_subject
from ledger.errors import UnknownObjectError
from ledger.holdings import holdings
from ledger.ingest import ingest
from ledger.migrate import DivergedTargetError
from ledger.worker import settle
from tests.story.told import at_desk, payload_upload, settings


async def backed_up(home: Path, folder: Path, keys: Path | None = None) -> Backup:
    async with at_desk(home) as (workplace, desk):
        return await back_up(workplace, desk, folder, keys_folder=keys)


@pytest.mark.anyio
async def test_a_backup_audits_where_it_lies_with_every_object(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    made = await backed_up(home, folder)
    async with open_workplace(settings(folder)) as workplace:
        kept = (folder / "demo.checkpoint").read_bytes()
        report = await audit(
            workplace.log, "ledger-demo", vault=workplace.vault("demo"), kept_checkpoint=kept
        )
    assert report.findings == ()
    assert (report.size, report.root, report.object_count) == (made.size, made.root, made.object_count)
    lines = (folder / "demo.sha256").read_text().splitlines()
    assert len(lines) == made.object_count
    for line in lines:
        digest, path = line.split("  ")
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == digest


@pytest.mark.anyio
async def test_a_backup_is_continued_and_an_older_ledger_never_overwrites_it(
    home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    first = await backed_up(home, folder)
    shutil.copytree(home, tmp_path / "older")
    async with at_desk(home) as (_, desk):
        await ingest(desk, payload_upload("sleep_2026-03-28.json"), "test")
        await settle(desk)
    second = await backed_up(home, folder)
    assert second.copied_count == second.size - first.size > 0
    with pytest.raises(DivergedTargetError):
        await backed_up(tmp_path / "older", folder)


@pytest.mark.anyio
async def test_a_home_that_is_put_back_from_a_backup_replays(home: Path, tmp_path: Path) -> None:
    folder, keys = tmp_path / "backup", tmp_path / "safe"
    await backed_up(home, folder, keys)
    shutil.copytree(keys, folder / "keys")
    async with at_desk(folder) as (_, desk):
        assert desk.subject_key(desk.source(CONNECTION))
        await ingest(desk, payload_upload("sleep_2026-03-28.json"), "test")
        assert await settle(desk) == ()


@pytest.mark.anyio
async def test_nothing_of_an_erased_person_is_in_a_backup_or_stays_in_an_earlier_one(
    home: Path, tmp_path: Path
) -> None:
    folder, keys = tmp_path / "backup", tmp_path / "safe"
    before = await backed_up(home, folder, keys)
    async with at_desk(home) as (_, desk):
        subject_key_id = desk.source(CONNECTION).subject_key_id
        assert (keys / f"subjects/{subject_key_id}.key").exists()
        await erase_subject(desk, CONNECTION, ErasureReason.OBJECTION, "test")
    after = await backed_up(home, folder, keys)
    assert not list(keys.rglob("*.key"))
    assert (keys / f"subjects/{subject_key_id}.destroyed").exists()
    assert after.shredded_count > 0
    assert after.object_count + after.shredded_count == before.object_count
    fresh = tmp_path / "fresh"
    await backed_up(home, fresh, tmp_path / "fresh keys")
    assert not list((tmp_path / "fresh keys").rglob("*.key"))
    async with open_workplace(settings(fresh)) as workplace:
        held = await holdings(workplace.log, "ledger-demo")
        for digest in held.shredded:
            assert not await workplace.vault("demo").has(digest)
        report = await audit(workplace.log, "ledger-demo", vault=workplace.vault("demo"))
        assert report.findings == ()
        assert report.shredded_count == after.shredded_count


@pytest.mark.anyio
async def test_a_vault_that_is_not_whole_is_not_backed_up_in_silence(home: Path, tmp_path: Path) -> None:
    next((home / "vault/demo/objects").glob("*/*")).unlink()
    with pytest.raises(UnknownObjectError):
        await backed_up(home, tmp_path / "backup")


@pytest.mark.anyio
async def test_a_backup_lies_elsewhere(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="elsewhere"):
        await backed_up(home, home)
    with pytest.raises(InvalidError, match="elsewhere"):
        await backed_up(home, tmp_path / "backup", home / "keys")


def test_the_command_backs_up_and_says_what_is_in_it(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "backup")
    assert main(["backup", folder, "--home", str(home), "--all", "--no-vault"]) == DONE
    assert "listed" in capsys.readouterr().out
    assert main(["backup", folder, "--home", str(home), "--keys", str(tmp_path / "safe")]) == DONE
    assert main(["audit", "--home", folder]) == DONE
    assert main(["backup", folder, "--home", str(home), "--tenant", "nobody"]) == USAGE
