"""Proofs of many leaves at once are those that each leaf would have got on its own."""

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import LimitError
from ledger.merkle import UnknownLeafError, leaf_hash, root_of, verify_inclusion
from ledger.neighbour_proofs import NEIGHBOURS_MAX, neighbour_paths
from ledger.tiles import Tile, grow_tiles, prove_inclusion

SIZE = 1_500
LEAVES = [leaf_hash(b"%d" % number) for number in range(SIZE)]


def reader_at(size: int) -> dict[Tile, bytes]:
    return dict(grow_tiles(dict[Tile, bytes]().__getitem__, 0, LEAVES[:size]))


TILES = reader_at(SIZE)


@given(st.data())
def test_neighbours_get_the_paths_that_each_would_get_alone(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, SIZE))
    first = data.draw(st.integers(0, size - 1))
    count = data.draw(st.integers(1, min(300, size - first)))
    read = reader_at(size).__getitem__
    leaves, lines = neighbour_paths(read, first, count, size)
    assert leaves == LEAVES[first : first + count]
    root = root_of(LEAVES[:size])
    for place, line in enumerate(lines):
        path = [b64decode(text) for text in line.decode().split("\n")[:-1]]
        verify_inclusion(first + place, size, leaves[place], path, root)
    assert [b64decode(text) for text in lines[-1].split(b"\n")[:-1]] == prove_inclusion(
        read, first + count - 1, size
    )


def test_a_tree_of_one_leaf_has_an_empty_path() -> None:
    assert neighbour_paths(reader_at(1).__getitem__, 0, 1, 1) == ([LEAVES[0]], [b""])


@pytest.mark.parametrize(("first", "count"), [(0, SIZE + 1), (SIZE, 1), (-1, 1), (3, 0)])
def test_leaves_that_are_not_there_are_refused(first: int, count: int) -> None:
    with pytest.raises(UnknownLeafError):
        neighbour_paths(TILES.__getitem__, first, count, SIZE)


def test_more_neighbours_than_the_limit_are_refused() -> None:
    with pytest.raises(LimitError):
        neighbour_paths(TILES.__getitem__, 0, NEIGHBOURS_MAX + 1, 1 << 20)
