"""What strangers are handed is vouched for by witnesses, and judged alike by both verifiers: receipts, audit
bundles and complete lists, of a ledger that is shown itself and of one in a meta-log whose keys change."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.canonical import canonical_json
from domain.digests import digest_of
from domain.errors import TallystickError
from domain.event_codec import encode_event
from domain.events import Event, KeyCreated, KeyRotated, LedgerOpened
from domain.key_history import ED25519
from ledger.checkpoint import Checkpoint, format_checkpoint, parse_checkpoint, sign_checkpoint
from ledger.cosignature import add_signatures, cosign
from ledger.entry import Entry, format_entry
from ledger.key_change import rotate_key
from ledger.key_statement import sign_key_event
from ledger.merkle import inclusion_path, leaf_hash, perfect_root, root_of
from ledger.meta_proof import MetaProof, meta_subject, wire_meta
from ledger.notes import (
    NoteSignature,
    VerifierKey,
    format_note,
    format_verifier_key,
    parse_note,
)
from ledger.policy import Policy, policy_of_log
from ledger.proven_entry import ProvenEntry
from ledger.spelling import format_base64
from ledger.tlog_proof import TlogProof, format_tlog_proof, parse_tlog_proof
from ledger.topics import receipts_topic, status_topic
from tests.docs.test_verify import verify
from tests.ledger.key_ring import KeyRing
from tests.ledger.signing_key import SigningKey
from tests.ledger.test_witnessing import device
from tests.ledger.vouched import LOG, META, OURS, SOURCE, THEIRS, Vouched, their_policy, vouched
from tests.ledger.witnesses import NOW_S

OWN, META_KEY = LOG.verifier_key, META.verifier_key
STRANGER = SigningKey(META.name, "a stranger's")
# Changed places in each file; each costs some milliseconds twice.
CHANGES = 60

both_ways = pytest.mark.parametrize("is_itself", [True, False], ids=["itself", "meta-log"])
Wire = dict[str, Any]


def both_accept(name: str, data: bytes, policy: Policy) -> tuple[Any, Wire]:
    """What both verifiers say of it."""
    return OURS[name](data, policy), THEIRS[name](data, their_policy(policy))


def both_refuse(name: str, data: bytes, policy: Policy, what: str = "") -> None:
    takers = []
    with contextlib.suppress(TallystickError):
        takers.append(("ours", OURS[name](data, policy)))
    with contextlib.suppress(verify.Malformed, verify.Refused):
        takers.append(("theirs", THEIRS[name](data, their_policy(policy))))
    assert takers == [], what


def wire_of(data: bytes) -> Wire:
    wire: Wire = msgspec.json.decode(data)
    return wire


def note_in(name: str, wire: Wire) -> bytes:
    """The checkpoint whose cosignatures count: a file's own, or that of the meta-log."""
    if "meta" in wire:
        return parse_tlog_proof(base64.b64decode(wire["meta"]["proof"])).checkpoint
    if name == "receipt":
        return parse_tlog_proof(base64.b64decode(wire["proof"])).checkpoint
    return str(wire["checkpoint"]).encode()


def with_note(name: str, wire: Wire, note: bytes) -> bytes:
    """The file with another such checkpoint."""

    def changed(proof: str) -> str:
        parsed = parse_tlog_proof(base64.b64decode(proof))
        return format_base64(format_tlog_proof(msgspec.structs.replace(parsed, checkpoint=note)))

    if "meta" in wire:
        return canonical_json({**wire, "meta": {**wire["meta"], "proof": changed(wire["meta"]["proof"])}})
    if name == "receipt":
        return canonical_json({**wire, "proof": changed(wire["proof"])})
    return canonical_json({**wire, "checkpoint": note.decode()})


def without_line(note: bytes, key: VerifierKey) -> bytes:
    parsed = parse_note(note)
    kept = tuple(line for line in parsed.signatures if line.name != key.name)
    assert len(kept) == len(parsed.signatures) - 1
    return format_note(msgspec.structs.replace(parsed, signatures=kept))


def with_line(note: bytes, line: NoteSignature) -> bytes:
    return add_signatures(note, (line,))


def signed_by(name: str, key_id: bytes, signature: bytes) -> NoteSignature:
    return NoteSignature(name=name, key_id=key_id, signature=signature)


