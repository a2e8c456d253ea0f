"""Examining a stretch of a ledger: every record against its entry, its body and its neighbours.

A stretch is a *part*: records from ``start`` up to ``stop``, where ``start`` is a multiple of the part's
width, rounded up to a power of two.  Parts can be examined side by side, in processes of their own, because
all that one needs from those before it is put off: what its first entry says stands before it
(``ChainPart.previous``), and the hashes to the left of its own in the tree.  Whoever puts parts together, in
order, compares the first and joins the second (``Frontier.extend_frontier``, ``Frontier.root_with``).

A record *fits* when

- it is stored at its index, under the type its entry names, with the event id that belongs to its entry;
- its entry parses (``ledger.entry.parse_entry``), names this ledger and this index;
- the entry commits to the body, digest and size;
- the entry is chained to the one before.

``link_fault`` says this for one record, slowly and with reasons.  ``_fits`` says it for many at once by
comparing columns of bytes; what it does not accept is looked at again one by one, so it may be too strict,
never too lax.
"""

from __future__ import annotations

import hashlib
from binascii import hexlify

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from domain.errors import TallystickError
from ledger.entry import (
    CAUSATION_MAX,
    ENTRY_BYTES_MAX,
    FIELD_CHARACTERS_MAX,
    FORMAT,
    PREVIOUS_OF_FIRST,
    event_id,
    is_clean_text,
    is_event_type,
    parse_entry,
)
from ledger.merkle import HASH_BYTES, Frontier, leaf_hash
from ledger.ports import Record, RecordColumns
from ledger.tree_levels import TreeLevels

# Leaves that are put into the tree together, a perfect subtree of them.
_ROW_LEAVES = 1 << 13
_LINES = 11
# "<payload digest>\n<previous>\n" at the end of every entry.
_TAIL_BYTES = 130
# How far from the end of an entry its last three lines end: payload size, payload digest, previous.
_LAST_ENDS = np.array((131, 66, 1))
_NEWLINE = 10
_HEX = 64
_TENS = 10 ** np.arange(1, 19, dtype=np.int64)
# A time of 19 digits that begins with 1 to 8 is below 2^63; others are looked at slowly.
_TIME_DIGITS = 19

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]


class PartTask(Struct, frozen=True, kw_only=True):
    """What to examine: the records ``start`` to ``stop`` of the ledger that calls itself ``origin``.

    ``noted_types`` are event types whose indices are wanted; ``root_size`` is a tree size within the part
    whose root is wanted, 0 for none.
    """

    origin: str
    start: int
    stop: int
    noted_types: frozenset[str] = frozenset()
    root_size: int = 0


class PartSeal(Struct, frozen=True, kw_only=True):
    """A seal, and the root over the part's own leaves up to it."""

    index: int
    root: bytes
    note: bytes


class ChainPart(Struct, frozen=True, kw_only=True):
    """What was found: the records ``start`` to ``stop`` fit together, and the next one does not if ``stop``
    is short of what was asked for.

    ``previous`` is what the first entry says stands before it and ``last`` the leaf hash of the last, both in
    hex.  ``frontier`` is the part's own tree (``Frontier.to_bytes``); ``root`` the root over the part's
    leaves up to the ``root_size`` that was asked for.
    """

    start: int
    stop: int
    previous: str
    last: str
    frontier: bytes
    byte_count: int
    seals: tuple[PartSeal, ...]
    noted: tuple[tuple[int, str], ...]
    root: bytes | None
    is_last_sealed: bool


