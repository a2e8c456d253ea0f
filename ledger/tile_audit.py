"""Auditing a log from its tiles: everything an outsider can check with the files a log publishes and its key.

In one pass over the entry bundles, in order:

1. Every bundle holds exactly the entries it should.
2. Every entry is an entry of this log, says its own index, and is chained to the one before it: ``prev`` is
   the leaf hash of that one.  (Left out for logs whose entries are not Tallystick's.)
3. Every tile of hashes, at every level, is what the entries and the tiles below it hash to.
4. The root at every checkpoint that is known, kept ones and the newest, is the one that was signed: nothing
   was changed, removed or put in since any of them.

What cannot be seen from tiles: bodies (entries commit to their digests), and the seals between two
checkpoints.  ``ledger.audit`` checks those where the log lies.

The state between two bundles is the right edge of the tree, one partial tile a level, so the memory does not
depend on the size, and a mirror can go on where it stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from domain.errors import InvalidError
from ledger.checkpoint import Checkpoint
from ledger.entry import FORMAT, PREVIOUS_OF_FIRST
from ledger.merkle import EMPTY_ROOT, HASH_BYTES, perfect_root
from ledger.tiles import (
    ENTRIES_LEVEL,
    LEVEL_MAX,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    MalformedTileError,
    Tile,
    TileReader,
    parse_bundle,
    parse_tile,
    root_from_tiles,
    tile_path,
    tile_width,
)

_LEAF = hashlib.sha256(b"\x00")
# Lines of an entry; each ends with a newline.
_ENTRY_LINES = 11

Progress = Callable[[int, int], None]
"""Told how many entries are done, and of how many."""


class InvalidTileLogError(InvalidError):
    """The first thing in a log's tiles that does not hold; ``index`` is the entry, ``check`` what was looked
    at."""

    def __init__(self, index: int, check: str, what: str, *, expected: str = "", actual: str = "") -> None:
        super().__init__(what, field=f"[{index}] {check}", expected=expected, actual=actual)
        self.index = index
        self.check = check


class TileLogReport(Struct, frozen=True, kw_only=True):
    """What was found right; ``root`` is hex, ``byte_count`` counts entry bytes."""

    origin: str
    size: int
    root: str
    tile_count: int
    byte_count: int
    checkpoint_count: int


def audit_tiles(
    read: TileReader,
    checkpoint: Checkpoint,
    *,
    kept: Sequence[Checkpoint] = (),
    is_chained: bool = True,
    progress: Progress = lambda done, size: None,
) -> TileLogReport:
    """Audit a log up to ``checkpoint``, whose signature the caller has verified, as those of ``kept``.

    Raises: InvalidTileLogError at the first position that does not hold, and what ``read`` raises.
    """
    audit = TileAudit(read, checkpoint.origin, is_chained=is_chained)
    heads = sorted((*kept, checkpoint), key=lambda head: head.size)
    for head in heads:
        check_same_log(head, checkpoint)
        audit.advance(head.size, checkpoint.size, progress)
        audit.check_root(head)
    audit.check_edge()
    return TileLogReport(
        origin=checkpoint.origin,
        size=audit.size,
        root=checkpoint.root.hex(),
        tile_count=audit.tile_count,
        byte_count=audit.byte_count,
        checkpoint_count=len(heads),
    )


def check_same_log(kept: Checkpoint, newest: Checkpoint) -> None:
    """A kept checkpoint is of the same log, and no larger.  Raises: InvalidTileLogError."""
    if kept.origin != newest.origin:
        raise InvalidTileLogError(
            kept.size, "checkpoint", "of another log", expected=newest.origin, actual=kept.origin
        )
    if kept.size > newest.size:
        raise InvalidTileLogError(
            newest.size,
            "truncated",
            "the log is smaller than a checkpoint it signed before",
            expected=f">= {kept.size} entries",
            actual=str(newest.size),
        )


class TileAudit:
    """An audit under way: what follows from the first ``size`` entries.

    With ``is_chained`` false the entries may be anything, as in other logs.
    """

    def __init__(self, read: TileReader, origin: str, *, is_chained: bool = True) -> None:
        self.size = 0
        self.tile_count = 0
        self.byte_count = 0
        self._read = read
        self._head = f"{FORMAT}\n{origin}\n".encode()
        self._is_chained = is_chained
        self._previous = PREVIOUS_OF_FIRST.encode()
        # The right edge: per tile level, the hashes that do not fill a tile yet.
        self._edges: list[bytearray] = [bytearray()]

    @classmethod
    def resumed(cls, read: TileReader, checkpoint: Checkpoint, *, is_chained: bool = True) -> TileAudit:
        """Go on after ``checkpoint``, up to which the tiles were audited before; they are checked to lead to
        its root.  Raises: InvalidTileLogError, and what ``read`` raises."""
        audit = cls(read, checkpoint.origin, is_chained=is_chained)
        size = audit.size = checkpoint.size
        audit._edges = []
        while size >> (TILE_HEIGHT * len(audit._edges)):
            level = len(audit._edges)
            number = size >> TILE_HEIGHT * (level + 1)
            width = tile_width(level, number, size)
            hashes = audit._read_tile(Tile(level, number, width), checkpoint.size) if width else b""
            audit._edges.append(bytearray(hashes))
        if size:
            last = Tile(0, (size - 1) >> TILE_HEIGHT, tile_width(0, (size - 1) >> TILE_HEIGHT, size))
            audit._previous = audit._read_tile(last, size)[-HASH_BYTES:].hex().encode()
        else:
            audit._edges = [bytearray()]
        audit.check_root(checkpoint)
        return audit

    def advance(self, until: int, size: int, progress: Progress = lambda done, size: None) -> None:
        """Take in the entries up to ``until`` from the bundles of a tree of ``size``.

        Raises: InvalidTileLogError, and what the reader raises.
        """
        while self.size < until:
            number, done = divmod(self.size, TILE_WIDTH)
            width = tile_width(ENTRIES_LEVEL, number, size)
            data = self._read(Tile(ENTRIES_LEVEL, number, width))
            stop = min(width, until - number * TILE_WIDTH)
            self._take_leaves(self._leaves(data, done, stop, width))
            progress(self.size, size)

    def root(self) -> bytes:
        """The root over the entries so far."""
        if not self.size:
            return EMPTY_ROOT
        return root_from_tiles(lambda tile: bytes(self._edges[tile.level]), self.size)

    def check_root(self, checkpoint: Checkpoint) -> None:
        """The entries so far are those this checkpoint was signed over.  Raises: InvalidTileLogError."""
        actual = self.root()
        if actual != checkpoint.root:
            raise InvalidTileLogError(
                checkpoint.size,
                "root",
                "the log signed another root for this size: history was rewritten, or a tile was changed",
                expected=checkpoint.root.hex(),
                actual=actual.hex(),
            )

    def check_edge(self) -> None:
        """The partial tiles at the right edge.  Raises: InvalidTileLogError."""
        for level, edge in enumerate(self._edges):
            if edge:
                number = self.size >> TILE_HEIGHT * (level + 1)
                self._compare(Tile(level, number, len(edge) // HASH_BYTES), bytes(edge))

    def _leaves(self, data: bytes, done: int, stop: int, width: int) -> list[bytes]:
        """Leaf hashes of the entries ``done`` to ``stop`` of a bundle, each looked at (steps 1 and 2)."""
        leaves: list[bytes] = []
        first = self.size - done
        start = position = byte_count = 0
        length, is_chained, head, previous = len(data), self._is_chained, self._head, self._previous
        new_leaf, append = _LEAF.copy, leaves.append
        while start < length and position < stop:
            end = start + 2 + (data[start] << 8 | data[start + 1]) if start + 1 < length else length + 1
            if end > length:
                raise self._broken_bundle(data, first, width)
            entry = data[start + 2 : end]
            start = end
            position += 1
            if position <= done:
                continue
            state = new_leaf()
            state.update(entry)
            leaf = state.digest()
            # Every byte that is compared here is at a fixed place from either end of a well-formed entry.
            if is_chained and not (
                entry.startswith(b"%b%d\n" % (head, first + position - 1))
                and entry.endswith(b"\n%b\n" % previous)
                and entry.count(b"\n") == _ENTRY_LINES
            ):
                raise self._broken_entry(entry, first + position - 1, previous)
            append(leaf)
            byte_count += len(entry)
            previous = leaf.hex().encode()
        # A bundle may have grown full since the checkpoint; what is beyond the width is not this audit's.
        is_cut = position < stop
        if is_cut or (stop == width and start < length and not _is_full_bundle(data)):
            raise self._broken_bundle(data, first, width)
        self.byte_count += byte_count
        self._previous = previous
        return leaves

    def _take_leaves(self, leaves: list[bytes]) -> None:
        """Add hashes at level 0, and upwards whatever becomes full; full tiles are compared (step 3)."""
        self.size += len(leaves)
        level, row = 0, b"".join(leaves)
        while row:
            if level == len(self._edges):
                self._edges.append(bytearray())
            edge = self._edges[level]
            edge += row
            if len(edge) < TILE_BYTES:
                return
            full = bytes(edge)
            edge.clear()
            number = (self.size >> TILE_HEIGHT * (level + 1)) - 1
            self._compare(Tile(level, number), full)
            row = perfect_root(parse_tile(full, TILE_WIDTH))
            level += 1

    def _compare(self, tile: Tile, expected: bytes) -> None:
        actual = self._read_tile(tile, self.size)
        self.tile_count += 1
        if actual == expected:
            return
        place = next(
            number
            for number in range(tile.width)
            if actual[number * HASH_BYTES : (number + 1) * HASH_BYTES]
            != expected[number * HASH_BYTES : (number + 1) * HASH_BYTES]
        )
        raise InvalidTileLogError(
            (tile.number * TILE_WIDTH + place) << TILE_HEIGHT * tile.level,
            tile_path(*tile),
            f"hash {place} of the tile is not that of what lies below it",
            expected=expected[place * HASH_BYTES : (place + 1) * HASH_BYTES].hex(),
            actual=actual[place * HASH_BYTES : (place + 1) * HASH_BYTES].hex(),
        )

    def _read_tile(self, tile: Tile, size: int) -> bytes:
        data = self._read(tile)
        if len(data) not in (tile.width * HASH_BYTES, TILE_BYTES):
            raise InvalidTileLogError(
                min((tile.number * TILE_WIDTH) << TILE_HEIGHT * tile.level, size),
                tile_path(*tile),
                "a tile of another width",
                expected=f"{tile.width * HASH_BYTES} bytes",
                actual=f"{len(data)} bytes",
            )
        return data[: tile.width * HASH_BYTES]

    def _broken_bundle(self, data: bytes, first: int, width: int) -> InvalidTileLogError:
        path = tile_path(ENTRIES_LEVEL, first // TILE_WIDTH, width)
        try:
            count = len(parse_bundle(data, width))
        except MalformedTileError as error:
            return InvalidTileLogError(first, path, error.what, expected=error.expected, actual=error.actual)
        return InvalidTileLogError(
            first, path, "a bundle of another width", expected=str(width), actual=str(count)
        )

    def _broken_entry(self, entry: bytes, index: int, previous: bytes) -> InvalidTileLogError:
        """Say which of the quick comparisons failed."""
        lines = entry.split(b"\n")
        if len(lines) != _ENTRY_LINES + 1 or lines[-1]:
            return InvalidTileLogError(
                index, "entry", "is not an entry", expected="eleven lines", actual=f"{len(lines) - 1} lines"
            )
        if not entry.startswith(self._head):
            return InvalidTileLogError(
                index,
                "origin",
                "is an entry of another log",
                expected=self._head.decode().split("\n")[1],
                actual=lines[1].decode("utf-8", "replace")[:80],
            )
        if lines[2] != str(index).encode():
            return InvalidTileLogError(
                index,
                "order",
                "says it is another entry",
                expected=str(index),
                actual=lines[2].decode("utf-8", "replace")[:40],
            )
        return InvalidTileLogError(
            index,
            "chain",
            "is not chained to the entry before it: one of the two was changed, removed or put in",
            expected=previous.decode(),
            actual=lines[10].decode("utf-8", "replace")[:80],
        )


def tiles_of_audit(size_old: int, size: int) -> Iterator[Tile]:
    """The tiles that an audit from ``size_old`` to ``size`` reads, in its order, so that they can be fetched
    ahead."""
    bundle_count = (size + TILE_WIDTH - 1) >> TILE_HEIGHT if size > size_old else 0
    for number in range(size_old >> TILE_HEIGHT, bundle_count):
        yield Tile(ENTRIES_LEVEL, number, tile_width(ENTRIES_LEVEL, number, size))
        level, count = 0, min((number + 1) * TILE_WIDTH, size)
        while count and count % TILE_WIDTH == 0:
            count >>= TILE_HEIGHT
            yield Tile(level, count - 1)
            level += 1
    for level in range(LEVEL_MAX):
        count = size >> TILE_HEIGHT * level
        if not count:
            return
        if count % TILE_WIDTH:
            yield Tile(level, count >> TILE_HEIGHT, count % TILE_WIDTH)


def _is_full_bundle(data: bytes) -> bool:
    try:
        return len(parse_bundle(data, TILE_WIDTH)) == TILE_WIDTH
    except MalformedTileError:
        return False
