"""Receipts over a change of keys: whoever trusts any key of the ledger can judge all of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from adapters.key_store_file import FileKeyStore
from domain.canonical import canonical_json
from domain.errors import TallystickError
from domain.events import ReceiptIssued
from domain.key_history import ML_DSA_44, Standing
from ledger.audit import audit
from ledger.bundle import FORMAT, FORMAT_2, bundle_of, format_bundle, parse_bundle
from ledger.desk import Desk
from ledger.dsse import parse_envelope
from ledger.ingest import ingest
from ledger.key_change import declare_compromised, revoke_key, rotate_key
from ledger.ledger import ledger_name
from ledger.notes import VerifierKey, format_verifier_key, key_hint
from ledger.policy import Policy, PolicyLog, policy_of_log
from ledger.replay import find_receipt, replay
from ledger.sealing_keys import InvalidSignerError
from ledger.tlog_proof import format_tlog_proof
from ledger.verify import verify_bundle
from ledger.worker import settle
from tests.docs.test_verify import verify
from tests.ledger.signing_key import SigningKey
from tests.story.told import TENANT, at_desk, payload_upload

OLD, NEWER = "sleep_2026-03-28_final.json", "sleep_2026-03-30_final.json"


async def receipt_indices(desk: Desk) -> list[int]:
    records = await desk.ledger.read(0, 10_000)
    return [record.index for record in records if record.event_type == ReceiptIssued.TYPE]


async def another_receipt(desk: Desk, number: int) -> int:
    """Ingest one more night and return where its receipt stands."""
    upload = payload_upload("sleep_2026-03-29_final.json")
    data = msgspec.json.decode(upload.data)
    text = msgspec.json.encode(data) + b" " * number  # the same night, other bytes
    await ingest(desk, replace(upload, data=text), "story")
    assert await settle(desk) == ()
    return (await receipt_indices(desk))[-1]


async def bundle(desk: Desk, index: int) -> bytes:
    return format_bundle(await bundle_of(desk.ledger, index))


def both_accept(data: bytes, *keys: VerifierKey) -> None:
    policy = Policy(logs=tuple(PolicyLog(key=key) for key in keys))
    verify_bundle(data, policy)
    verify.verify_bundle(data, verify.Policy([verify.parse_key(format_verifier_key(key)) for key in keys]))


def both_refuse(data: bytes, *keys: VerifierKey) -> None:
    policy = Policy(logs=tuple(PolicyLog(key=key) for key in keys))
    with pytest.raises(TallystickError):
        verify_bundle(data, policy)
    with pytest.raises((verify.Malformed, verify.Refused)):
        verify.verify_bundle(
            data, verify.Policy([verify.parse_key(format_verifier_key(key)) for key in keys])
        )


async def rotate(desk: Desk, algorithm: str = "Ed25519") -> VerifierKey:
    await rotate_key(desk.ledger, desk.keys, reason="once a year", actor="test", algorithm=algorithm)
    return desk.ledger.verifier_key


@pytest.mark.anyio
async def test_a_rotation_leaves_every_receipt_to_every_auditor(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        first = desk.ledger.verifier_key
        before = (await receipt_indices(desk))[-1]
        kept = await bundle(desk, before)
        assert parse_bundle(kept).format == FORMAT

        second = await rotate(desk)
        parallel = await another_receipt(desk, 1)
        signed = parse_envelope((await desk.ledger.get(parallel))[0].payload).signatures
        assert [line.keyid for line in signed] == [key_hint(first), key_hint(second)]
        await revoke_key(desk.ledger, key_hint(first), reason="retired", actor="test")
        after = await another_receipt(desk, 2)
        signed = parse_envelope((await desk.ledger.get(after))[0].payload).signatures
        assert [line.keyid for line in signed] == [key_hint(second)]

        stranger = SigningKey(desk.ledger.origin, "stranger").verifier_key
        for index in (before, parallel, after):
            made = await bundle(desk, index)
            assert parse_bundle(made).format == FORMAT_2
            for key in (first, second):
                both_accept(made, key)
            both_accept(made, first, second)
            both_refuse(made, stranger)
        # What was handed out before the rotation is what it was.
        both_accept(kept, first)
        both_refuse(kept, second)


@pytest.mark.anyio
async def test_key_events_cannot_be_left_out_of_a_bundle(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        first = desk.ledger.verifier_key
        second = await rotate(desk)
        index = await another_receipt(desk, 1)
        await declare_compromised(
            desk.ledger, key_hint(first), from_index=index, reason="a stolen laptop", actor="test"
        )
        whole = await bundle_of(desk.ledger, index)
        both_accept(format_bundle(whole), first)
        assert len(whole.keys) == 3
        for keys in (whole.keys[:2], whole.keys[:1], whole.keys[1:], whole.keys[::-1], ()):
            for key in (first, second):
                both_refuse(format_bundle(replace(whole, keys=keys)), key)
        # Nor all of them where the older key has signed the seal too.
        await rotate(desk)
        between = await bundle_of(desk.ledger, index)
        both_refuse(format_bundle(replace(between, keys=())), second)


@pytest.mark.anyio
async def test_every_changed_byte_of_carried_keys_is_refused(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        first = desk.ledger.verifier_key
        await rotate(desk)
        made = await bundle(desk, (await receipt_indices(desk))[0])
        both_accept(made, first)
        start, end = made.index(b'"keys":'), made.index(b'"proof":')
        for number, place in enumerate(range(start, end, 23)):
            changed = bytearray(made)
            changed[place] ^= 1 << number % 7
            both_refuse(bytes(changed), first)


@pytest.mark.anyio
async def test_receipts_before_a_compromise_stay_and_those_after_it_go(home: Path) -> None:
    async with at_desk(home) as (workplace, desk):
        first = desk.ledger.verifier_key
        good = (await receipt_indices(desk))[-1]
        stolen_from = desk.ledger.size
        doubtful = await another_receipt(desk, 1)  # signed by the stolen key alone
        believed_then = await bundle(desk, doubtful)
        second = await rotate(desk)
        beside = await another_receipt(desk, 2)  # signed by the stolen key and by its successor
        await declare_compromised(
            desk.ledger, key_hint(first), from_index=stolen_from, reason="a stolen laptop", actor="test"
        )
        after = await another_receipt(desk, 3)

        for key in (first, second):
            for index in (good, beside, after):
                both_accept(await bundle(desk, index), key)
            both_refuse(await bundle(desk, doubtful), key)
        with pytest.raises(InvalidSignerError) as caught:
            verify_bundle(await bundle(desk, doubtful), policy_of_log(second))
        assert caught.value.standing is Standing.COMPROMISED
        # Who knows no more than the stolen key and an older bundle cannot tell; who trusts the newer one can.
        both_accept(believed_then, first)
        both_refuse(believed_then, second)

        for trusted in (first, second):
            report = await audit(
                workplace.log, ledger_name(TENANT), vault=workplace.vault(TENANT), trusted=trusted
            )
            assert report.is_clean
            assert [(warning.index, warning.check) for warning in report.warnings] == [
                (stolen_from, "key"),
                (doubtful, "receipt"),
            ]


@pytest.mark.anyio
async def test_a_second_algorithm_signs_receipts_too_and_is_demanded(home: Path) -> None:
    async with at_desk(home) as (workplace, desk):
        first = await rotate(desk, ML_DSA_44)
        index = await another_receipt(desk, 1)
        envelope = parse_envelope((await desk.ledger.get(index))[0].payload)
        assert [len(line.signature) for line in envelope.signatures] == [64, 2_420]
        made = await bundle(desk, index)
        both_accept(made, first)
        whole = parse_bundle(made)
        report = await audit(workplace.log, ledger_name(TENANT), vault=workplace.vault(TENANT), trusted=first)
        assert report.is_clean
        # An older seal in place of the one that the second key has signed.
        proof = format_tlog_proof(desk.ledger.prove(index))
        both_accept(format_bundle(replace(whole, proof=proof)), first)
        text = proof.decode()
        line = text.rstrip("\n").rpartition("\n")[2]
        both_refuse(format_bundle(replace(whole, proof=text.replace(f"{line}\n", "").encode())), first)


@pytest.mark.anyio
async def test_replays_and_reopening_do_not_mind_which_key_rules(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        await rotate(desk)
        index = await another_receipt(desk, 1)
        subject = (await desk.ledger.get(index))[1].subject
    async with at_desk(home) as (workplace, desk):
        receipt_id = subject.removeprefix("receipt/")
        assert await find_receipt(desk, receipt_id) == index
        assert (await replay(desk, receipt_id)).result == "reproduced"
        assert isinstance(workplace.keys, FileKeyStore)
        assert len(workplace.keys.signers(desk.ledger.origin)) == 2


@pytest.mark.anyio
async def test_a_bundle_says_its_keys_in_one_spelling(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        first = desk.ledger.verifier_key
        await rotate(desk)
        made = await bundle(desk, (await receipt_indices(desk))[0])
        assert format_bundle(parse_bundle(made)) == made
        wire = msgspec.json.decode(made)
        for evil in (
            {**wire, "format": FORMAT},
            {**wire, "keys": []},
            {**wire, "keys": None},
            {**wire, "keys": [*wire["keys"], wire["keys"][-1]]},
            {**wire, "keys": [{**wire["keys"][0], "note": ""}, *wire["keys"][1:]]},
            {**wire, "keys": [{**wire["keys"][0], "path": []}, *wire["keys"][1:]]},
        ):
            both_refuse(canonical_json(evil), first)
