"""Auditing a log from its tiles: what is right passes, and whatever is changed is found and named."""

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint
from ledger.entry import PREVIOUS_OF_FIRST, entry_bytes, entry_head
from ledger.merkle import EMPTY_ROOT, leaf_hash, root_of
from ledger.tile_audit import InvalidTileLogError, TileAudit, audit_tiles, tiles_of_audit
from ledger.tiles import ENTRIES_LEVEL, TILE_WIDTH, Tile, format_bundle, grow_tiles, parse_bundle, tile_path

ORIGIN = "tests.local/demo"
# Two full bundles and a partial one, so that there are full and partial tiles at two levels.
SIZE = 600
SEVERAL_LEVELS = 70_000


def entries_of(size: int, origin: str = ORIGIN) -> list[bytes]:
    """The chained entries of a ledger."""
    entries: list[bytes] = []
    previous = PREVIOUS_OF_FIRST
    for index in range(size):
        entry = entry_bytes(
            entry_head(origin),
            index,
            "statement.added.v1",
            1_780_000_000_000_000_000 + index,
            "api:k",
            "statement/text/plain",
            "-",
            3,
            hashlib.sha256(b"%d" % index).hexdigest(),
            previous,
        )
        previous = leaf_hash(entry).hex()
        entries.append(entry)
    return entries


def tiles_over(entries: list[bytes], size_old: int = 0) -> dict[Tile, bytes]:
    """What a log of these entries publishes."""
    tiles = dict(grow_tiles(dict[Tile, bytes]().__getitem__, 0, [leaf_hash(entry) for entry in entries]))
    for start in range(0, len(entries), TILE_WIDTH):
        bundle = entries[start : start + TILE_WIDTH]
        tiles[Tile(ENTRIES_LEVEL, start // TILE_WIDTH, len(bundle))] = format_bundle(bundle)
    return tiles


def checkpoint_over(entries: list[bytes], origin: str = ORIGIN) -> Checkpoint:
    return Checkpoint(origin=origin, size=len(entries), root=root_of(map(leaf_hash, entries)))


ENTRIES = entries_of(SIZE)
TILES = tiles_over(ENTRIES)
CHECKPOINT = checkpoint_over(ENTRIES)


def refusal(tiles: dict[Tile, bytes], checkpoint: Checkpoint = CHECKPOINT) -> InvalidTileLogError:
    with pytest.raises(InvalidTileLogError) as caught:
        audit_tiles(tiles.__getitem__, checkpoint)
    return caught.value


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 512, SIZE])
def test_an_honest_log_passes_at_every_size(size: int) -> None:
    entries = ENTRIES[:size]
    report = audit_tiles(tiles_over(entries).__getitem__, checkpoint_over(entries))
    assert (report.size, report.root) == (size, checkpoint_over(entries).root.hex())
    assert report.byte_count == sum(map(len, entries))


def test_the_empty_log_passes() -> None:
    report = audit_tiles(dict[Tile, bytes]().__getitem__, Checkpoint(origin=ORIGIN, size=0, root=EMPTY_ROOT))
    assert report.size == 0


def test_a_log_with_three_levels_of_tiles_passes() -> None:
    entries = entries_of(SEVERAL_LEVELS)
    tiles = tiles_over(entries)
    report = audit_tiles(tiles.__getitem__, checkpoint_over(entries))
    # 273 full tiles and one partial at level 0, 1 and 1 at level 1, 1 at level 2.
    assert report.tile_count == 277


@given(st.data())
def test_a_changed_byte_in_any_file_is_found(data: st.DataObject) -> None:
    tile = data.draw(st.sampled_from(sorted(TILES)))
    place = data.draw(st.integers(0, len(TILES[tile]) - 1))
    changed = bytearray(TILES[tile])
    changed[place] ^= data.draw(st.integers(1, 255))
    refusal(TILES | {tile: bytes(changed)})


@given(st.data())
def test_a_cut_or_lengthened_file_is_found(data: st.DataObject) -> None:
    tile = data.draw(st.sampled_from(sorted(TILES)))
    kept = data.draw(st.integers(0, len(TILES[tile]) - 1))
    refusal(TILES | {tile: TILES[tile][:kept]})
    refusal(TILES | {tile: TILES[tile] + b"\x00"})


def test_a_partial_file_that_has_become_full_since_is_read_as_far_as_it_counts() -> None:
    longer = tiles_over(entries_of(768))
    widened = {tile: longer.get(Tile(tile.level, tile.number), data) for tile, data in TILES.items()}
    assert len(widened[Tile(ENTRIES_LEVEL, 2, 88)]) > len(TILES[Tile(ENTRIES_LEVEL, 2, 88)])
    assert audit_tiles(widened.__getitem__, CHECKPOINT).size == SIZE


def rewritten(change: Callable[[list[bytes]], None]) -> tuple[dict[Tile, bytes], Checkpoint]:
    """A log whose owner changed entries and then made tiles and checkpoint fit again."""
    entries = ENTRIES.copy()
    change(entries)
    return tiles_over(entries), checkpoint_over(entries)


