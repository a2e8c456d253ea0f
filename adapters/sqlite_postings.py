"""Postings: which entries are filed under what, as sorted runs of numbers in the derived index.

A posting is one 64-bit number: 31 bits of the CRC-32 of a topic, then the entry's place in its run.  A run
holds the postings of some entries that follow one another, sorted, in rows of 400.  Runs are only ever
written at the end; a run that is not smaller than the one before it is joined with it (up to
``RUN_ENTRIES_MAX``), so there are few, and nothing is written in small pieces all over the file, however many
topics there are.  Looking a topic up reads a row or two of every run.

Two topics can share a CRC: whoever asks looks at the entries he gets.  That is not often the case (1 in 36
lookups gets one entry too many where 10 million entries are filed under six topics each), and cannot be made
more often cheaply, since the names of things that come from outside are SHA-256 digests.

Several processes may keep the same file.  What each adds begins where the file says that postings end, so
that nothing is added twice.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from zlib import crc32

import numpy as np
import numpy.typing as npt

# Topics asked for at once: a type, a subject, and things that entries are about.
TOPICS_MAX = 8
# Entries in one run; joining such runs holds some 50 MB.
RUN_ENTRIES_MAX = 1 << 18
# A row fills most of a page.
KEYS_PER_ROW = 400
ROWS_TOGETHER = 256
# Postings in memory that are looked through one by one, before they are sorted.
UNSORTED_KEYS_MAX = 8_192
_PLACE_BITS = 32
_PLACE_MASK = (1 << _PLACE_BITS) - 1
_CRC_MASK = 0x7FFFFFFF

POSTINGS_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (start INTEGER PRIMARY KEY, stop INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS postings (
    run INTEGER NOT NULL, first INTEGER NOT NULL, keys BLOB NOT NULL, PRIMARY KEY (run, first)
);
"""
FORGET_POSTINGS = "DELETE FROM postings; DELETE FROM runs;"

_Keys = npt.NDArray[np.int64]


def topic_key(topic: str) -> int:
    """The upper half of a topic's postings."""
    return crc32(topic.encode()) & _CRC_MASK


def postings_of(topics: Sequence[Sequence[str]]) -> _Keys:
    """The postings of some entries, each under its topics; places are counted from the first of them."""
    keys = array("q")
    add, mask = keys.append, _CRC_MASK
    for place, some in enumerate(topics):
        for topic in some:
            add((crc32(topic.encode()) & mask) << _PLACE_BITS | place)
    return np.frombuffer(keys, np.int64)


def postings_from(keys: _Keys, first: int) -> _Keys:
    """Those of the entries from place ``first`` on, with places from there on."""
    return keys[(keys & _PLACE_MASK) >= first] - first


class Postings:
    """Postings in memory, of entries from ``start`` on, as they came."""

    def __init__(self, start: int) -> None:
        self.start = start
        self._count = 0
        self._keys = array("q")
        self._sorted: _Keys = np.empty(0, np.int64)
        """The first of ``_keys``, sorted when somebody looked for something."""

    @property
    def stop(self) -> int:
        """The index after that of the last entry."""
        return self.start + self._count

    def take(self, keys: _Keys, count: int) -> None:
        """File the next ``count`` entries, by their postings."""
        self._keys.frombytes((keys + self._count).tobytes())
        self._count += count

    def joined(self, later: Postings) -> Postings:
        """These and what came after them."""
        both = Postings(self.start)
        both._keys.extend(self._keys)
        both._count = later.start - self.start
        both.take(np.array(later._keys, np.int64), later._count)
        return both

    def filed(self, topics: Sequence[str]) -> list[int]:
        """Entries that are filed under all of ``topics``, ascending."""
        tail = np.array(self._keys[len(self._sorted) :], np.int64)
        if len(tail) > UNSORTED_KEYS_MAX:
            self._sorted, tail = np.concatenate((self._sorted, tail)), tail[:0]
            self._sorted.sort(kind="stable")
        found = _all_of(self._places(topic_key(topic), tail) for topic in topics)
        return [self.start + int(place) for place in found]

    def _places(self, key: int, tail: _Keys) -> _Keys:
        both = np.concatenate((_between(self._sorted, key), tail[tail >> _PLACE_BITS == key]))
        return np.unique(both & _PLACE_MASK)

    def sorted_from(self, first: int) -> _Keys:
        """The postings of the entries from ``first`` on, sorted, with places from there on."""
        keys = np.array(self._keys, np.int64)
        return np.unique(postings_from(keys, first - self.start) if first > self.start else keys)


