"""Tiles: paths, widths and proofs, with the specification's tree of 70,000 leaves."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.merkle import (
    Frontier,
    UnknownLeafError,
    leaf_hash,
    perfect_root,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from ledger.tiles import (
    ENTRIES_LEVEL,
    ENTRY_BYTES_MAX,
    NUMBER_MAX,
    TILE_BYTES,
    TILE_WIDTH,
    InvalidTileError,
    MalformedTileError,
    Tile,
    consistency_tiles,
    format_bundle,
    format_tile,
    grow_tiles,
    inclusion_tiles,
    node_reader,
    parse_bundle,
    parse_tile,
    parse_tile_path,
    prove_consistency,
    prove_inclusion,
    root_from_tiles,
    tile_path,
    tile_width,
    tiles_completed,
    tiles_grown,
    verify_tiles,
)

SPECIFIED_SIZE = 70_000

tiles = st.builds(
    Tile,
    st.integers(ENTRIES_LEVEL, 63),
    st.integers(0, NUMBER_MAX) | st.integers(0, 2_000_000),
    st.integers(1, 256),
)


def stored_tiles(leaves: list[bytes], steps: list[int]) -> dict[Tile, bytes]:
    """Every tile that a log writes which grows by these steps."""
    store: dict[Tile, bytes] = {}
    size = 0
    for step in steps:
        store.update(grow_tiles(store.__getitem__, size, leaves[size : size + step]))
        size += step
    assert size == len(leaves)
    return store


@pytest.fixture(scope="module")
def leaves() -> list[bytes]:
    return [leaf_hash(b"leaf %d" % number) for number in range(SPECIFIED_SIZE)]


@pytest.fixture(scope="module")
def store(leaves: list[bytes]) -> dict[Tile, bytes]:
    return stored_tiles(leaves, [1, 254, 1, 1, 300, SPECIFIED_SIZE - 557])


def test_the_number_of_a_tile_is_spelled_in_groups_of_three() -> None:
    """'For example, index 1234067 will be encoded as `x001/x234/067`.'"""
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_path(63, 0, 1) == "tile/63/000.p/1"
    assert tile_path(ENTRIES_LEVEL, 1000, 255) == "tile/entries/x001/000.p/255"
    assert tile_path(2, 999_999) == "tile/2/x999/999"


@given(tiles)
def test_a_tiles_path_is_read_as_it_was_written(tile: Tile) -> None:
    assert parse_tile_path(tile_path(*tile)) == tile


@given(
    st.from_regex(
        r"tile/(entries|[0-9]{1,3})/(x?[0-9]{1,4}/){0,3}x?[0-9]{1,4}(\.p/[0-9]{1,4})?/?", fullmatch=True
    )
)
def test_whatever_parses_as_a_path_has_no_other_spelling(path: str) -> None:
    try:
        tile = parse_tile_path(path)
    except MalformedTileError:
        return
    assert tile_path(*tile) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "checkpoint",
        "/tile/0/000",
        "tile/0/000/",
        "tile//000",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/data/000",
        "tile/0/x000/000",
        "tile/0/001/000",
        "tile/0/x001",
        "tile/0/x001/x000",
        "tile/0/x01/000",
        "tile/0/X001/000",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/+1",
        "tile/0/../000",
        "tile/0/٠٠٠",
        "tile/0/000\n",
        "tile/0/" + "x001/" * 6 + "000",
        "tile/0/" + "x001/" * 100_000 + "000",
    ],
)
def test_what_is_no_path_of_a_tile_is_refused(path: str) -> None:
    with pytest.raises(MalformedTileError):
        parse_tile_path(path)


@pytest.mark.parametrize(
    "tile", [Tile(64, 0), Tile(-2, 0), Tile(0, -1), Tile(0, 0, 0), Tile(0, 0, 257), Tile(0, NUMBER_MAX + 1)]
)
def test_tiles_that_cannot_be_have_no_path(tile: Tile) -> None:
    with pytest.raises(MalformedTileError):
        tile_path(*tile)


def test_a_tree_of_70_000_leaves_has_the_tiles_of_the_specification(store: dict[Tile, bytes]) -> None:
    """'273 full level 0 tiles, one partial level 0 tile of width 112, one full level 1 tile, ...'"""
    expected = {(0, 256): 273, (0, 112): 1, (1, 256): 1, (1, 17): 1, (2, 1): 1}
    grown = list(tiles_grown(0, SPECIFIED_SIZE))
    assert Counter((tile.level, tile.width) for tile in grown) == expected
    assert set(grown) <= set(store)
    assert Tile(0, 273, 112) in grown
    assert Tile(1, 1, 17) in grown
    assert Tile(2, 0, 1) in grown
    assert list(tiles_completed(0, SPECIFIED_SIZE)) == [tile for tile in grown if tile.width == 256]


def test_a_tree_of_256_leaves_has_a_full_tile_and_one_above_it() -> None:
    """'a full level 0 tile and a partial level 1 tile of width 1'"""
    assert list(tiles_grown(0, 256)) == [Tile(0, 0, 256), Tile(1, 0, 1)]
    assert list(tiles_grown(0, 0)) == list(tiles_grown(5, 5)) == []
    assert list(tiles_grown(255, 257)) == [Tile(0, 0, 256), Tile(0, 1, 1), Tile(1, 0, 1)]


@given(st.integers(0, 2**40), st.integers(0, 63), st.integers(0, 2**33))
def test_a_tile_is_as_wide_as_the_specification_says(size: int, level: int, number: int) -> None:
    """'The partial tile at level l for a tree of size s has floor(s / 256**l) mod 256 entries.'"""
    width = tile_width(level, number, size)
    last = (size // 256**level) // 256
    assert width == (256 if number < last else (size // 256**level) % 256 if number == last else 0)


@given(st.lists(st.integers(0, 300), max_size=5))
def test_what_grows_is_what_is_told_to_grow_however_the_steps_fall(steps: list[int]) -> None:
    hashes = [leaf_hash(b"%d" % number) for number in range(sum(steps))]
    store: dict[Tile, bytes] = {}
    size = 0
    for step in steps:
        written = dict(grow_tiles(store.__getitem__, size, iter(hashes[size : size + step])))
        assert set(written) == set(tiles_grown(size, size + step))
        store.update(written)
        size += step
        assert root_from_tiles(store.__getitem__, size) == root_of(hashes[:size])


def test_a_tile_holds_the_tree_hashes_of_the_specification(
    leaves: list[bytes], store: dict[Tile, bytes]
) -> None:
    """'MTH(D[(n * 256 + i) * 256**l : (n * 256 + i + 1) * 256**l])'"""
    assert parse_tile(store[Tile(0, 273, 112)], 112) == leaves[273 * 256 :]
    level_1 = parse_tile(store[Tile(1, 1, 17)], 17)
    assert level_1[5] == perfect_root(leaves[(256 + 5) * 256 : (256 + 6) * 256])
    assert parse_tile(store[Tile(2, 0, 1)], 1) == [root_of(leaves[:65_536])]


@pytest.mark.parametrize("index", [0, 1, 255, 256, 65_535, 65_536, 69_887, 69_888, 69_999])
def test_inclusion_is_proved_from_the_tiles_that_are_named_beforehand(
    leaves: list[bytes], store: dict[Tile, bytes], index: int
) -> None:
    wanted = {tile: store[tile] for tile in inclusion_tiles(index, SPECIFIED_SIZE)}
    assert len(wanted) <= 5
    path = prove_inclusion(wanted.__getitem__, index, SPECIFIED_SIZE)
    verify_inclusion(index, SPECIFIED_SIZE, leaves[index], path, root_of(leaves))


@pytest.mark.parametrize("size_old", [1, 255, 256, 257, 557, 65_536, 65_537, 69_999, 70_000])
def test_consistency_is_proved_from_the_tiles_that_are_named_beforehand(
    leaves: list[bytes], store: dict[Tile, bytes], size_old: int
) -> None:
    wanted = {tile: store[tile] for tile in consistency_tiles(size_old, SPECIFIED_SIZE)}
    path = prove_consistency(wanted.__getitem__, size_old, SPECIFIED_SIZE)
    verify_consistency(size_old, SPECIFIED_SIZE, root_of(leaves[:size_old]), root_of(leaves), path)


def test_a_proof_at_an_older_size_comes_from_tiles_that_are_full_since(leaves: list[bytes]) -> None:
    """'MAY fetch the full tile in parallel as a fallback'"""
    store = stored_tiles(leaves[: 256 * 256], [256 * 256])

    def only_full_ones(tile: Tile) -> bytes:
        return store[Tile(tile.level, tile.number)]

    for index, size in [(0, 300), (299, 300), (100, 257), (0, 1)]:
        path = prove_inclusion(only_full_ones, index, size)
        verify_inclusion(index, size, leaves[index], path, root_of(leaves[:size]))
    for size_old, size_new in [(1, 300), (257, 300), (300, 40_000)]:
        path = prove_consistency(only_full_ones, size_old, size_new)
        verify_consistency(size_old, size_new, root_of(leaves[:size_old]), root_of(leaves[:size_new]), path)


def test_a_tree_that_is_too_small_has_no_such_proof(store: dict[Tile, bytes]) -> None:
    with pytest.raises(UnknownLeafError):
        prove_inclusion(store.__getitem__, SPECIFIED_SIZE, SPECIFIED_SIZE)
    with pytest.raises(UnknownLeafError):
        prove_consistency(store.__getitem__, 0, SPECIFIED_SIZE)
    for level, place in [(0, SPECIFIED_SIZE), (8, 273), (17, 0), (200, 0)]:
        with pytest.raises(UnknownLeafError):
            node_reader(store.__getitem__, SPECIFIED_SIZE)(level, place)


def test_every_node_is_told_by_the_tile_below_it(leaves: list[bytes], store: dict[Tile, bytes]) -> None:
    node = node_reader(store.__getitem__, SPECIFIED_SIZE)
    for level in range(17):
        for place in {0, (SPECIFIED_SIZE >> level) - 1, (SPECIFIED_SIZE >> level) // 2}:
            assert node(level, place) == perfect_root(leaves[place << level : (place + 1) << level])


def test_a_flipped_bit_in_any_tile_of_the_right_edge_is_found(
    leaves: list[bytes], store: dict[Tile, bytes]
) -> None:
    root = root_of(leaves)
    verify_tiles(store.__getitem__, SPECIFIED_SIZE, root)
    for tile in (Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)):
        changed = dict(store)
        changed[tile] = store[tile][:-1] + bytes([store[tile][-1] ^ 1])
        with pytest.raises(InvalidTileError):
            verify_tiles(changed.__getitem__, SPECIFIED_SIZE, root)


@pytest.mark.parametrize("length", [0, 31, 32 * 111, 32 * 113, 32 * 255, TILE_BYTES - 1, TILE_BYTES + 32])
def test_a_tile_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(MalformedTileError):
        parse_tile(bytes(length), 112)


def test_tiles_have_1_to_256_hashes() -> None:
    """'Full tiles MUST be exactly 256 hashes wide, or 8,192 bytes.' 'Empty tiles MUST NOT be served.'"""
    assert len(format_tile([bytes(32)] * TILE_WIDTH)) == TILE_BYTES == 8_192
    for hashes in ([], [bytes(31)], [bytes(32)] * 257):
        with pytest.raises(MalformedTileError):
            format_tile(hashes)


@given(st.lists(st.binary(max_size=20) | st.just(b"\0" * ENTRY_BYTES_MAX), min_size=1, max_size=6))
def test_a_bundle_is_read_as_it_was_written(entries: list[bytes]) -> None:
    assert parse_bundle(format_bundle(entries), len(entries)) == entries


@given(st.binary(max_size=30))
def test_whatever_parses_as_a_bundle_has_no_other_spelling(data: bytes) -> None:
    for width in range(1, 16):
        try:
            entries = parse_bundle(data, width)
        except MalformedTileError:
            continue
        assert format_bundle(entries) == data


@pytest.mark.parametrize(
    ("data", "evil"),
    [
        (b"", "empty"),
        (b"\0", "half a length"),
        (b"\0\x02a", "an entry that is cut"),
        (b"\0\x01a", "an entry too few"),
        (b"\0\x01a\0\x01b\0\x01c", "an entry too many"),
        (b"\0\x01a\0\x01b\n", "trailing garbage"),
        (b"\0\0" * 257, "more than any bundle has"),
    ],
)
def test_what_is_no_bundle_of_two_is_refused(data: bytes, evil: str) -> None:
    with pytest.raises(MalformedTileError):
        parse_bundle(data, 2)


def test_a_full_bundle_stands_for_a_partial_one() -> None:
    entries = [b"%d" % number for number in range(256)]
    assert parse_bundle(format_bundle(entries), 7) == entries[:7]


def test_bundles_have_limits() -> None:
    for entries in ([], [b""] * 257, [bytes(ENTRY_BYTES_MAX + 1)]):
        with pytest.raises(MalformedTileError):
            format_bundle(entries)


def test_tiles_and_a_frontier_say_the_same_root() -> None:
    hashes = [leaf_hash(b"%d" % number) for number in range(1_000)]
    store = stored_tiles(hashes, [500, 12, 488])
    frontier = Frontier()
    frontier.extend(hashes)
    assert root_from_tiles(store.__getitem__, 1_000) == frontier.root()
