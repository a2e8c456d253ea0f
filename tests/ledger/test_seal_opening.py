"""Seals opened one after the other: the first that is wrong is named, whatever is wrong with it."""

from __future__ import annotations

import pytest

from domain.errors import TallystickError
from domain.key_history import ED25519, KeyHistory, KeySpan
from ledger.chain import PartSeal
from ledger.checkpoint import Checkpoint, format_checkpoint, sign_checkpoint
from ledger.notes import format_verifier_key, sign_note, verifier_key_of
from ledger.seal_opening import Expected, first_fault
from ledger.sealing_keys import open_seal
from tests.ledger.signing_key import SigningKey

ORIGIN = "tests.local/seals"
OWN, LATER, STRANGER = SigningKey(ORIGIN), SigningKey(ORIGIN, "later"), SigningKey(ORIGIN, "stranger")
ROOT = b"\7" * 32


def history(*spans: tuple[SigningKey, int, int | None, int | None]) -> KeyHistory:
    """Keys with the indices from which they count, until which, and until which they are believed."""
    return KeyHistory(
        spans=tuple(
            KeySpan(
                verifier_key=format_verifier_key(verifier_key_of(key)),
                algorithm=ED25519,
                from_index=start,
                until_index=until,
                believed_until_index=believed,
            )
            for key, start, until, believed in spans
        ),
        indices=(0,),
        head="sha256:" + "0" * 64,
    )


def checkpoint(index: int, root: bytes = ROOT, origin: str = ORIGIN, *extensions: str) -> Checkpoint:
    return Checkpoint(origin=origin, size=index + 1, root=root, extensions=extensions)


def seal(index: int, note: bytes | None = None) -> Expected:
    """A seal, right when no note is given."""
    return PartSeal(
        index=index, root=ROOT, note=sign_checkpoint(checkpoint(index), OWN) if note is None else note
    ), ROOT


def is_right(one: Expected, keys: KeyHistory) -> bool:
    """What opening this one alone says."""
    try:
        opened = open_seal(one[0].note, keys, one[0].index, ORIGIN)
    except TallystickError:
        return False
    return opened.size == one[0].index + 1 and opened.root == one[1]


ONE_KEY = history((OWN, 0, None, None))
WRONG = {
    "of another size": sign_checkpoint(checkpoint(6), OWN),
    "over another root": sign_checkpoint(checkpoint(5, b"\1" * 32), OWN),
    "by a stranger": sign_checkpoint(checkpoint(5), STRANGER),
    "over key events there are not": sign_checkpoint(checkpoint(5, ROOT, ORIGIN, "keys sha256:00"), OWN),
    "with a signature over something else": sign_checkpoint(checkpoint(5), OWN)[:-94]
    + sign_checkpoint(checkpoint(6), OWN)[-94:],
    "with another key's name for it": sign_checkpoint(checkpoint(5), OWN).replace(
        f"— {ORIGIN}".encode(), "— tests.local/other".encode()
    ),
    "cut short": sign_checkpoint(checkpoint(5), OWN)[:-1],
    "with more behind it": sign_checkpoint(checkpoint(5), OWN) + b"\n",
    "with spaces in its signature": sign_checkpoint(checkpoint(5), OWN)[:-1] + b" \n",
    "empty": b"",
    "not text": b"\xff" * 200,
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_seal_is_counted_off_and_named(what: str) -> None:
    seals = [seal(2), seal(4), seal(5, WRONG[what]), seal(8)]
    assert not is_right(seals[2], ONE_KEY)
    count, detail = first_fault(seals, ONE_KEY, ORIGIN)
    assert count == 2
    assert detail


def test_right_seals_have_no_fault() -> None:
    assert first_fault([seal(2), seal(3), seal(90)], ONE_KEY, ORIGIN) == (3, "")


def test_a_seal_with_a_strangers_line_beside_is_right() -> None:
    both = sign_note(format_checkpoint(checkpoint(5)), (OWN, STRANGER))
    assert is_right(seal(5, both), ONE_KEY)
    assert first_fault([seal(2), seal(5, both), seal(8)], ONE_KEY, ORIGIN) == (3, "")


@pytest.mark.parametrize("change", range(1, 12))
@pytest.mark.parametrize("which", ["rotated", "retired", "compromised", "not yet"])
def test_where_keys_change_every_seal_is_judged_at_its_own_index(which: str, change: int) -> None:
    keys = {
        "rotated": history((OWN, 0, None, None), (LATER, change, None, None)),
        "retired": history((OWN, 0, change, None), (LATER, 0, None, None)),
        "compromised": history((OWN, 0, None, change)),
        "not yet": history((OWN, change, None, None)),
    }[which]
    for signer in (OWN, LATER):
        seals = [seal(index, sign_checkpoint(checkpoint(index), signer)) for index in (1, 4, 5, 9)]
        alone = [is_right(one, keys) for one in seals]
        count, detail = first_fault(seals, keys, ORIGIN)
        assert count == (alone.index(False) if False in alone else len(seals))
        assert bool(detail) == (False in alone)
