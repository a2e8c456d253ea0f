"""Erasure: what is shredded, what stays provable, and what no crash and no backup brings back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from adapters.erasure_journal import FolderErasureJournal
from api.demo import CONNECTION, DEVICE
from domain.errors import InvalidError, MalformedError, UnknownError
from domain.events import BatchIngested, BatchQuarantined, SubjectErased
from domain.flow import ExecuteRun
from domain.outcomes import Outcome, Reason
from ledger.audit import audit
from ledger.bundle import bundle_of, format_bundle
from ledger.completeness import Topics, verify_completeness
from ledger.desk import Desk
from ledger.erasure import JOURNAL_ACTOR, ErasureReason, apply_erasures, erase_subject
from ledger.errors import ErasedSubjectError, UnknownSubjectKeyError
from ledger.ingest import batch_bytes, ingest
from ledger.ledger import Proposal
from ledger.policy import policy_of_log
from ledger.ports import Erasure
from ledger.receipt import Predicate
from ledger.recorded import event_of, recorded_of
from ledger.registry import register_connection
from ledger.replay import replay
from ledger.reprocess import RECORDS_ARTIFACT, artifact_of, reprocess
from ledger.run import decided_of
from ledger.topics import erasures_topic, receipts_topic
from ledger.verify import verify_bundle
from ledger.worker import carry_out, settle
from tests.story.test_receipts import receipts
from tests.story.told import at_desk, payload_upload

REASON = ErasureReason.CONSENT_WITHDRAWN


async def persons_receipts(desk: Desk) -> list[tuple[int, str, Predicate]]:
    return [(r.index, i, p) for r, i, p in await receipts(desk.ledger) if p.source.source_id == CONNECTION]


async def persons_batches(desk: Desk) -> list[BatchIngested]:
    records = await desk.ledger.read(0, 10_000)
    events = [recorded_of(record).event for record in records]
    return [event for event in events if isinstance(event, BatchIngested) and event.source_id == CONNECTION]


@pytest.mark.anyio
async def test_nothing_of_an_erased_person_can_be_read_again_and_every_proof_stays_valid(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        erased = await erase_subject(desk, CONNECTION, REASON, "test")
        assert event_of(erased, SubjectErased).reason == REASON
        source = desk.source(CONNECTION)
        assert source.erased_index == erased.index
        with pytest.raises(UnknownSubjectKeyError) as gone:
            desk.keys.subject_key(source.subject_key_id)
        assert gone.value.is_destroyed
        for batch in await persons_batches(desk):
            with pytest.raises(ErasedSubjectError, match="shredded"):
                await batch_bytes(desk, batch)
        policy = policy_of_log(desk.ledger.verifier_key)
        for recorded, _, _ in await receipts(desk.ledger):
            verify_bundle(format_bundle(await bundle_of(desk.ledger, recorded.index)), policy)
        mine = await persons_receipts(desk)
        assert mine
        for _, receipt_id, predicate in mine:
            with pytest.raises(ErasedSubjectError, match="shredded"):
                await replay(desk, receipt_id)
            decided = await decided_of(desk.ledger, predicate.run.decided_index)
            if predicate.is_presentable:
                with pytest.raises(ErasedSubjectError, match="shredded"):
                    await artifact_of(desk, CONNECTION, decided, RECORDS_ARTIFACT)


@pytest.mark.anyio
async def test_an_erasure_is_proven_and_so_is_that_there_was_none(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        policy = policy_of_log(desk.ledger.verifier_key)
        topics = Topics(desk.ledger)
        before = verify_completeness(await topics.prove(erasures_topic(CONNECTION), "test"), policy)
        assert before.events == ()
        erased = await erase_subject(desk, CONNECTION, REASON, "test")
        after = verify_completeness(await topics.prove(erasures_topic(CONNECTION), "test"), policy)
        assert [event.index for event in after.events] == [erased.index]
        listed = verify_completeness(await topics.prove(receipts_topic(CONNECTION), "test"), policy)
        assert len(listed.events) == len(await persons_receipts(desk))


@pytest.mark.anyio
async def test_others_can_still_be_replayed(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        await erase_subject(desk, CONNECTION, REASON, "test")
        receipt_id = next(i for _, i, p in await receipts(desk.ledger) if p.source.source_id == DEVICE)
        assert (await replay(desk, receipt_id)).is_reproduced


@pytest.mark.anyio
async def test_an_erased_connection_takes_nothing_in_and_is_not_registered_again(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        await erase_subject(desk, CONNECTION, REASON, "test")
        size = desk.ledger.size
        with pytest.raises(ErasedSubjectError) as refused:
            await ingest(desk, payload_upload("sleep_2026-03-29_final.json"), "test")
        assert "another id" in refused.value.remedy
        with pytest.raises(ErasedSubjectError):
            await register_connection(desk, CONNECTION, "oura", "test")
        assert desk.ledger.size == size
        await register_connection(desk, "another-oura", "oura", "test")


class ErasingOnTheWay:
    """The real executor, or vault, in front of which the person is erased while a call is under way."""

    def __init__(self, desk: Desk, inner: Any, call: str) -> None:
        self._desk = desk
        self._inner = inner
        self._call = call

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._inner, name)
        if name != self._call:
            return inner

        async def call(*arguments: Any) -> Any:
            answer = await inner(*arguments)
            await erase_subject(self._desk, CONNECTION, REASON, "test")
            return answer

        return call


@pytest.mark.anyio
async def test_an_upload_that_an_erasure_overtakes_is_not_recorded(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        overtaken = replace(desk, vault=ErasingOnTheWay(desk, desk.vault, "put"))
        before = await persons_batches(desk)
        with pytest.raises(ErasedSubjectError):
            await ingest(overtaken, payload_upload("sleep_2026-03-28.json"), "test")
        assert await persons_batches(desk) == before


@pytest.mark.anyio
async def test_a_batch_that_waited_is_quarantined_as_shredded(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        await ingest(desk, payload_upload("sleep_2026-03-28.json"), "test")
        await erase_subject(desk, CONNECTION, REASON, "test")
        assert await settle(desk) == ()
        last = event_of(recorded_of((await desk.ledger.read(desk.ledger.size - 1, 1))[0]), BatchQuarantined)
        assert last.reason == "shredded"


@pytest.mark.anyio
@pytest.mark.parametrize("overtaken", ["before", "while computing", "while storing"])
async def test_a_run_that_an_erasure_overtakes_abstains_and_that_replays(home: Path, overtaken: str) -> None:
    async with at_desk(home) as (_, desk):
        await ingest(desk, payload_upload("sleep_2026-03-28.json"), "test")
        while not isinstance(command := desk.ledger.pending[0], ExecuteRun):
            await carry_out(desk, command)
        if overtaken == "before":
            await erase_subject(desk, CONNECTION, REASON, "test")
        racing = desk
        if overtaken == "while computing":
            racing = replace(desk, executor=ErasingOnTheWay(desk, desk.executor, "run"))
        if overtaken == "while storing":
            racing = replace(desk, vault=ErasingOnTheWay(desk, desk.vault, "put"))
        await carry_out(racing, command)
        assert desk.ledger.pending == ()
        _, receipt_id, predicate = (await persons_receipts(desk))[-1]
        assert predicate.verdict == Outcome.ABSTAIN
        assert not predicate.is_presentable
        assert predicate.gates[0].reason == Reason.ERASED
        assert "erased by entry" in predicate.failure
        assert predicate.windows == ()
        decided = await decided_of(desk.ledger, predicate.run.decided_index)
        assert not decided.revisions
        assert [(a.name.startswith("report"), a.is_encrypted) for a in decided.artifacts] == [
            (True, False) for _ in decided.artifacts
        ]
        assert (await replay(desk, receipt_id)).is_reproduced
        assert (await audit(desk.ledger.log, desk.ledger.name, vault=desk.vault)).findings == ()


@pytest.mark.anyio
async def test_reprocessing_leaves_what_was_shredded_alone(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        await erase_subject(desk, CONNECTION, REASON, "test")
        size = desk.ledger.size
        assert await reprocess(desk, "oura.sleep") == ()
        assert desk.ledger.size == size


@pytest.mark.anyio
async def test_an_audit_tells_shredded_from_missing_and_from_changed(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        batches = await persons_batches(desk)
        await erase_subject(desk, CONNECTION, REASON, "test")
        report = await audit(desk.ledger.log, desk.ledger.name, vault=desk.vault, keys=desk.keys)
        assert report.findings == ()
        assert report.shredded_count > len(batches)
        objects = home / "vault/demo/objects"
        gone, changed = (objects / d[7:9] / d[7:] for d in (batch.digest for batch in batches[:2]))
        gone.unlink()
        changed.chmod(0o600)
        changed.write_bytes(b"something else")
        (home / "vault/demo/objects").joinpath(*_path_of_a_devices_object(desk)).unlink()
        report = await audit(desk.ledger.log, desk.ledger.name, vault=desk.vault, keys=desk.keys)
        assert [finding.check for finding in report.findings] == ["vault", "vault"]
        assert "missing" in report.findings[0].detail
        assert "was changed" in report.findings[1].detail


def _path_of_a_devices_object(desk: Desk) -> tuple[str, str]:
    _, dataset = desk.source(DEVICE).datasets[0]
    digest = dataset.object_digest.removeprefix("sha256:")
    return digest[:2], digest


@pytest.mark.anyio
async def test_an_audit_finds_an_erasure_that_was_not_kept_to(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        source = desk.source(CONNECTION)
        event = SubjectErased(connection_id=CONNECTION, subject_key_id=source.subject_key_id, reason=REASON)
        batch = (await persons_batches(desk))[0]
        await desk.ledger.record(
            Proposal(event=event, actor="test", subject=f"connection/{CONNECTION}"),
            Proposal(
                event=replace(batch, batch_id="b-late", digest="sha256:" + "0" * 64),
                actor="test",
                subject="batch/b-late",
            ),
        )
        report = await audit(desk.ledger.log, desk.ledger.name, keys=desk.keys)
        assert [finding.check for finding in report.findings] == ["erasure", "erasure"]
        assert "taken in after" in report.findings[0].detail
        assert "not destroyed" in report.findings[1].detail


@pytest.mark.anyio
async def test_a_crash_between_the_event_and_the_key_is_made_good_on_opening(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        source = desk.source(CONNECTION)
        event = SubjectErased(connection_id=CONNECTION, subject_key_id=source.subject_key_id, reason=REASON)
        await desk.ledger.record(Proposal(event=event, actor="test", subject=f"connection/{CONNECTION}"))
        assert desk.keys.subject_key(source.subject_key_id)
        with pytest.raises(ErasedSubjectError):
            desk.subject_key(desk.source(CONNECTION))
    async with at_desk(home) as (_, desk):
        with pytest.raises(UnknownSubjectKeyError):
            desk.keys.subject_key(source.subject_key_id)
        assert desk.erasures.subject_keys() == {source.subject_key_id}


@pytest.mark.anyio
async def test_a_key_store_that_is_put_back_brings_nobody_back(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "keys", tmp_path / "keys of yesterday")
    async with at_desk(home) as (_, desk):
        await erase_subject(desk, CONNECTION, REASON, "test")
        subject_key_id = desk.source(CONNECTION).subject_key_id
    shutil.rmtree(home / "keys")
    shutil.copytree(tmp_path / "keys of yesterday", home / "keys")
    async with at_desk(home) as (_, desk):
        with pytest.raises(UnknownSubjectKeyError) as gone:
            desk.keys.subject_key(subject_key_id)
        assert gone.value.is_destroyed
        assert not list((home / "keys").rglob(f"{subject_key_id}.key"))


@pytest.mark.anyio
async def test_a_journal_erases_again_in_a_ledger_that_has_forgotten(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        subject_key_id = desk.source(CONNECTION).subject_key_id
        desk.erasures.keep(
            Erasure(
                tenant=desk.ledger.tenant,
                connection_id=CONNECTION,
                subject_key_id=subject_key_id,
                reason=REASON,
                erased_at_ns=1,
            )
        )
    async with at_desk(home) as (_, desk):
        erased_index = desk.source(CONNECTION).erased_index
        assert erased_index is not None
        _, recorded = await desk.ledger.get(erased_index)
        assert (recorded.actor, event_of(recorded, SubjectErased).reason) == (JOURNAL_ACTOR, REASON)
        assert await apply_erasures(desk) == ()
        with pytest.raises(UnknownSubjectKeyError):
            desk.keys.subject_key(subject_key_id)


@pytest.mark.anyio
async def test_a_connection_that_an_older_ledger_never_had_cannot_come_back(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        desk.erasures.keep(
            Erasure(
                tenant="demo",
                connection_id="gone",
                subject_key_id="demo.gone",
                reason=REASON,
                erased_at_ns=1,
            )
        )
    async with at_desk(home) as (_, desk):
        with pytest.raises(UnknownSubjectKeyError) as refused:
            await register_connection(desk, "gone", "oura", "test")
        assert refused.value.is_destroyed
        assert "gone" not in desk.ledger.state.sources


@pytest.mark.anyio
async def test_erasing_twice_is_erasing_once_and_the_first_reason_stands(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        first = await erase_subject(desk, CONNECTION, REASON, "test")
        again = await erase_subject(desk, CONNECTION, ErasureReason.OBJECTION, "test")
        assert again == first


@pytest.mark.anyio
async def test_what_cannot_be_erased_is_said(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        with pytest.raises(InvalidError):
            await erase_subject(desk, DEVICE, REASON, "test")
        with pytest.raises(UnknownError):
            await erase_subject(desk, "nobody", REASON, "test")
        with pytest.raises(MalformedError) as refused:
            await erase_subject(desk, CONNECTION, "because Anna asked", "test")
        assert "Anna" not in refused.value.expected
        assert desk.source(CONNECTION).erased_index is None


def test_a_journal_is_durable_keeps_the_first_and_reads_only_its_own_spelling(tmp_path: Path) -> None:
    erasure = Erasure(
        tenant="demo", connection_id="c", subject_key_id="demo.c", reason=REASON, erased_at_ns=1
    )
    journal = FolderErasureJournal(tmp_path / "seen")
    assert journal.subject_keys() == frozenset()
    journal.keep(erasure)
    journal.keep(replace(erasure, erased_at_ns=2))
    assert FolderErasureJournal(tmp_path / "seen").erasure("demo.c") == erasure
    with pytest.raises(UnknownError):
        journal.erasure("demo.d")
    path = tmp_path / "seen/erased/demo.c.json"
    shutil.copy(path, path.with_name("demo.d.json"))
    with pytest.raises(InvalidError):
        journal.erasure("demo.d")
    path.with_name("demo.e.json").write_bytes(b"{}")
    with pytest.raises(MalformedError):
        journal.erasure("demo.e")
