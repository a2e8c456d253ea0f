"""Tiles: the tree and the entries of a log as files that never change once full, as C2SP tlog-tiles has them.

    tile/<level>/<number>[.p/<width>]       up to 256 hashes, 32 bytes each
    tile/entries/<number>[.p/<width>]       up to 256 entries, each u16 big-endian length and bytes

- Tile ``number`` of ``level`` holds, for i = 0 to 255, the root over the leaves
  ``(number * 256 + i) * 256^level`` up to ``(number * 256 + i + 1) * 256^level``: the perfect subtree
  ``(8 * level, number * 256 + i)`` of ``ledger.merkle``.  At level 0 these are the leaf hashes.
- The level is 0 to 63.  The number is written in groups of three digits, all but the last with an ``x``
  before: 1234067 is ``x001/x234/067``, and the first group of several is not ``x000``.
- A full tile has no suffix.  The rightmost tile of a level can be partial, 1 to 255 wide; its width in a
  tree of ``size`` leaves is ``floor(size / 256^level) mod 256``, and where that is 0 there is no tile.  A
  partial tile is never hashed into the level above.

The hashes between two tile levels are not stored; they follow from the tile below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from domain.errors import InvalidError, MalformedError
from ledger.merkle import (
    HASH_BYTES,
    Node,
    NodeReader,
    Span,
    UnknownLeafError,
    consistency_nodes,
    consistency_path,
    inclusion_nodes,
    inclusion_path,
    join,
    peak_nodes,
    perfect_root,
)
from ledger.spelling import INTEGER_MAX

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
TILE_BYTES = TILE_WIDTH * HASH_BYTES
LEVEL_MAX = 63
# The number of the last tile that a tree of 2^63 - 1 leaves can have.
NUMBER_MAX = INTEGER_MAX >> TILE_HEIGHT
# The length stands in two bytes.
ENTRY_BYTES_MAX = 65_535
# In ``Tile.level``, as Go's tlog has it: the tile of entries beside the tile of their hashes.
ENTRIES_LEVEL = -1

_PATH = re.compile(
    r"tile/(?P<level>entries|[0-9]|[1-5][0-9]|6[0-3])"
    r"/(?P<number>(?:x[0-9]{3}/)*[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


class MalformedTileError(MalformedError):
    """This is not the path or the content of a tile."""


class InvalidTileError(InvalidError):
    """The tiles do not lead to the root that is known."""


class Tile(NamedTuple):
    """Coordinates of a tile; ``level`` is ``ENTRIES_LEVEL`` for a bundle of entries, ``width`` 1 to 256."""

    level: int
    number: int
    width: int = TILE_WIDTH


class TileReader(Protocol):
    """Gives a tile's bytes; a mapping's ``__getitem__`` will do.

    For a partial tile it may give the full one, which begins with the same hashes: a log can have dropped the
    partial tile since.
    """

    def __call__(self, tile: Tile, /) -> bytes: ...


def tile_path(level: int, number: int, width: int = TILE_WIDTH) -> str:
    """Spell a tile's path.  Raises: MalformedTileError for coordinates that no tile has."""
    if not (ENTRIES_LEVEL <= level <= LEVEL_MAX and 0 <= number <= NUMBER_MAX and 1 <= width <= TILE_WIDTH):
        raise MalformedTileError("no tile has these coordinates", actual=f"{level}, {number}, {width}")
    groups = [f"{number % 1000:03}"]
    while number := number // 1000:
        groups.append(f"x{number % 1000:03}")
    folder = "entries" if level == ENTRIES_LEVEL else str(level)
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{folder}/{'/'.join(reversed(groups))}{suffix}"


def parse_tile_path(path: str) -> Tile:
    """Read a tile's path, without a slash before it.  Raises: MalformedTileError."""
    # The longest path there is has 41 characters: level 63 or entries, 2^55 - 1 and a width.
    parts = _PATH.fullmatch(path) if len(path) <= 64 else None
    if parts is None:
        raise MalformedTileError("not the path of a tile", actual=repr(path[:80]))
    level = ENTRIES_LEVEL if parts["level"] == "entries" else int(parts["level"])
    tile = Tile(
        level, int(parts["number"].replace("x", "").replace("/", "")), int(parts["width"] or TILE_WIDTH)
    )
    if tile_path(*tile) != path:
        raise MalformedTileError("not the one path of this tile", actual=repr(path[:80]))
    return tile


