"""A ledger's tiles as files for others: hashes from the derived index, entries from the log.

What is served for a checkpoint never changes, so nothing here needs a lock: a tile of a width is the
beginning of the wider one that stands there later.
"""

from __future__ import annotations

from ledger.ledger import Ledger
from ledger.merkle import UnknownLeafError
from ledger.tiles import ENTRIES_LEVEL, TILE_WIDTH, Tile, format_bundle, tile_path, tile_width


async def published_checkpoint(ledger: Ledger) -> bytes:
    """The checkpoint for readers of tiles: the newest one that witnesses have cosigned, with their lines; the
    newest seal while there is none, and where witnesses see this ledger through a meta-log only."""
    covering = await ledger.covering(0)
    return covering.checkpoint if covering.is_witnessed and covering.meta is None else ledger.checkpoint


async def published_tile(ledger: Ledger, tile: Tile) -> bytes:
    """The bytes of a tile of hashes or of a bundle of entries, exactly as wide as asked.

    Raises: UnknownLeafError where the sealed tree has no such tile, or not so wide a one.
    """
    if tile.width > tile_width(tile.level, tile.number, ledger.size):
        raise UnknownLeafError("no such tile in this tree", field="tile", actual=tile_path(*tile))
    if tile.level != ENTRIES_LEVEL:
        return ledger.tile(tile)
    records = await ledger.read(tile.number * TILE_WIDTH, tile.width)
    return format_bundle([record.entry for record in records])
