"""Audit bundles: everything some receipts rest on, in one file that stands on its own."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from domain.digests import digest_of
from domain.errors import TallystickError
from domain.events import ReceiptIssued
from ledger.audit_bundle import AuditBundle, make_audit_bundle, verify_audit_bundle
from ledger.desk import Desk
from ledger.policy import policy_of_log
from ledger.receipt import parse_receipt
from ledger.recorded import event_of, recorded_of
from ledger.spelling import format_base64
from tests.ledger.signing_key import SigningKey
from tests.story.told import at_desk


async def receipt_ids(desk: Desk) -> list[str]:
    return [
        parse_receipt(event_of(recorded_of(record), ReceiptIssued).envelope)[0]
        for record in await desk.ledger.read(0, 10_000)
        if record.event_type == ReceiptIssued.TYPE
    ]


@pytest.mark.anyio
async def test_a_bundle_of_every_receipt_verifies_with_and_without_objects(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        ids = await receipt_ids(desk)
        policy = policy_of_log(desk.ledger.verifier_key)
        for with_objects in (False, True):
            data = await make_audit_bundle(desk, ids, with_objects=with_objects)
            verified = await verify_audit_bundle(data, policy)
            assert [one.receipt_id for one in verified.receipts] == ids
            assert bool(verified.objects) == with_objects
            assert data == await make_audit_bundle(desk, reversed(ids), with_objects=with_objects)


@pytest.mark.anyio
async def test_every_changed_byte_is_refused(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        ids = await receipt_ids(desk)
        policy = policy_of_log(desk.ledger.verifier_key)
        data = await make_audit_bundle(desk, ids[-1:])
        for place in range(0, len(data), 11):
            changed = bytearray(data)
            changed[place] ^= 1 << (place // 11) % 8
            with pytest.raises(TallystickError):
                await verify_audit_bundle(bytes(changed), policy)


@pytest.mark.anyio
async def test_what_is_left_out_put_in_or_swapped_is_refused(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        ids = await receipt_ids(desk)
        policy = policy_of_log(desk.ledger.verifier_key)
        good = msgspec.json.decode(
            await make_audit_bundle(desk, ids[2:3], with_objects=True), type=AuditBundle
        )
        whole = msgspec.json.decode(await make_audit_bundle(desk, ids), type=AuditBundle)
        replace = msgspec.structs.replace
        junk = b"not in any receipt"
        name, content = next(iter(good.objects.items()))
        evil = {
            "an entry left out": replace(good, entries=good.entries[:5] + good.entries[6:]),
            "an entry put in": replace(good, entries=whole.entries),
            "entries reordered": replace(good, entries=tuple(reversed(good.entries))),
            "an entry twice": replace(good, entries=(*good.entries, good.entries[-1])),
            "no receipts": replace(good, receipts=()),
            "another receipt": replace(good, receipts=(good.receipts[0] - 1,)),
            "an object put in": replace(good, objects={**good.objects, digest_of(junk): format_base64(junk)}),
            "an object swapped": replace(good, objects={**good.objects, name: format_base64(junk)}),
            "a recipe of its own": replace(good, recipe=("rm -rf /",)),
            "a policy of its own": replace(good, policy=good.policy.replace("quorum none", "quorum any")),
            "another format": replace(good, format="tallystick/audit-bundle/v2"),
        }
        assert content
        for bundle in evil.values():
            data = msgspec.json.encode(bundle, order="sorted")
            with pytest.raises(TallystickError):
                await verify_audit_bundle(data, policy)
        stranger = SigningKey(desk.ledger.origin, "stranger").verifier_key
        with pytest.raises(TallystickError):
            await verify_audit_bundle(msgspec.json.encode(good, order="sorted"), policy_of_log(stranger))
