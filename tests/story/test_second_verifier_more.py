"""Audit bundles and completeness proofs: the verifier without our code judges them as the product does."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import msgspec
import pytest

from domain.errors import TallystickError
from domain.events import ReceiptIssued
from ledger.audit_bundle import make_audit_bundle, verify_audit_bundle
from ledger.completeness import Topics, verify_completeness
from ledger.key_change import revoke_key, rotate_key
from ledger.notes import format_verifier_key, parse_verifier_key
from ledger.policy import Policy, policy_of_log
from ledger.receipt import parse_receipt
from ledger.recorded import event_of, recorded_of
from ledger.topics import receipts_topic
from tests.docs.test_verify import verify
from tests.story.told import DEVICE, at_desk

# Each change costs a verification of some milliseconds.
CHANGES = 250

Made = tuple[str, list[bytes], list[bytes]]


async def make(home: Path) -> Made:
    """The key, audit bundles and completeness proofs of the story."""
    async with at_desk(home) as (_, desk):
        ids = [
            parse_receipt(event_of(recorded_of(record), ReceiptIssued).envelope)[0]
            for record in await desk.ledger.read(0, 10_000)
            if record.event_type == ReceiptIssued.TYPE
        ]
        bundles = [
            await make_audit_bundle(desk, ids, with_objects=True),
            await make_audit_bundle(desk, ids[-1:]),
        ]
        topics = Topics(desk.ledger)
        proofs = [
            await topics.prove(topic, "test") for topic in (receipts_topic(DEVICE), "a", "recalls", "zz")
        ]
        return format_verifier_key(desk.ledger.verifier_key), bundles, proofs


@pytest.fixture(scope="module")
def made(told: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    home = shutil.copytree(told, tmp_path_factory.mktemp("more") / "home")
    return asyncio.run(make(Path(home)))


def test_it_accepts_every_bundle_and_proof(made: Made) -> None:
    key, bundles, proofs = made
    policy = verify.Policy([verify.parse_key(key)])
    found = [verify.verify_audit_bundle(bundle, policy) for bundle in bundles]
    assert [len(one["receipts"]) for one in found] == [6, 1]
    assert found[0]["objects"] > 10
    listed = [verify.verify_completeness(proof, policy) for proof in proofs]
    assert [len(one["entries"]) for one in listed] == [4, 0, 0, 0]


def test_it_refuses_changed_bundles_and_proofs(made: Made) -> None:
    key, bundles, proofs = made
    policy = verify.Policy([verify.parse_key(key)])
    for data, judge in ((bundles[1], verify.verify_audit_bundle), (proofs[0], verify.verify_completeness)):
        for number in range(CHANGES):
            changed = bytearray(data)
            changed[number * len(data) // CHANGES] ^= 1 << number % 8
            with pytest.raises((verify.Malformed, verify.Refused)):
                judge(bytes(changed), policy)


def test_the_command_takes_both(made: Made, tmp_path: Path) -> None:
    key, bundles, proofs = made
    for name, data in (("b.audit.json", bundles[1]), ("p.json", proofs[0])):
        (tmp_path / name).write_bytes(data)
        assert verify.main([str(tmp_path / name), "--key", key]) == 0
        changed = data.replace(b'"recipe":["Check', b'"recipe":["Chack').replace(b"topic/v1", b"topic/v2")
        (tmp_path / name).write_bytes(changed)
        assert verify.main([str(tmp_path / name), "--key", key]) != 0


async def make_after_rotation(home: Path) -> tuple[str, str, bytes, bytes]:
    """The first and the newest key, and a bundle and a proof made after a change of keys."""
    async with at_desk(home) as (_, desk):
        first = desk.ledger.verifier_key
        ids = [
            parse_receipt(event_of(recorded_of(record), ReceiptIssued).envelope)[0]
            for record in await desk.ledger.read(0, 10_000)
            if record.event_type == ReceiptIssued.TYPE
        ]
        await rotate_key(desk.ledger, desk.keys, reason="once a year", actor="test")
        await revoke_key(desk.ledger, first.key_id.hex(), reason="its year is over", actor="test")
        bundle = await make_audit_bundle(desk, ids[:2])
        proof = await Topics(desk.ledger).prove(receipts_topic(DEVICE), "test")
        return format_verifier_key(first), format_verifier_key(desk.ledger.verifier_key), bundle, proof


def test_both_verifiers_follow_the_keys_from_any_that_is_trusted(home: Path) -> None:
    first, newest, bundle, proof = asyncio.run(make_after_rotation(home))
    assert first != newest
    for trusted in (first, newest):
        ours = policy_of_log(parse_verifier_key(trusted))
        theirs = verify.Policy([verify.parse_key(trusted)])
        assert len(asyncio.run(verify_audit_bundle(bundle, ours)).receipts) == 2
        assert len(verify.verify_audit_bundle(bundle, theirs)["receipts"]) == 2
        assert len(verify_completeness(proof, ours).events) == 4
        assert len(verify.verify_completeness(proof, theirs)["entries"]) == 4


def judge_ours(data: bytes, policy: Policy, *, is_bundle: bool) -> None:
    if is_bundle:
        asyncio.run(verify_audit_bundle(data, policy))
    else:
        verify_completeness(data, policy)


def test_both_verifiers_refuse_changes_after_a_change_of_keys(home: Path) -> None:
    first, _, bundle, proof = asyncio.run(make_after_rotation(home))
    ours, theirs = policy_of_log(parse_verifier_key(first)), verify.Policy([verify.parse_key(first)])
    count = CHANGES // 5
    for number in range(count):
        for data in (bundle, proof):
            changed = bytearray(data)
            changed[(2 * number + 1) * len(data) // (2 * count)] ^= 1 << number % 8
            with pytest.raises(TallystickError):
                judge_ours(bytes(changed), ours, is_bundle=data is bundle)
            judge_theirs = verify.verify_audit_bundle if data is bundle else verify.verify_completeness
            with pytest.raises((verify.Malformed, verify.Refused)):
                judge_theirs(bytes(changed), theirs)
    without = msgspec.json.decode(proof)
    del without["keys"]
    with pytest.raises(TallystickError):
        verify_completeness(msgspec.json.encode(without, order="sorted"), ours)