@both_ways
@pytest.mark.anyio
async def test_all_that_is_handed_out_carries_the_quorum(tmp_path: Path, is_itself: bool) -> None:
    async with vouched(tmp_path, is_itself=is_itself) as at:
        logs = (OWN,) if is_itself else (OWN, META_KEY)
        names = [one.key.name for one in at.witnesses]
        for name, data in (await at.handed()).items():
            ours, theirs = both_accept(name, data, at.policy(*logs, threshold=3))
            assert [one.key.name for one in ours.witnessed.cosignatures] == theirs["cosigners"] == names
            assert (ours.meta is None) == (theirs["meta"] is None) == is_itself
            # Who only has the ledger's key takes it too, and is told that nobody was asked.
            ours, theirs = both_accept(name, data, policy_of_log(OWN))
            assert ours.witnessed.cosignatures == ()
            assert theirs["cosigners"] == []
            both_refuse(name, data, policy_of_log(SigningKey(LOG.name, "another").verifier_key))


@both_ways
@pytest.mark.anyio
async def test_the_newest_seal_is_handed_out_plainly_and_where_nothing_older_covers_it(
    tmp_path: Path, is_itself: bool
) -> None:
    async with vouched(tmp_path, is_itself=is_itself) as at:
        full = at.policy(OWN) if is_itself else at.policy(OWN, META_KEY)
        for name, data in (await at.handed(is_newest=True)).items():
            assert "meta" not in wire_of(data)
            both_accept(name, data, policy_of_log(OWN))
            both_refuse(name, data, full, "without a quorum")
        where = {one.event_type: one.index for one in await at.ledger.read(0, 100)}
        await at.issue(
            {
                "source": where["device.registered.v1"],
                "configuration": where["device.configured.v1"],
                "calibration": where["calibration.set.v1"],
                "contract": where["contract.published.v1"],
                "deployment": where["procedure.deployed.v1"],
            }
        )
        made = await at.handed()
        # The first receipt is covered by what witnesses have seen; the list and the bundle hold the third.
        both_accept("receipt", made["receipt"], full)
        for name in ("audit", "complete"):
            both_accept(name, made[name], policy_of_log(OWN))
            both_refuse(name, made[name], full)
        await at.turn()
        for name, data in (await at.handed()).items():
            both_accept(name, data, full)


@both_ways
@pytest.mark.anyio
async def test_a_list_that_has_not_changed_is_proven_under_what_witnesses_saw(
    tmp_path: Path, is_itself: bool
) -> None:
    async with vouched(tmp_path, is_itself=is_itself) as at:
        full = at.policy(OWN) if is_itself else at.policy(OWN, META_KEY)
        size = at.ledger.size
        for number in range(3):
            await at.ledger.record(device(number))
            for topic in (receipts_topic(SOURCE), status_topic("r" + "0" * 24), "a", "zz"):
                proof = await at.topics.prove(topic, "test")
                ours, theirs = both_accept("complete", proof, full)
                assert ours.size == theirs["complete_to_size"] == size - 1
                newest = await at.topics.prove(topic, "test", is_newest=True)
                assert both_accept("complete", newest, policy_of_log(OWN))[0].size == at.ledger.size - 1
        await at.turn()
        # The newest commitment is the last entry, and cosigned: complete up to now.
        proof = await at.topics.prove(receipts_topic(SOURCE), "test")
        assert both_accept("complete", proof, full)[0].size == at.ledger.size - 1
        # A process that has just begun finds the same commitment, and makes no other.
        before = at.ledger.size
        assert await type(at.topics)(at.ledger).prove(receipts_topic(SOURCE), "test") == proof
        assert at.ledger.size == before


