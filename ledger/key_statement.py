"""What is signed when a ledger's keys change, and how that is checked.

The signed bytes of a key event are lines of UTF-8, each ended by a line feed::

    tallystick/<event type>     tallystick/key.rotated.v1, …revoked.v1, …compromised.v1
    <origin>                    the ledger's, so that a change of another ledger cannot be replayed here
    <previous>                  digest of the body of the key event before: sha256: and 64 hex digits
    <vkey>                      the key that comes, goes, or is not believed
    <algorithm>                 key.rotated only: Ed25519 or ML-DSA-44
    <from index>                key.compromised only: decimal
    <reason>                    1 to 256 characters, no control characters

They can be mistaken for nothing else that the same keys sign: a checkpoint begins with the key's own name and
a number, an envelope with ``DSSEv1``, an ML-DSA-44 note signature with ``subtree/v1``.

Checking a key event:

1. It follows from the key events before it (``domain.key_history``).
2. Its key is named as the ledger, is of the algorithm it says, and shares its key id with no other.
3. Its body has one spelling.  Its signatures are those of the keys that ruled before, in their order, and for
   a rotation the new key's after them; no more, no fewer, and each verifies.  The first key's event has none:
   its seal proves that it is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias, TypeVar

from msgspec.structs import replace

from domain.errors import InvalidError, MalformedError
from domain.event_codec import encode_event
from domain.events import KeyCompromised, KeyCreated, KeyRevoked, KeyRotated, KeySignature
from domain.key_history import KeyEvent, KeyHistory, history_after
from ledger.entry import check_field
from ledger.notes import ALGORITHM_OF, VerifierKey, key_hint, parse_verifier_key, verifier_key_of
from ledger.ports import Signer
from ledger.spelling import format_decimal

KeyChange: TypeAlias = KeyRotated | KeyRevoked | KeyCompromised
C = TypeVar("C", KeyRotated, KeyRevoked, KeyCompromised)


class InvalidKeyEventError(InvalidError):
    """A key event that the keys before it do not vouch for; ``field`` names the step."""


def key_statement(origin: str, event: KeyChange) -> bytes:
    """The bytes that are signed.  Raises: InvalidError when a line cannot be written."""
    lines = [f"tallystick/{event.TYPE}", check_field(origin, "origin"), event.previous, event.verifier_key]
    match event:
        case KeyRotated():
            lines.append(event.algorithm)
        case KeyCompromised():
            lines.append(format_decimal(event.from_index))
        case KeyRevoked():
            pass
    lines.append(check_field(event.reason, "reason"))
    return "".join(f"{line}\n" for line in lines).encode()


def sign_key_event(origin: str, event: C, signers: Sequence[Signer]) -> C:
    """The event with the signatures of ``signers``: the ruling keys, then a rotation's new key."""
    statement = key_statement(origin, event)
    signatures = tuple(
        KeySignature(keyid=key_hint(verifier_key_of(signer)), signature=signer.sign(statement))
        for signer in signers
    )
    return replace(event, signatures=signatures)


def read_key_event(payload: bytes, event: object) -> KeyEvent:
    """The key event that was decoded from this body, which is its one spelling.  Raises: MalformedError."""
    if not isinstance(event, KeyEvent) or encode_event(event) != payload:
        raise MalformedError("not the one spelling of a key event", actual=repr(payload[:80]))
    return event


def check_key_event(history: KeyHistory, origin: str, index: int, event: KeyEvent) -> KeyHistory:
    """Check the key event at ``index`` by the steps of the module; returns the history after it.

    Raises: InvalidKeyChangeError, LimitError (1), MalformedError, InvalidKeyEventError naming the step.
    """
    after = history_after(history, index, event)
    key = verifier_key(event.verifier_key)
    if key.name != origin:
        raise _failed(2, index, "a key of another ledger", expected=origin, actual=key.name)
    if isinstance(event, KeyCreated | KeyRotated) and ALGORITHM_OF.get(event.algorithm) != key.algorithm:
        raise _failed(
            2, index, "a key of another algorithm", expected=event.algorithm, actual=f"0x{key.algorithm:02x}"
        )
    if isinstance(event, KeyRotated) and any(
        verifier_key(span.verifier_key).key_id == key.key_id for span in history.spans
    ):
        raise _failed(2, index, "another key has this key id", actual=key_hint(key))
    if not isinstance(event, KeyCreated):
        _check_signatures(history, origin, index, event, key)
    return after


@lru_cache(maxsize=4_096)
def verifier_key(vkey: str) -> VerifierKey:
    """``parse_verifier_key``, remembered: the same few keys are asked for at every seal."""
    return parse_verifier_key(vkey)


def _check_signatures(
    history: KeyHistory, origin: str, index: int, event: KeyChange, key: VerifierKey
) -> None:
    expected = [verifier_key(span.verifier_key) for span in history.ruling(index)]
    if isinstance(event, KeyRotated):
        expected.append(key)
    hints, signed = [key_hint(one) for one in expected], [one.keyid for one in event.signatures]
    if hints != signed:
        raise _failed(
            3, index, "signed by other keys", expected=", ".join(hints), actual=", ".join(signed)[:400]
        )
    statement = key_statement(origin, event)
    for signature, one in zip(event.signatures, expected, strict=True):
        if not one.has_signed_bytes(statement, signature.signature):
            raise _failed(3, index, "a signature is wrong", actual=signature.keyid)


def _failed(
    step: int, index: int, what: str, *, expected: str = "", actual: str = ""
) -> InvalidKeyEventError:
    return InvalidKeyEventError(what, field=f"step {step} at [{index}]", expected=expected, actual=actual)