def format_tile(hashes: Sequence[bytes]) -> bytes:
    """A tile's bytes.  Raises: MalformedTileError."""
    if not 1 <= len(hashes) <= TILE_WIDTH or any(len(h) != HASH_BYTES for h in hashes):
        raise MalformedTileError("a tile has 1 to 256 hashes of 32 bytes", actual=str(len(hashes)))
    return b"".join(hashes)


def parse_tile(data: bytes, width: int) -> list[bytes]:
    """The first ``width`` hashes of a tile of as many, or of a full one.  Raises: MalformedTileError."""
    if len(data) not in (width * HASH_BYTES, TILE_BYTES):
        raise MalformedTileError(
            "a tile of another width", expected=f"{width * HASH_BYTES} bytes", actual=str(len(data))
        )
    return [data[start : start + HASH_BYTES] for start in range(0, width * HASH_BYTES, HASH_BYTES)]


def format_bundle(entries: Sequence[bytes]) -> bytes:
    """A bundle of entries.  Raises: MalformedTileError."""
    if not 1 <= len(entries) <= TILE_WIDTH:
        raise MalformedTileError("a bundle has 1 to 256 entries", actual=str(len(entries)))
    for number, entry in enumerate(entries):
        if len(entry) > ENTRY_BYTES_MAX:
            raise MalformedTileError(
                "entry too long for a bundle",
                field=f"entry {number}",
                expected=f"<= {ENTRY_BYTES_MAX} bytes",
                actual=str(len(entry)),
            )
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def parse_bundle(data: bytes, width: int) -> list[bytes]:
    """The first ``width`` entries of a bundle of as many, or of a full one.  Raises: MalformedTileError."""
    entries: list[bytes] = []
    start = 0
    while start < len(data):
        end = start + 2 + int.from_bytes(data[start : start + 2], "big")
        if start + 2 > len(data) or end > len(data):
            raise MalformedTileError("a bundle ends inside an entry", field=f"entry {len(entries)}")
        entries.append(data[start + 2 : end])
        start = end
        if len(entries) > TILE_WIDTH:
            raise MalformedTileError("a bundle has at most 256 entries", actual=f"{len(data)} bytes")
    if len(entries) not in (width, TILE_WIDTH):
        raise MalformedTileError("a bundle of another width", expected=str(width), actual=str(len(entries)))
    return entries[:width]


def tile_width(level: int, number: int, size: int) -> int:
    """How wide this tile is in a tree of ``size`` leaves: 0 to 256."""
    hash_count = size >> (TILE_HEIGHT * max(level, 0))
    return max(0, min(TILE_WIDTH, hash_count - number * TILE_WIDTH))


def tiles_grown(size_old: int, size_new: int) -> Iterator[Tile]:
    """Every tile of hashes that is new or wider at ``size_new``, partial ones included, level by level."""
    for level in range(LEVEL_MAX + 1):
        shift = TILE_HEIGHT * level
        old_count, new_count = size_old >> shift, size_new >> shift
        if new_count == 0:
            return
        for number in range(old_count >> TILE_HEIGHT, (new_count + TILE_WIDTH - 1) >> TILE_HEIGHT):
            width = tile_width(level, number, size_new)
            if width > tile_width(level, number, size_old):
                yield Tile(level, number, width)


def tiles_completed(size_old: int, size_new: int) -> Iterator[Tile]:
    """Every tile of hashes that becomes full on the way to ``size_new`` and never changes again."""
    return (tile for tile in tiles_grown(size_old, size_new) if tile.width == TILE_WIDTH)


