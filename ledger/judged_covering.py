"""A checkpoint judged with all that vouches for it: its ledger's key events, and a meta-log that holds it.

1. The checkpoint is signed by the ledger, by the keys that rule at its last entry (``judged_checkpoint``).
2. Where it is said to be recorded in a meta-log, it is (``meta_proof``).
3. The witnesses that the policy asks for have cosigned: the meta-log's checkpoint where the policy names that
   log, the ledger's own otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from ledger.checkpoint import Checkpoint
from ledger.judged_checkpoint import JudgedCheckpoint, judge_checkpoint
from ledger.meta_proof import MetaProof, VerifiedMeta, verify_meta_proof
from ledger.policy import NO_QUORUM, Policy, WitnessedCheckpoint
from ledger.proven_entry import ProvenEntry


class JudgedCovering(Struct, frozen=True, kw_only=True):
    """A ledger's checkpoint that the policy accepts, by itself or through a meta-log."""

    judged: JudgedCheckpoint
    meta: VerifiedMeta | None

    @property
    def checkpoint(self) -> Checkpoint:
        """The ledger's own checkpoint."""
        return self.judged.checkpoint

    @property
    def witnessed(self) -> WitnessedCheckpoint:
        """The checkpoint whose cosignatures counted: the ledger's own, or that of the meta-log that holds
        it."""
        through = None if self.meta is None else self.meta.witnessed
        return self.judged.witnessed if through is None else through


def judge_covering(
    note: bytes, policy: Policy, key_events: Sequence[ProvenEntry], meta: MetaProof | None
) -> JudgedCovering:
    """Judge a checkpoint by the steps above.

    Raises: what ``judge_checkpoint`` (1, 3) and ``verify_meta_proof`` (2, 3) raise.
    """
    if meta is None:
        return JudgedCovering(judged=judge_checkpoint(note, policy, key_events), meta=None)
    origin = meta.origin
    is_through = any(log.key.name == origin for log in policy.logs)
    # Cosignatures are asked for once, where the policy can judge them.
    own = replace(policy, quorum=NO_QUORUM) if is_through else policy
    judged = judge_checkpoint(note, own, key_events)
    found = verify_meta_proof(meta, note, origin=judged.checkpoint.origin, keys=judged.keys, policy=policy)
    return JudgedCovering(judged=judged, meta=found)
