"""Inclusion proofs for neighbouring leaves at once, as the lines of tlog-proofs.

Leaves that were appended together share most of their paths.  Going down from the root, each subtree's
sibling is spelled once and put before the lines that its leaves share, so a leaf costs about two hashes and
two joins, however large the tree is.
"""

from __future__ import annotations

from base64 import b64encode

from domain.errors import LimitError
from ledger.merkle import Node, UnknownLeafError, join, node_hash, peak_nodes
from ledger.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, TileReader, parse_tile, tile_of_node

# More than one append can bring; bounds the memory of the lines.
NEIGHBOURS_MAX = 4_096


def neighbour_paths(read: TileReader, first: int, count: int, size: int) -> tuple[list[bytes], list[bytes]]:
    """The leaf hashes and the path lines of the leaves ``first`` to ``first + count`` in a tree of ``size``.

    Path lines are base64 with a newline each, leaf sibling first, as a tlog-proof has them.
    Raises: UnknownLeafError, LimitError, MalformedTileError, and what ``read`` raises.
    """
    if not 0 <= first < first + count <= size:
        raise UnknownLeafError(
            "no such leaves in this tree", expected=f"0 to {size - 1}", actual=f"{first} + {count}"
        )
    if count > NEIGHBOURS_MAX:
        raise LimitError("too many leaves", expected=f"<= {NEIGHBOURS_MAX}", actual=str(count))
    rows = _TileRows(read, size)
    leaves: list[bytes] = []
    lines: list[bytes] = []
    # Subtrees still to be walked, left ones on top: start, end, and the lines below which they hang.
    todo = [(0, size, b"")]
    last = first + count
    while todo:
        start, end, above = todo.pop()
        width = end - start
        if width <= TILE_WIDTH and width & (width - 1) == 0 and first <= start and end <= last:
            leaves += rows.span(0, start, width)
            lines += _perfect(rows, start, width, above)
            continue
        # The largest power of two below the number of leaves (RFC 6962 section 2.1).
        middle = start + (1 << (width - 1).bit_length() - 1)
        # Subtrees left or right of the wanted leaves are never walked, only hashed.
        if last > middle:
            todo.append((middle, end, b64encode(_hash(rows, start, middle)) + b"\n" + above))
        if first < middle:
            todo.append((start, middle, b64encode(_hash(rows, middle, end)) + b"\n" + above))
    return leaves, lines


class _TileRows:
    """Hashes of perfect subtrees from tiles; a tile's are all computed once, when it is first read."""

    def __init__(self, read: TileReader, size: int) -> None:
        self._read = read
        self._size = size
        self._held: dict[Tile, list[list[bytes]]] = {}

    def span(self, level: int, place: int, count: int) -> list[bytes]:
        """The hashes of ``count`` neighbouring perfect subtrees that lie in one tile."""
        tile = tile_of_node(Node(level, place), self._size)
        rows = self._held.get(tile)
        if rows is None:
            row = parse_tile(self._read(tile), tile.width)
            rows = self._held[tile] = [row]
            while len(row) > 1:
                row = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=False)]
                rows.append(row)
        rise = level % TILE_HEIGHT
        start = place - (tile.number << TILE_HEIGHT - rise)
        return rows[rise][start : start + count]


def _perfect(rows: _TileRows, start: int, width: int, above: bytes) -> list[bytes]:
    """The lines of all leaves of a perfect subtree that lies in one tile."""
    lines = [above]
    for level in range(width.bit_length() - 2, -1, -1):
        count = width >> level
        row = [b64encode(sibling) + b"\n" for sibling in rows.span(level, start >> level, count)]
        lines = [row[place ^ 1] + lines[place >> 1] for place in range(count)]
    return lines


def _hash(rows: _TileRows, start: int, end: int) -> bytes:
    """Root over the leaves ``start`` to ``end`` of a subtree that the tree splits into."""
    count = end - start
    return join([rows.span(level, (start >> level) + place, 1)[0] for level, place in peak_nodes(count)])
