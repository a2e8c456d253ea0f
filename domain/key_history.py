"""Which signing keys a ledger believes, and when; folded from its own key events.

::

    key.created        the first key; nothing vouches for it, so a verifier gets it from somewhere he trusts
    key.rotated        a new key, in force from this entry on, beside the ones before it
    key.revoked        a key retires: what it signed before this entry stays valid
    key.compromised    a key is not believed from an index on, whenever one looks; before that index it is

In each algorithm the newest key that is in force *rules*: nothing counts as the ledger's without its
signature.  Older keys in force sign beside it, for those who know only them, until they are revoked.  Key
events are signed by the ruling keys and each names the one before by digest, so that none can be left out or
moved to another ledger.  Signatures are checked in ``ledger.key_statement``; here is only what follows from
them.

What this cannot do: tell the owner of a key from whoever stole it.  Until the ledger says so, a stolen key is
believed, and somebody who knows only that key can be shown another history; a witness, a kept checkpoint or a
newer key protects against that.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from domain.digests import digest_of
from domain.errors import InvalidError, LimitError
from domain.event_codec import encode_event
from domain.events import KeyCompromised, KeyCreated, KeyRevoked, KeyRotated

ED25519 = "Ed25519"
ML_DSA_44 = "ML-DSA-44"

# A change a week for twenty years; a bundle carries them all, each with its proof.
KEY_EVENTS_MAX = 1_024
# Each signs every seal and every receipt; an envelope holds 16 signatures.
KEYS_IN_FORCE_MAX = 8

KeyEvent: TypeAlias = KeyCreated | KeyRotated | KeyRevoked | KeyCompromised
KEY_EVENT_TYPES = frozenset({KeyCreated.TYPE, KeyRotated.TYPE, KeyRevoked.TYPE, KeyCompromised.TYPE})


class Standing(StrEnum):
    """What a key's signature on the entry at an index is worth."""

    VALID = "valid"
    UNKNOWN = "unknown key"
    NOT_YET = "not yet in force"
    RETIRED = "retired"
    COMPROMISED = "compromised"


class InvalidKeyChangeError(InvalidError):
    """This key event does not follow from the ones before it."""


class KeySpan(Struct, frozen=True, kw_only=True):
    """A key and the entries it counts for: from ``from_index``, before ``until_index`` where it retired, and
    before ``believed_until_index`` where it was declared compromised."""

    verifier_key: str
    algorithm: str
    from_index: int
    until_index: int | None = None
    believed_until_index: int | None = None

    def standing(self, index: int) -> Standing:
        """What this key's signature on the entry at ``index`` is worth."""
        if index < self.from_index:
            return Standing.NOT_YET
        if self.believed_until_index is not None and index >= self.believed_until_index:
            return Standing.COMPROMISED
        if self.until_index is not None and index >= self.until_index:
            return Standing.RETIRED
        return Standing.VALID


class KeyHistory(Struct, frozen=True, kw_only=True):
    """Every key of a ledger, oldest first; ``indices`` are where the key events stand and ``head`` is the
    digest of the last one's body."""

    spans: tuple[KeySpan, ...] = ()
    indices: tuple[int, ...] = ()
    head: str = ""

    def span_of(self, verifier_key: str) -> KeySpan | None:
        """The span of a key, or None for one this ledger never had."""
        return next((span for span in self.spans if span.verifier_key == verifier_key), None)

    def standing(self, verifier_key: str, index: int) -> Standing:
        """What a key's signature on the entry at ``index`` is worth."""
        span = self.span_of(verifier_key)
        return Standing.UNKNOWN if span is None else span.standing(index)

    def in_force(self, index: int) -> tuple[KeySpan, ...]:
        """The keys that are in force for the entry at ``index``, oldest first."""
        return tuple(span for span in self.spans if span.standing(index) is Standing.VALID)

    def ruling(self, index: int) -> tuple[KeySpan, ...]:
        """The newest key in force of each algorithm; without their signatures nothing counts."""
        newest = {span.algorithm: span for span in self.in_force(index)}
        return tuple(newest.values())