class PartExamination:
    """An examination under way; give it the part's records in order."""

    def __init__(self, task: PartTask) -> None:
        self._task = task
        self._head = f"{FORMAT}\n{task.origin}\n".encode()
        self._size = task.start
        self._previous = self._last = PREVIOUS_OF_FIRST
        self._frontier = Frontier()
        # Leaves that are not in the frontier yet, and the seals among them.
        self._row: list[bytes] = []
        self._notes: list[tuple[int, bytes]] = []
        self._byte_count = 0
        self._seals: list[PartSeal] = []
        self._noted: list[tuple[int, str]] = []
        self._root: bytes | None = None
        self._is_last_sealed = False

    def take(self, columns: RecordColumns) -> bool:
        """Take the next records; false when one of them does not fit, which ends the examination."""
        if not columns.entries:
            return True
        if self._size == self._task.start:
            # At the start of the ledger this is known; elsewhere it is for the caller to compare.
            self._previous = PREVIOUS_OF_FIRST if self._size == 0 else _said_previous(columns.entries[0])
            self._last = self._previous
        sha256 = hashlib.sha256
        leaves = [sha256(b"\0" + entry).digest() for entry in columns.entries]
        count = len(leaves)
        if not _fits(columns, leaves, self._size, self._head, self._last):
            count = self._count_fitting(columns)
        self._add(columns, leaves[:count])
        return count == len(leaves)

    def part(self) -> ChainPart:
        """What was found; this ends the examination."""
        self._fold(len(self._row))
        return ChainPart(
            start=self._task.start,
            stop=self._size,
            previous=self._previous,
            last=self._last,
            frontier=self._frontier.to_bytes(),
            byte_count=self._byte_count,
            seals=tuple(self._seals),
            noted=tuple(self._noted),
            root=self._root,
            is_last_sealed=self._is_last_sealed,
        )

    def _count_fitting(self, columns: RecordColumns) -> int:
        previous = self._last
        for offset, record in enumerate(columns.records()):
            if link_fault(record, self._size + offset, self._task.origin, previous) is not None:
                return offset
            previous = leaf_hash(record.entry).hex()
        return len(columns.entries)

    def _add(self, columns: RecordColumns, leaves: list[bytes]) -> None:
        count, first = len(leaves), self._size
        if not count:
            return
        if count < len(columns.entries):
            columns = columns.until(count)
        self._row += leaves
        self._notes += [(first + offset, seal) for offset, seal in enumerate(columns.seals) if seal]
        wanted = self._task.noted_types
        if not wanted.isdisjoint(columns.event_types):
            types = enumerate(columns.event_types)
            self._noted += [(first + offset, name) for offset, name in types if name in wanted]
        self._byte_count += sum(map(len, columns.entries)) + sum(map(len, columns.payloads))
        self._last = leaves[-1].hex()
        self._is_last_sealed = bool(columns.seals[-1])
        self._size += count
        while len(self._row) >= _ROW_LEAVES:
            self._fold(_ROW_LEAVES)

    def _fold(self, count: int) -> None:
        """Put the first ``count`` leaves that wait into the tree."""
        before, levels = self._frontier, TreeLevels(self._row[:count])
        start = self._task.start + before.size
        waiting = []
        for index, note in self._notes:
            if index < start + count:
                root = before.root_with(levels.root(index + 1 - start))
                self._seals.append(PartSeal(index=index, root=root, note=note))
            else:
                waiting.append((index, note))
        if start < self._task.root_size <= start + count:
            self._root = before.root_with(levels.root(self._task.root_size - start))
        before.extend_frontier(levels.frontier())
        self._notes = waiting
        del self._row[:count]


def link_fault(record: Record, index: int, origin: str, previous: str) -> tuple[str, str] | None:
    """Why ``record`` does not fit at ``index`` after the entry with the leaf hash ``previous`` (hex): which
    check, and a sentence.  None when it fits."""
    if record.index != index:
        return "order", f"found the entry of index {record.index} here"
    try:
        entry = parse_entry(record.entry)
    except TallystickError as error:
        return "entry", str(error)
    if entry.index != index:
        return "order", f"the entry says it is number {entry.index}"
    if entry.origin != origin:
        return "origin", f"belongs to {entry.origin}, not to {origin}"
    if entry.previous != previous:
        return (
            "chain",
            "is not chained to the entry before it: one of the two was changed, removed or put in",
        )
    if entry.payload_sha256 != hashlib.sha256(record.payload).hexdigest():
        return "body", "the body is not the one this entry commits to"
    if entry.payload_size != len(record.payload):
        return "body", f"has {len(record.payload)} bytes, the entry says {entry.payload_size}"
    if entry.event_type != record.event_type:
        return "type", f"stored as {record.event_type}, the entry says {entry.event_type}"
    if record.event_id != event_id(index, leaf_hash(record.entry)):
        return "event id", "is not the one that belongs to this entry"
    return None


