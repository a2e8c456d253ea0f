"""Every perfect subtree over a stretch of leaves at once, for whoever asks for the root at many sizes.

``Frontier`` keeps the right edge only and forgets the rest as it grows.  To give the root at a hundred places
it has to grow in a hundred steps; here all levels are hashed in one go each, and a root at any size is put
together from what is there (``ledger.merkle``: the peaks of a tree are perfect subtrees).
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.merkle import Frontier, join, parents


class TreeLevels:
    """The levels over ``leaves`` (hashes), which are the whole tree or start at a multiple of its width."""

    __slots__ = ("_levels",)

    def __init__(self, leaves: Sequence[bytes]) -> None:
        row = list(leaves)
        self._levels = [row]
        while len(row) > 1:
            row = parents(row[: len(row) & ~1])
            self._levels.append(row)

    def root(self, size: int) -> bytes:
        """MTH of the first ``size`` leaves (not more than there are)."""
        return join(self._peaks(size))

    def frontier(self) -> Frontier:
        """The right edge of the tree of all leaves."""
        size = len(self._levels[0])
        return Frontier.from_bytes(size.to_bytes(8, "big") + b"".join(self._peaks(size)))

    def _peaks(self, size: int) -> list[bytes]:
        highest = size.bit_length() - 1
        return [
            self._levels[level][(size >> level) - 1] for level in range(highest, -1, -1) if size >> level & 1
        ]
