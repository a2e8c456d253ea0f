"""The derived index: what it answers is what the records say, written or waiting."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adapters.sqlite_index as module
from adapters.sqlite_index import SQLiteIndex
from ledger.merkle import HASH_BYTES, Frontier, perfect_root


def leaf(index: int) -> bytes:
    return hashlib.sha256(b"%d" % index).digest()


def _hashes(tile: bytes) -> list[bytes]:
    return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]


def advance(index: SQLiteIndex, start: int, stop: int) -> None:
    names = index.filings([(f"name/{at}",) for at in range(start, stop)])
    index.advance(start, [leaf(at) for at in range(start, stop)], names)


def found(index: SQLiteIndex, at: int) -> bool:
    """Whether the entry is found by its name; others may be given with it."""
    return at in index.find_entries([f"name/{at}"], 0, 100)


def grown(size: int) -> Frontier:
    frontier = Frontier()
    frontier.extend(leaf(at) for at in range(size))
    return frontier


@settings(max_examples=25)
@given(steps=st.lists(st.integers(1, 700), min_size=1, max_size=8), is_reopened=st.booleans())
def test_the_frontier_is_that_of_the_leaves_however_they_came(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], is_reopened: bool
) -> None:
    path = tmp_path_factory.mktemp("index") / "i.sqlite"
    index = SQLiteIndex(path)
    size = 0
    for step in steps:
        advance(index, size, size + step)
        size += step
        if is_reopened:
            index.close()
            index = SQLiteIndex(path)
        frontier, last = index.frontier()
        assert frontier.to_bytes() == grown(size).to_bytes()
        assert last == leaf(size - 1).hex()
    index.close()


def test_tiles_are_the_same_while_they_wait_and_once_they_are_written(tmp_path: Path) -> None:
    index = SQLiteIndex(tmp_path / "i.sqlite")
    size = 256 * 300 + 7
    advance(index, 0, size)

    def tiles() -> list[bytes | None]:
        return [
            index.tile_hashes(level, number) for level, number in ((0, 0), (0, 299), (0, 300), (1, 0), (1, 1))
        ]

    waiting = tiles()
    index.flush()
    assert tiles() == waiting
    assert waiting[0] == b"".join(leaf(at) for at in range(256))
    assert waiting[2] == b"".join(leaf(at) for at in range(size - 7, size))
    assert waiting[3] is not None
    assert waiting[3][:HASH_BYTES] == perfect_root([leaf(at) for at in range(256)])
    assert waiting[4] is not None
    assert len(waiting[4]) == 44 * HASH_BYTES
    assert index.tile_hashes(0, 301) is None
    assert index.tile_hashes(2, 0) == perfect_root(_hashes(waiting[3]))
    assert index.tile_hashes(3, 0) is None
    index.close()


def test_entries_are_found_while_a_thread_writes_them(tmp_path: Path) -> None:
    index = SQLiteIndex(tmp_path / "i.sqlite")
    step = module.BUFFERED_ENTRIES_MAX // 2
    for start in range(0, 8 * step, step):
        advance(index, start, start + step)
        assert all(found(index, at) for at in range(0, start + step, 9_973))
    index.close()


def test_entries_seen_before_change_nothing(tmp_path: Path) -> None:
    index = SQLiteIndex(tmp_path / "i.sqlite")
    advance(index, 0, 300)
    advance(index, 200, 310)
    advance(index, 0, 5)
    assert index.frontier()[0].to_bytes() == grown(310).to_bytes()
    index.close()


def test_what_could_not_be_written_is_still_known_and_is_written_later(tmp_path: Path) -> None:
    path = tmp_path / "i.sqlite"
    index = SQLiteIndex(path)
    advance(index, 0, 600)
    breaker = sqlite3.connect(path, isolation_level=None)
    breaker.execute("CREATE TRIGGER no BEFORE INSERT ON tiles BEGIN SELECT RAISE(ABORT, 'full'); END")
    with pytest.raises(sqlite3.DatabaseError):
        index.flush()
    advance(index, 600, 610)
    assert found(index, 3)
    assert index.tile_hashes(0, 0) == b"".join(leaf(at) for at in range(256))
    breaker.execute("DROP TRIGGER no")
    breaker.close()
    index.close()
    index = SQLiteIndex(path)
    assert found(index, 3)
    assert found(index, 605)
    assert index.frontier()[0].to_bytes() == grown(610).to_bytes()
    index.close()


def test_a_full_disk_does_not_fail_an_append_that_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "i.sqlite"
    index = SQLiteIndex(path)
    breaker = sqlite3.connect(path, isolation_level=None)
    breaker.execute("CREATE TRIGGER no BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'full'); END")
    step = module.BUFFERED_ENTRIES_MAX
    for start in range(0, 4 * step, step):
        advance(index, start, start + step)
    assert found(index, 4 * step - 1)
    breaker.execute("DROP TRIGGER no")
    breaker.close()
    index.close()


def test_a_damaged_file_is_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "i.sqlite"
    path.write_bytes(b"this is no database" * 1_000)
    index = SQLiteIndex(path)
    assert index.frontier()[0].size == 0
    advance(index, 0, 3)
    index.reset()
    assert index.frontier()[0].size == 0
    assert index.find_entries(["name/1"], 0, 10) == []
    index.close()
