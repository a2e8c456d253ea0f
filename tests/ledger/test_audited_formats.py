"""What auditors were handed by earlier versions is read by this one: every folder of tests/vectors/audited.

By our verifier, and by the one that shares no code with it."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from adapters.sqlite_log import SQLiteLog
from domain.errors import TallystickError
from domain.event_codec import EVENT_TYPES
from domain.events import CheckpointTimestamped, TenantCheckpointed
from ledger.audit import audit
from ledger.audit_bundle import verify_audit_bundle
from ledger.completeness import verify_completeness
from ledger.ledger import ledger_name
from ledger.notes import VerifierKey, parse_verifier_key
from ledger.policy import Policy, policy_of_log
from ledger.receipt import parse_receipt
from ledger.statement import PAYLOAD_TYPE
from ledger.statements import verify_statement
from ledger.status import proven_status
from ledger.timestamping import stamped_checkpoints, verify_timestamps
from ledger.tlog_proof import format_tlog_proof, parse_tlog_proof
from tests.docs.by_the_book import Book, read_book, rows_of
from tests.docs.test_format import BLOCKS, HEADS
from tests.docs.test_verify import verify
from tests.ledger.audit_fixtures import DEVICE, FOLDERS, STATEMENT, KeptAuthority, fixtures
from tests.ledger.desk import ORIGIN, TENANT, open_ledger
from tests.ledger.key_ring import KeyRing
from tests.ledger.signing_key import SigningKey
from tests.ledger.test_formats import stored
from tests.ledger.test_ledger import batch

VERSIONS = sorted(path for path in FOLDERS.iterdir() if path.is_dir())

every_version = pytest.mark.parametrize("folder", VERSIONS, ids=lambda folder: folder.name)


def vkeys_of(folder: Path) -> list[str]:
    return (folder / "keys").read_text().splitlines()


def keys_of(folder: Path) -> list[VerifierKey]:
    return [parse_verifier_key(vkey) for vkey in vkeys_of(folder)]


def theirs(vkey: str) -> Any:
    return verify.Policy([verify.parse_key(vkey)])


@pytest.fixture(scope="module")
def books() -> dict[Path, Book]:
    return {folder: read_book(rows_of(folder / "ledger.jsonl")) for folder in VERSIONS}


@every_version
def test_a_ledger_of_every_event_is_whole_by_the_specification_alone(
    books: dict[Path, Book], folder: Path
) -> None:
    book = books[folder]
    assert {entry["type"] for entry, _, _ in book.opened} == EVENT_TYPES - {TenantCheckpointed.TYPE}
    statuses = [book.status_of(receipt_id) for receipt_id in book.receipts]
    assert statuses == ["recalled", "recalled", "recalled", "valid"]


@every_version
@pytest.mark.anyio
async def test_a_ledger_of_every_event_is_audited_and_goes_on(folder: Path, tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "log")
    try:
        size = await stored(folder, log)
        for trusted in keys_of(folder):
            report = await audit(log, ledger_name(TENANT), trusted=trusted)
            assert report.findings == ()
            assert (report.size, report.receipt_count) == (size, 4)
        ring = KeyRing(*(SigningKey(ORIGIN, seed) for seed in ("", "next 1", "next 2")))
        async with open_ledger(tmp_path, log=log, keys=ring) as ledger:
            assert (await ledger.record(batch(1_000)))[0].index == size
        assert (await audit(log, ledger_name(TENANT))).is_clean
    finally:
        await log.close()


def pattern_of(stated: str, event: dict[str, Any]) -> str:
    """A subject as the specification writes it, with the members of an event put in."""
    parts = re.split(r"<([^>]*)>", stated)
    filled = [
        re.escape(str(event[part]) if part in event else part) if part in event or not place % 2 else "[^ ]+"
        for place, part in enumerate(parts)
    ]
    return "".join(filled)


@every_version
def test_every_entry_is_filed_and_caused_as_the_specification_says(
    books: dict[Path, Book], folder: Path
) -> None:
    rows = rows_of(folder / "ledger.jsonl")
    for row in rows:
        _, _, _, event_type, _, _, subject, causation, *_ = row["entry"].decode().split("\n")
        event = json.loads(row["payload"]) if BLOCKS[event_type] else {}
        stated_subject, stated_causes = HEADS[event_type]
        assert re.fullmatch(pattern_of(stated_subject, event), subject)
        causes = [] if causation == "-" else [int(cause) for cause in causation.split(",")]
        if stated_causes == "size - 1":
            assert causes == [event["size"] - 1]
        else:
            stated = re.findall(r"[a-z_]+\.[a-z_]+\.v1", stated_causes.partition("; map:")[0])
            assert {rows[cause]["event_type"] for cause in causes} == set(stated), event_type


@every_version
def test_every_body_has_the_members_that_the_specification_says(folder: Path) -> None:
    for row in rows_of(folder / "ledger.jsonl"):
        if stated := BLOCKS[row["event_type"]]:
            event = json.loads(row["payload"])
            assert set(event) <= set(stated)
            assert {name for name, (_, may_be_absent) in stated.items() if not may_be_absent} <= set(event)


@every_version
def test_while_a_key_is_handed_over_both_keys_have_signed(books: dict[Path, Book], folder: Path) -> None:
    book, rows = books[folder], rows_of(folder / "ledger.jsonl")
    first, second, _ = (span.key for span in book.keys.spans.values())
    rotated = next(row for row in rows if row["event_type"] == "key.rotated.v1")
    hints = [one["keyid"] for one in json.loads(rotated["payload"])["signatures"]]
    assert hints == [first.hint, second.hint]
    both = next(row for row in rows[rotated["index"] :] if row["event_type"] == "receipt.issued.v1")
    _, signers = verify.open_envelope(both["payload"], [first, second], PAYLOAD_TYPE, "step")
    assert signers == [first, second]
    _, signers = verify.open_note(both["seal"], [first, second], "step")
    assert signers == [first, second]


# How many entries each proof shows.
PROOFS = {
    "none-receipts": 0,
    "before-all-receipts": 3,
    "before-superseded": 1,
    "before-withheld": 0,
    "before-absent-first": 0,
    "before-absent-between": 0,
    "before-absent-last": 0,
    "after-recalled": 2,
    "after-calibrations": 2,
    "after-recalls": 1,
    "after-erased": 1,
    "after-not-erased": 0,
}
# How many receipts and objects are in each bundle.
BUNDLES = {"before": (2, 0), "after": (2, 5)}


def test_every_proof_and_bundle_that_was_kept_is_looked_at() -> None:
    for folder in VERSIONS:
        assert {path.stem.removeprefix("topics-") for path in folder.glob("topics-*.json")} == set(PROOFS)
        assert {path.name for path in folder.glob("*.audit.json")} == {
            f"receipts-{name}.audit.json" for name in BUNDLES
        }


def keys_that_can_judge(folder: Path, name: str) -> list[int]:
    """Before the first change of keys there was one; after it any of them is enough."""
    return [0] if not name.startswith("after") else list(range(len(vkeys_of(folder))))


@every_version
@pytest.mark.parametrize("name", PROOFS)
def test_a_completeness_proof_is_read_and_both_verifiers_say_the_same(
    books: dict[Path, Book], folder: Path, name: str
) -> None:
    data, book = (folder / f"topics-{name}.json").read_bytes(), books[folder]
    for place in keys_that_can_judge(folder, name):
        ours = verify_completeness(data, policy_of_log(keys_of(folder)[place]))
        found = verify.verify_completeness(data, theirs(vkeys_of(folder)[place]))
        indices = [one["index"] for one in found["entries"]]
        assert [one.index for one in ours.events] == indices
        assert (ours.topic, ours.size) == (found["topic"], found["complete_to_size"])
        # And what it shows is what there is.
        assert indices == [index for index in book.topics.get(ours.topic, ()) if index < ours.size]
        assert len(indices) == PROOFS[name]


@every_version
@pytest.mark.parametrize(
    ("name", "number", "status"),
    [
        ("before-superseded", 0, "superseded"),
        ("before-withheld", 1, "withheld"),
        ("after-recalled", 0, "recalled"),
    ],
)
def test_the_status_of_a_receipt_is_proven(
    books: dict[Path, Book], folder: Path, name: str, number: int, status: str
) -> None:
    proof = verify_completeness(
        (folder / f"topics-{name}.json").read_bytes(), policy_of_log(keys_of(folder)[0])
    )
    receipt_id, at = list(books[folder].receipts)[number], list(books[folder].receipts.values())[number]["at"]
    same_id, predicate = parse_receipt(rows_of(folder / "ledger.jsonl")[at]["payload"])
    assert same_id == receipt_id
    found = proven_status(receipt_id, predicate, proof)
    assert (found.status, books[folder].status_of(receipt_id)) == (status, "recalled")
    other = verify.verify_completeness(
        (folder / f"topics-{name}.json").read_bytes(), theirs(vkeys_of(folder)[0])
    )
    by = {"superseded": other["superseded_by"], "withheld": [], "recalled": other["recalled_by"]}[status]
    assert found.by == tuple(by)
    assert bool(other["recalled_by"]) == (status == "recalled")


@every_version
@pytest.mark.parametrize("name", BUNDLES)
def test_an_audit_bundle_is_read_and_both_verifiers_say_the_same(folder: Path, name: str) -> None:
    data = (folder / f"receipts-{name}.audit.json").read_bytes()
    for place in keys_that_can_judge(folder, name):
        ours = asyncio.run(verify_audit_bundle(data, policy_of_log(keys_of(folder)[place])))
        found = verify.verify_audit_bundle(data, theirs(vkeys_of(folder)[place]))
        assert [one.receipt_id for one in ours.receipts] == found["receipts"]
        assert (ours.entry_count, len(ours.objects)) == (found["entries"], found["objects"])
        assert (len(ours.receipts), len(ours.objects)) == BUNDLES[name]


@every_version
def test_a_statement_and_its_proof_are_read(folder: Path) -> None:
    statement, data = (folder / "statement").read_bytes(), (folder / "statement.tlog-proof").read_bytes()
    proof = parse_tlog_proof(data)
    assert (statement, format_tlog_proof(proof)) == (STATEMENT, data)
    entry, _ = verify_statement(statement, proof, policy_of_log(keys_of(folder)[0]))
    found = verify.verify_statement(data, statement, theirs(vkeys_of(folder)[0]))
    assert (entry.index, entry.subject) == (found["index"], found["subject"])


@every_version
@pytest.mark.anyio
async def test_a_token_of_external_time_is_believed_with_the_root_that_was_kept(
    folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("rfc3161_client", reason="the extra tsa is not installed")
    from adapters.timestamp_authority import HttpTimestampAuthority, parse_certificates

    authority = HttpTimestampAuthority(parse_certificates((folder / "timestamp-ca.pem").read_bytes()))
    log = SQLiteLog(tmp_path / "log")
    try:
        await stored(folder, log)
        stamped = await stamped_checkpoints(log, ledger_name(TENANT))
        assert [one.event.TYPE for one in stamped] == [CheckpointTimestamped.TYPE]
        verify_timestamps(stamped, authority)
    finally:
        await log.close()


def judge_ours(data: bytes, policy: Policy, *, is_bundle: bool) -> None:
    if is_bundle:
        asyncio.run(verify_audit_bundle(data, policy))
    else:
        verify_completeness(data, policy)


@every_version
def test_changed_bytes_of_everything_kept_are_refused_by_both(folder: Path) -> None:
    """A sample; `tests/docs/test_every_byte.py` changes every byte."""
    ours, other = policy_of_log(keys_of(folder)[0]), theirs(vkeys_of(folder)[0])
    for path in sorted(folder.glob("*.json")):
        is_bundle = path.name.endswith(".audit.json")
        judge = verify.verify_audit_bundle if is_bundle else verify.verify_completeness
        data = path.read_bytes()
        for number in range(12):
            changed = bytearray(data)
            changed[(2 * number + 1) * len(data) // 24] ^= 1 << number % 8
            with pytest.raises(TallystickError):
                judge_ours(bytes(changed), ours, is_bundle=is_bundle)
            with pytest.raises((verify.Malformed, verify.Refused)):
                judge(bytes(changed), other)


def test_this_version_writes_what_the_newest_folder_holds() -> None:
    """When this fails a format has changed: keep the old folder, and make a new one beside it."""
    newest = VERSIONS[-1]
    made = asyncio.run(fixtures(KeptAuthority(newest)))
    assert {path.name for path in newest.iterdir()} == set(made)
    for name, data in made.items():
        assert data == (newest / name).read_bytes(), name


def test_numbers_that_only_python_takes_as_equal_are_malformed() -> None:
    folder = VERSIONS[0]
    policy = theirs(vkeys_of(folder)[0])
    proof = json.loads((folder / "topics-before-all-receipts.json").read_bytes())
    bundle = json.loads((folder / "receipts-before.audit.json").read_bytes())
    proof["lines"][0]["place"] = float(proof["lines"][0]["place"])
    bundle["receipts"][0] = float(bundle["receipts"][0])
    assert DEVICE in proof["topic"]
    with pytest.raises(verify.Malformed):
        verify.verify_completeness(verify.canonical(proof).encode(), policy)
    with pytest.raises(verify.Malformed):
        verify.verify_audit_bundle(verify.canonical(bundle).encode(), policy)


def test_a_proof_about_something_else_than_was_asked_is_refused() -> None:
    folder = VERSIONS[0]
    data, policy = (folder / "topics-before-withheld.json").read_bytes(), theirs(vkeys_of(folder)[0])
    topic = verify.verify_completeness(data, policy)["topic"]
    assert verify.verify_completeness(data, policy, topic)["entries"] == []
    # True as well, and of a receipt that there is not.
    other = f"{topic[:-1]}{'0' if topic[-1] != '0' else '1'}"
    assert verify.verify_completeness(data.replace(topic.encode(), other.encode()), policy)["entries"] == []
    with pytest.raises(verify.Refused, match=r"^step 7: "):
        verify.verify_completeness(data, policy, other)