def write_postings(db: sqlite3.Connection, postings: Postings) -> None:
    """Add postings to the table; the caller holds the write lock."""
    runs = db.execute("SELECT start, stop FROM runs ORDER BY start").fetchall()
    start, stop = max(runs[-1][1] if runs else 0, postings.start), postings.stop
    if start >= stop:
        return
    parts = [postings.sorted_from(start)]
    while runs and runs[-1][1] == start:
        before, _ = runs.pop()
        if start - before > stop - start or stop - before > RUN_ENTRIES_MAX:
            break
        parts = [_run(db, before), *(part + (start - before) for part in parts)]
        db.execute("DELETE FROM postings WHERE run = ?", (before,))
        db.execute("DELETE FROM runs WHERE start = ?", (before,))
        start = before
    keys = np.concatenate(parts)
    # Runs that follow one another: nearly sorted, and without the interpreter.
    keys.sort(kind="stable")
    rows = [
        (start, int(keys[at]), keys[at : at + KEYS_PER_ROW].tobytes())
        for at in range(0, len(keys), KEYS_PER_ROW)
    ]
    db.execute("INSERT INTO runs VALUES (?, ?)", (start, stop))
    for at in range(0, len(rows), ROWS_TOGETHER):
        some = rows[at : at + ROWS_TOGETHER]
        marks = ",".join(["(?, ?, ?)"] * len(some))
        db.execute(f"INSERT INTO postings VALUES {marks}", [value for row in some for value in row])


def stored_postings(db: sqlite3.Connection, topics: Sequence[str], start: int, below: int) -> Iterator[int]:
    """Indices in the table filed under all of ``topics``, from ``start`` to ``below``, ascending; the caller
    holds a read transaction."""
    keys = [topic_key(topic) for topic in topics]
    runs = db.execute(
        "SELECT start FROM runs WHERE stop > ? AND start < ? ORDER BY start", (start, below)
    ).fetchall()
    for (run,) in runs:
        for place in _all_of(_places(db, run, key) for key in keys):
            if start <= run + place < below:
                yield run + int(place)


def _all_of(found: Iterator[_Keys]) -> _Keys:
    """What is in all of these, each sorted and without doubles; no more are looked at once nothing is."""
    left = next(found)
    while left.size and (more := next(found, None)) is not None:
        left = np.intersect1d(left, more, assume_unique=True)
    return left


def _places(db: sqlite3.Connection, run: int, key: int) -> _Keys:
    """Places in a run of entries filed under a topic."""
    low, high = key << _PLACE_BITS, (key + 1) << _PLACE_BITS
    rows = db.execute(
        "SELECT keys FROM postings WHERE run = ?1 AND first < ?3 AND first >= coalesce("
        " (SELECT max(first) FROM postings WHERE run = ?1 AND first <= ?2), ?2) ORDER BY first",
        (run, low, high),
    )
    return _between(np.frombuffer(b"".join([row[0] for row in rows]), np.int64), key) & _PLACE_MASK


def _between(keys: _Keys, key: int) -> _Keys:
    """Those of sorted postings that are filed under a topic."""
    return keys[np.searchsorted(keys, key << _PLACE_BITS) : np.searchsorted(keys, (key + 1) << _PLACE_BITS)]


def _run(db: sqlite3.Connection, run: int) -> _Keys:
    rows = db.execute("SELECT keys FROM postings WHERE run = ? ORDER BY first", (run,))
    return np.frombuffer(b"".join([row[0] for row in rows]), np.int64)
