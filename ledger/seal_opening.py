"""Opening the seals of a ledger one after the other: is each signed by the keys that ruled at its index, over
exactly the size and the root that were derived?"""

from __future__ import annotations

from collections.abc import Sequence

from domain.errors import TallystickError
from domain.key_history import KeyHistory
from ledger.chain import PartSeal
from ledger.sealing_keys import open_seal

Expected = tuple[PartSeal, bytes]
"""A seal, and the root it should be signed over."""


def first_fault(seals: Sequence[Expected], keys: KeyHistory, origin: str) -> tuple[int, str]:
    """How many of ``seals``, in order, are right, and what is wrong with the next; nothing when all are.
    ``keys`` is the history that all of them cover."""
    for count, (seal, root) in enumerate(seals):
        try:
            checkpoint = open_seal(seal.note, keys, seal.index, origin)
        except TallystickError as error:
            return count, str(error)
        if checkpoint.size != seal.index + 1:
            return count, f"signed over {checkpoint.size} entries, stands at {seal.index + 1}"
        if checkpoint.root != root:
            return count, "signed over another root: the entries under it are not those it was made for"
    return len(seals), ""
