"""All levels of a tree at once: the same roots and the same right edge as growing it leaf by leaf."""

from __future__ import annotations

import hashlib

import pytest

from ledger.merkle import EMPTY_ROOT, Frontier, root_of
from ledger.tree_levels import TreeLevels


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 33])
def test_every_root_is_that_of_the_tree_grown_to_there(count: int) -> None:
    leaves = [hashlib.sha256(b"%d" % at).digest() for at in range(count)]
    levels = TreeLevels(leaves)
    assert [levels.root(size) for size in range(count + 1)] == [
        root_of(leaves[:size]) for size in range(count + 1)
    ]
    assert levels.root(0) == EMPTY_ROOT
    grown = Frontier()
    grown.extend(leaves)
    assert levels.frontier().to_bytes() == grown.to_bytes()
