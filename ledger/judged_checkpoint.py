"""A checkpoint judged by a policy, over changes of the ledger's keys.

Where the checkpoint names key events, they must be given (``ledger.key_chain``): the policy's key of this
ledger may then be any that the ledger ever had, and the keys in force take its place in the policy.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct
from msgspec.structs import replace

from domain.errors import InvalidError
from domain.key_history import KeyHistory
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.key_chain import verify_key_chain
from ledger.notes import VerifierKey, parse_note
from ledger.policy import Policy, WitnessedCheckpoint, logs_of, open_witnessed_checkpoint
from ledger.proven_entry import ProvenEntry
from ledger.sealing_keys import all_keys, check_ruled, keys_in_force, names_keys


class MissingKeyEventsError(InvalidError):
    """The checkpoint names key events and none are given: the ledger's keys have changed."""


class JudgedCheckpoint(Struct, frozen=True, kw_only=True):
    """A checkpoint that the policy accepts, and who of its witnesses has cosigned it.  ``keys`` are all the
    ledger's keys that are known, ``history`` when they changed."""

    witnessed: WitnessedCheckpoint
    keys: tuple[VerifierKey, ...]
    history: KeyHistory | None

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint itself."""
        return self.witnessed.checkpoint

    def check_signers(self, index: int, signers: Collection[VerifierKey]) -> None:
        """Check that what was signed at ``index`` was signed by those who ruled there.  Raises:
        InvalidSignerError."""
        if self.history is not None:
            check_ruled(self.history, index, signers)


def judge_checkpoint(note: bytes, policy: Policy, key_events: Sequence[ProvenEntry]) -> JudgedCheckpoint:
    """Judge a checkpoint with the key events under it, if there are any.

    Raises: MissingKeyEventsError, and what ``verify_key_chain`` and ``open_witnessed_checkpoint`` raise.
    """
    stated = parse_checkpoint(parse_note(note).text)
    known = tuple(log.key for log in policy.logs if log.key.name == stated.origin)
    if not key_events:
        if names_keys(stated):
            raise MissingKeyEventsError(
                "the ledger's keys have changed, and its key events are not here", field="keys", actual="none"
            )
        return JudgedCheckpoint(witnessed=open_witnessed_checkpoint(note, policy), keys=known, history=None)
    chained, history = verify_key_chain(key_events, note, known)
    judging = _with_keys(policy, stated.origin, keys_in_force(history, chained.size - 1))
    return JudgedCheckpoint(
        witnessed=open_witnessed_checkpoint(note, judging), keys=all_keys(history), history=history
    )


def _with_keys(policy: Policy, origin: str, keys: Sequence[VerifierKey]) -> Policy:
    """The policy, with these keys in place of the ones it knows the ledger by."""
    others = [log for log in policy.logs if log.key.name != origin]
    return replace(policy, logs=(*others, *logs_of(keys)))
