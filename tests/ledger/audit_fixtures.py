"""What an auditor is handed, as this version writes it, to be kept for ever and read by every later one.

    python -m tests.ledger.audit_fixtures FOLDER       FOLDER must not exist: what is published is not edited

In the folder, all made by the real ledger from fixed seeds and a fixed clock:

    ledger.jsonl                every type of event of a tenant's ledger; a record a line, as in formats/
    keys                        vkeys, one a line: every key the ledger had, oldest first
    statement                   bytes that were put on record
    statement.tlog-proof        the proof of their place
    topics-*.json               completeness proofs, of what is there and of what is not
    receipts-*.audit.json       audit bundles, from before the first change of keys and from after it
    timestamp-ca.pem            the root by which the token in the ledger is trusted

The token alone cannot be made twice, so the one of the newest folder is taken where there is one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import tempfile
from base64 import b64decode
from pathlib import Path

from adapters.erasure_journal import FolderErasureJournal
from adapters.executor.pinned_executor import PinnedExecutor
from adapters.files.detect import SampleFileFormat
from adapters.key_store_file import FileKeyStore
from adapters.sqlite_log import SQLiteLog
from adapters.vault_directory import DirectoryVault
from domain.digests import digest_of
from domain.event_codec import decode_event
from domain.events import (
    BatchIngested,
    BatchQuarantined,
    CheckpointTimestamped,
    LedgerRestored,
    NumericEnvironment,
    ReceiptReplayed,
    Recorded,
)
from domain.outcomes import Outcome
from ledger.audit_bundle import make_audit_bundle
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.completeness import Topics
from ledger.desk import Desk
from ledger.erasure import ErasureReason, erase_subject
from ledger.key_change import declare_compromised, revoke_key, rotate_key
from ledger.ledger import Ledger
from ledger.notes import format_verifier_key
from ledger.recall import recall
from ledger.sealing_keys import all_keys
from ledger.statements import StatementWriter
from ledger.timestamping import Timestamp, timestamp_checkpoint
from ledger.topics import calibrations_topic, erasures_topic, receipts_topic, status_topic
from tests.ledger.desk import ORIGIN, START_NS, TENANT, open_ledger, ticking_clock
from tests.ledger.fixture_files import lines_of, write_fixtures
from tests.ledger.format_fixtures import REPORT, premises, put, run
from tests.ledger.key_ring import KeyRing
from tests.ledger.signing_key import SigningKey

FOLDERS = Path(__file__).parents[1] / "vectors" / "audited"
STATEMENT = b"The weights of the east balance were compared on 2026-05-28.\n"
DEVICE, CONNECTION = "logger-1", "wearer-1"
ENVIRONMENT = NumericEnvironment(class_digest=digest_of(b"environment"), facts={"numpy": "2"})


class KeptAuthority:
    """A timestamp authority that has answered before: its token is over the same checkpoint each time."""

    def __init__(self, folder: Path) -> None:
        rows = [json.loads(line) for line in (folder / "ledger.jsonl").read_bytes().splitlines()]
        payload = next(row["payload"] for row in rows if row["event_type"] == CheckpointTimestamped.TYPE)
        event = decode_event(CheckpointTimestamped.TYPE, b64decode(payload))
        assert isinstance(event, CheckpointTimestamped)
        self._event = event
        self.root = (folder / "timestamp-ca.pem").read_bytes()

    async def stamp(self, data: bytes) -> Timestamp:
        assert digest_of(data) == self._event.digest, "the checkpoint is another one than it was"
        return self.verify(self._event.token, data)

    def verify(self, token: bytes, data: bytes) -> Timestamp:
        event = self._event
        return Timestamp(
            authority=event.authority, time_ns=event.time_ns, accuracy_ns=event.accuracy_ns, token=token
        )


def receipt_of(recorded: Recorded) -> str:
    return recorded.subject.removeprefix("receipt/")


async def take_in(ledger: Ledger, vault: DirectoryVault) -> None:
    """A payload that cannot be mapped, and the bytes behind what the runs name."""
    batch = BatchIngested(
        batch_id="b-9",
        source_id=CONNECTION,
        kind="oura.sleep",
        media_type="application/json",
        byte_count=10,
        digest=digest_of(b"ciphertext"),
        is_encrypted=True,
        received_at_ns=START_NS,
        provider_event_time_ns=START_NS - 1,
    )
    index = await put(ledger, batch, "batch/b-9")
    quarantined = BatchQuarantined(
        batch_id="b-9",
        source_id=CONNECTION,
        stage="parse",
        reason="MalformedError",
        detail="not JSON",
        remedy="Send it again.",
    )
    await put(ledger, quarantined, "batch/b-9", index)
    for data in (REPORT, *(b"%s %d" % (kind, number) for kind in (b"batch", b"object") for number in (1, 4))):
        await vault.put(data)


async def prove(topics: Topics, files: dict[str, bytes], when: str, **named: str) -> None:
    """A proof for each topic."""
    for name, topic in named.items():
        files[f"topics-{when}-{name.replace('_', '-')}.json"] = await topics.prove(topic, "fixture")


async def replay(ledger: Ledger, receipt: Recorded) -> None:
    event = ReceiptReplayed(
        receipt_id=receipt_of(receipt),
        receipt_index=receipt.index,
        result="reproduced",
        first_difference="",
        environment=ENVIRONMENT,
    )
    await put(ledger, event, f"replay/{event.receipt_id}", receipt.index)


async def restore(ledger: Ledger, signer: SigningKey) -> None:
    """Say that a newer state was seen before, and is given up."""
    seen = Checkpoint(origin=ORIGIN, size=ledger.size + 1, root=hashlib.sha256(b"lost").digest())
    event = LedgerRestored(
        seen=sign_checkpoint(seen, signer).decode(),
        found=ledger.checkpoint.decode(),
        reason="the disk died, the backup of the night before",
    )
    await put(ledger, event, f"tenant/{TENANT}")


async def tell(desk: Desk, ring: KeyRing, authority: KeptAuthority, files: dict[str, bytes]) -> None:
    """Everything that can happen to a ledger, once."""
    ledger, topics, (first,) = desk.ledger, Topics(desk.ledger), ring.keys
    assert isinstance(desk.vault, DirectoryVault)
    await prove(topics, files, "none", receipts=receipts_topic(DEVICE))
    where = await premises(ledger)
    await take_in(ledger, desk.vault)
    good = await run(ledger, where, 1, Outcome.PASS)
    withheld = await run(ledger, where, 2, Outcome.FAIL)
    better = await run(ledger, where, 3, Outcome.PASS, supersedes=receipt_of(good))
    await replay(ledger, good)
    files["statement"] = STATEMENT
    files["statement.tlog-proof"] = (
        await StatementWriter(ledger).add(STATEMENT, "text/plain", "fixture")
    ).proof
    await timestamp_checkpoint(ledger, authority, "fixture")
    await prove(
        topics,
        files,
        "before",
        all_receipts=receipts_topic(DEVICE),
        superseded=status_topic(receipt_of(good)),
        withheld=status_topic(receipt_of(withheld)),
        absent_first="a",
        absent_between=receipts_topic("nobody"),
        absent_last="z",
    )
    ids = [receipt_of(one) for one in (good, withheld, better)]
    files["receipts-before.audit.json"] = await make_audit_bundle(desk, ids[1:])
    await recall(desk, "calibration", f"{DEVICE}/c-1", "the wrong certificate", "fixture")
    await erase_subject(desk, CONNECTION, ErasureReason.CONSENT_WITHDRAWN, "fixture")
    await restore(ledger, first)
    await rotate_key(ledger, ring, reason="once a year", actor="fixture")
    both = await run(ledger, where, 4, Outcome.PASS)
    await revoke_key(ledger, first.verifier_key.key_id.hex(), reason="rotated", actor="fixture")
    second = ledger.verifier_key.key_id.hex()
    await rotate_key(ledger, ring, reason="a stolen laptop", actor="fixture")
    await declare_compromised(
        ledger, second, from_index=ledger.size, reason="a stolen laptop", actor="fixture"
    )
    await prove(
        topics,
        files,
        "after",
        recalled=status_topic(receipt_of(good)),
        calibrations=calibrations_topic(DEVICE),
        recalls="recalls",
        erased=erasures_topic(CONNECTION),
        not_erased=erasures_topic("wearer-2"),
    )
    files["receipts-after.audit.json"] = await make_audit_bundle(
        desk, [ids[0], receipt_of(both)], with_objects=True
    )


async def fixtures(authority: KeptAuthority) -> dict[str, bytes]:
    """Every file, by name."""
    ring = KeyRing(SigningKey(ORIGIN))
    files = {"timestamp-ca.pem": authority.root}
    with tempfile.TemporaryDirectory() as name:
        home, executor = Path(name), PinnedExecutor()
        log = SQLiteLog(home / "log")
        async with open_ledger(home, log=log, keys=ring) as ledger:
            desk = Desk(
                ledger=ledger,
                vault=DirectoryVault(home / "vault"),
                keys=FileKeyStore(home / "keys"),
                executor=executor,
                formats=SampleFileFormat(),
                clock=ticking_clock(),
                erasures=FolderErasureJournal(home / "seen"),
            )
            await tell(desk, ring, authority, files)
            vkeys = [format_verifier_key(key) for key in all_keys(ledger.state.keys)]
            files["keys"] = "".join(f"{vkey}\n" for vkey in vkeys).encode()
            files["ledger.jsonl"] = lines_of(await ledger.read(0, 1_000))
        await log.close()
    return files


def main(folder: Path) -> None:
    """Write them all into a new folder, with the newest folder's token or a new one."""
    newest = max(FOLDERS.iterdir(), default=None)
    assert newest is not None, "make the first token with openssl ts"
    files = asyncio.run(fixtures(KeptAuthority(newest)))
    write_fixtures(folder, files)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
