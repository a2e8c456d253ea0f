"""Entries: the header bytes that are hashed, chained and proven.

An entry is eleven lines of UTF-8, each ended by a line feed::

    tallystick/entry/v1
    <origin>            the ledger's name, as in its checkpoints
    <index>             decimal, no leading zeros; position in the ledger, leaf index and stream revision
    <event type>        for example run.started.v1
    <recorded at>       decimal Unix nanoseconds
    <actor>             who asked: cli, worker, api:<key id>
    <subject>           kind/id of what it is about
    <causation>         indices of earlier entries, ascending, joined by "," - or "-" for none
    <payload size>      decimal count of body bytes
    <payload digest>    SHA-256 of the body, 64 lower-case hex digits
    <previous>          leaf hash of the entry before, 64 lower-case hex digits; 64 zeros at index 0

No field is empty or holds a control character, so nothing can be moved between fields.  The leaf hash is
SHA-256(0x00 || entry) (RFC 6962 §2.1).  The event id is not in the entry, it follows from it: the index in 48
bits, then bytes 6 to 15 of the leaf hash, with the version and variant bits of a UUID of version 8 (RFC 9562
§5.8).  That makes a retried append idempotent, and ids that ascend cost a store's unique index next to
nothing.  The store's own positions are never hashed.
"""

from __future__ import annotations

import re
from itertools import pairwise

from msgspec import Struct

from domain.errors import InvalidError, LimitError, MalformedError

FORMAT = "tallystick/entry/v1"
ENTRY_BYTES_MAX = 65_535  # an entry bundle prefixes each entry with a 16-bit length (tlog-tiles)
CAUSATION_MAX = 1_024
FIELD_CHARACTERS_MAX = 256
PREVIOUS_OF_FIRST = "0" * 64

# The version, 8, in the high half of byte 6, and the variant, 10, in the highest bits of byte 8.
_ID_SET = 0x8 << 76 | 0b10 << 62
_ID_KEEP = (1 << 80) - 1 ^ (0xF << 76 | 0b11 << 62)
_ID_INDEX = (1 << 48) - 1

# What a field may not hold: C0 and C1 controls, and line separators that some tools treat as line ends.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_FORBIDDEN_ABOVE = re.compile("[\x7f-\x9f\u2028\u2029]")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_HEX = re.compile(r"[0-9a-f]{64}")
_TYPE = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+\.v[1-9][0-9]*")


class MalformedEntryError(MalformedError):
    """Bytes that are not an entry in its one spelling."""


class Entry(Struct, frozen=True, kw_only=True):
    """A parsed entry; see the module docstring for the fields."""

    origin: str
    index: int
    event_type: str
    recorded_at_ns: int
    actor: str
    subject: str
    causation: tuple[int, ...]
    payload_size: int
    payload_sha256: str
    previous: str


def format_entry(entry: Entry) -> bytes:
    """The canonical bytes of ``entry``.  Raises: InvalidError, LimitError."""
    for field in ("origin", "actor", "subject"):
        check_field(getattr(entry, field), field)
    if not _TYPE.fullmatch(entry.event_type):
        raise InvalidError(
            "not an event type", field="event_type", expected="words.with_dots.v1", actual=entry.event_type
        )
    for field in ("payload_sha256", "previous"):
        if not _HEX.fullmatch(getattr(entry, field)):
            raise InvalidError("not a SHA-256 in hex", field=field, actual=getattr(entry, field))
    for field in ("index", "recorded_at_ns", "payload_size"):
        if not 0 <= getattr(entry, field) < 1 << 63:
            raise InvalidError(
                "not a count", field=field, expected="0 to 2^63-1", actual=str(getattr(entry, field))
            )
    _check_causation(entry.causation, entry.index)
    return entry_bytes(
        entry_head(entry.origin),
        entry.index,
        entry.event_type,
        entry.recorded_at_ns,
        entry.actor,
        entry.subject,
        format_causation(entry.causation),
        entry.payload_size,
        entry.payload_sha256,
        entry.previous,
    )


def entry_head(origin: str) -> str:
    """The first two lines of every entry of a ledger."""
    return f"{FORMAT}\n{origin}\n"


def entry_bytes(
    head: str,
    index: int,
    event_type: str,
    recorded_at_ns: int,
    actor: str,
    subject: str,
    causation: str,
    payload_size: int,
    payload_sha256: str,
    previous: str,
) -> bytes:
    """Join checked values; the writer's hot path.  Raises: LimitError."""
    data = (
        f"{head}{index}\n{event_type}\n{recorded_at_ns}\n{actor}\n{subject}\n{causation}\n"
        f"{payload_size}\n{payload_sha256}\n{previous}\n"
    ).encode()
    if len(data) > ENTRY_BYTES_MAX:
        raise LimitError("entry too long", expected=f"<= {ENTRY_BYTES_MAX} bytes", actual=str(len(data)))
    return data


