"""Good bytes of every kind, from a ledger with a real history: where fuzzing begins."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from msgspec import Struct

from adapters.files.arrow_dataset import dataset_file
from adapters.files.csv import read_csv
from adapters.files.options import parse_options
from api.demo import CONNECTION, DATA
from domain.canonical import canonical_json
from ledger.audit_bundle import make_audit_bundle
from ledger.bundle import bundle_of, format_bundle
from ledger.completeness import Topics
from ledger.desk import Desk
from ledger.dsse import parse_envelope
from ledger.erasure import ErasureReason, erase_subject
from ledger.key_change import rotate_key
from ledger.merkle import Frontier, leaf_hash
from ledger.notes import VerifierKey, format_verifier_key
from ledger.policy import format_policy, policy_of_log
from ledger.ports import Erasure, Record
from ledger.recorded import recorded_of
from ledger.reprocess import artifact_of
from ledger.run import decided_of
from ledger.tlog_proof import format_tlog_proof
from ledger.topics import TopicFold, receipts_topic
from ledger.witness import AddCheckpoint, format_add_checkpoint
from tests.adapters.files.miniseed_writer import STEIM1, write_miniseed
from tests.story.test_receipts import receipts
from tests.story.told import at_desk, recording, tell

CSV_OPTIONS = parse_options({"time_unit": "ns", "sample_rate_hz": 200})


class Seeds(Struct, frozen=True, kw_only=True):
    """``key`` is the ledger's first key; ``by_kind`` are good bytes by what they are."""

    key: VerifierKey
    by_kind: dict[str, tuple[bytes, ...]]


def make_seeds() -> Seeds:
    """Tell the story, with a rotation of keys and an erasure at its end, and take everything apart."""
    with tempfile.TemporaryDirectory(prefix="tallystick-seeds-") as name:
        return asyncio.run(_seeds(Path(name)))


async def _seeds(home: Path) -> Seeds:
    found: dict[str, list[bytes]] = defaultdict(list)
    async with at_desk(home) as (_, desk):
        key = desk.ledger.verifier_key
        await tell(desk)
        await _take_artifacts(desk, found)
        await _take_proofs(desk, found)
        await rotate_key(desk.ledger, desk.keys, reason="drill", actor="test")
        await rotate_key(desk.ledger, desk.keys, reason="drill", actor="test", algorithm="ML-DSA-44")
        await _take_proofs(desk, found)
        await erase_subject(desk, CONNECTION, ErasureReason.OBJECTION, "test")
        records = await desk.ledger.read(0, 10_000)
    _take_records(records, found)
    found["vkey"].append(format_verifier_key(key).encode())
    found["policy"] = [format_policy(policy_of_log(key)), *found["policy"]]
    _take_files(found)
    return Seeds(key=key, by_kind={kind: tuple(dict.fromkeys(seeds)) for kind, seeds in found.items()})


async def _take_artifacts(desk: Desk, found: dict[str, list[bytes]]) -> None:
    for _, _, predicate in await receipts(desk.ledger):
        decided = await decided_of(desk.ledger, predicate.run.decided_index)
        for artifact in decided.artifacts:
            data = await artifact_of(desk, predicate.source.source_id, decided, artifact.name)
            if data is not None and artifact.name.endswith(".columns"):
                found["columns"].append(data)


async def _take_proofs(desk: Desk, found: dict[str, list[bytes]]) -> None:
    ledger = desk.ledger
    ids = []
    for recorded, receipt_id, _ in await receipts(ledger):
        ids.append(receipt_id)
        found["bundle"].append(format_bundle(await bundle_of(ledger, recorded.index)))
        found["tlog-proof"].append(format_tlog_proof(ledger.prove(recorded.index)))
    found["audit-bundle"].append(await make_audit_bundle(desk, ids[-1:]))
    topics = Topics(ledger)
    for topic in (receipts_topic(CONNECTION), receipts_topic("nobody"), "recalls"):
        found["completeness"].append(await topics.prove(topic, "test"))
    request = AddCheckpoint(size_old=5, path=tuple(ledger.prove_growth(5)), note=ledger.checkpoint)
    found["add-checkpoint"].append(format_add_checkpoint(request))


def _take_records(records: list[Record], found: dict[str, list[bytes]]) -> None:
    frontier, fold = Frontier(), TopicFold()
    fold.take(records)
    found["topic-line"] = [state.line for state in fold.tree().states]
    for record in records:
        frontier.append(leaf_hash(record.entry))
        found["entry"].append(record.entry)
        found["event"].append(record.event_type.encode() + b"\n" + record.payload)
        if record.seal:
            found["note"].append(record.seal)
        if record.event_type == "receipt.issued.v1":
            found["envelope"].append(record.payload)
            found["statement"].append(parse_envelope(record.payload).payload)
        recorded_of(record)
    found["frontier"].append(frontier.to_bytes())


def _take_files(found: dict[str, list[bytes]]) -> None:
    found["setup"] = [path.read_bytes() for path in sorted(DATA.glob("*.yaml"))]
    found["contract"] = [path.read_bytes() for path in sorted((DATA / "contracts").glob("*.yaml"))]
    found["oura-sleep"] = [path.read_bytes() for path in sorted((DATA / "oura").glob("sleep*.json"))]
    found["oura-activity"] = [path.read_bytes() for path in sorted((DATA / "oura").glob("daily*.json"))]
    samples = np.cumsum(np.random.default_rng(1).integers(-50, 50, 600))
    found["miniseed"] = [
        write_miniseed(samples),
        write_miniseed(samples, encoding=STEIM1, record_bytes=256),
        write_miniseed(samples.astype("f4"), encoding=4),
    ]
    text = recording(0, 1)
    found["csv"].append(text)
    found["dataset"].append(dataset_file(read_csv(text, CSV_OPTIONS)))
    found["erasure"].append(
        canonical_json(
            Erasure(
                tenant="demo",
                connection_id="c",
                subject_key_id="demo.c",
                reason=ErasureReason.OBJECTION,
                erased_at_ns=1,
            )
        )
    )
