"""Erasure: a person's data is made unreadable for ever, and every proof over it stays valid.

Everything personal is encrypted under a key of the person's own (``ledger.subject_cipher``), so erasing is
destroying one key.  It happens in this order, and a crash after any step leaves what stands beside it:

1. append ``subject.erased.v1``      the ledger says erased: the key is not used any more, and steps 2 and 3
                                     are done when the ledger is next opened
2. keep it in the erasure journal    the same, also for a ledger and keys put back from an older backup
3. destroy the key                   nothing else
4. answer

The event comes first because the other order could leave data that is gone and nobody on record who did it.
``apply_erasures`` goes through steps 1 to 3 for everything that either the ledger or the journal names; it
runs on every opening, and doing it again changes nothing.

What is destroyed is the key in this key store.  Copies of it elsewhere are not ours to destroy, which is why
keys of people who were erased are left out of backups (docs/operations.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import Sequence

from domain.errors import InvalidError, MalformedError
from domain.events import Recorded, SubjectErased
from domain.state import State
from ledger.desk import Desk
from ledger.errors import UnknownSubjectKeyError
from ledger.ledger import Decide, Proposal
from ledger.ports import Erasure, KeyStore
from ledger.recorded import event_of

JOURNAL_ACTOR = "erasure-journal"


class ErasureReason(enum.StrEnum):
    """Why a person's data was erased, as a code: free text about a person has no place in a ledger.

    The first six are the grounds of Article 17(1) GDPR, in its order.
    """

    NO_LONGER_NEEDED = "no-longer-needed"
    CONSENT_WITHDRAWN = "consent-withdrawn"
    OBJECTION = "objection"
    UNLAWFUL_PROCESSING = "unlawful-processing"
    LEGAL_OBLIGATION = "legal-obligation"
    CHILD = "child"
    RETENTION_ENDED = "retention-ended"
    ACCOUNT_CLOSED = "account-closed"
    TEST_DATA = "test-data"


async def erase_subject(desk: Desk, connection_id: str, reason: str, actor: str) -> Recorded:
    """Erase the person behind a connection; once it returns, nobody can read what came from it or was made of
    it.  Doing it again returns the erasure there is.

    Raises: UnknownError for an unregistered connection, InvalidError for a device, MalformedError for what is
    no ``ErasureReason``.
    """
    source = desk.source(connection_id)
    if not source.subject_key_id:
        raise InvalidError(
            "only a person's connection can be erased",
            field="connection_id",
            expected="a connection",
            actual=f"{source.kind} {connection_id}",
        )
    if reason not in set(ErasureReason):
        raise MalformedError(
            "not a reason to erase",
            field="reason",
            expected=", ".join(ErasureReason),
            actual=repr(reason)[:80],
        )
    event = SubjectErased(connection_id=connection_id, subject_key_id=source.subject_key_id, reason=reason)
    recorded = (await desk.ledger.record(_proposal(event, actor, source.index)))[0]
    await apply_erasures(desk)
    return recorded


async def apply_erasures(desk: Desk) -> tuple[Recorded, ...]:
    """Make true whatever the ledger or the journal says was erased; returns the erasures that the ledger did
    not know, because it is older than they are."""
    in_journal = await asyncio.to_thread(desk.erasures.subject_keys)
    known = {key for key, index in _erased(desk) if index is not None}
    appended: list[Recorded] = []
    for subject_key_id in sorted(in_journal - known):
        erasure = await asyncio.to_thread(desk.erasures.erasure, subject_key_id)
        appended += await desk.ledger.append(_said_again(erasure))
    to_keep = []
    for subject_key_id, index in _erased(desk):
        if index is not None and subject_key_id not in in_journal:
            to_keep.append(await _erasure(desk, index))
    # Of the ledger's own, and also of those whose connection an older ledger does not have yet.
    erased = sorted(in_journal.union(key for key, index in _erased(desk) if index is not None))
    await asyncio.to_thread(_make_true, desk, to_keep, erased)
    return tuple(appended)


def shred(keys: KeyStore, subject_key_id: str) -> None:
    """Destroy a subject's key, also one that this store never had: from now on it says *destroyed*."""
    try:
        keys.destroy_subject_key(subject_key_id)
    except UnknownSubjectKeyError:
        # Keys put back from before this one was made.  One is made to be destroyed, so that no other ever is.
        with contextlib.suppress(UnknownSubjectKeyError):
            keys.create_subject_key(subject_key_id)
        keys.destroy_subject_key(subject_key_id)


def _make_true(desk: Desk, to_keep: Sequence[Erasure], erased: Sequence[str]) -> None:
    for erasure in to_keep:
        desk.erasures.keep(erasure)
    for subject_key_id in erased:
        shred(desk.keys, subject_key_id)


def _erased(desk: Desk) -> list[tuple[str, int | None]]:
    """Each connection's subject key, and the entry that erased it."""
    sources = desk.ledger.state.sources.values()
    return [(source.subject_key_id, source.erased_index) for source in sources if source.subject_key_id]


def _said_again(erasure: Erasure) -> Decide:
    """Record an erasure that this ledger has forgotten, if it has the connection."""

    def decide(state: State) -> Sequence[Proposal]:
        source = state.sources.get(erasure.connection_id)
        if source is None or source.subject_key_id != erasure.subject_key_id:
            return ()
        event = SubjectErased(
            connection_id=erasure.connection_id,
            subject_key_id=erasure.subject_key_id,
            reason=erasure.reason,
        )
        return (_proposal(event, JOURNAL_ACTOR, source.index),)

    return decide


def _proposal(event: SubjectErased, actor: str, source_index: int) -> Proposal:
    subject = f"connection/{event.connection_id}"
    return Proposal(event=event, actor=actor, subject=subject, causation=(source_index,))


async def _erasure(desk: Desk, index: int) -> Erasure:
    recorded = (await desk.ledger.get(index))[1]
    event = event_of(recorded, SubjectErased)
    return Erasure(
        tenant=desk.ledger.tenant,
        connection_id=event.connection_id,
        subject_key_id=event.subject_key_id,
        reason=event.reason,
        erased_at_ns=recorded.recorded_at_ns,
    )
