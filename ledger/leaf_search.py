"""Finding a leaf by its hash: what an auditor does who holds an entry and not its place.

Entries are not indexed by their hash; that would cost every append a name for a question that is asked once a
year.  The leaf hashes lie side by side in the tiles of level 0, so they are looked through, newest first, at
about a microsecond a tile.
"""

from __future__ import annotations

from domain.errors import LimitError, MalformedError, UnknownError
from ledger.merkle import HASH_BYTES
from ledger.ports import LedgerIndex
from ledger.tiles import TILE_HEIGHT, TILE_WIDTH

# Half a gigabyte of hashes; about a second.
LEAVES_SEARCHED_MAX = 1 << 24


def find_leaf(index: LedgerIndex, size: int, leaf: bytes) -> int:
    """The newest place of a leaf hash in a tree of ``size``; may take a second, so not on the event loop.

    Raises: UnknownError, LimitError when it is not among the newest ``LEAVES_SEARCHED_MAX`` of more,
    MalformedError.
    """
    if len(leaf) != HASH_BYTES:
        raise MalformedError("a leaf hash has 32 bytes", field="leaf", actual=str(len(leaf)))
    stop = max(0, size - LEAVES_SEARCHED_MAX) >> TILE_HEIGHT
    for number in range((size - 1) >> TILE_HEIGHT, stop - 1, -1):
        hashes = index.tile_hashes(0, number) or b""
        place = hashes.find(leaf)
        while place % HASH_BYTES and place >= 0:
            place = hashes.find(leaf, place + 1)
        found = number * TILE_WIDTH + place // HASH_BYTES
        if place >= 0 and found < size:
            return found
    if stop:
        raise LimitError(
            "not among the newest entries; older ones are not searched",
            field="leaf_sha256",
            expected=f"among the newest {LEAVES_SEARCHED_MAX}",
            remedy="Name the entry by its index; it stands in the entry.",
        )
    raise UnknownError("no entry has this leaf hash", field="leaf_sha256", actual=leaf.hex())
