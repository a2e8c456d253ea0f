"""Which checkpoint an entry is proven under: the newest seal, or the newest one that witnesses have cosigned.

A cosigned checkpoint is a little older than the newest seal.  An entry that it does not cover yet is proven
under the seal, as any entry is where no witnesses are asked.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from ledger.meta_proof import MetaProof
from ledger.notes import VerifierKey


class Covering(Struct, frozen=True, kw_only=True):
    """A ledger's signed checkpoint, its size, and where it stands in a meta-log if that is what witnesses
    have cosigned.

    ``cosigners`` are the witnesses of this installation who have, none for a seal that nobody has seen yet;
    ``meta_key`` is the meta-log's key that ruled then.
    """

    checkpoint: bytes
    size: int
    meta: MetaProof | None = None
    cosigners: tuple[VerifierKey, ...] = ()
    meta_key: VerifierKey | None = None

    @property
    def is_witnessed(self) -> bool:
        """Whether witnesses have cosigned it, or the meta-log's checkpoint over it."""
        return bool(self.cosigners)


class Coverer(Protocol):
    """Finds witnessed checkpoints of one ledger."""

    async def covering(self, index: int) -> Covering | None:
        """The newest witnessed checkpoint that covers the entry at ``index``; None while there is none."""
