"""Mirroring a log's tiles: copying what is new, auditing it, and only then showing it.

1. The log's checkpoint verifies by the policy, and is no older than the one the mirror shows.
2. Every tile and bundle that is new or wider is copied; those that are there already stay as they are.
3. The copy is audited from where it stood (``ledger.tile_audit``): so what the mirror showed before is the
   beginning of what it shows now, and every new entry, tile and the root hold.
4. The checkpoint is published, last.

A mirror therefore never shows a checkpoint without everything under it, nor one that contradicts what it
showed before; whoever keeps one is a monitor of that log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from msgspec import Struct

from domain.errors import UnknownError
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.merkle import EMPTY_ROOT, HASH_BYTES
from ledger.notes import parse_note
from ledger.policy import Policy, open_witnessed_checkpoint
from ledger.tile_audit import Progress, TileAudit, check_same_log
from ledger.tiles import (
    ENTRIES_LEVEL,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    format_bundle,
    parse_bundle,
    tile_width,
    tiles_grown,
)

FetchTile = Callable[[Tile], Awaitable[bytes]]


class TileShelf(Protocol):
    """Where a mirror keeps its tiles; it is a ``TileReader``, too."""

    def __call__(self, tile: Tile, /) -> bytes: ...

    def checkpoint(self) -> bytes:
        """The checkpoint that is shown.  Raises: UnknownError where there is none yet."""

    def write(self, tile: Tile, data: bytes) -> bool:
        """Put a tile that no published checkpoint covers in place; False when it is there already."""

    def publish(self, checkpoint: bytes) -> None:
        """Make everything written durable, then show this checkpoint."""


class MirrorReport(Struct, frozen=True, kw_only=True):
    """What a mirror shows now, and what it took; ``root`` is hex."""

    origin: str
    size_before: int
    size: int
    root: str
    file_count: int


def new_tiles(size_old: int, size: int) -> list[Tile]:
    """Bundles and tiles that are new or wider, in the order in which they are copied."""
    bundles = [
        Tile(ENTRIES_LEVEL, number, tile_width(ENTRIES_LEVEL, number, size))
        for number in range(size_old >> TILE_HEIGHT, (size + TILE_WIDTH - 1) >> TILE_HEIGHT)
        if size > size_old
    ]
    return [*bundles, *tiles_grown(size_old, size)]


def shown_checkpoint(shelf: TileShelf, origin: str) -> Checkpoint:
    """What the shelf shows; the empty tree when it shows nothing.  It was verified when it was published."""
    try:
        return parse_checkpoint(parse_note(shelf.checkpoint()).text)
    except UnknownError:
        return Checkpoint(origin=origin, size=0, root=EMPTY_ROOT)


async def mirror(
    fetch: FetchTile,
    note: bytes,
    policy: Policy,
    shelf: TileShelf,
    *,
    is_chained: bool = True,
    expect: Callable[[Sequence[Tile]], None] = lambda tiles: None,
    progress: Progress = lambda done, size: None,
) -> MirrorReport:
    """Bring the shelf to the checkpoint ``note``; ``expect`` is told what will be fetched.

    Raises: InvalidTileLogError, what verifying the checkpoint raises, and what ``fetch`` and the shelf raise.
    """
    checkpoint = open_witnessed_checkpoint(note, policy).checkpoint
    before = shown_checkpoint(shelf, checkpoint.origin)
    check_same_log(before, checkpoint)
    tiles = new_tiles(before.size, checkpoint.size)
    expect(tiles)
    file_count = 0
    for done, tile in enumerate(tiles):
        file_count += shelf.write(tile, _cut(tile, await fetch(tile)))
        progress(done + 1, len(tiles))
    audit = TileAudit.resumed(shelf, before, is_chained=is_chained)
    audit.advance(checkpoint.size, checkpoint.size)
    audit.check_root(checkpoint)
    audit.check_edge()
    shelf.publish(note)
    return MirrorReport(
        origin=checkpoint.origin,
        size_before=before.size,
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        file_count=file_count,
    )


def _cut(tile: Tile, data: bytes) -> bytes:
    """As wide as the tile: where a partial one is gone, the full one was given."""
    if tile.level != ENTRIES_LEVEL:
        return data[: tile.width * HASH_BYTES]
    return data if tile.width == TILE_WIDTH else format_bundle(parse_bundle(data, tile.width))
