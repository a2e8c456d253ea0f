"""Postings: which entries are filed under what, as lists of indices in the derived index.

A list is cut into blocks of 256 indices, as tiles are, and a row holds what of one block is filed under one
topic: a byte for each entry, its place in the block.  So something that every entry has costs a row for 256
entries, and something rare one row each.  A topic is kept as the first 64 bits of its SHA-256.  Two topics
could share those; whoever asks looks at the entries he gets.

Several processes may keep the same file.  What each adds begins where the file says that postings end, so
that nothing is added twice.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from ledger.mentions import mentions_of, of_subject, of_type
from ledger.ports import Record

BLOCK_WIDTH = 256
# Topics asked for at once: a type, a subject, and things that entries are about.
TOPICS_MAX = 8
ROWS_TOGETHER = 256
# Topics between two pauses of the thread that writes, some 100 microseconds of work.
TOPICS_PER_TURN = 64
TURN_PAUSE_SECONDS = 0.0001
_SUBJECT_LINE = 6

POSTINGS_SCHEMA = """
CREATE TABLE IF NOT EXISTS postings (
    topic INTEGER NOT NULL, block INTEGER NOT NULL, places BLOB NOT NULL, PRIMARY KEY (topic, block)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS posted (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL);
"""
FORGET_POSTINGS = "DELETE FROM postings; DELETE FROM posted;"


Filing = tuple[str, bytes | None, tuple[str, ...]]
"""What an entry is filed under: its type, its subject (None where it cannot be read), what its body names."""


def filings_of(records: Iterable[Record]) -> list[Filing]:
    """What these records are filed under.  It is stored by now: an entry that cannot be read is the audit's
    business and fails nobody here."""
    found: list[Filing] = []
    for record in records:
        lines = record.entry.split(b"\n", _SUBJECT_LINE + 1)
        subject = lines[_SUBJECT_LINE] if len(lines) > _SUBJECT_LINE else None
        found.append((record.event_type, subject, mentions_of(record)))
    return found


class Postings:
    """Postings in memory, of entries from ``start`` on."""

    def __init__(self, start: int) -> None:
        self.start = start
        self._types: dict[str, list[int]] = {}
        self._subjects: dict[bytes, list[int]] = {}
        self._about: dict[str, list[int]] = {}

    def take(self, first: int, filings: Iterable[Filing]) -> None:
        """File the entries from ``first`` on."""
        for index, (event_type, subject, about) in enumerate(filings, first):
            self._types.setdefault(event_type, []).append(index)
            if subject is not None:
                self._subjects.setdefault(subject, []).append(index)
            for topic in about:
                self._about.setdefault(topic, []).append(index)

    def joined(self, later: Postings) -> Postings:
        """These and what came after them."""
        both = Postings(self.start)
        for one in (self, later):
            for mine, theirs in ((both._types, one._types), (both._about, one._about)):
                for topic, indices in theirs.items():
                    mine.setdefault(topic, []).extend(indices)
            for subject, indices in one._subjects.items():
                both._subjects.setdefault(subject, []).extend(indices)
        return both

    def filed(self, topic: str) -> Sequence[int]:
        """Indices under ``topic``, ascending."""
        kind, _, name = topic.partition(":")
        match kind:
            case "type":
                return self._types.get(name, ())
            case "subject":
                return self._subjects.get(name.encode(), ())
            case _:
                return self._about.get(topic, ())

    def rows(self, first: int) -> list[tuple[int, int, bytes]]:
        """What is to be added to a table that ends before the entry ``first``, in the order of its key."""
        found: list[tuple[int, int, bytes]] = []
        for number, (topic, indices) in enumerate(self._all()):
            if number % TOPICS_PER_TURN == 0:
                # Long and in Python: without a pause, whoever else wants the interpreter waits for its turn.
                time.sleep(TURN_PAUSE_SECONDS)
            key = topic_key(topic)
            if len(indices) == 1:
                index = indices[0]
                if index >= first:
                    found.append((key, index // BLOCK_WIDTH, bytes((index % BLOCK_WIDTH,))))
                continue
            start = bisect_left(indices, first)
            while start < len(indices):
                block = indices[start] // BLOCK_WIDTH
                end = bisect_left(indices, (block + 1) * BLOCK_WIDTH, start)
                found.append((key, block, bytes([index % BLOCK_WIDTH for index in indices[start:end]])))
                start = end
        found.sort()
        return found

    def _all(self) -> Iterator[tuple[str, list[int]]]:
        for event_type, indices in self._types.items():
            yield of_type(event_type), indices
        for subject, indices in self._subjects.items():
            yield of_subject(subject.decode("utf-8", "replace")), indices
        yield from self._about.items()


def topic_key(topic: str) -> int:
    """How a topic is kept: the first 64 bits of its SHA-256, as a signed number."""
    return int.from_bytes(hashlib.sha256(topic.encode()).digest()[:8], "big", signed=True)


def write_postings(db: sqlite3.Connection, postings: Postings, size: int) -> None:
    """Add postings up to ``size`` to the table; the caller holds the write lock."""
    posted = db.execute("SELECT size FROM posted").fetchone()
    rows = postings.rows(posted[0] if posted else 0)
    db.execute(
        "INSERT INTO posted VALUES (1, ?) ON CONFLICT DO UPDATE SET size = max(size, excluded.size)", (size,)
    )
    for start in range(0, len(rows), ROWS_TOGETHER):
        some = rows[start : start + ROWS_TOGETHER]
        marks = ",".join(["(?, ?, ?)"] * len(some))
        db.execute(
            f"INSERT INTO postings VALUES {marks} ON CONFLICT (topic, block)"
            " DO UPDATE SET places = CAST(places || excluded.places AS BLOB)",
            [value for row in some for value in row],
        )


def stored_postings(db: sqlite3.Connection, topics: Sequence[str], start: int, below: int) -> Iterator[int]:
    """Indices in the table filed under all of ``topics``, from ``start`` to ``below``, ascending."""
    joins = "".join(
        f" JOIN postings p{number} ON p{number}.topic = ? AND p{number}.block = p0.block"
        for number in range(1, len(topics))
    )
    columns = ", ".join(f"p{number}.places" for number in range(len(topics)))
    rows = db.execute(
        f"SELECT p0.block, {columns} FROM postings p0{joins}"
        " WHERE p0.topic = ? AND p0.block >= ? AND p0.block <= ? ORDER BY p0.block",
        (
            *map(topic_key, topics[1:]),
            topic_key(topics[0]),
            start // BLOCK_WIDTH,
            below // BLOCK_WIDTH,
        ),
    )
    for block, first, *others in rows:
        base = block * BLOCK_WIDTH
        for place in first:
            if start <= base + place < below and all(place in other for other in others):
                yield base + place