def grow_tiles(reader: TileReader, size_old: int, leaves: Iterable[bytes]) -> Iterator[tuple[Tile, bytes]]:
    """The tiles of ``tiles_grown`` with their bytes, as these leaf hashes join a tree of ``size_old``.

    Reads the old tree's partial tiles, one at each level that has one.
    """
    row = list(leaves)
    level, count = 0, size_old
    while row:
        number, held_width = divmod(count, TILE_WIDTH)
        if held_width:
            row = parse_tile(reader(Tile(level, number, held_width)), held_width) + row
        above: list[bytes] = []
        for start in range(0, len(row), TILE_WIDTH):
            hashes = row[start : start + TILE_WIDTH]
            yield Tile(level, number + start // TILE_WIDTH, len(hashes)), b"".join(hashes)
            if len(hashes) == TILE_WIDTH:
                above.append(perfect_root(hashes))
        row, level, count = above, level + 1, number


def tile_of_node(node: Node, size: int) -> Tile:
    """Which tile, in a tree of ``size`` leaves, tells the hash of this perfect subtree."""
    level, rise = divmod(node.level, TILE_HEIGHT)
    number = (node.place << rise) >> TILE_HEIGHT
    return Tile(level, number, tile_width(level, number, size))


def tiles_of_spans(spans: Iterable[Span], size: int) -> tuple[Tile, ...]:
    """Which tiles a proof needs, each once, so that they can be fetched together."""
    return tuple(sorted({tile_of_node(node, size) for span in spans for node in span}))


def inclusion_tiles(index: int, size: int) -> tuple[Tile, ...]:
    """The tiles that ``prove_inclusion`` reads.  Raises: UnknownLeafError."""
    return tiles_of_spans(inclusion_nodes(index, size), size)


def consistency_tiles(size_old: int, size_new: int) -> tuple[Tile, ...]:
    """The tiles that ``prove_consistency`` reads.  Raises: UnknownLeafError."""
    return tiles_of_spans(consistency_nodes(size_old, size_new), size_new)


def node_reader(reader: TileReader, size: int) -> NodeReader:
    """Hashes of perfect subtrees from the tiles of a tree of ``size`` leaves; each tile is read once."""
    held: dict[Tile, list[bytes]] = {}

    def node(level: int, place: int) -> bytes:
        tile = tile_of_node(Node(level, place), size)
        rise = level % TILE_HEIGHT
        start = (place << rise) % TILE_WIDTH
        if start + (1 << rise) > tile.width:
            raise UnknownLeafError(
                "no such node in this tree", expected=f"size {size}", actual=f"{level}, {place}"
            )
        if tile not in held:
            held[tile] = parse_tile(reader(tile), tile.width)
        return perfect_root(held[tile][start : start + (1 << rise)])

    return node


def root_from_tiles(reader: TileReader, size: int) -> bytes:
    """The root from the tiles.  Raises: MalformedTileError, and what ``reader`` raises."""
    node = node_reader(reader, size)
    return join([node(level, place) for level, place in peak_nodes(size)])


def prove_inclusion(reader: TileReader, index: int, size: int) -> list[bytes]:
    """The inclusion path of a leaf from tiles.

    The tiles are not verified: whoever uses the path verifies it against a signed root.
    Raises: UnknownLeafError, MalformedTileError, and what ``reader`` raises.
    """
    return inclusion_path(index, size, node_reader(reader, size))


def prove_consistency(reader: TileReader, size_old: int, size_new: int) -> list[bytes]:
    """The consistency path between two sizes, from the tiles of the newer tree.

    The tiles are not verified: whoever uses the path verifies it against both roots.
    Raises: UnknownLeafError, MalformedTileError, and what ``reader`` raises.
    """
    return consistency_path(size_old, size_new, node_reader(reader, size_new))


def verify_tiles(reader: TileReader, size: int, root: bytes) -> None:
    """Check that the tiles lead to this root.  Raises: InvalidTileError, MalformedTileError."""
    actual = root_from_tiles(reader, size)
    if actual != root:
        raise InvalidTileError("the tiles lead to another root", expected=root.hex(), actual=actual.hex())
