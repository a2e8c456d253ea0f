"""Recalls, the status of receipts, and proofs that a list is complete."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from domain.errors import TallystickError, UnknownError
from domain.events import CalibrationSet, RecallDeclared, ReceiptIssued, ReceiptsRecalled, TopicsCommitted
from ledger.audit import audit
from ledger.completeness import CompletenessProof, Topics, verify_completeness
from ledger.desk import Desk
from ledger.ingest import ingest
from ledger.ledger import Proposal
from ledger.policy import policy_of_log
from ledger.recall import recall
from ledger.receipt import Predicate, parse_receipt
from ledger.recorded import event_of, recorded_of
from ledger.replay import replay
from ledger.status import ReceiptStatus, Status, proven_status
from ledger.topics import calibrations_topic, receipts_topic, status_topic
from ledger.worker import settle
from tests.ledger.signing_key import SigningKey
from tests.story.told import DEVICE, TENANT, at_desk, recording, recording_upload


async def receipts(desk: Desk) -> list[tuple[str, Predicate]]:
    return [
        parse_receipt(event_of(recorded_of(record), ReceiptIssued).envelope)
        for record in await desk.ledger.read(0, 10_000)
        if record.event_type == ReceiptIssued.TYPE
    ]


async def status(desk: Desk, topics: Topics, receipt_id: str, predicate: Predicate) -> ReceiptStatus:
    """As an auditor would: from a proof, with nothing but the key."""
    proof = await topics.prove(status_topic(receipt_id), "test")
    complete = verify_completeness(proof, policy_of_log(desk.ledger.verifier_key))
    return proven_status(receipt_id, predicate, complete)


@pytest.mark.anyio
async def test_a_receipt_is_valid_or_withheld_until_something_happens(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        topics = Topics(desk.ledger)
        found = {p.procedure.name: await status(desk, topics, r, p) for r, p in await receipts(desk)}
        assert found["coherence"].status is Status.VALID
        assert found["oura.sleep"].status is Status.WITHHELD
        assert found["coherence"].size <= desk.ledger.size


@pytest.mark.anyio
async def test_recalling_a_calibration_names_exactly_the_receipts_that_rest_on_it(home: Path) -> None:
    async with at_desk(home) as (workplace, desk):
        before = await receipts(desk)
        _, affected = await recall(
            desk, "calibration", f"{DEVICE}/colocated-2010-11", "shunt was wrong", "test"
        )
        assert {one.receipt_id for one in affected} == {r for r, p in before if p.calibration is not None}
        topics = Topics(desk.ledger)
        for receipt_id, predicate in before:
            found = await status(desk, topics, receipt_id, predicate)
            assert (found.status is Status.RECALLED) == (predicate.calibration is not None)
        for receipt_id, _ in before[:3]:
            assert (await replay(desk, receipt_id)).result == "reproduced"  # nothing old was changed
        report = await audit(workplace.log, desk.ledger.name, vault=workplace.vault(TENANT))
        assert report.findings == ()


@pytest.mark.anyio
async def test_recalling_twice_changes_nothing(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        first = await recall(desk, "procedure", "coherence/1.0.0", "wrong window", "test")
        size = desk.ledger.size
        assert await recall(desk, "procedure", "coherence/1.0.0", "again", "test") == first
        assert desk.ledger.size == size


@pytest.mark.anyio
async def test_what_was_recalled_is_not_used_again(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        await recall(desk, "procedure", "spectra/1.0.0", "wrong scale", "test")
        await recall(desk, "firmware", f"{DEVICE}/3.00.1", "drops samples", "test")
        shifted = recording(0, 60).replace(b"129776526", b"129786526")
        await ingest(desk, recording_upload(desk, 0, shifted), "test")
        other = recording(1, 60).replace(b"129776526", b"129786526")
        await ingest(desk, recording_upload(desk, 1, other), "test")
        assert await settle(desk) == ()
        late = (await receipts(desk))[6:]
        assert {p.procedure.name for _, p in late} == {"coherence", "delay-track"}
        for receipt_id, predicate in late:
            assert (predicate.verdict, predicate.is_presentable) == ("abstain", False)
            assert "recalled" in predicate.failure
            assert (await replay(desk, receipt_id)).result == "reproduced"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("calibration", f"{DEVICE}/never-made"),
        ("calibration", "nobody/x"),
        ("procedure", "coherence/9.9.9"),
        ("weather", "x/y"),
        ("firmware", "no-slash"),
        ("firmware", "/x"),
    ],
)
async def test_what_was_never_in_use_cannot_be_recalled(home: Path, kind: str, target: str) -> None:
    async with at_desk(home) as (_, desk):
        size = desk.ledger.size
        with pytest.raises(TallystickError):
            await recall(desk, kind, target, "because", "test")
        assert desk.ledger.size == size


@pytest.mark.anyio
async def test_all_receipts_of_a_device_are_proven_complete(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        proof = await Topics(desk.ledger).prove(receipts_topic(DEVICE), "test")
        complete = verify_completeness(proof, policy_of_log(desk.ledger.verifier_key))
        assert len(complete.events) == 4
        assert complete.size == desk.ledger.size - 1


@pytest.mark.anyio
async def test_the_calibration_in_force_can_be_read_from_a_complete_list(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        proof = await Topics(desk.ledger).prove(calibrations_topic(DEVICE), "test")
        complete = verify_completeness(proof, policy_of_log(desk.ledger.verifier_key))
        events = [event_of(recorded, CalibrationSet) for recorded in complete.events]
        at_ns = 1_297_765_260_000_000_000
        in_force = max((e for e in events if e.valid_from_ns <= at_ns), key=lambda e: e.valid_from_ns)
        assert in_force.calibration_id == "colocated-2010-11"


@pytest.mark.anyio
@pytest.mark.parametrize("topic", ["a", "receipts/nobody", "status/r000", "zzz", "receipts/", "\U0001f600"])
async def test_absence_is_proven(home: Path, topic: str) -> None:
    async with at_desk(home) as (_, desk):
        proof = await Topics(desk.ledger).prove(topic, "test")
        complete = verify_completeness(proof, policy_of_log(desk.ledger.verifier_key))
        assert (complete.topic, complete.events) == (topic, ())


@pytest.mark.anyio
async def test_a_list_with_something_left_out_is_refused(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        policy = policy_of_log(desk.ledger.verifier_key)
        topics = Topics(desk.ledger)
        good = msgspec.json.decode(await topics.prove(receipts_topic(DEVICE), "test"), type=CompletenessProof)
        other = msgspec.json.decode(await topics.prove("absent", "test"), type=CompletenessProof)
        replace = msgspec.structs.replace
        evil = {
            "one left out": replace(good, entries=good.entries[1:]),
            "the last left out": replace(good, entries=good.entries[:-1]),
            "none": replace(good, entries=()),
            "one twice": replace(good, entries=(*good.entries, good.entries[-1])),
            "reordered": replace(good, entries=tuple(reversed(good.entries))),
            "claimed absent": replace(good, entries=(), lines=other.lines),
            "no lines": replace(good, lines=()),
            "another topic": replace(good, topic="receipts/other"),
            "foreign entry": replace(good, entries=(*good.entries[:-1], good.commitment)),
            "the commitment is something else": replace(good, commitment=good.entries[0]),
            "unknown format": replace(good, format="tallystick/completeness/v2"),
        }
        for proof in evil.values():
            with pytest.raises(TallystickError):
                verify_completeness(msgspec.json.encode(proof, order="sorted"), policy)
        stranger = SigningKey(desk.ledger.origin, "stranger").verifier_key
        with pytest.raises(TallystickError):
            verify_completeness(msgspec.json.encode(good, order="sorted"), policy_of_log(stranger))


@pytest.mark.anyio
async def test_asking_again_commits_again_only_when_something_was_recorded(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        topics = Topics(desk.ledger)
        await topics.prove("a", "test")
        size = desk.ledger.size
        await topics.prove("b", "test")
        assert desk.ledger.size == size
        with pytest.raises(UnknownError):
            await recall(desk, "procedure", "x/1", "r", "test")
        await recall(desk, "procedure", "spectra/1.0.0", "r", "test")
        await topics.prove("a", "test")
        assert desk.ledger.size == size + 3


@pytest.mark.anyio
async def test_an_audit_derives_commitments_and_recalls_again(home: Path) -> None:
    async with at_desk(home) as (workplace, desk):
        topics = Topics(desk.ledger)
        await topics.prove("a", "test")
        await recall(desk, "procedure", "spectra/1.0.0", "wrong scale", "test")
        await topics.prove("a", "test")
        report = await audit(workplace.log, desk.ledger.name)
        assert report.findings == ()
        lies = (
            TopicsCommitted(size=desk.ledger.size, topic_count=3, root_sha256="0" * 64),
            ReceiptsRecalled(
                recall_id="recall-invented",
                recall_index=2,
                part=0,
                is_last=True,
                receipt_count=0,
                receipts=(),
            ),
        )
        recorded = [
            (await desk.ledger.record(Proposal(event=lie, actor="liar", subject="topics")))[0].index
            for lie in lies
        ]
        report = await audit(workplace.log, desk.ledger.name)
        assert [(finding.index, finding.check) for finding in report.findings] == [
            (recorded[0], "topics"),
            (recorded[1], "recall"),
        ]


@pytest.mark.anyio
async def test_an_audit_finds_a_recall_that_spares_a_receipt(home: Path) -> None:
    async with at_desk(home) as (workplace, desk):
        declared = RecallDeclared(
            recall_id="recall-partial", kind="procedure", target="spectra/1.0.0", reason="wrong scale"
        )
        await desk.ledger.record(Proposal(event=declared, actor="liar", subject="recall/recall-partial"))
        spared = ReceiptsRecalled(
            recall_id="recall-partial",
            recall_index=desk.ledger.size - 1,
            part=0,
            is_last=True,
            receipt_count=0,
            receipts=(),
        )
        index = (
            await desk.ledger.record(Proposal(event=spared, actor="liar", subject="recall/recall-partial"))
        )[0].index
        report = await audit(workplace.log, desk.ledger.name)
        assert [(finding.index, finding.check) for finding in report.findings] == [(index, "recall")]