def _said_previous(entry: bytes) -> str:
    """The last line of an entry, whatever it is; what is no hash fits nothing."""
    return entry[-_HEX - 1 : -1].decode("ascii", "replace")


def _fits(columns: RecordColumns, leaves: list[bytes], first: int, head: bytes, previous: str) -> bool:
    """Whether all these records fit, the first of them at index ``first``.  A yes is true, a no may
    be wrong."""
    entries, count = columns.entries, len(columns.entries)
    if tuple(columns.indices) != tuple(range(first, first + count)) or len(previous) != _HEX:
        return False
    joined = b"".join(leaves)
    if b"".join(columns.event_ids) != _event_ids(first, joined):
        return False
    # Every entry is long enough for what is compared at its two ends.
    text = b"".join(entries)
    sizes = np.fromiter(map(len, entries), np.int64, count)
    if sizes.min() < len(head) + _TAIL_BYTES or sizes.max() > ENTRY_BYTES_MAX:
        return False
    stops = sizes.cumsum()
    # Digests and chain: the last 130 bytes of every entry.
    sha256 = hashlib.sha256
    digests = b"".join([sha256(payload).digest() for payload in columns.payloads])
    if _pieces(text, stops - _TAIL_BYTES, _HEX).tobytes() != hexlify(digests):
        return False
    if _pieces(text, stops - _HEX - 1, _HEX).tobytes() != previous.encode() + hexlify(joined)[:-_HEX]:
        return False
    # Lines: eleven in each entry and no other control character, so every field is where it is looked for.
    if _pieces(text, stops - sizes, len(head)).tobytes() != head * count or not is_clean_text(text):
        return False
    data = np.frombuffer(text, np.uint8)
    controls = np.flatnonzero(data < 32)
    if controls.size != count * _LINES or not (data[controls] == _NEWLINE).all():
        return False
    ends: Numbers = controls.reshape(count, _LINES)
    return bool((ends[:, -3:] == stops[:, None] - _LAST_ENDS).all()) and _have_fields(
        columns, text, ends, first
    )


def _have_fields(columns: RecordColumns, text: bytes, ends: Numbers, first: int) -> bool:
    """Whether each entry's index, type, time, actor, subject, causes and size are well formed and true.
    ``ends`` has a row for each entry: where its lines end in ``text``."""
    count, data = len(ends), np.frombuffer(text, np.uint8)
    _, _, index, event_type, time, actor, subject, causes, size = ends.T[:9]
    sizes = np.fromiter(map(len, columns.payloads), np.int64, count)
    if not _are_decimals(data, ends.T[1] + 1, index, np.arange(first, first + count)):
        return False
    if not _are_decimals(data, causes + 1, size, sizes):
        return False
    if not (time - event_type == _TIME_DIGITS + 1).all():
        return False
    times = _pieces(text, event_type + 1, _TIME_DIGITS).view(np.uint8)
    if (
        not _is_digits(times)
        or times[::_TIME_DIGITS].min() < ord("1")
        or times[::_TIME_DIGITS].max() > ord("8")
    ):
        return False
    for lengths in (actor - time - 1, subject - actor - 1):
        if lengths.min() < 1 or lengths.max() > FIELD_CHARACTERS_MAX:
            return False
    return _have_types(columns, text, index + 1, event_type) and _have_causes(
        data, subject + 1, causes, first
    )


