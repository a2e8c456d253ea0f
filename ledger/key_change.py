"""Changing a ledger's keys: rotate, revoke, declare compromised.

A rotation is safe at any crash: the new key is durable in the key store before the event that puts it in
force is appended, and a key without its event means nothing; the next rotation takes it up.  What a key store
holds is never asked whether a key is in force; only the ledger says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from domain.errors import InvalidError, MalformedError, UnknownError
from domain.events import KeyCompromised, KeyRevoked, KeyRotated, Recorded
from domain.key_history import ED25519, KeyHistory, KeySpan
from domain.state import State
from ledger.key_statement import KeyChange, sign_key_event, verifier_key
from ledger.ledger import Ledger, Proposal
from ledger.notes import ALGORITHM_OF, VerifierKey, format_verifier_key, key_hint, verifier_key_of
from ledger.ports import Signer, SigningKeys


async def rotate_key(
    ledger: Ledger, keys: SigningKeys, *, reason: str, actor: str, algorithm: str = ED25519
) -> Recorded:
    """Put a new key of the store ``keys`` in force, beside the ones before it until they are revoked.  It may
    be another store than the ledger was opened with: then the ledger is opened with that one from now on.

    Raises: UnknownError for an algorithm that there is not, InvalidError, LimitError.
    """
    if algorithm not in ALGORITHM_OF:
        raise UnknownError(
            "no such algorithm", field="algorithm", expected=" or ".join(ALGORITHM_OF), actual=algorithm
        )
    spans = ledger.state.keys.spans
    known = {verifier_key(span.verifier_key).public_key for span in spans if span.algorithm == algorithm}
    signer = await asyncio.to_thread(keys.next_signer, ledger.origin, known, algorithm)
    ledger.hold(keys)
    vkey = format_verifier_key(verifier_key_of(signer))

    def decide(state: State) -> Sequence[Proposal]:
        if state.keys.span_of(vkey) is not None:  # another process was given the same key and was first
            return ()
        event = KeyRotated(
            verifier_key=vkey, algorithm=algorithm, reason=reason, previous=state.keys.head, signatures=()
        )
        signers = [*_ruling_signers(ledger, state), signer]
        return (_proposal(sign_key_event(ledger.origin, event, signers), actor),)

    appended = await ledger.append(decide)
    return appended[0] if appended else await _event_of(ledger, vkey)


async def revoke_key(ledger: Ledger, key_id: str, *, reason: str, actor: str) -> Recorded:
    """Retire a key; what it signed before stays valid.  The newest Ed25519 key cannot retire: rotate first.

    ``key_id`` is the key's eight hex digits, its ``name+id``, or its vkey.  Raises: UnknownError,
    InvalidError.
    """

    def decide(state: State) -> Sequence[Proposal]:
        span = find_key(state.keys, key_id)
        event = KeyRevoked(
            verifier_key=span.verifier_key, reason=reason, previous=state.keys.head, signatures=()
        )
        return (_proposal(sign_key_event(ledger.origin, event, _ruling_signers(ledger, state)), actor),)

    return (await ledger.append(decide))[0]


async def declare_compromised(
    ledger: Ledger, key_id: str, *, from_index: int, reason: str, actor: str
) -> Recorded:
    """Say that a key is not believed from the entry at ``from_index`` on; what it signed before stays valid.

    ``key_id`` as for ``revoke_key``.  Raises: UnknownError, InvalidError.
    """
    if from_index < 0:
        raise MalformedError("not an index", field="from_index", expected=">= 0", actual=str(from_index))

    def decide(state: State) -> Sequence[Proposal]:
        span = find_key(state.keys, key_id)
        event = KeyCompromised(
            verifier_key=span.verifier_key,
            from_index=from_index,
            reason=reason,
            previous=state.keys.head,
            signatures=(),
        )
        return (_proposal(sign_key_event(ledger.origin, event, _ruling_signers(ledger, state)), actor),)

    return (await ledger.append(decide))[0]


def find_key(history: KeyHistory, key_id: str) -> KeySpan:
    """The key with this id (eight hex digits), hint (``name+id``) or vkey.  Raises: UnknownError."""
    for span in history.spans:
        key = verifier_key(span.verifier_key)
        if key_id in (key.key_id.hex(), key_hint(key), span.verifier_key):
            return span
    raise UnknownError(
        "this ledger never had such a key",
        field="key id",
        expected=" or ".join(verifier_key(span.verifier_key).key_id.hex() for span in history.spans)[:400],
        actual=key_id[:80],
    )


def _proposal(event: KeyChange, actor: str) -> Proposal:
    key = verifier_key(event.verifier_key)
    return Proposal(event=event, actor=actor, subject=f"key/{key.key_id.hex()}")


def _ruling_signers(ledger: Ledger, state: State) -> list[Signer]:
    held: dict[VerifierKey, Signer] = {verifier_key_of(signer): signer for signer in ledger.signers(state)}
    return [held[verifier_key(span.verifier_key)] for span in state.keys.ruling(state.size)]


async def _event_of(ledger: Ledger, vkey: str) -> Recorded:
    for index in ledger.state.keys.indices:
        recorded = (await ledger.get(index))[1]
        if isinstance(recorded.event, KeyRotated) and recorded.event.verifier_key == vkey:
            return recorded
    raise InvalidError("a key without its event", field=vkey)