def test_an_entry_taken_out_breaks_the_order_even_where_tiles_and_root_fit() -> None:
    tiles, checkpoint = rewritten(lambda entries: entries.__delitem__(300))
    error = refusal(tiles, checkpoint)
    assert (error.index, error.check) == (300, "order")


def test_an_entry_changed_breaks_the_chain_even_where_tiles_and_root_fit() -> None:
    def change(entries: list[bytes]) -> None:
        entries[300] = entries[300].replace(b"text/plain", b"text/plaid")

    error = refusal(*rewritten(change))
    assert (error.index, error.check) == (301, "chain")


def test_an_entry_of_another_log_is_named() -> None:
    def change(entries: list[bytes]) -> None:
        entries[42] = entries_of(43, "tests.local/other")[42]

    error = refusal(*rewritten(change))
    assert (error.index, error.check) == (42, "origin")


def test_something_that_is_no_entry_is_named() -> None:
    def change(entries: list[bytes]) -> None:
        entries[42] = b"free text"

    error = refusal(*rewritten(change))
    assert (error.index, error.check) == (42, "entry")
    tiles, checkpoint = rewritten(change)
    assert audit_tiles(tiles.__getitem__, checkpoint, is_chained=False).size == SIZE


def test_a_tile_above_that_does_not_follow_from_below_is_named() -> None:
    tile = Tile(1, 0, 2)
    changed = bytearray(TILES[tile])
    changed[-1] ^= 1
    error = refusal(TILES | {tile: bytes(changed)})
    assert (error.index, error.check) == (256, tile_path(*tile))


def test_a_history_that_was_rewritten_whole_is_caught_by_a_kept_checkpoint() -> None:
    kept = checkpoint_over(ENTRIES[:300])
    assert audit_tiles(TILES.__getitem__, CHECKPOINT, kept=[kept]).checkpoint_count == 2
    other = ENTRIES[:250]
    previous = leaf_hash(other[-1]).hex()
    for index in range(250, 400):
        entry = ENTRIES[index].replace(b"api:k", b"api:m")[:-65] + previous.encode() + b"\n"
        previous = leaf_hash(entry).hex()
        other.append(entry)
    forked = checkpoint_over(other)
    assert audit_tiles(tiles_over(other).__getitem__, forked).size == 400
    with pytest.raises(InvalidTileLogError) as caught:
        audit_tiles(tiles_over(other).__getitem__, forked, kept=[kept])
    assert (caught.value.index, caught.value.check) == (300, "root")


def test_a_log_that_shrank_is_caught_by_a_kept_checkpoint() -> None:
    shorter = ENTRIES[:300]
    with pytest.raises(InvalidTileLogError) as caught:
        audit_tiles(tiles_over(shorter).__getitem__, checkpoint_over(shorter), kept=[CHECKPOINT])
    assert caught.value.check == "truncated"


def test_a_kept_checkpoint_of_another_log_is_refused() -> None:
    kept = checkpoint_over(entries_of(3, "tests.local/other"), "tests.local/other")
    with pytest.raises(InvalidTileLogError) as caught:
        audit_tiles(TILES.__getitem__, CHECKPOINT, kept=[kept])
    assert caught.value.check == "checkpoint"


@given(st.integers(0, SIZE), st.integers(0, SIZE))
def test_an_audit_goes_on_where_an_earlier_one_stopped(first: int, second: int) -> None:
    first, second = sorted((first, second))
    read = (TILES | tiles_over(ENTRIES[:first]) | tiles_over(ENTRIES[:second])).__getitem__
    audit = TileAudit.resumed(read, checkpoint_over(ENTRIES[:first]))
    audit.advance(second, second)
    audit.check_root(checkpoint_over(ENTRIES[:second]))
    audit.check_edge()


def test_tiles_that_were_changed_under_an_earlier_audit_are_found_when_it_goes_on() -> None:
    tiles = tiles_over(ENTRIES[:300])
    changed = bytearray(tiles[Tile(0, 1, 44)])
    changed[0] ^= 1
    tiles[Tile(0, 1, 44)] = bytes(changed)
    with pytest.raises(InvalidTileLogError):
        TileAudit.resumed(tiles.__getitem__, checkpoint_over(ENTRIES[:300]))


@given(st.integers(0, SIZE), st.integers(1, SIZE))
def test_what_is_fetched_ahead_is_what_is_read(first: int, second: int) -> None:
    first, second = sorted((first, second))
    entries = ENTRIES[:second]
    available = tiles_over(ENTRIES[:first]) | tiles_over(entries) | TILES
    asked: list[Tile] = []

    def read(tile: Tile) -> bytes:
        asked.append(tile)
        return available[tile]

    audit = TileAudit.resumed(read, checkpoint_over(ENTRIES[:first]))
    asked.clear()
    audit.advance(second, second)
    audit.check_edge()
    assert asked == list(tiles_of_audit(first, second))


def test_a_bundle_holds_what_it_was_made_of() -> None:
    assert parse_bundle(TILES[Tile(ENTRIES_LEVEL, 0)], TILE_WIDTH) == ENTRIES[:TILE_WIDTH]
