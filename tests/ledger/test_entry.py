"""Entries have one spelling; every other one is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidError, LimitError
from ledger.entry import (
    ENTRY_BYTES_MAX,
    Entry,
    MalformedEntryError,
    event_id,
    format_entry,
    parse_entry,
)
from ledger.merkle import leaf_hash
from tests.ledger.records import make_entry

FIELD = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=60)
HEX = st.binary(min_size=32, max_size=32).map(bytes.hex)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    index = draw(st.integers(0, 2**63 - 1))
    causes = draw(st.sets(st.integers(0, max(index - 1, 0)), max_size=5)) if index else set()
    return make_entry(
        index,
        origin=draw(FIELD),
        actor=draw(FIELD),
        subject=draw(FIELD),
        causation=tuple(sorted(causes)),
        recorded_at_ns=draw(st.integers(0, 2**63 - 1)),
        payload_size=draw(st.integers(0, 2**63 - 1)),
        payload_sha256=draw(HEX),
        previous=draw(HEX),
    )


@given(entries())
def test_an_entry_survives_its_bytes(entry: Entry) -> None:
    assert parse_entry(format_entry(entry)) == entry


@given(entries(), st.integers(0), st.integers(1, 255))
def test_a_changed_byte_is_another_entry_or_none(entry: Entry, place: int, change: int) -> None:
    data = bytearray(format_entry(entry))
    data[place % len(data)] ^= change
    try:
        parsed = parse_entry(bytes(data))
    except MalformedEntryError:
        return
    # What still parses says something else, and spells it in its one way.
    assert parsed != entry
    assert format_entry(parsed) == bytes(data)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused_or_canonical(data: bytes) -> None:
    try:
        entry = parse_entry(data)
    except MalformedEntryError:
        return
    assert format_entry(entry) == data


GOOD = format_entry(make_entry(7, causation=(1, 5)))

EVIL = {
    "nothing": b"",
    "another version": GOOD.replace(b"entry/v1", b"entry/v2"),
    "no final newline": GOOD[:-1],
    "two final newlines": GOOD + b"\n",
    "carriage return": GOOD.replace(b"\n", b"\r\n", 1),
    "leading zero": GOOD.replace(b"\n7\n", b"\n07\n"),
    "plus sign": GOOD.replace(b"\n7\n", b"\n+7\n"),
    "negative": GOOD.replace(b"\n7\n", b"\n-7\n"),
    "underscore in a number": GOOD.replace(b"\n7\n", b"\n1_0\n"),
    "arabic digits": GOOD.replace(b"\n7\n", "\n٧\n".encode()),
    "index too large": GOOD.replace(b"\n7\n", b"\n9223372036854775808\n"),
    "upper-case hex": GOOD.replace(b"0" * 64, b"0" * 63 + b"A"),
    "short hash": GOOD.replace(b"0" * 64, b"0" * 63),
    "cause is itself": GOOD.replace(b"1,5", b"1,7"),
    "causes descend": GOOD.replace(b"1,5", b"5,1"),
    "cause twice": GOOD.replace(b"1,5", b"5,5"),
    "empty cause": GOOD.replace(b"1,5", b"1,"),
    "space in causes": GOOD.replace(b"1,5", b"1, 5"),
    "empty actor": GOOD.replace(b"\ncli\n", b"\n\n"),
    "control character": GOOD.replace(b"cli", b"c\x07i"),
    "escape character": GOOD.replace(b"cli", b"c\x1bi"),
    "line separator": GOOD.replace(b"cli", "c\u2028i".encode()),
    "not UTF-8": GOOD.replace(b"cli", b"c\xffi"),
    "type without version": GOOD.replace(b"batch.ingested.v1", b"batch.ingested"),
    "type with version 0": GOOD.replace(b"ingested.v1", b"ingested.v0"),
    "too long": GOOD.replace(b"cli", b"c" * ENTRY_BYTES_MAX),
}


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL.keys())
def test_every_other_spelling_is_refused(evil: bytes) -> None:
    assert evil != GOOD
    with pytest.raises(MalformedEntryError):
        parse_entry(evil)


@pytest.mark.parametrize(
    "changes",
    [
        {"actor": ""},
        {"actor": "two\nlines"},
        {"subject": "x" * 257},
        {"event_type": "Batch.Ingested"},
        {"previous": "0" * 63},
        {"index": -1},
        {"recorded_at_ns": 1 << 63},
        {"causation": (0,)},
    ],
)
def test_what_could_not_be_parsed_is_not_written(changes: dict[str, object]) -> None:
    with pytest.raises((InvalidError, LimitError)):
        format_entry(make_entry(**{"index": 0, **changes}))  # type: ignore[arg-type]


def test_the_golden_entry_never_changes() -> None:
    """Entries of version 1 must hash the same for ever."""
    golden = format_entry(make_entry(0))
    assert leaf_hash(golden).hex() == "e83983f7629114fcb7fc2ee0ce01df8f57579e25e5fb0bcac6f3f05ce07e2b4d"
    assert event_id(0, leaf_hash(golden)).hex() == "00000000000084fcb7fc2ee0ce01df8f"
