"""Receipts of a real history verify offline, replay to the same bytes, and say what they must."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.errors import InvalidError, TallystickError
from domain.events import ReceiptIssued, Recorded
from ledger.bundle import Bundle, bundle_of, format_bundle, parse_bundle
from ledger.ledger import Ledger
from ledger.policy import policy_of_log
from ledger.receipt import Predicate, parse_receipt
from ledger.recorded import event_of, recorded_of
from ledger.replay import record_replay, replay
from ledger.run import decided_of
from ledger.verify import verify_bundle
from tests.ledger.signing_key import SigningKey
from tests.story.told import at_desk


async def receipts(ledger: Ledger) -> list[tuple[Recorded, str, Predicate]]:
    found = []
    for record in await ledger.read(0, 10_000):
        if record.event_type == ReceiptIssued.TYPE:
            recorded = recorded_of(record)
            found.append((recorded, *parse_receipt(event_of(recorded, ReceiptIssued).envelope)))
    return found


@pytest.mark.anyio
async def test_every_run_ends_in_a_receipt(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        found = await receipts(desk.ledger)
        assert [(p.procedure.name, p.verdict) for _, _, p in found] == [
            ("spectra", "pass"),
            ("spectra", "pass"),
            ("coherence", "pass"),
            ("delay-track", "pass"),
            ("oura.sleep", "borderline"),
            ("oura.sleep", "abstain"),
        ]
        assert desk.ledger.pending == ()
        assert desk.ledger.state.open_runs == {}


@pytest.mark.anyio
async def test_a_receipt_names_everything_by_digest_and_index(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        recorded, _, predicate = (await receipts(desk.ledger))[2]
        assert {batch.index for batch in predicate.batches} == {d.batch_index for d in predicate.datasets}
        assert predicate.configuration is not None
        assert predicate.configuration.firmware == "3.00.1"
        assert predicate.calibration is not None
        assert predicate.calibration.calibration.channels[0].sensor_serial == "DEMO-STS2"
        assert len(predicate.windows) == len(predicate.window_scores) == 3
        assert all(0 <= score <= 1 for score in predicate.window_scores if score is not None)
        assert predicate.environment.facts
        assert predicate.run.decided_index == recorded.index - 1


@pytest.mark.anyio
async def test_every_receipt_verifies_offline(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        policy = policy_of_log(desk.ledger.verifier_key)
        for recorded, receipt_id, predicate in await receipts(desk.ledger):
            bundle = format_bundle(await bundle_of(desk.ledger, recorded.index))
            verified = verify_bundle(bundle, policy)
            assert (verified.receipt_id, verified.predicate) == (receipt_id, predicate)


@pytest.mark.anyio
async def test_artifacts_are_checked_against_the_receipt(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        policy = policy_of_log(desk.ledger.verifier_key)
        recorded, _, predicate = (await receipts(desk.ledger))[0]
        bundle = format_bundle(await bundle_of(desk.ledger, recorded.index))
        decided = await decided_of(desk.ledger, predicate.run.decided_index)
        held = {a.name: await desk.vault.get(a.digest) for a in decided.artifacts}
        assert verify_bundle(bundle, policy, held).checked_artifacts == tuple(sorted(held))
        name = next(iter(held))
        with pytest.raises(InvalidError, match="step 10"):
            verify_bundle(bundle, policy, {name: held[name] + b"\0"})
        with pytest.raises(InvalidError, match="step 10"):
            verify_bundle(bundle, policy, {"unheard-of": b""})


@pytest.mark.anyio
async def test_every_receipt_replays_to_the_same_bytes(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        for _, receipt_id, _ in await receipts(desk.ledger):
            outcome = await replay(desk, receipt_id)
            assert (outcome.result, outcome.first_difference) == ("reproduced", "")
        recorded = await record_replay(desk, outcome, "test")
        assert recorded.event.TYPE == "receipt.replayed.v1"


@pytest.mark.anyio
async def test_a_persons_bytes_and_numbers_are_nowhere_in_the_clear(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        clear = (Path(__file__).parents[2] / "api/demo_data/oura/sleep_2026-03-29_final.json").read_bytes()
        assert clear
        for path in (home / "vault").rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert b"bedtime" not in data
                assert b"sleep_phase" not in data
        for record in await desk.ledger.read(0, 10_000):
            assert b"bedtime_start" not in record.payload
            assert b"2026-03-29" not in record.payload


@pytest.mark.anyio
async def test_shredding_leaves_every_proof_valid_and_says_shredded(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        policy = policy_of_log(desk.ledger.verifier_key)
        key_id = desk.source("wearer-1-oura").subject_key_id
        desk.keys.destroy_subject_key(key_id)
        for recorded, _, _ in await receipts(desk.ledger):
            verify_bundle(format_bundle(await bundle_of(desk.ledger, recorded.index)), policy)
        receipt_id = next(r for _, r, p in await receipts(desk.ledger) if p.source.kind == "connection")
        with pytest.raises(TallystickError, match="shredded"):
            await replay(desk, receipt_id)


@pytest.mark.anyio
async def test_every_changed_byte_of_a_bundle_is_refused(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        policy = policy_of_log(desk.ledger.verifier_key)
        recorded, _, _ = (await receipts(desk.ledger))[-1]
        bundle = format_bundle(await bundle_of(desk.ledger, recorded.index))
        for place in range(0, len(bundle), 7):
            changed = bytearray(bundle)
            changed[place] ^= 1
            with pytest.raises(TallystickError):
                verify_bundle(bytes(changed), policy)


@pytest.mark.anyio
async def test_a_bundle_of_mixed_parts_is_refused(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        policy = policy_of_log(desk.ledger.verifier_key)
        found = await receipts(desk.ledger)
        one = await bundle_of(desk.ledger, found[0][0].index)
        two = await bundle_of(desk.ledger, found[1][0].index)
        for mixed in (
            Bundle(entry=one.entry, envelope=two.envelope, proof=one.proof),
            Bundle(entry=two.entry, envelope=one.envelope, proof=one.proof),
            Bundle(entry=one.entry, envelope=one.envelope, proof=two.proof),
        ):
            with pytest.raises(TallystickError):
                verify_bundle(format_bundle(mixed), policy)


@pytest.mark.anyio
async def test_another_ledgers_key_is_refused(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        recorded, _, _ = (await receipts(desk.ledger))[0]
        bundle = format_bundle(await bundle_of(desk.ledger, recorded.index))
        for stranger in (SigningKey(desk.ledger.origin, "stranger"), SigningKey("elsewhere.local/demo")):
            with pytest.raises(TallystickError):
                verify_bundle(bundle, policy_of_log(stranger.verifier_key))


@pytest.mark.anyio
async def test_bundles_have_one_spelling(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        recorded, _, _ = (await receipts(desk.ledger))[0]
        bundle = await bundle_of(desk.ledger, recorded.index)
        data = format_bundle(bundle)
        assert parse_bundle(data) == bundle
        for evil in (
            b"",
            b"{}",
            b"[]",
            data[:-1],
            b" " + data,
            data + b"x",
            data.replace(b'"entry":', b'"entry": '),
        ):
            with pytest.raises(TallystickError):
                parse_bundle(evil)