def history_after(history: KeyHistory, index: int, event: KeyEvent) -> KeyHistory:
    """The history after the key event at ``index``; its signatures are for the caller to check.

    Raises: InvalidKeyChangeError naming the rule, LimitError.
    """
    if len(history.indices) >= KEY_EVENTS_MAX:
        raise LimitError("too many key events", field="keys", expected=f"<= {KEY_EVENTS_MAX}")
    if history.indices and index <= history.indices[-1]:
        raise _wrong("key events stand in order", index, expected=f"> {history.indices[-1]}")
    spans = history.spans
    match event:
        case KeyCreated():
            if spans:
                raise _wrong("a ledger has one first key; others come by rotation", index)
            if event.algorithm != ED25519:
                raise _wrong("a first key is an Ed25519 key", index, expected=ED25519, actual=event.algorithm)
            spans = (_new_span(event, index),)
        case KeyRotated():
            _check_place(history, event, index)
            if history.span_of(event.verifier_key) is not None:
                raise _wrong("a key comes into force once", index, actual=event.verifier_key)
            if len(history.in_force(index)) >= KEYS_IN_FORCE_MAX:
                raise LimitError(
                    "too many keys in force",
                    field=f"[{index}]",
                    expected=f"<= {KEYS_IN_FORCE_MAX}",
                    remedy="Revoke the oldest first.",
                )
            spans = (*spans, _new_span(event, index))
        case KeyRevoked():
            _check_place(history, event, index)
            span = _to_end(history, event, index)
            if (standing := span.standing(index)) is not Standing.VALID:
                raise _wrong("only a key in force can retire", index, actual=standing)
            spans = _put(spans, replace(span, until_index=index))
        case KeyCompromised():
            _check_place(history, event, index)
            span = _to_end(history, event, index)
            if not 0 <= event.from_index <= index:
                raise _wrong(
                    "not a past index", index, expected=f"0 to {index}", actual=str(event.from_index)
                )
            if span.believed_until_index is not None and event.from_index >= span.believed_until_index:
                raise _wrong(
                    "a compromise is moved to an earlier index only",
                    index,
                    expected=f"< {span.believed_until_index}",
                    actual=str(event.from_index),
                )
            spans = _put(spans, replace(span, believed_until_index=event.from_index))
    return KeyHistory(spans=spans, indices=(*history.indices, index), head=digest_of(encode_event(event)))


def _new_span(event: KeyCreated | KeyRotated, index: int) -> KeySpan:
    return KeySpan(verifier_key=event.verifier_key, algorithm=event.algorithm, from_index=index)


def _check_place(history: KeyHistory, event: KeyRotated | KeyRevoked | KeyCompromised, index: int) -> None:
    if not history.spans:
        raise _wrong("no key came before", index)
    if event.previous != history.head:
        raise _wrong(
            "does not follow the key event before it", index, expected=history.head, actual=event.previous
        )


def _to_end(history: KeyHistory, event: KeyRevoked | KeyCompromised, index: int) -> KeySpan:
    span = history.span_of(event.verifier_key)
    if span is None:
        raise _wrong("this ledger never had that key", index, actual=event.verifier_key)
    if span.algorithm == ED25519 and span in history.ruling(index):
        raise _wrong(
            "the ruling key has no successor yet",
            index,
            actual=event.verifier_key,
            remedy="Rotate first: tally key rotate --reason …",
        )
    return span


def _put(spans: tuple[KeySpan, ...], changed: KeySpan) -> tuple[KeySpan, ...]:
    return tuple(changed if span.verifier_key == changed.verifier_key else span for span in spans)


def _wrong(
    what: str, index: int, *, expected: str = "", actual: str = "", remedy: str = ""
) -> InvalidKeyChangeError:
    return InvalidKeyChangeError(
        what, field=f"[{index}]", expected=expected, actual=actual[:200], remedy=remedy
    )
