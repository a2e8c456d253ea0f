"""What the product calls a good receipt, a verifier that shares no code with it does too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from domain.errors import TallystickError
from domain.events import ReceiptIssued
from ledger.bundle import bundle_of, format_bundle
from ledger.notes import VerifierKey, format_verifier_key
from ledger.policy import policy_of_log
from ledger.verify import verify_bundle
from tests.docs.test_verify import verify
from tests.story.told import at_desk

# Changed bytes tried on one bundle; each costs both verifiers a few milliseconds.
CHANGES = 400


async def bundles_of(home: Path) -> tuple[VerifierKey, list[bytes]]:
    async with at_desk(home) as (_, desk):
        records = await desk.ledger.read(0, 10_000)
        indices = [record.index for record in records if record.event_type == ReceiptIssued.TYPE]
        bundles = [format_bundle(await bundle_of(desk.ledger, index)) for index in indices]
        return desk.ledger.verifier_key, bundles


def test_both_verifiers_accept_every_receipt_and_say_the_same(home: Path) -> None:
    key, bundles = asyncio.run(bundles_of(home))
    assert bundles
    policy = verify.Policy([verify.parse_key(format_verifier_key(key))])
    for bundle in bundles:
        ours = verify_bundle(bundle, policy_of_log(key))
        theirs = verify.verify_bundle(bundle, policy)
        assert (theirs["receipt"], theirs["verdict"]) == (ours.receipt_id, ours.predicate.verdict)
        assert theirs["artifacts"] == ours.artifacts
        assert (theirs["size"], theirs["root"]) == (ours.checkpoint.size, ours.checkpoint.root.hex())


def test_both_verifiers_refuse_changed_receipts(home: Path) -> None:
    key, bundles = asyncio.run(bundles_of(home))
    policy = verify.Policy([verify.parse_key(format_verifier_key(key))])
    bundle = min(bundles, key=len)
    for number in range(CHANGES):
        position = number * len(bundle) // CHANGES
        changed = bytearray(bundle)
        # The highest bit stays: bytes that are no UTF-8 have tests of their own.
        changed[position] ^= 1 << number % 8
        with pytest.raises(TallystickError):
            verify_bundle(bytes(changed), policy_of_log(key))
        with pytest.raises((verify.Malformed, verify.Refused)):
            verify.verify_bundle(bytes(changed), policy)