def parse_entry(data: bytes) -> Entry:
    """Read an entry, refusing every other spelling.  Raises: MalformedEntryError."""
    if len(data) > ENTRY_BYTES_MAX:
        raise MalformedEntryError(
            "entry too long", expected=f"<= {ENTRY_BYTES_MAX} bytes", actual=str(len(data))
        )
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise MalformedEntryError("entry is not UTF-8", actual=str(error)) from error
    if len(lines) != 12 or lines[11]:
        raise MalformedEntryError("an entry has eleven lines", actual=f"{len(lines) - 1} lines")
    if lines[0] != FORMAT:
        raise MalformedEntryError(
            "not an entry of this version", field="format", expected=FORMAT, actual=lines[0][:40]
        )
    if not _TYPE.fullmatch(lines[3]):
        raise MalformedEntryError("not an event type", field="event type", actual=lines[3][:80])
    for field, line in (("payload digest", lines[9]), ("previous", lines[10])):
        if not _HEX.fullmatch(line):
            raise MalformedEntryError("not a SHA-256 in hex", field=field, actual=line[:80])
    try:
        for field, line in (("origin", lines[1]), ("actor", lines[5]), ("subject", lines[6])):
            check_field(line, field)
        index = _decimal(lines[2], "index")
        causation = (
            () if lines[7] == "-" else tuple(_decimal(part, "causation") for part in lines[7].split(","))
        )
        _check_causation(causation, index)
    except (InvalidError, LimitError) as error:
        raise MalformedEntryError(
            error.what, field=error.field, expected=error.expected, actual=error.actual
        ) from error
    return Entry(
        origin=lines[1],
        index=index,
        event_type=lines[3],
        recorded_at_ns=_decimal(lines[4], "recorded at"),
        actor=lines[5],
        subject=lines[6],
        causation=causation,
        payload_size=_decimal(lines[8], "payload size"),
        payload_sha256=lines[9],
        previous=lines[10],
    )


def event_id(index: int, leaf_hash: bytes) -> bytes:
    """The 16 bytes of the event id that belongs to the entry at ``index`` with this leaf hash: a UUID of
    version 8, variant 10, whose first 48 bits are the index."""
    tail = int.from_bytes(leaf_hash[6:16], "big") & _ID_KEEP | _ID_SET
    return ((index & _ID_INDEX) << 80 | tail).to_bytes(16, "big")


def format_causation(causation: tuple[int, ...]) -> str:
    """The causation line."""
    return ",".join(map(str, causation)) if causation else "-"


def is_event_type(name: str) -> bool:
    """Whether an event may have this type."""
    return _TYPE.fullmatch(name) is not None


def is_clean_text(lines: bytes) -> bool:
    """Whether these lines are UTF-8 and hold nothing that a field may not; controls below 0x20 are for the
    caller to look for, who knows which newlines are ends of lines."""
    if lines.isascii():
        return b"\x7f" not in lines
    try:
        return _FORBIDDEN_ABOVE.search(lines.decode()) is None
    except UnicodeDecodeError:
        return False


def check_field(text: str, field: str) -> str:
    """Return ``text`` if it may stand on a line of an entry.  Raises: InvalidError."""
    if text.isascii() and text.isprintable() and 0 < len(text) <= FIELD_CHARACTERS_MAX:
        return text  # nearly always; the search costs several times as much
    if not text or len(text) > FIELD_CHARACTERS_MAX or _FORBIDDEN.search(text):
        raise InvalidError(
            "not a one-line field",
            field=field,
            expected=f"1 to {FIELD_CHARACTERS_MAX} characters without control characters",
            actual=repr(text)[:80],
        )
    return text


def _check_causation(causation: tuple[int, ...], index: int) -> None:
    if len(causation) > CAUSATION_MAX:
        raise LimitError(
            "too many causes", field="causation", expected=f"<= {CAUSATION_MAX}", actual=str(len(causation))
        )
    if causation and (causation[-1] >= index or any(a >= b for a, b in pairwise(causation))):
        raise InvalidError(
            "causes are earlier entries, ascending",
            field="causation",
            actual=format_causation(causation)[:80],
        )


def _decimal(text: str, field: str) -> int:
    if not _DECIMAL.fullmatch(text) or (number := int(text)) >= 1 << 63:
        raise MalformedEntryError("not a decimal count", field=field, actual=text[:40])
    return number
