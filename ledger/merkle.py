"""The Merkle tree of RFC 6962 section 2.1 (the same as RFC 9162 section 2.1), with SHA-256.

    MTH({})       = SHA-256("")
    leaf hash     = SHA-256(0x00 || leaf)
    node hash     = SHA-256(0x01 || left || right)
    MTH(D[0:n])   = node(MTH(D[0:k]), MTH(D[k:n])),  k the largest power of two smaller than n

A tree of ``size`` leaves is a row of *perfect* subtrees, largest first, one for each bit set in ``size``;
their roots are the *peaks*.  The perfect subtree ``(level, i)`` covers the leaves ``i * 2^level`` up to
``(i + 1) * 2^level``, and its hash never changes again.  Everything here is said in such subtrees, so that
whatever stores them (tiles, an array) can serve proofs.

An *inclusion path* lists, leaf sibling first, the hashes that lead from a leaf to the root (RFC 9162 section
2.1.3).  A *consistency path* lists those that show that the tree of ``m`` leaves is the beginning of the tree
of ``n`` (section 2.1.4), 0 < m <= n.  Everything is consistent with the empty tree: a caller who allows
``m = 0`` wants an empty path and asks no further.

A frontier is stored as ``size`` (u64 big-endian) followed by its peaks, 32 bytes each, largest first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from domain.errors import InvalidError, MalformedError, UnknownError
from ledger.spelling import INTEGER_MAX

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
# An inclusion path in a tree of at most 2^63 - 1 leaves has up to 63 hashes; a consistency path can have one
# more, the hash it starts from.
PATH_HASHES_MAX = 64

# Copying a hash state that has taken the prefix beats starting a new one: 390 ns a node against 420.
_LEAF = hashlib.sha256(b"\x00")
_NODE = hashlib.sha256(b"\x01")


class InvalidInclusionProofError(InvalidError):
    """The path does not lead from this leaf to this root."""


class InvalidConsistencyProofError(InvalidError):
    """The path does not show that one tree is the beginning of the other."""


class MalformedFrontierError(MalformedError):
    """These bytes are not a frontier."""


class UnknownLeafError(UnknownError):
    """The tree is too small to have the leaf, or the smaller tree, that was asked for."""


class Node(NamedTuple):
    """Coordinates of a perfect subtree: its 2^level leaves start at ``place * 2^level``."""

    level: int
    place: int


Span = tuple[Node, ...]
"""One element of a path: perfect subtrees side by side, largest first, whose hash is ``join`` of theirs.

More than one occurs only at the right edge of a tree whose size is no power of two.
"""

NodeReader = Callable[[int, int], bytes]
"""Gives the hash of the perfect subtree (level, place)."""


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf, from the leaf's bytes."""
    state = _LEAF.copy()
    state.update(data)
    return state.digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node, from its children's hashes."""
    state = _NODE.copy()
    state.update(left + right)
    return state.digest()


def join(hashes: Sequence[bytes]) -> bytes:
    """Hash over neighbouring perfect subtrees, largest first; ``EMPTY_ROOT`` for none."""
    if not hashes:
        return EMPTY_ROOT
    joined = hashes[-1]
    for left in reversed(hashes[:-1]):
        joined = node_hash(left, joined)
    return joined