@both_ways
@pytest.mark.anyio
async def test_wrong_cosignatures_and_too_few_of_them_are_refused(tmp_path: Path, is_itself: bool) -> None:
    async with vouched(tmp_path, is_itself=is_itself) as at:
        logs = (OWN,) if is_itself else (OWN, META_KEY)
        first, second = at.witnesses[0].key.cosigner_key, at.witnesses[1].key.cosigner_key
        for name, data in (await at.handed()).items():
            wire = wire_of(data)
            note = note_in(name, wire)
            text = parse_note(note).text
            forged = cosign(text, NOW_S + 1, SigningKey(first.name, "a forger"))
            head = parse_checkpoint(text)
            another = format_checkpoint(msgspec.structs.replace(head, size=head.size + 1))
            wrong = {
                "a forger's, under the witness's key id": forged.signature,
                "over another checkpoint": cosign(another, NOW_S, at.witnesses[0].key).signature,
                "at another time": bytes(8) + cosign(text, NOW_S, at.witnesses[0].key).signature[8:],
                "cut": forged.signature[:-1],
            }
            for what, changed in wrong.items():
                line = signed_by(first.name, first.key_id, changed)
                both_refuse(name, with_note(name, wire, with_line(note, line)), at.policy(*logs), what)
            one_less = with_note(name, wire, without_line(note, first))
            two_less = with_note(name, wire, without_line(without_line(note, first), second))
            both_refuse(name, one_less, at.policy(*logs, threshold=3))
            both_refuse(name, two_less, at.policy(*logs))
            if name == "audit":
                # Its own policy says who has cosigned: nobody takes a line away.
                both_refuse(name, one_less, at.policy(*logs))
                both_refuse(name, one_less, policy_of_log(OWN))
            else:
                both_accept(name, one_less, at.policy(*logs))


@both_ways
@pytest.mark.anyio
async def test_a_further_witness_may_cosign_what_was_handed_out(tmp_path: Path, is_itself: bool) -> None:
    async with vouched(tmp_path, is_itself=is_itself) as at:
        logs = (OWN,) if is_itself else (OWN, META_KEY)
        further = SigningKey("witness.elsewhere.example/1")
        for is_newest in (False, True):
            for name, data in (await at.handed(is_newest=is_newest)).items():
                wire = wire_of(data)
                note = note_in(name, wire)
                line = cosign(parse_note(note).text, NOW_S, further)
                added = with_note(name, wire, with_line(note, line))
                both_accept(name, added, policy_of_log(OWN))
                if not is_newest:
                    both_accept(name, added, at.policy(*logs, threshold=3))
        # In an audit bundle nothing else may stand there: no other signature, and none in the ledger's name.
        wire = wire_of(data := (await at.handed(is_newest=True))["audit"])
        note = str(wire["checkpoint"]).encode()
        text = parse_note(note).text
        for evil in (
            signed_by(further.name, b"\1\2\3\4", further.sign(text.encode())),
            signed_by(LOG.name, b"\1\2\3\4", line.signature),
            signed_by(further.name, line.key_id, line.signature + b"\0"),
        ):
            both_refuse("audit", with_note("audit", wire, with_line(note, evil)), policy_of_log(OWN))
        both_accept("audit", data, policy_of_log(OWN))


