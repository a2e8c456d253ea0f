"""Judging seals and receipts by the keys that were in force at their index.

A signature counts when its key is in force for the entry's index (``domain.key_history``).  The keys that
rule there must all have signed; older keys in force may have signed beside them.

From the first change of keys on, a seal says which key events it covers, in one extension line of its
checkpoint::

    keys <digest of the last key event's body>

Key events are chained by these digests, so nobody who hands on a seal with its key events can leave any of
them out: not the declaration that a key is compromised, and not all of them.
"""

from __future__ import annotations

from collections.abc import Collection

from domain.errors import InvalidError
from domain.key_history import KeyHistory, Standing
from ledger.checkpoint import Checkpoint, InvalidCheckpointError, checkpoint_of
from ledger.key_statement import verifier_key
from ledger.notes import Algorithm, VerifierKey, format_verifier_key, key_hint, open_note

KEYS_LINE = "keys"


class InvalidSignerError(InvalidError):
    """The signature is real, and its key does not count for this entry; ``standing`` says why."""

    def __init__(
        self, index: int, standing: Standing, *, expected: str, actual: str, remedy: str = ""
    ) -> None:
        super().__init__(
            f"not signed by the keys that rule at entry {index}: {standing}",
            field=f"[{index}]",
            expected=expected,
            actual=actual,
            remedy=remedy,
        )
        self.index = index
        self.standing = standing


def keys_in_force(history: KeyHistory, index: int) -> tuple[VerifierKey, ...]:
    """The keys that may sign for the entry at ``index``, oldest first."""
    return tuple(verifier_key(span.verifier_key) for span in history.in_force(index))


def ruling_keys(history: KeyHistory, index: int) -> tuple[VerifierKey, ...]:
    """The keys that must sign for the entry at ``index``."""
    return tuple(verifier_key(span.verifier_key) for span in history.ruling(index))


def ruling_log_key(history: KeyHistory, size: int) -> VerifierKey:
    """The Ed25519 key that rules at the last of the first ``size`` entries: a checkpoint over them verifies
    with it, and a policy can name it."""
    keys = ruling_keys(history, size - 1)
    return next(key for key in keys if key.algorithm is Algorithm.ED25519)


def all_keys(history: KeyHistory) -> tuple[VerifierKey, ...]:
    """Every key the ledger ever had."""
    return tuple(verifier_key(span.verifier_key) for span in history.spans)


def check_ruled(history: KeyHistory, index: int, signers: Collection[VerifierKey]) -> None:
    """Check that the keys that rule at ``index`` are all among ``signers``.  Raises: InvalidSignerError."""
    ruling = ruling_keys(history, index)
    if ruling and all(key in signers for key in ruling):
        return
    standings = {history.standing(format_verifier_key(key), index): key for key in signers}
    worst = next(
        (one for one in (Standing.COMPROMISED, Standing.RETIRED, Standing.NOT_YET) if one in standings),
        Standing.UNKNOWN,
    )
    raise InvalidSignerError(
        index,
        worst,
        expected=", ".join(key_hint(key) for key in ruling) or "a key that is believed there",
        actual=", ".join(key_hint(key) for key in signers),
    )


def key_extensions(history: KeyHistory) -> tuple[str, ...]:
    """The extension lines of a checkpoint over a ledger with these keys: none until they change."""
    return (f"{KEYS_LINE} {history.head}",) if len(history.indices) > 1 else ()


def names_keys(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint covers a change of keys, so that it is judged with the key events at hand."""
    return any(line.startswith(f"{KEYS_LINE} ") for line in checkpoint.extensions)


def open_seal(note: bytes, history: KeyHistory, index: int, origin: str) -> Checkpoint:
    """Read the seal at ``index`` and verify it with the keys in force there; ``history`` is what it covers.

    Raises: MalformedError, InvalidNoteError, InvalidCheckpointError, InvalidSignerError.
    """
    opened = open_note(note, all_keys(history))
    checkpoint = checkpoint_of(opened, origin=origin)
    check_ruled(history, index, [line.key for line in opened.verified])
    if checkpoint.extensions != key_extensions(history):
        raise InvalidCheckpointError(
            "covers other key events than these",
            field=f"[{index}]",
            expected=", ".join(key_extensions(history)) or "no extension line",
            actual=", ".join(checkpoint.extensions)[:400],
        )
    return checkpoint
