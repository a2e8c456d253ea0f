"""What earlier versions wrote is read by this one: every folder of tests/vectors/formats, for ever."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path

import pytest

from adapters.sqlite_log import SQLiteLog
from domain.outcomes import Outcome
from ledger.audit import audit
from ledger.bundle import FORMAT, FORMAT_2, format_bundle, parse_bundle
from ledger.dsse import parse_envelope, verify_envelope
from ledger.entry import event_id, format_entry, parse_entry
from ledger.ledger import ledger_name
from ledger.merkle import leaf_hash
from ledger.notes import VerifierKey, parse_verifier_key
from ledger.policy import policy_of_log
from ledger.ports import Record
from ledger.receipt import parse_receipt
from ledger.statement import PAYLOAD_TYPE
from ledger.verify import verify_bundle
from tests.docs.test_verify import verify
from tests.ledger.desk import ORIGIN, TENANT, open_ledger
from tests.ledger.format_fixtures import fixtures
from tests.ledger.key_ring import KeyRing
from tests.ledger.signing_key import SigningKey
from tests.ledger.test_ledger import batch

FORMATS = Path(__file__).parents[1] / "vectors" / "formats"
VERSIONS = sorted(path for path in FORMATS.iterdir() if path.is_dir())

every_version = pytest.mark.parametrize("folder", VERSIONS, ids=lambda folder: folder.name)


def keys_of(folder: Path) -> list[VerifierKey]:
    return [parse_verifier_key(line) for line in (folder / "keys").read_text().splitlines()]


def records_of(file: Path) -> list[Record]:
    rows = [json.loads(line) for line in file.read_bytes().splitlines()]
    return [
        Record(
            index=row["index"],
            event_id=event_id(row["index"], leaf_hash(b64decode(row["entry"]))),
            event_type=row["event_type"],
            entry=b64decode(row["entry"]),
            payload=b64decode(row["payload"]),
            seal=b64decode(row["seal"]),
        )
        for row in rows
    ]


async def stored(folder: Path, log: SQLiteLog, *, file: str = "ledger.jsonl", tenant: str = TENANT) -> int:
    """Put a ledger back as it was appended, one sealed append after the other."""
    batch_of: list[Record] = []
    size = 0
    for record in records_of(folder / file):
        batch_of.append(record)
        if record.seal:
            await log.append(ledger_name(tenant), size, batch_of)
            size += len(batch_of)
            batch_of = []
    assert not batch_of
    return size


def test_formats_are_kept() -> None:
    assert VERSIONS


@every_version
def test_an_entry_is_read(folder: Path) -> None:
    data = (folder / "entry").read_bytes()
    entry = parse_entry(data)
    assert entry.event_type == "receipt.issued.v1"
    assert format_entry(entry) == data


@every_version
def test_a_receipt_is_read_and_verifies(folder: Path) -> None:
    data = (folder / "receipt.dsse").read_bytes()
    first, _ = keys_of(folder)
    assert verify_envelope(parse_envelope(data), [first], payload_type=PAYLOAD_TYPE) == (first,)
    receipt_id, predicate = parse_receipt(data)
    assert parse_entry((folder / "entry").read_bytes()).subject == f"receipt/{receipt_id}"
    assert predicate.verdict is Outcome.PASS


@every_version
@pytest.mark.parametrize(
    ("name", "version", "places"),
    [
        ("bundle-v1", FORMAT, (0,)),
        ("bundle-v2", FORMAT_2, (0, 1)),
        ("bundle-v2-after", FORMAT_2, (0, 1)),
    ],
)
def test_a_bundle_is_read_and_both_verifiers_accept_it(
    folder: Path, name: str, version: str, places: tuple[int, ...]
) -> None:
    data, report = (folder / f"{name}.tally.json").read_bytes(), (folder / "report.html").read_bytes()
    bundle = parse_bundle(data)
    assert bundle.format == version
    assert format_bundle(bundle) == data
    vkeys = (folder / "keys").read_text().splitlines()
    for place in places:
        ours = verify_bundle(data, policy_of_log(keys_of(folder)[place]), {"report.html": report})
        theirs = verify.verify_bundle(
            data, verify.Policy([verify.parse_key(vkeys[place])]), {"report.html": report}
        )
        assert (theirs["receipt"], theirs["verdict"]) == (ours.receipt_id, "pass")


@every_version
@pytest.mark.anyio
async def test_a_ledger_is_audited_and_goes_on(folder: Path, tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "log")
    try:
        size = await stored(folder, log)
        for trusted in keys_of(folder):
            report = await audit(log, ledger_name(TENANT), trusted=trusted)
            assert report.findings == ()
            assert (report.size, report.receipt_count) == (size, 3)
        ring = KeyRing(SigningKey(ORIGIN))
        for seed, algorithm in (("next 1", "Ed25519"), ("next 2", "ML-DSA-44")):
            ring.keys.append(SigningKey(ORIGIN, seed, algorithm))
        async with open_ledger(tmp_path, log=log, keys=ring) as ledger:
            assert (await ledger.record(batch(1_000)))[0].index == size
        assert (await audit(log, ledger_name(TENANT))).is_clean
    finally:
        await log.close()


@pytest.mark.anyio
async def test_this_version_writes_what_the_newest_folder_holds() -> None:
    """When this fails a format has changed: keep the old folder, and make a new one beside it."""
    made, newest = await fixtures(), VERSIONS[-1]
    assert {path.name for path in newest.iterdir()} == set(made)
    # What an ML-DSA-44 key signed, and what proves it, differs from run to run.
    for name in ("entry", "keys", "receipt.dsse", "bundle-v1.tally.json", "report.html"):
        assert made[name] == (newest / name).read_bytes(), name
    then, now = (
        [json.loads(line) for line in data.splitlines()]
        for data in ((newest / "ledger.jsonl").read_bytes(), made["ledger.jsonl"])
    )
    assert [row["event_type"] for row in then] == [row["event_type"] for row in now]