class Frontier:
    """The right edge of a growing tree: all it takes to append and to know the root, in O(log size) bytes.

    It takes leaf *hashes* and trusts that each has 32 bytes.
    """

    __slots__ = ("_peaks", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._peaks: list[bytes] = []

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self._size

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """Roots of the perfect subtrees, largest first."""
        return tuple(self._peaks)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        joined = leaf
        above = self._size
        while above & 1:
            joined = node_hash(self._peaks.pop(), joined)
            above >>= 1
        self._peaks.append(joined)
        self._size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes in order; the same as appending each, level by level and therefore faster."""
        row = list(leaves)
        size = self._size + len(row)
        above = self._size
        peaks_new: list[bytes] = []  # Smallest first.
        while row:
            if above & 1:
                row.insert(0, self._peaks.pop())
            if len(row) & 1:
                peaks_new.append(row.pop())
            row = parents(row)
            above >>= 1
        self._peaks.extend(reversed(peaks_new))
        self._size = size

    def extend_frontier(self, other: Frontier) -> None:
        """Add the leaves of ``other``, which grew by itself from this frontier's size on.

        Raises: InvalidError if it could not have, because a perfect subtree of it does not start at a
        multiple of its width here.
        """
        width = 1 << max(other._size.bit_length() - 1, 0)
        if self._size % width:
            raise InvalidError(
                "a tree is joined where its subtrees fit",
                field="size",
                expected=f"a multiple of {width}",
                actual=str(self._size),
            )
        rest = other._size
        for peak in other._peaks:
            # Largest first, so that each one fits after those before it.
            level = rest.bit_length() - 1
            rest -= 1 << level
            joined, above = peak, self._size >> level
            while above & 1:
                joined = node_hash(self._peaks.pop(), joined)
                above >>= 1
            self._peaks.append(joined)
            self._size += 1 << level

    def root_with(self, root: bytes) -> bytes:
        """MTH of the leaves so far and of a tree to their right whose own root is ``root``, where
        ``extend_frontier`` could add that tree."""
        for peak in reversed(self._peaks):
            root = node_hash(peak, root)
        return root

    def root(self) -> bytes:
        """MTH of the leaves so far."""
        return join(self._peaks)

    def copy(self) -> Frontier:
        """A frontier that grows on its own from here."""
        other = Frontier()
        other._size = self._size
        other._peaks = self._peaks.copy()
        return other

    def to_bytes(self) -> bytes:
        """Size and peaks, as the module's docstring says."""
        return self._size.to_bytes(8, "big") + b"".join(self._peaks)

    @classmethod
    def from_bytes(cls, data: bytes) -> Frontier:
        """Read what ``to_bytes`` wrote.  Raises: MalformedFrontierError."""
        if len(data) < 8:
            raise MalformedFrontierError(
                "a frontier starts with its size", expected="8 bytes", actual=str(len(data))
            )
        size = int.from_bytes(data[:8], "big")
        if size > INTEGER_MAX:
            raise MalformedFrontierError(
                "tree size out of range", expected="at most 2^63 - 1", actual=str(size)
            )
        expected = 8 + HASH_BYTES * size.bit_count()
        if len(data) != expected:
            raise MalformedFrontierError(
                f"a frontier of {size} leaves has {size.bit_count()} peaks",
                expected=f"{expected} bytes",
                actual=str(len(data)),
            )
        frontier = cls()
        frontier._size = size
        frontier._peaks = [data[start : start + HASH_BYTES] for start in range(8, expected, HASH_BYTES)]
        return frontier


def root_of(leaves: Iterable[bytes]) -> bytes:
    """MTH over leaf hashes."""
    frontier = Frontier()
    frontier.extend(leaves)
    return frontier.root()


def parents(row: Sequence[bytes]) -> list[bytes]:
    """The level above a row of an even number of hashes."""
    copy = _NODE.copy
    above: list[bytes] = []
    add = above.append
    for left, right in zip(row[::2], row[1::2], strict=True):
        state = copy()
        state.update(left + right)
        add(state.digest())
    return above


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Root over the 2^n hashes of one perfect subtree, such as a full tile."""
    row = list(hashes)
    while len(row) > 1:
        row = parents(row)
    return row[0]


def verify_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf with the hash ``leaf`` stands at ``index`` in this tree (RFC 9162 section 2.1.3.2).

    1. The index lies in the tree.
    2. The leaf, the root and every hash of the path have 32 bytes.
    3. The path ends exactly at the root: neither too short nor too long.
    4. The hash it leads to is the root.

    Raises: InvalidInclusionProofError naming the step.
    """
    _check(0 <= index < size <= INTEGER_MAX, 1, f"index below {size}", str(index))
    odd = [len(h) for h in (leaf, root, *path) if len(h) != HASH_BYTES]
    _check(not odd, 2, "hashes of 32 bytes", f"lengths {odd[:3]}")
    position, last, current = index, size - 1, leaf
    for number, sibling in enumerate(path):
        _check(last > 0, 3, f"a path of {number} hashes", str(len(path)))
        if position & 1 or position == last:
            current = node_hash(sibling, current)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            current = node_hash(current, sibling)
        position >>= 1
        last >>= 1
    _check(last == 0, 3, "a longer path", f"{len(path)} hashes")
    _check(current == root, 4, root.hex(), current.hex())


def verify_consistency(
    size_old: int, size_new: int, root_old: bytes, root_new: bytes, path: Sequence[bytes]
) -> None:
    """Check that the old tree is the beginning of the new one (RFC 9162 section 2.1.4.2).

    1. 0 < old size <= new size.
    2. Both roots and every hash of the path have 32 bytes.
    3. Trees of the same size need no path; others need one that is neither too short nor too long.
    4. The path leads to the old root.
    5. The path leads to the new root.

    Raises: InvalidConsistencyProofError naming the step.
    """
    error = InvalidConsistencyProofError
    _check(0 < size_old <= size_new <= INTEGER_MAX, 1, f"1 to {size_new}", str(size_old), error)
    odd = [len(h) for h in (root_old, root_new, *path) if len(h) != HASH_BYTES]
    _check(not odd, 2, "hashes of 32 bytes", f"lengths {odd[:3]}", error)
    if size_old == size_new:
        _check(not path, 3, "an empty path", f"{len(path)} hashes", error)
        _check(root_old == root_new, 5, root_new.hex(), root_old.hex(), error)
        return
    _check(bool(path), 3, "a longer path", "0 hashes", error)
    # A perfect old tree is itself a node of the new one, and the proof leaves it out.
    hashes = [root_old, *path] if size_old & (size_old - 1) == 0 else list(path)
    position, last = size_old - 1, size_new - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old = new = hashes[0]
    for sibling in hashes[1:]:
        _check(last > 0, 3, "a shorter path", f"{len(path)} hashes", error)
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        position >>= 1
        last >>= 1
    _check(last == 0, 3, "a longer path", f"{len(path)} hashes", error)
    _check(old == root_old, 4, root_old.hex(), old.hex(), error)
    _check(new == root_new, 5, root_new.hex(), new.hex(), error)


def inclusion_nodes(index: int, size: int) -> tuple[Span, ...]:
    """Which subtrees make up the inclusion path, leaf sibling first.  Raises: UnknownLeafError."""
    if not 0 <= index < size:
        raise UnknownLeafError("no such leaf in this tree", expected=f"0 to {size - 1}", actual=str(index))
    spans: list[Span] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            spans.append(_span(middle, end))
            end = middle
        else:
            spans.append(_span(start, middle))
            start = middle
    return tuple(reversed(spans))


def consistency_nodes(size_old: int, size_new: int) -> tuple[Span, ...]:
    """Which subtrees make up the consistency path, in its order.  Raises: UnknownLeafError."""
    if not 0 < size_old <= size_new:
        raise UnknownLeafError("no such smaller tree", expected=f"1 to {size_new}", actual=str(size_old))
    spans: list[Span] = []
    start, end = 0, size_new
    while size_old < end:
        middle = start + _split(end - start)
        if size_old <= middle:
            spans.append(_span(middle, end))
            end = middle
        else:
            spans.append(_span(start, middle))
            start = middle
    # Without a step to the right, what is left is the old tree itself, whose root the verifier has.
    if start > 0 and size_old < size_new:
        spans.append(_span(start, end))
    return tuple(reversed(spans))


def inclusion_path(index: int, size: int, node: NodeReader) -> list[bytes]:
    """The inclusion path of a leaf.  Raises: UnknownLeafError and what ``node`` raises."""
    return _read(inclusion_nodes(index, size), node)


def consistency_path(size_old: int, size_new: int, node: NodeReader) -> list[bytes]:
    """The consistency path between two sizes.  Raises: UnknownLeafError, and what ``node`` raises."""
    return _read(consistency_nodes(size_old, size_new), node)


def peak_nodes(size: int) -> Span:
    """The perfect subtrees that a tree of this size consists of, largest first."""
    return _span(0, size)


def _read(spans: Iterable[Span], node: NodeReader) -> list[bytes]:
    return [join([node(level, place) for level, place in span]) for span in spans]


def _split(count: int) -> int:
    """The largest power of two smaller than ``count`` (which is 2 or more)."""
    return 1 << ((count - 1).bit_length() - 1)


def _span(start: int, end: int) -> Span:
    """Perfect subtrees over the leaves ``start`` to ``end``; ``start`` is a multiple of each one's width."""
    nodes: list[Node] = []
    count = end - start
    while count:
        level = count.bit_length() - 1
        nodes.append(Node(level, start >> level))
        start += 1 << level
        count -= 1 << level
    return tuple(nodes)


def _check(
    holds: bool, step: int, expected: str, actual: str, error: type[InvalidError] = InvalidInclusionProofError
) -> None:
    if not holds:
        what = "inclusion" if error is InvalidInclusionProofError else "consistency"
        raise error(f"the {what} proof does not hold", field=f"step {step}", expected=expected, actual=actual)
