"""Which checkpoint an entry is proven under: the newest seal, or the newest one that witnesses have cosigned.

A cosigned checkpoint is a little older than the newest seal.  An entry that it does not cover yet is proven
under the seal, as any entry is where no witnesses are asked.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from ledger.checkpoint import parse_checkpoint
from ledger.meta_proof import MetaProof
from ledger.notes import parse_note


class Covering(Struct, frozen=True, kw_only=True):
    """A ledger's signed checkpoint, its size, and where it stands in a meta-log if that is what witnesses
    have cosigned."""

    checkpoint: bytes
    size: int
    meta: MetaProof | None = None


class Coverer(Protocol):
    """Finds witnessed checkpoints of one ledger."""

    async def covering(self, index: int) -> Covering | None:
        """The newest witnessed checkpoint that covers the entry at ``index``; None while there is none."""


def covering_of(checkpoint: bytes, meta: MetaProof | None = None) -> Covering:
    """A covering by this checkpoint.  Raises: MalformedError."""
    size = parse_checkpoint(parse_note(checkpoint).text).size
    return Covering(checkpoint=checkpoint, size=size, meta=meta)