def places(data: bytes) -> Iterator[int]:
    return (number * len(data) // CHANGES for number in range(CHANGES))


@both_ways
@pytest.mark.anyio
async def test_every_changed_byte_of_a_witnessed_audit_bundle_is_refused_by_a_bare_key(
    tmp_path: Path, is_itself: bool
) -> None:
    async with vouched(tmp_path, is_itself=is_itself) as at:
        if not is_itself:
            await at.rotate_meta()
            await at.ledger.record(device(1))
            await at.turn()
        data = (await at.handed())["audit"]
        both_accept("audit", data, policy_of_log(OWN))
        # All of the part that witnesses brought in, and a sample of the rest.
        start = data.index(b'"meta":') if not is_itself else 0
        end = data.index(b'"objects":') if not is_itself else data.index(b'"entries":')
        policy = data.index(b'"policy":')
        looked_at = {*range(start, end, 9), *range(policy, data.index(b'"receipts":'), 7), *places(data)}
        for number, place in enumerate(sorted(looked_at)):
            changed = bytearray(data)
            changed[place] ^= 1 << number % 7
            both_refuse("audit", bytes(changed), policy_of_log(OWN), f"byte {place}")


@pytest.mark.anyio
async def test_a_rotation_of_the_meta_log_leaves_everything_to_who_knows_its_first_key(
    tmp_path: Path,
) -> None:
    async with vouched(tmp_path) as at:
        kept = await at.handed()
        newest = await at.rotate_meta()
        await at.ledger.record(device(1))
        await at.turn()
        made = await at.handed()
        assert [wire_of(made[name])["format"][-2:] for name in ("receipt", "audit", "complete")] == [
            "v3",
            "v2",
            "v2",
        ]
        for name, data in made.items():
            assert len(wire_of(data)["meta"]["keys"]) == 3
            for key in (META_KEY, newest):
                ours, theirs = both_accept(name, data, at.policy(OWN, key, threshold=3))
                assert len(ours.witnessed.cosignatures) == len(theirs["cosigners"]) == 3
            both_accept(name, data, at.policy(OWN, META_KEY, newest))
            both_accept(name, data, policy_of_log(OWN))
            both_refuse(name, data, at.policy(OWN, STRANGER.verifier_key))
        for name, data in kept.items():
            # What was handed out before the rotation is what it was.
            assert "keys" not in wire_of(data)["meta"]
            both_accept(name, data, at.policy(OWN, META_KEY))
            both_refuse(name, data, at.policy(OWN, newest))


@pytest.mark.anyio
async def test_the_ledger_and_its_meta_log_may_both_have_changed_their_keys(tmp_path: Path) -> None:
    async with vouched(tmp_path) as at:
        await rotate_key(at.ledger, KeyRing(LOG), reason="once a year", actor="test")
        own = at.ledger.verifier_key
        newest = await at.rotate_meta(is_first_revoked=False)
        await at.topics.commit("test")
        await at.turn()
        for name, data in (await at.handed()).items():
            for logs in ((OWN, META_KEY), (own, META_KEY), (OWN, newest), (own, newest)):
                both_accept(name, data, at.policy(*logs))
            both_refuse(name, data, at.policy(STRANGER.verifier_key, newest))


@both_ways
@pytest.mark.anyio
async def test_a_change_of_the_ledgers_own_keys_is_not_kept_silent(tmp_path: Path, is_itself: bool) -> None:
    async with vouched(tmp_path, is_itself=is_itself) as at:
        await rotate_key(at.ledger, KeyRing(LOG), reason="once a year", actor="test")
        newest = at.ledger.verifier_key
        logs = [(OWN,), (newest,)] if is_itself else [(OWN, META_KEY), (newest, META_KEY)]
        # What witnesses have seen does not cover the change: it is told without them rather than not at all.
        for name, data in (await at.handed()).items():
            for key in (OWN, newest):
                both_accept(name, data, policy_of_log(key))
            both_refuse(name, data, at.policy(*logs[0]))
        await at.turn()
        for name, data in (await at.handed()).items():
            for some in logs:
                both_accept(name, data, at.policy(*some))


@pytest.mark.anyio
async def test_the_meta_logs_key_events_cannot_be_left_out(tmp_path: Path) -> None:
    async with vouched(tmp_path) as at:
        newest = await at.rotate_meta(is_first_revoked=False)
        await at.ledger.record(device(1))
        await at.turn()
        for name, data in (await at.handed()).items():
            wire = wire_of(data)
            keys = wire["meta"]["keys"]
            assert len(keys) == 2
            for some in (keys[:1], keys[1:], keys[::-1], [], [*keys, keys[-1]], None):
                meta = {part: wire["meta"][part] for part in ("entry", "proof")}
                changed = {**wire, "meta": meta if some is None else {**meta, "keys": some}}
                for version in {wire["format"], wire["format"].replace("v3", "v2")}:
                    forged = canonical_json({**changed, "format": version})
                    for logs in ((OWN, META_KEY), (OWN, newest), (OWN,)):
                        policy = at.policy(*logs) if len(logs) > 1 else policy_of_log(OWN)
                        both_refuse(name, forged, policy, f"{some}"[:40])


@pytest.mark.anyio
async def test_every_changed_byte_of_the_meta_logs_keys_is_refused(tmp_path: Path) -> None:
    async with vouched(tmp_path) as at:
        await at.rotate_meta()
        await at.ledger.record(device(1))
        await at.turn()
        for name, data in (await at.handed()).items():
            start = data.index(b'"meta":')
            start, end = data.index(b'"keys":', start), data.index(b'"proof":', start)
            for number in range(CHANGES):
                changed = bytearray(data)
                changed[start + number * (end - start) // CHANGES] ^= 1 << number % 7
                both_refuse(name, bytes(changed), at.policy(OWN, META_KEY))
                both_refuse(name, bytes(changed), policy_of_log(OWN))


# -- a meta-log that somebody makes up, from the tenant's own checkpoint


def made_up_meta(note: bytes, at: Vouched, *vouchers: SigningKey, sealed_by: SigningKey) -> MetaProof:
    """A meta-log of four entries that begins with the real first key, whose second key is vouched for by
    ``vouchers``, and whose checkpoint the second key has signed and every witness cosigned."""
    second = sealed_by
    created = KeyCreated(verifier_key=format_verifier_key(META_KEY), algorithm=ED25519)
    rotated = KeyRotated(
        verifier_key=format_verifier_key(second.verifier_key),
        algorithm=ED25519,
        reason="a better one",
        previous=digest_of(encode_event(created)),
        signatures=(),
    )
    signed = sign_key_event(META.name, rotated, [*vouchers, second])
    # Under the names of those who should have signed.
    hints = sign_key_event(META.name, rotated, [META, second]).signatures
    signed = msgspec.structs.replace(
        signed,
        signatures=tuple(
            msgspec.structs.replace(one, keyid=hint.keyid)
            for one, hint in zip(signed.signatures, hints, strict=False)
        ),
    )
    events: list[tuple[Event, str]] = [
        (LedgerOpened(tenant="meta", origin=META.name, format_version=1), "tenant/meta"),
        (created, "tenant/meta"),
        (signed, f"key/{second.verifier_key.key_id.hex()}"),
    ]
    bodies = [(event.TYPE, subject, encode_event(event)) for event, subject in events]
    bodies.append(("tenant.checkpointed.v1", meta_subject(OWN), note))
    entries = [_entry(index, *body) for index, body in enumerate(bodies)]
    leaves = [leaf_hash(entry) for entry in entries]

    def path(index: int) -> list[bytes]:
        return inclusion_path(
            index, 4, lambda level, place: perfect_root(leaves[place << level : (place + 1) << level])
        )

    head = Checkpoint(
        origin=META.name,
        size=4,
        root=root_of(leaves),
        extensions=(f"keys {digest_of(encode_event(signed))}",),
    )
    lines = tuple(cosign(format_checkpoint(head), NOW_S, one.key) for one in at.witnesses)
    covering = add_signatures(sign_checkpoint(head, second), lines)
    return MetaProof(
        entry=entries[3],
        proof=format_tlog_proof(TlogProof(index=3, path=tuple(path(3)), checkpoint=covering)),
        keys=tuple(
            ProvenEntry(
                entry=format_base64(entries[index]),
                path=tuple(format_base64(node) for node in path(index)),
                payload=format_base64(bodies[index][2]),
            )
            for index in (1, 2)
        ),
    )


def _entry(index: int, kind: str, subject: str, body: bytes) -> bytes:
    return format_entry(
        Entry(
            origin=META.name,
            index=index,
            event_type=kind,
            recorded_at_ns=NOW_S * 1_000_000_000,
            actor="tallystick",
            subject=subject,
            causation=(),
            payload_size=len(body),
            payload_sha256=hashlib.sha256(body).hexdigest(),
            previous="cd" * 32,
        )
    )


@pytest.mark.anyio
async def test_a_meta_key_that_the_key_before_did_not_vouch_for_is_refused(tmp_path: Path) -> None:
    async with vouched(tmp_path) as at:
        known = at.policy(OWN, META_KEY, threshold=3)
        # Not even somebody who was told to trust the second key follows it.
        deceived = at.policy(OWN, STRANGER.verifier_key, threshold=3)
        for name, data in (await at.handed()).items():
            wire = wire_of(data)
            note = str(wire.get("checkpoint", "")).encode()
            if name == "receipt":
                note = parse_tlog_proof(base64.b64decode(wire["proof"])).checkpoint
                wire["format"] = "tallystick/bundle/v3"

            def forged(*vouchers: SigningKey, wire: Wire = wire, note: bytes = note) -> bytes:
                meta = made_up_meta(note, at, *vouchers, sealed_by=STRANGER)
                return canonical_json({**wire, "meta": wire_meta(meta)})

            # Vouched for by the first key the same bytes are right, so nothing else is wrong with them.
            assert len(both_accept(name, forged(META), known)[1]["cosigners"]) == 3
            for vouchers in ((STRANGER,), (SigningKey(META.name, "third"),), (LOG,), ()):
                for policy in (known, deceived, policy_of_log(OWN)):
                    both_refuse(name, forged(*vouchers), policy)