def _pieces(text: bytes, starts: Numbers, width: int) -> NDArray[np.void]:
    """``width`` bytes of ``text`` from each of ``starts`` on; ten times as fast as slicing."""
    windows: NDArray[np.void] = np.ndarray((len(text) - width + 1,), f"V{width}", text, strides=(1,))
    return windows[starts]


def _are_decimals(data: Bytes, starts: Numbers, stops: Numbers, values: Numbers) -> bool:
    """Whether the text from ``starts`` to ``stops`` is each of ``values`` in decimal, no leading zeros."""
    lengths = stops - starts
    if not (lengths == np.searchsorted(_TENS, values, side="right") + 1).all():
        return False
    longest, shortest = int(lengths.max()), int(lengths.min())
    rest = values
    for place in range(longest):
        above = rest // 10
        wrong = data[stops - 1 - place] != rest - above * 10 + ord("0")
        if (wrong if place < shortest else wrong & (place < lengths)).any():
            return False
        rest = above
    return True


def _have_types(columns: RecordColumns, text: bytes, starts: Numbers, stops: Numbers) -> bool:
    """Whether each entry names the type it is stored under."""
    number_of = {name: number for number, name in enumerate(set(columns.event_types))}
    numbers = np.zeros(len(starts), np.int64)
    if len(number_of) > 1:
        numbers = np.fromiter(map(number_of.__getitem__, columns.event_types), np.int64, len(starts))
    for name, number in number_of.items():
        if not name.isascii() or not is_event_type(name):
            return False
        spelling = name.encode()
        here = np.flatnonzero(numbers == number)
        if not (stops[here] - starts[here] == len(spelling)).all():
            return False
        if _pieces(text, starts[here], len(spelling)).tobytes() != spelling * len(here):
            return False
    return True


def _have_causes(data: Bytes, starts: Numbers, stops: Numbers, first: int) -> bool:
    """Whether each causation line is ``-`` or ascending indices of earlier entries, in decimal."""
    widths = stops - starts + 1  # the newline with it
    lines = np.flatnonzero((widths != 2) | (data[starts] != ord("-")))
    if not lines.size:
        return True
    widths = widths[lines]
    line_stops = widths.cumsum()
    text = data[np.arange(line_stops[-1]) + np.repeat(starts[lines] - line_stops + widths, widths)]
    is_end = (text == ord(",")) | (text == _NEWLINE)
    ends = np.flatnonzero(is_end)
    lengths = np.diff(ends, prepend=-1) - 1
    if lengths.min() < 1 or lengths.max() > _TENS.size or not _is_digits(text[~is_end]):
        return False
    if ((text[ends - lengths] == ord("0")) & (lengths > 1)).any():
        return False
    causes = np.zeros(ends.size, np.int64)
    for place in range(int(lengths.max())):
        digit = text[ends - 1 - place].astype(np.int64) - ord("0")
        causes += np.where(place < lengths, digit, 0) * 10**place
    line_of = np.searchsorted(line_stops, ends, side="right")
    is_same = line_of[1:] == line_of[:-1]
    return bool(
        (causes < first + lines[line_of]).all()
        and (causes[1:] > causes[:-1])[is_same].all()
        and np.bincount(line_of).max() <= CAUSATION_MAX
    )


def _is_digits(text: Bytes) -> bool:
    return bool(text.min() >= ord("0") and text.max() <= ord("9"))


def _event_ids(first: int, leaves: bytes) -> bytes:
    """The event ids of leaf hashes from the index ``first`` on, both joined (``ledger.entry.event_id``)."""
    ids = np.frombuffer(leaves, np.uint8).reshape(-1, HASH_BYTES)[:, :16].copy()
    indices = np.arange(first, first + len(ids), dtype=">i8")
    ids[:, :6] = indices.view(np.uint8).reshape(-1, 8)[:, 2:]
    ids[:, 6] = 0x80 | ids[:, 6] & 0x0F
    ids[:, 8] = 0x80 | ids[:, 8] & 0x3F
    return ids.tobytes()
