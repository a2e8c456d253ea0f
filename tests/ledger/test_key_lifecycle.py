"""Keys in a ledger: rotation while others append, crashes on either side of the event, and what is forged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from adapters.key_store_file import FileKeyStore
from adapters.sqlite_log import SQLiteLog
from domain.errors import InvalidError, MalformedError, TallystickError, UnknownError
from domain.events import Event, KeyCompromised, KeyCreated, KeyRevoked, KeyRotated
from domain.key_history import ED25519, ML_DSA_44, Standing
from domain.state import State
from ledger.audit import audit
from ledger.checkpoint import open_checkpoint
from ledger.key_chain import InvalidKeyChainError, verify_key_chain
from ledger.key_change import declare_compromised, revoke_key, rotate_key
from ledger.key_statement import key_statement, sign_key_event
from ledger.ledger import Ledger, Proposal, ledger_name
from ledger.merkle import verify_consistency
from ledger.notes import format_verifier_key, key_hint, parse_note, verifier_key_of
from ledger.proven_entry import ProvenEntry
from ledger.proving import prove_entries, prove_keys
from ledger.sealing_keys import InvalidSignerError, all_keys, check_ruled
from tests.ledger.desk import ORIGIN, TENANT, open_ledger
from tests.ledger.key_ring import KeyRing
from tests.ledger.signing_key import SigningKey
from tests.ledger.test_ledger import batch, device

NAME = ledger_name(TENANT)
FIRST, SECOND, THIRD = (SigningKey(ORIGIN, seed) for seed in ("", "second", "third"))
STRANGER = SigningKey(ORIGIN, "stranger")
WHY = "once a year"


def seal_signers(seal: bytes) -> list[str]:
    return [f"{line.name}+{line.key_id.hex()}" for line in parse_note(seal).signatures]


def hints(*keys: SigningKey) -> list[str]:
    return [key_hint(key.verifier_key) for key in keys]


def key_id(key: SigningKey) -> str:
    return key.verifier_key.key_id.hex()


def change_of(ledger: Ledger, event: Event, key: SigningKey) -> Proposal:
    return Proposal(event=event, actor="cli", subject=f"key/{key_id(key)}")


def rotation(ledger: Ledger, new: SigningKey, *signers: SigningKey) -> KeyRotated:
    """A rotation to ``new`` at the end of this ledger, signed by whoever is given."""
    event = KeyRotated(
        verifier_key=format_verifier_key(new.verifier_key),
        algorithm=ED25519,
        reason=WHY,
        previous=ledger.state.keys.head,
        signatures=(),
    )
    return sign_key_event(ledger.origin, event, signers)


async def audited(
    folder: Path, trusted: SigningKey | None = None, kept: bytes = b""
) -> list[tuple[int, str]]:
    log = SQLiteLog(folder / "log")
    try:
        report = await audit(
            log, NAME, trusted=None if trusted is None else trusted.verifier_key, kept_checkpoint=kept
        )
    finally:
        await log.close()
    return [(finding.index, finding.check) for finding in report.findings]


@pytest.mark.anyio
async def test_old_and_new_key_seal_side_by_side_until_the_old_one_retires(tmp_path: Path) -> None:
    ring = KeyRing(FIRST, SECOND)
    async with open_ledger(tmp_path, keys=ring) as ledger:
        await ledger.record(batch(1))
        alone = ledger.checkpoint
        recorded = await rotate_key(ledger, ring, reason=WHY, actor="cli")
        assert (recorded.index, recorded.event.TYPE) == (3, "key.rotated.v1")
        assert ledger.verifier_key == SECOND.verifier_key
        await ledger.record(batch(2))
        both = ledger.checkpoint
        await revoke_key(ledger, key_id(FIRST), reason="retired", actor="cli")
        await ledger.record(batch(3))
        assert seal_signers(alone) == hints(FIRST)
        assert seal_signers(both) == hints(FIRST, SECOND)
        assert seal_signers(ledger.checkpoint) == hints(SECOND)
        for key in (FIRST, SECOND):  # whoever knows one of them reads the seals between
            assert open_checkpoint(both, [key.verifier_key]).size == 5
    for trusted in (None, FIRST, SECOND):
        assert await audited(tmp_path, trusted) == []
    assert await audited(tmp_path, STRANGER) == [(1, "seal")]
    assert await audited(tmp_path, SECOND, alone) == []
    assert await audited(tmp_path, FIRST, both) == []


@pytest.mark.anyio
async def test_a_rotated_ledger_is_opened_with_its_newest_key(tmp_path: Path) -> None:
    ring = KeyRing(FIRST, SECOND)
    async with open_ledger(tmp_path, keys=ring) as ledger:
        await rotate_key(ledger, ring, reason=WHY, actor="cli")
    async with open_ledger(tmp_path, keys=ring, index_name="fresh") as ledger:
        assert (await ledger.record(batch(1)))[0].index == 3
        assert seal_signers(ledger.checkpoint) == hints(FIRST, SECOND)
    # The older key may be gone already; its signature is for others' sake.
    async with open_ledger(tmp_path, keys=KeyRing(SECOND)) as ledger:
        await ledger.record(batch(2))
        assert seal_signers(ledger.checkpoint) == hints(SECOND)
    assert await audited(tmp_path, FIRST) == []
    with pytest.raises(InvalidError, match="does not hold the key"):
        async with open_ledger(tmp_path, keys=KeyRing(FIRST)):
            pass


@pytest.mark.anyio
async def test_rotating_while_many_append_loses_nobody(tmp_path: Path) -> None:
    ring = KeyRing(FIRST)
    async with (
        open_ledger(tmp_path, keys=ring) as one,
        open_ledger(tmp_path, keys=ring, index_name="other") as two,
    ):

        async def rotate_twice() -> None:
            for _ in range(2):
                await rotate_key(two, ring, reason=WHY, actor="cli")
                oldest = two.state.keys.in_force(two.size)[0].verifier_key
                await revoke_key(two, oldest, reason=WHY, actor="cli")

        answers = await asyncio.gather(
            rotate_twice(),
            *(one.record(batch(number)) for number in range(60)),
            *(two.record(batch(number + 100)) for number in range(60)),
        )
        await one.catch_up()
        await two.catch_up()
        assert one.size == two.size == 2 + 4 + 120
        assert one.state.keys == two.state.keys
        assert len({answer[0].index for answer in answers if answer is not None}) == 120
        history = one.state.keys
        # Every seal has exactly the signatures of the keys in force at its index.
        for record in await one.read(0, 1_000):
            if record.seal:
                in_force = [span.verifier_key for span in history.in_force(record.index)]
                assert [hint in vkey for hint, vkey in zip(seal_signers(record.seal), in_force, strict=True)]
        now = open_checkpoint(one.checkpoint, [one.verifier_key])
        then = open_checkpoint((await one.read(1, 1))[0].seal, [FIRST.verifier_key])
        verify_consistency(then.size, now.size, then.root, now.root, one.prove_growth(then.size))
    assert await audited(tmp_path, FIRST) == []


@pytest.mark.anyio
async def test_two_processes_that_rotate_at_once_agree_on_one_key(tmp_path: Path) -> None:
    async with (
        open_ledger(tmp_path, keys=FileKeyStore(tmp_path / "keys")) as one,
        open_ledger(tmp_path, keys=FileKeyStore(tmp_path / "keys"), index_name="other") as two,
    ):
        first, again = await asyncio.gather(
            *(
                rotate_key(ledger, FileKeyStore(tmp_path / "keys"), reason=WHY, actor="cli")
                for ledger in (one, two)
            )
        )
        await one.catch_up()
        await two.catch_up()
        assert first == again
        assert len(one.state.keys.spans) == 2
    assert await audited(tmp_path) == []


@pytest.mark.anyio
async def test_a_key_whose_event_a_crash_swallowed_is_the_next_one(tmp_path: Path) -> None:
    store = FileKeyStore(tmp_path / "keys")
    async with open_ledger(tmp_path, keys=store) as ledger:
        first = verifier_key_of(store.signer(ORIGIN))
        # The crash came here: the key is durable, its event was never appended.
        left = store.next_signer(ORIGIN, [first.public_key], ED25519)
    store = FileKeyStore(tmp_path / "keys")
    async with open_ledger(tmp_path, keys=store) as ledger:
        await ledger.record(batch(1))
        assert seal_signers(ledger.checkpoint) == [key_hint(first)]
        recorded = await rotate_key(ledger, store, reason=WHY, actor="cli")
        assert isinstance(recorded.event, KeyRotated)
        assert recorded.event.verifier_key == format_verifier_key(verifier_key_of(left))
        assert len(store.signers(ORIGIN)) == 2
    assert await audited(tmp_path) == []


@pytest.mark.anyio
async def test_an_event_whose_key_was_lost_stops_the_ledger_and_says_which(tmp_path: Path) -> None:
    store = FileKeyStore(tmp_path / "keys")
    async with open_ledger(tmp_path, keys=store) as ledger:
        recorded = await rotate_key(ledger, store, reason=WHY, actor="cli")
        assert isinstance(recorded.event, KeyRotated)
    # The keys came back from a backup that is older than the rotation.
    newest = next((tmp_path / "keys" / "signing").glob("*+2.pem"))
    kept = newest.read_bytes()
    newest.unlink()
    with pytest.raises(InvalidError) as caught:
        async with open_ledger(tmp_path, keys=FileKeyStore(tmp_path / "keys")):
            pass
    assert caught.value.expected == recorded.event.verifier_key
    assert not newest.exists()
    newest.write_bytes(kept)
    newest.chmod(0o600)
    async with open_ledger(tmp_path, keys=FileKeyStore(tmp_path / "keys")) as ledger:
        await ledger.record(batch(1))


def forged(
    ledger: Ledger, retired: SigningKey
) -> dict[str, tuple[KeyRotated | KeyRevoked | KeyCompromised, SigningKey]]:
    """Changes that somebody might try on a ledger whose keys were FIRST (retired) and SECOND."""
    good = rotation(ledger, STRANGER, SECOND, STRANGER)
    vkey = format_verifier_key(SECOND.verifier_key)
    takeover = KeyCompromised(
        verifier_key=vkey, from_index=2, reason=WHY, previous=ledger.state.keys.head, signatures=()
    )
    third = rotation(ledger, THIRD, SECOND, THIRD)
    swapped = (third.signatures[0], replace(third.signatures[1], signature=third.signatures[0].signature))
    return {
        "signed by a stranger": (rotation(ledger, STRANGER, STRANGER, STRANGER), STRANGER),
        "signed by a retired key": (rotation(ledger, STRANGER, retired, STRANGER), STRANGER),
        "signed by a retired key beside": (rotation(ledger, STRANGER, retired, SECOND, STRANGER), STRANGER),
        "new key not held": (replace(good, signatures=good.signatures[:1]), STRANGER),
        "new key's signature copied": (replace(third, signatures=swapped), THIRD),
        "not signed": (replace(good, signatures=()), STRANGER),
        "another reason": (replace(good, reason="stolen"), STRANGER),
        "another algorithm": (replace(good, algorithm=ML_DSA_44), STRANGER),
        "ruling key disowned by a stranger": (sign_key_event(ORIGIN, takeover, [STRANGER]), SECOND),
        "ruling key disowned by a retired one": (sign_key_event(ORIGIN, takeover, [retired]), SECOND),
        "ruling key disowned by itself": (sign_key_event(ORIGIN, takeover, [SECOND]), SECOND),
    }


async def rotated_ledger(ledger: Ledger, ring: KeyRing) -> None:
    await rotate_key(ledger, ring, reason=WHY, actor="cli")
    await revoke_key(ledger, key_id(FIRST), reason="retired", actor="cli")


@pytest.mark.anyio
async def test_forged_changes_are_refused_and_the_ledger_goes_on(tmp_path: Path) -> None:
    ring = KeyRing(FIRST, SECOND)
    async with open_ledger(tmp_path, keys=ring) as ledger:
        await rotated_ledger(ledger, ring)
        before = ledger.state.keys
        for name, (event, key) in forged(ledger, FIRST).items():
            with pytest.raises(TallystickError):
                await ledger.record(change_of(ledger, event, key))
            assert ledger.state.keys == before, name
        again = KeyCreated(verifier_key=format_verifier_key(STRANGER.verifier_key), algorithm=ED25519)
        with pytest.raises(InvalidError):
            await ledger.record(change_of(ledger, again, STRANGER))
        one, bad = await asyncio.gather(
            ledger.record(batch(1)), ledger.record(change_of(ledger, event, key)), return_exceptions=True
        )
        assert not isinstance(one, BaseException)
        assert isinstance(bad, TallystickError)
    assert await audited(tmp_path) == []


@pytest.mark.anyio
async def test_a_rotation_of_another_ledger_cannot_be_replayed(tmp_path: Path) -> None:
    elsewhere = "tests.local/elsewhere"
    theirs = KeyRotated(
        verifier_key=format_verifier_key(SECOND.verifier_key),
        algorithm=ED25519,
        reason=WHY,
        previous="sha256:" + "0" * 64,
        signatures=(),
    )
    async with open_ledger(tmp_path, keys=KeyRing(FIRST, SECOND)) as ledger:
        for event in (
            # signed for another ledger by keys of the same name, with this ledger's place in it
            sign_key_event(elsewhere, replace(theirs, previous=ledger.state.keys.head), [FIRST, SECOND]),
            # signed for a ledger of this name that has another past
            sign_key_event(ORIGIN, theirs, [FIRST, SECOND]),
            # a key that is named for another ledger
            rotation(ledger, SigningKey(elsewhere), FIRST, SigningKey(elsewhere)),
        ):
            with pytest.raises(InvalidError):
                await ledger.record(change_of(ledger, event, SECOND))
        genuine = rotation(ledger, SECOND, FIRST, SECOND)
        await ledger.record(change_of(ledger, genuine, SECOND))
        with pytest.raises(InvalidError):  # its own, a second time
            await ledger.record(change_of(ledger, genuine, SECOND))
    assert await audited(tmp_path) == []


class UncheckedLedger(Ledger):
    """The ledger of an attacker who has taken the checks out of his copy."""

    @classmethod
    async def record_unchecked(cls, ledger: Ledger, *proposals: Proposal) -> None:
        import ledger.draft as module
        from domain.key_history import history_after

        checked = module.check_key_event
        module.check_key_event = lambda history, origin, index, event: history_after(history, index, event)
        try:
            await ledger.record(*proposals)
        finally:
            module.check_key_event = checked


@pytest.mark.anyio
async def test_a_forged_change_that_was_stored_is_found_by_everybody(tmp_path: Path) -> None:
    ring = KeyRing(FIRST, SECOND, STRANGER)
    async with open_ledger(tmp_path, keys=ring) as ledger:
        await rotated_ledger(ledger, ring)
        await UncheckedLedger.record_unchecked(
            ledger, change_of(ledger, rotation(ledger, STRANGER, STRANGER, STRANGER), STRANGER)
        )
        checkpoint, parts = await prove_keys(ledger)
        with pytest.raises(TallystickError):
            verify_key_chain(parts, checkpoint, [FIRST.verifier_key])
    for trusted in (None, FIRST, SECOND, STRANGER):
        assert await audited(tmp_path, trusted) == [(4, "key")]
    with pytest.raises(TallystickError):
        async with open_ledger(tmp_path, keys=ring, index_name="fresh"):
            pass


@pytest.mark.anyio
async def test_a_seal_without_the_ruling_keys_line_is_found(tmp_path: Path) -> None:
    """Whoever holds only the older of two keys in force cannot seal."""
    ring = KeyRing(FIRST, SECOND)
    async with open_ledger(tmp_path, keys=ring) as ledger:
        await rotate_key(ledger, ring, reason=WHY, actor="cli")
        ledger._signers = (FIRST,)
        await ledger.record(batch(1))
    assert await audited(tmp_path, FIRST) == [(3, "seal")]
    with pytest.raises(InvalidSignerError):
        async with open_ledger(tmp_path, keys=ring, index_name="fresh"):
            pass


@pytest.mark.anyio
async def test_any_key_an_auditor_trusts_leads_to_all_of_them(tmp_path: Path) -> None:
    ring = KeyRing(FIRST, SECOND, THIRD)
    async with open_ledger(tmp_path, keys=ring) as ledger:
        for oldest in (FIRST, SECOND):
            await ledger.record(batch(1), device(int(oldest is FIRST)))
            await rotate_key(ledger, ring, reason=WHY, actor="cli")
            await revoke_key(ledger, key_id(oldest), reason=WHY, actor="cli")
        checkpoint, parts = await prove_keys(ledger)
        for key in (FIRST, SECOND, THIRD):
            opened, history = verify_key_chain(parts, checkpoint, [key.verifier_key])
            assert opened.size == ledger.size
            assert history == ledger.state.keys
            assert all_keys(history) == tuple(one.verifier_key for one in (FIRST, SECOND, THIRD))
        with pytest.raises(InvalidKeyChainError):
            verify_key_chain(parts, checkpoint, [STRANGER.verifier_key])
        for place in range(len(parts)):
            with pytest.raises(TallystickError):
                verify_key_chain((*parts[:place], *parts[place + 1 :]), checkpoint, [FIRST.verifier_key])
            if place:
                swapped = [*parts]
                swapped[place - 1], swapped[place] = swapped[place], swapped[place - 1]
                with pytest.raises(TallystickError):
                    verify_key_chain(swapped, checkpoint, [FIRST.verifier_key])
        with pytest.raises(TallystickError):
            verify_key_chain((*parts, parts[-1]), checkpoint, [FIRST.verifier_key])
        (stranger,) = (await _prove_others(ledger))[2:3]
        with pytest.raises(InvalidKeyChainError):
            verify_key_chain((*parts[:1], stranger), checkpoint, [FIRST.verifier_key])


async def _prove_others(ledger: Ledger) -> list[ProvenEntry]:
    return (await prove_entries(ledger, range(3)))[1]


@pytest.mark.anyio
async def test_a_compromised_key_is_a_warning_and_the_ledger_stays_whole(tmp_path: Path) -> None:
    ring = KeyRing(FIRST, SECOND)
    async with open_ledger(tmp_path, keys=ring) as ledger:
        await ledger.record(*(batch(number) for number in range(10)))
        await rotate_key(ledger, ring, reason="a laptop was stolen", actor="cli")
        recorded = await declare_compromised(
            ledger, key_id(FIRST), from_index=6, reason="a laptop was stolen", actor="cli"
        )
        await ledger.record(batch(99))
        assert seal_signers(ledger.checkpoint) == hints(SECOND)
        history = ledger.state.keys
        assert history.standing(format_verifier_key(FIRST.verifier_key), 5) is Standing.VALID
        check_ruled(history, 5, [FIRST.verifier_key])
        with pytest.raises(InvalidSignerError) as caught:
            check_ruled(history, 6, [FIRST.verifier_key])
        assert caught.value.standing is Standing.COMPROMISED
        check_ruled(history, recorded.index, [SECOND.verifier_key])
    log = SQLiteLog(tmp_path / "log")
    report = await audit(log, NAME, trusted=FIRST.verifier_key)
    await log.close()
    assert report.is_clean
    assert [(warning.index, warning.check) for warning in report.warnings] == [(6, "key")]


@pytest.mark.anyio
async def test_what_a_person_may_mistype_is_said_plainly(tmp_path: Path) -> None:
    ring = KeyRing(FIRST, SECOND)
    async with open_ledger(tmp_path, keys=ring) as ledger:
        with pytest.raises(UnknownError) as unknown:
            await revoke_key(ledger, "00000000", reason=WHY, actor="cli")
        assert key_id(FIRST) in unknown.value.expected
        with pytest.raises(InvalidError, match="successor"):
            await revoke_key(ledger, key_id(FIRST), reason=WHY, actor="cli")
        with pytest.raises(UnknownError):
            await rotate_key(ledger, ring, reason=WHY, actor="cli", algorithm="RSA")
        for reason in ("", "two\nlines", "x" * 300):
            with pytest.raises(InvalidError):
                await rotate_key(ledger, ring, reason=reason, actor="cli")
        await rotate_key(ledger, ring, reason=WHY, actor="cli")
        with pytest.raises(MalformedError):
            await declare_compromised(ledger, key_id(FIRST), from_index=-1, reason=WHY, actor="cli")
        with pytest.raises(InvalidError):
            await declare_compromised(ledger, key_id(FIRST), from_index=99, reason=WHY, actor="cli")
        assert ledger.size == 3


@pytest.mark.anyio
async def test_a_second_algorithm_signs_beside_the_first_and_is_demanded(tmp_path: Path) -> None:
    ring = KeyRing(FIRST)
    async with open_ledger(tmp_path, keys=ring) as ledger:
        await ledger.record(batch(1))
        await rotate_key(ledger, ring, reason="quantum computers", actor="cli", algorithm=ML_DSA_44)
        await ledger.record(batch(2))
        beside = ring.keys[1]
        assert seal_signers(ledger.checkpoint) == hints(FIRST, beside)
        assert ledger.verifier_key == FIRST.verifier_key
        # Whoever knows only the Ed25519 key reads on as before.
        assert open_checkpoint(ledger.checkpoint, [FIRST.verifier_key]).size == 5
        checkpoint, parts = await prove_keys(ledger)
        verify_key_chain(parts, checkpoint, [FIRST.verifier_key])
        verify_key_chain(parts, checkpoint, [beside.verifier_key])
        # A seal that lacks the second line is not the ledger's any more.
        ledger._signers = (FIRST,)
        await ledger.record(batch(3))
        checkpoint, parts = await prove_keys(ledger)
        with pytest.raises(InvalidSignerError):
            verify_key_chain(parts, checkpoint, [FIRST.verifier_key])
    assert await audited(tmp_path, FIRST) == [(5, "seal")]


def test_statements_of_different_changes_share_no_bytes() -> None:
    vkey, head = format_verifier_key(FIRST.verifier_key), "sha256:" + "0" * 64
    rotated = KeyRotated(verifier_key=vkey, algorithm=ED25519, reason=WHY, previous=head, signatures=())
    revoked = KeyRevoked(verifier_key=vkey, reason=WHY, previous=head, signatures=())
    disowned = KeyCompromised(verifier_key=vkey, from_index=7, reason=WHY, previous=head, signatures=())
    assert key_statement(ORIGIN, rotated).decode() == (
        f"tallystick/key.rotated.v1\n{ORIGIN}\n{head}\n{vkey}\nEd25519\n{WHY}\n"
    )
    assert key_statement(ORIGIN, revoked).decode() == (
        f"tallystick/key.revoked.v1\n{ORIGIN}\n{head}\n{vkey}\n{WHY}\n"
    )
    assert key_statement(ORIGIN, disowned).decode() == (
        f"tallystick/key.compromised.v1\n{ORIGIN}\n{head}\n{vkey}\n7\n{WHY}\n"
    )


class FarKey(SigningKey):
    """A key on a device: it signs away from the event loop, or the test fails."""

    is_remote = True

    def sign(self, message: bytes) -> bytes:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return super().sign(message)


@pytest.mark.anyio
async def test_a_far_key_keeps_nobody_waiting(tmp_path: Path) -> None:
    far = FarKey(ORIGIN)
    async with open_ledger(tmp_path, keys=KeyRing(far)) as ledger:

        def decide(state: State) -> tuple[Proposal, ...]:
            far.sign(b"a receipt")
            return (batch(1),)

        await asyncio.gather(ledger.append(decide), ledger.record(batch(2)))
        assert ledger.size == 4
    assert await audited(tmp_path, far) == []
