"""Mirroring tiles into a folder: complete, audited, append-only, and shown last."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.tile_directory import TileDirectory
from domain.errors import ConflictError, InvalidError, TallystickError, UnknownError
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.merkle import leaf_hash, root_of
from ledger.policy import policy_of_log
from ledger.tile_audit import InvalidTileLogError, audit_tiles
from ledger.tile_mirror import MirrorReport, mirror, new_tiles, shown_checkpoint
from ledger.tiles import ENTRIES_LEVEL, Tile
from tests.ledger.signing_key import SigningKey
from tests.ledger.test_tile_audit import ENTRIES, ORIGIN, SIZE, TILES, checkpoint_over, tiles_over

SIGNER = SigningKey(ORIGIN)
POLICY = policy_of_log(SIGNER.verifier_key)


def bring(folder: Path, size: int, entries: list[bytes] = ENTRIES) -> MirrorReport:
    """Mirror the log as it was at ``size``; partial tiles that grew full since are gone there."""
    shelf = TileDirectory(folder)
    tiles = tiles_over(entries[:size]) | {
        tile: data for tile, data in tiles_over(entries).items() if tile.width == 256
    }

    async def fetch(tile: Tile) -> bytes:
        return tiles.get(Tile(tile.level, tile.number)) or tiles[tile]

    note = sign_checkpoint(checkpoint_over(entries[:size]), SIGNER)
    with shelf.writing():
        return asyncio.run(mirror(fetch, note, POLICY, shelf))


def audit_folder(folder: Path) -> int:
    shelf = TileDirectory(folder)
    return audit_tiles(shelf, shown_checkpoint(shelf, ORIGIN)).size


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {".mirror.lock"}


def test_a_mirror_holds_the_log_and_nothing_else(tmp_path: Path) -> None:
    report = bring(tmp_path, SIZE)
    assert (report.size_before, report.size, report.file_count) == (0, SIZE, len(TILES))
    assert audit_folder(tmp_path) == SIZE
    assert files_of(tmp_path) == {
        "checkpoint",
        "tile/entries/000",
        "tile/entries/001",
        "tile/entries/002.p/88",
        "tile/0/000",
        "tile/0/001",
        "tile/0/002.p/88",
        "tile/1/000.p/2",
    }


@settings(max_examples=15)
@given(st.lists(st.integers(0, SIZE), min_size=1, max_size=4))
def test_a_mirror_that_grew_in_steps_is_the_one_made_at_once(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("mirror")
    for size in sorted(sizes):
        bring(folder, size)
        assert audit_folder(folder) == size


def test_partial_tiles_are_dropped_once_they_are_full(tmp_path: Path) -> None:
    bring(tmp_path, 300)
    assert "tile/0/001.p/44" in files_of(tmp_path)
    bring(tmp_path, SIZE)
    assert not [name for name in files_of(tmp_path) if name.startswith("tile/0/001.p")]


def test_nothing_is_done_for_the_same_checkpoint_again(tmp_path: Path) -> None:
    bring(tmp_path, 300)
    assert bring(tmp_path, 300).file_count == 0


def test_what_a_crash_left_behind_is_used(tmp_path: Path) -> None:
    shelf = TileDirectory(tmp_path)
    for tile in new_tiles(0, 300):
        if tile.width == 256:
            shelf.write(tile, TILES[tile])
    with pytest.raises(UnknownError):
        TileDirectory(tmp_path).checkpoint()
    assert bring(tmp_path, SIZE).size == SIZE
    assert audit_folder(tmp_path) == SIZE


def test_a_rewritten_log_is_refused_and_the_mirror_still_shows_the_first(tmp_path: Path) -> None:
    bring(tmp_path, 300)
    shown = (tmp_path / "checkpoint").read_bytes()
    other = ENTRIES[:100] + [entry.replace(b"api:k", b"api:m") for entry in ENTRIES[100:]]
    with pytest.raises(InvalidError):
        bring(tmp_path, SIZE, other)
    assert (tmp_path / "checkpoint").read_bytes() == shown
    assert audit_folder(tmp_path) == 300


def test_a_log_that_shrank_is_refused(tmp_path: Path) -> None:
    bring(tmp_path, SIZE)
    with pytest.raises(InvalidTileLogError) as caught:
        bring(tmp_path, 300)
    assert caught.value.check == "truncated"


def test_a_tile_that_does_not_hold_is_never_shown(tmp_path: Path) -> None:
    changed = dict(TILES)
    changed[Tile(ENTRIES_LEVEL, 1)] = TILES[Tile(ENTRIES_LEVEL, 1)].replace(b"api:k", b"api:m", 1)

    async def fetch(tile: Tile) -> bytes:
        return changed[tile]

    shelf = TileDirectory(tmp_path)
    note = sign_checkpoint(checkpoint_over(ENTRIES), SIGNER)
    with pytest.raises(InvalidTileLogError):
        asyncio.run(mirror(fetch, note, POLICY, shelf))
    with pytest.raises(UnknownError):
        shelf.checkpoint()
    assert bring(tmp_path, SIZE).size == SIZE
    assert audit_folder(tmp_path) == SIZE


def test_a_checkpoint_that_somebody_else_signed_is_refused(tmp_path: Path) -> None:
    note = sign_checkpoint(checkpoint_over(ENTRIES), SigningKey(ORIGIN, "stranger"))

    async def fetch(tile: Tile) -> bytes:
        return TILES[tile]

    with pytest.raises(TallystickError):
        asyncio.run(mirror(fetch, note, POLICY, TileDirectory(tmp_path)))
    assert files_of(tmp_path) == set()


def test_a_log_of_other_software_can_be_mirrored(tmp_path: Path) -> None:
    entries = [b"any bytes %d" % number for number in range(300)]
    checkpoint = Checkpoint(origin=ORIGIN, size=300, root=root_of(map(leaf_hash, entries)))
    tiles = tiles_over(entries)

    async def fetch(tile: Tile) -> bytes:
        return tiles[tile]

    note = sign_checkpoint(checkpoint, SIGNER)
    with pytest.raises(InvalidTileLogError):
        asyncio.run(mirror(fetch, note, POLICY, TileDirectory(tmp_path / "a")))
    report = asyncio.run(mirror(fetch, note, POLICY, TileDirectory(tmp_path / "b"), is_chained=False))
    assert report.size == 300


def test_two_processes_do_not_write_one_mirror_at_once(tmp_path: Path) -> None:
    with TileDirectory(tmp_path).writing(), pytest.raises(ConflictError), TileDirectory(tmp_path).writing():
        pass
