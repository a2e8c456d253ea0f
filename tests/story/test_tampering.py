"""The tamper corpus: what an attacker with the disk in his hands can do, and how audit names it.

Each case changes a real, told history behind the ledger's back.  The attacker is given what he would have:
the files, knowledge of the formats, and in some cases a key of his own.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from api.workplace import open_workplace
from domain.digests import Digest
from domain.events import DatasetDerived, ReceiptIssued
from ledger.audit import AuditReport, audit
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.completeness import Topics
from ledger.dsse import format_envelope, parse_envelope, sign_envelope
from ledger.entry import Entry, event_id, format_entry, parse_entry
from ledger.ledger import ledger_name
from ledger.merkle import Frontier, leaf_hash
from ledger.notes import VerifierKey, format_verifier_key
from ledger.recorded import event_of, recorded_of
from ledger.statement import PAYLOAD_TYPE
from tests.ledger.signing_key import SigningKey
from tests.story.told import TENANT, at_desk, settings

LEDGER = ledger_name(TENANT)
ORIGIN = settings(Path("x")).origin(TENANT)


def database(home: Path) -> sqlite3.Connection:
    """The store with its protection taken off."""
    db = sqlite3.connect(home / "ledgers" / f"{LEDGER}.sqlite", isolation_level=None)
    db.executescript(
        "DROP TRIGGER IF EXISTS records_are_never_updated; DROP TRIGGER IF EXISTS records_are_never_deleted;"
    )
    return db


def restore_triggers(home: Path) -> None:
    """A careful attacker leaves the protection as it was."""
    with sqlite3.connect(home / "ledgers" / f"{LEDGER}.sqlite") as db:
        db.executescript(
            """CREATE TRIGGER records_are_never_updated BEFORE UPDATE ON records
                 BEGIN SELECT RAISE(ABORT, 'x'); END;
               CREATE TRIGGER records_are_never_deleted BEFORE DELETE ON records
                 BEGIN SELECT RAISE(ABORT, 'x'); END;"""
        )


async def audited(home: Path, trusted: VerifierKey | None = None, kept: bytes = b"") -> AuditReport:
    """Audit without opening the ledger for writing first, which would refuse a broken one."""
    async with open_workplace(settings(home)) as workplace:
        return await audit(
            workplace.log, LEDGER, vault=workplace.vault(TENANT), trusted=trusted, kept_checkpoint=kept
        )


def rows(db: sqlite3.Connection) -> list[tuple[int, bytes, str, bytes, bytes, bytes]]:
    return list(db.execute("SELECT * FROM records ORDER BY ledger_index"))


def rewrite(
    home: Path,
    change: Callable[[int, Entry, bytes], tuple[Entry, bytes]],
    signer: SigningKey,
) -> None:
    """Write the whole history again with some entries changed: chain, ids and seals all made to fit, signed
    by ``signer``."""
    db = database(home)
    old = rows(db)
    db.execute("DELETE FROM records")
    frontier, previous = Frontier(), "0" * 64
    for index, _, event_type, entry_bytes, payload, seal in old:
        entry, payload = change(index, parse_entry(entry_bytes), payload)
        entry = replace(
            entry,
            previous=previous,
            payload_size=len(payload),
            payload_sha256=hashlib.sha256(payload).hexdigest(),
        )
        data = format_entry(entry)
        leaf = leaf_hash(data)
        previous = leaf.hex()
        frontier.append(leaf)
        if seal:
            checkpoint = Checkpoint(origin=entry.origin, size=frontier.size, root=frontier.root())
            seal = sign_checkpoint(checkpoint, signer)
        db.execute(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)",
            (index, event_id(index, leaf), event_type, data, payload, seal),
        )
    db.close()
    restore_triggers(home)


def first(report: AuditReport) -> tuple[int, str]:
    assert not report.is_clean
    return report.findings[0].index, report.findings[0].check


@pytest.mark.anyio
async def test_the_untouched_story_is_clean(home: Path) -> None:
    report = await audited(home)
    assert report.findings == ()
    assert report.receipt_count == 6
    assert report.object_count > 10


@pytest.mark.anyio
@pytest.mark.parametrize("index", [0, 7, 20])
async def test_flipping_a_bit_of_a_body_is_found_there(home: Path, index: int) -> None:
    db = database(home)
    payload = bytearray(rows(db)[index][4])
    payload[len(payload) // 2] ^= 1
    db.execute("UPDATE records SET payload = ? WHERE ledger_index = ?", (bytes(payload), index))
    db.close()
    restore_triggers(home)
    assert first(await audited(home)) == (index, "body")


@pytest.mark.anyio
@pytest.mark.parametrize("index", [1, 11, 25])
async def test_flipping_a_bit_of_an_entry_is_found_there(home: Path, index: int) -> None:
    db = database(home)
    good = rows(db)[index][3]
    for place in (3, 60, -100, -30):
        entry = bytearray(good)
        entry[place] ^= 2
        db.execute("UPDATE records SET entry = ? WHERE ledger_index = ?", (bytes(entry), index))
        found = [f.index for f in (await audited(home)).findings if f.check != "storage"]
        assert found[0] == index
    db.close()


@pytest.mark.anyio
async def test_deleting_an_entry_is_found(home: Path) -> None:
    db = database(home)
    db.execute("DELETE FROM records WHERE ledger_index = 9")
    db.close()
    restore_triggers(home)
    report = await audited(home)
    assert any(f.check == "storage" and "holes" in f.detail for f in report.findings)
    assert any(f.index == 9 and f.check == "order" for f in report.findings)


@pytest.mark.anyio
async def test_deleting_an_entry_and_closing_the_gap_is_found(home: Path) -> None:
    db = database(home)
    db.execute("DELETE FROM records WHERE ledger_index = 9")
    db.execute("UPDATE records SET ledger_index = -ledger_index WHERE ledger_index > 9")
    db.execute("UPDATE records SET ledger_index = -ledger_index - 1 WHERE ledger_index < 0")
    db.close()
    restore_triggers(home)
    assert first(await audited(home)) == (9, "order")


@pytest.mark.anyio
async def test_swapping_two_entries_is_found(home: Path) -> None:
    db = database(home)
    for one, two in ((12, -1), (13, 12), (-1, 13)):
        db.execute("UPDATE records SET ledger_index = ? WHERE ledger_index = ?", (two, one))
    db.close()
    restore_triggers(home)
    assert first(await audited(home)) == (12, "order")


@pytest.mark.anyio
async def test_swapping_two_bodies_is_found(home: Path) -> None:
    db = database(home)
    stored = rows(db)
    db.execute("UPDATE records SET payload = ? WHERE ledger_index = 6", (stored[7][4],))
    db.execute("UPDATE records SET payload = ? WHERE ledger_index = 7", (stored[6][4],))
    db.close()
    restore_triggers(home)
    assert first(await audited(home)) == (6, "body")


@pytest.mark.anyio
async def test_cutting_off_the_end_is_found_by_a_kept_checkpoint(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        kept, key = desk.ledger.checkpoint, desk.ledger.verifier_key
    db = database(home)
    sealed = [index for index, *_, seal in rows(db) if seal]
    db.execute("DELETE FROM records WHERE ledger_index > ?", (sealed[-3],))
    db.close()
    restore_triggers(home)
    assert (await audited(home, key)).is_clean  # from inside, nothing is missing
    assert first(await audited(home, key, kept)) == (sealed[-3] + 1, "truncated")


@pytest.mark.anyio
async def test_cutting_between_seals_is_found_without_help(home: Path) -> None:
    db = database(home)
    inside = next(index for index, *_, seal in rows(db) if index > 20 and not seal)
    db.execute("DELETE FROM records WHERE ledger_index > ?", (inside,))
    db.close()
    restore_triggers(home)
    assert first(await audited(home)) == (inside, "seal")


def _another_firmware(index: int, entry: Entry, payload: bytes) -> tuple[Entry, bytes]:
    return entry, payload.replace(b"3.00.1", b"3.00.2")


@pytest.mark.anyio
async def test_rewriting_history_without_the_key_is_found_at_its_first_seal(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        key = desk.ledger.verifier_key
    rewrite(home, _another_firmware, SigningKey(ORIGIN, "attacker"))
    report = await audited(home, key)
    assert first(report) == (1, "seal")


@pytest.mark.anyio
async def test_rewriting_history_with_the_stolen_key_is_a_fork(home: Path) -> None:
    async with at_desk(home) as (workplace, desk):
        kept, key = desk.ledger.checkpoint, desk.ledger.verifier_key
        signer = workplace.keys.signer(ORIGIN)
    rewrite(home, _another_firmware, signer)  # type: ignore[arg-type]
    report = await audited(home, key, kept)
    assert first(report)[1] == "forked"
    # Even without a kept checkpoint the receipts no longer say what the events say.
    assert any(f.check == "receipt" for f in (await audited(home, key)).findings)


@pytest.mark.anyio
async def test_replacing_the_key_event_too_is_found_by_whoever_holds_the_key(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        key = desk.ledger.verifier_key
    attacker = SigningKey(ORIGIN, "attacker")
    old, new = format_verifier_key(key).encode(), format_verifier_key(attacker.verifier_key).encode()

    def replace_key(index: int, entry: Entry, payload: bytes) -> tuple[Entry, bytes]:
        return entry, payload.replace(old, new)

    rewrite(home, replace_key, attacker)
    assert first(await audited(home, key)) == (1, "seal")
    # Believing the ledger's own key is not enough to be fooled: the receipts were signed by the old one.
    assert any(f.check == "receipt" for f in (await audited(home)).findings)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("truth", "lie_told"),
    [
        (b'"is_presentable":false', b'"is_presentable":true'),
        (b'"tenant":"%b"' % TENANT.encode(), b'"tenant":"somebody-else"'),
    ],
)
async def test_a_receipt_that_claims_more_than_its_events_is_found(
    home: Path, truth: bytes, lie_told: bytes
) -> None:
    async with at_desk(home) as (workplace, desk):
        key = desk.ledger.verifier_key
        signer = workplace.keys.signer(ORIGIN)
    target = 0

    def lie(index: int, entry: Entry, payload: bytes) -> tuple[Entry, bytes]:
        nonlocal target
        if entry.event_type == ReceiptIssued.TYPE and truth in (told := parse_envelope(payload).payload):
            target = index
            statement = told.replace(truth, lie_told)
            lied = sign_envelope(PAYLOAD_TYPE, statement, [signer])
            receipt_id = "r" + hashlib.sha256(statement).hexdigest()[:24]
            return replace(entry, subject=f"receipt/{receipt_id}"), format_envelope(lied)
        return entry, payload

    rewrite(home, lie, signer)  # type: ignore[arg-type]
    report = await audited(home, key)
    assert target
    assert (target, "receipt") in [(f.index, f.check) for f in report.findings]


async def _dataset_digest(home: Path) -> tuple[int, Digest]:
    async with at_desk(home) as (_, desk):
        for record in await desk.ledger.read(0, 1_000):
            if record.event_type == DatasetDerived.TYPE:
                recorded = recorded_of(record)
                return recorded.index, event_of(recorded, DatasetDerived).object_digest
    raise AssertionError


def _object_path(home: Path, digest: Digest) -> Path:
    return next(path for path in (home / "vault").rglob("*") if path.is_file() and path.name in digest)


@pytest.mark.anyio
async def test_a_changed_object_in_the_vault_is_named(home: Path) -> None:
    index, digest = await _dataset_digest(home)
    path = _object_path(home, digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    finding = (await audited(home)).findings[0]
    assert (finding.index, finding.check) == (index, "vault")
    assert "changed" in finding.detail


@pytest.mark.anyio
async def test_a_missing_object_in_the_vault_is_told_from_a_changed_one(home: Path) -> None:
    index, digest = await _dataset_digest(home)
    _object_path(home, digest).unlink()
    finding = (await audited(home)).findings[0]
    assert (finding.index, finding.check) == (index, "vault")
    assert "missing" in finding.detail


@pytest.mark.anyio
async def test_a_swapped_artifact_is_named(home: Path) -> None:
    objects = [path for path in (home / "vault").rglob("*") if path.is_file()]
    one, two = sorted(objects, key=lambda path: path.stat().st_size)[-2:]
    one_bytes, two_bytes = one.read_bytes(), two.read_bytes()
    for path, data in ((one, two_bytes), (two, one_bytes)):
        path.chmod(0o600)
        path.write_bytes(data)
    report = await audited(home)
    assert len([f for f in report.findings if f.check == "vault" and "changed" in f.detail]) == 2


@pytest.mark.anyio
async def test_a_disk_that_fails_during_an_audit_is_a_finding(home: Path) -> None:
    async with open_workplace(settings(home)) as workplace:
        desk = await workplace.desk()
        await Topics(desk.ledger).commit("test")
    with database(home) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    restore_triggers(home)
    path = home / "ledgers" / f"{LEDGER}.sqlite"

    def damage(done: int, size: int) -> None:
        """Once everything was read and found good, every page but the first is gone."""
        if done == size:
            path.write_bytes(path.read_bytes()[:4_096].ljust(path.stat().st_size, b"\0"))

    async with open_workplace(settings(home)) as workplace:
        report = await audit(workplace.log, LEDGER, progress=damage)
    assert report.size == report.findings[-1].index + 1
    assert {finding.check for finding in report.findings} == {"body"}
