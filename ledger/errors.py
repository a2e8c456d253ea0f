"""Errors of this room, with the values a caller needs to go on."""

from __future__ import annotations

from domain.digests import Digest
from domain.errors import ConflictError, InvalidError, TallystickError, UnknownError


class LedgerConflictError(ConflictError):
    """Another writer appended first; ``actual_size`` is where the ledger stands now."""

    def __init__(self, ledger: str, *, expected_size: int, actual_size: int) -> None:
        super().__init__(
            f"{ledger} has moved on",
            field="size",
            expected=str(expected_size),
            actual=str(actual_size),
            remedy="Read the new entries and decide again.",
        )
        self.ledger = ledger
        self.expected_size = expected_size
        self.actual_size = actual_size


class UnreachableStoreError(TallystickError):
    """The store cannot be asked now: not running, not reachable, or too slow.  Asking again may help."""


class DamagedStoreError(InvalidError):
    """What is stored is not what was sealed: the entry at ``index``, or its body, was changed."""

    def __init__(self, ledger: str, index: int) -> None:
        super().__init__(
            "what is stored is not what was sealed: the last entry or its body was changed",
            field=f"{ledger}[{index}]",
            remedy="Nothing more is sealed on top of it. Run tally audit, and look at the disk.",
        )
        self.index = index


class RefusedByStoreError(InvalidError):
    """The store answered and refused: our credentials, or for a reason of its own.  Only whoever keeps it can
    help."""


class ClosedError(TallystickError):
    """What was asked is being closed, because its process ends.  The next process will do it."""

    def __init__(self, what: str, *, field: str = "") -> None:
        super().__init__(what, field=field, remedy="Send it again: nothing is stored twice.")


class UnknownObjectError(UnknownError):
    """The vault has no object of this digest."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(
            "missing from the vault",
            field=digest,
            remedy="Restore the vault from a backup; the ledger names it.",
        )
        self.digest = digest


class CorruptObjectError(InvalidError):
    """The vault's bytes no longer have the digest they are stored under."""

    def __init__(self, digest: Digest, actual: Digest) -> None:
        super().__init__(
            "vault object was changed",
            expected=digest,
            actual=actual,
            remedy="Restore this object from a backup.",
        )
        self.digest = digest
        self.actual_digest = actual


class UnknownSubjectKeyError(UnknownError):
    """The subject's key was destroyed (shredded) or never made."""

    def __init__(self, subject_key_id: str, *, is_destroyed: bool) -> None:
        super().__init__(
            "the subject's key was destroyed; its data is shredded"
            if is_destroyed
            else "no such subject key",
            field=subject_key_id,
        )
        self.subject_key_id = subject_key_id
        self.is_destroyed = is_destroyed


class ErasedSubjectError(UnknownSubjectKeyError):
    """The ledger says that this person's data was erased, at ``erased_index``; it is shredded, which is
    neither missing nor tampered with."""

    def __init__(self, connection_id: str, subject_key_id: str, erased_index: int) -> None:
        super().__init__(subject_key_id, is_destroyed=True)
        self.what = f"this person's data is shredded: entry {erased_index} erased it"
        self.field = connection_id
        self.remedy = (
            "Receipts and proofs stay valid; what they were made from cannot be read again. "
            "New data needs a new connection, registered under another id."
        )
        self.erased_index = erased_index
