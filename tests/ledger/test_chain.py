"""Examining records: what the bulk comparison accepts, the slow one accepts; and parts join to the whole."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import ledger.chain as module
from ledger.chain import PartExamination, PartTask, link_fault
from ledger.entry import PREVIOUS_OF_FIRST, Entry, event_id, format_entry
from ledger.merkle import Frontier, leaf_hash, root_of
from ledger.ports import Record, RecordColumns

ORIGIN = "tests.local/records"
TYPES = ("batch.ingested.v1", "run.gates_decided.v1", "receipt.issued.v12")


def chained(
    fields: Sequence[dict[str, object]], *, start: int = 0, previous: str = PREVIOUS_OF_FIRST
) -> list[Record]:
    """Records that fit, with these fields of their entries; ``payload`` among them is the body."""
    records = []
    for offset, given_fields in enumerate(fields):
        payload = given_fields.get("payload", b"{}")
        assert isinstance(payload, bytes)
        values: dict[str, object] = {
            "origin": ORIGIN,
            "index": start + offset,
            "event_type": TYPES[0],
            "recorded_at_ns": 1_780_000_000_000_000_000 + offset,
            "actor": "cli",
            "subject": f"batch/b{offset}",
            "causation": (),
            **{name: value for name, value in given_fields.items() if name != "payload"},
            "payload_size": len(payload),
            "payload_sha256": hashlib.sha256(payload).hexdigest(),
            "previous": previous,
        }
        entry = Entry(**values)  # type: ignore[arg-type]
        data = format_entry(entry)
        leaf = leaf_hash(data)
        previous = leaf.hex()
        records.append(
            Record(
                index=start + offset,
                event_id=event_id(start + offset, leaf),
                event_type=entry.event_type,
                entry=data,
                payload=payload,
                seal=b"seal" if offset % 5 == 4 else b"",
            )
        )
    return records


def faults(records: Sequence[Record], start: int, previous: str = PREVIOUS_OF_FIRST) -> list[bool]:
    """For each record, whether the slow comparison refuses it after those before it."""
    found = []
    for offset, record in enumerate(records):
        found.append(link_fault(record, start + offset, ORIGIN, previous) is not None)
        previous = leaf_hash(record.entry).hex()
    return found


def fits(records: Sequence[Record], start: int = 0, previous: str = PREVIOUS_OF_FIRST) -> bool:
    """What the bulk comparison says."""
    columns = RecordColumns.of(records)
    leaves = [leaf_hash(record.entry) for record in records]
    head = f"tallystick/entry/v1\n{ORIGIN}\n".encode()
    return module._fits(columns, leaves, start, head, previous)


def examined(records: Sequence[Record], start: int = 0) -> PartExamination:
    examination = PartExamination(PartTask(origin=ORIGIN, start=start, stop=start + len(records)))
    examination.take(RecordColumns.of(records))
    return examination


texts = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\u2028\u2029\x7f"),
    min_size=1,
    max_size=30,
)
entries = st.fixed_dictionaries(
    {},
    optional={
        "event_type": st.sampled_from(TYPES),
        "recorded_at_ns": st.integers(0, 2**63 - 1),
        "actor": texts,
        "subject": texts,
        "payload": st.binary(max_size=300),
    },
)


@given(
    fields=st.lists(entries, min_size=1, max_size=12), start=st.sampled_from([0, 8, 95, 999_998, 10**9 - 3])
)
def test_whatever_can_be_written_is_accepted(fields: list[dict[str, object]], start: int) -> None:
    records = chained(fields, start=start)
    assert examined(records, start).part().stop == start + len(records)


def test_ordinary_records_are_accepted_in_bulk() -> None:
    fields: list[dict[str, object]] = [
        {"event_type": TYPES[at % 3], "payload": bytes(at), "causation": (0, at // 2) if at > 3 else ()}
        for at in range(60)
    ]
    records = chained(fields)
    assert fits(records)
    assert not any(faults(records, 0))


@given(
    fields=st.lists(entries, min_size=2, max_size=8),
    place=st.integers(0, 7),
    what=st.sampled_from(
        ["entry", "payload", "event_id", "event_type", "index", "swap", "drop", "cut", "lines"]
    ),
    at=st.integers(0, 400),
    bit=st.integers(0, 7),
)
def test_the_first_record_that_does_not_fit_is_found_and_no_other(
    fields: list[dict[str, object]], place: int, what: str, at: int, bit: int
) -> None:
    records = chained(fields)
    place %= len(records)
    record = records[place]

    def flipped(data: bytes) -> bytes:
        if not data:
            return b"\1"
        changed = bytearray(data)
        changed[at % len(data)] ^= 1 << bit
        return bytes(changed)

    match what:
        case "entry":
            records[place] = replace(record, entry=flipped(record.entry))
        case "payload":
            records[place] = replace(record, payload=flipped(record.payload))
        case "event_id":
            records[place] = replace(record, event_id=flipped(record.event_id))
        case "event_type":
            records[place] = replace(record, event_type=record.event_type + "0")
        case "index":
            records[place] = replace(record, index=record.index + 1)
        case "swap":
            other = (place + 1) % len(records)
            records[place], records[other] = records[other], records[place]
        case "drop":
            del records[place]
        case "cut":
            records[place] = replace(record, entry=record.entry[: at % len(record.entry)])
        case _:
            records[place] = replace(record, entry=record.entry.replace(b"\n", b"\n\n", 1))
    refused = faults(records, 0)
    first = refused.index(True) if True in refused else len(records)
    assert examined(records).part().stop == first
    if fits(records):
        assert first == len(records)


HOSTILE = (
    ("recorded_at_ns", "01780000000000000000"),
    ("recorded_at_ns", "9999999999999999999"),
    ("recorded_at_ns", "178000000000000000x"),
    ("recorded_at_ns", "0780000000000000000"),
    ("index", "03"),
    ("index", "x"),
    ("payload_size", "02"),
    ("payload_size", "3"),
    ("payload_size", ""),
    ("actor", ""),
    ("actor", "a" * 257),
    ("actor", "a\x7fb"),
    ("actor", "a\x85b"),
    ("subject", "a\tb"),
    ("subject", "a\u2028b"),
    ("causation", ""),
    ("causation", "3"),
    ("causation", "4"),
    ("causation", "-1"),
    ("causation", "--"),
    ("causation", "01"),
    ("causation", "1,1"),
    ("causation", "2,1"),
    ("causation", "1,"),
    ("causation", ",1"),
    ("causation", "1,,2"),
    ("causation", "1 "),
    ("causation", "+1"),
    ("causation", "1_0"),
    ("causation", "99999999999999999999999"),
    ("causation", ",".join(["0"] * 1_025)),
    ("event_type", "Batch.ingested.v1"),
    ("event_type", "batch.ingested.v0"),
    ("event_type", "batch"),
)
_LINES = (
    "format",
    "origin",
    "index",
    "event_type",
    "recorded_at_ns",
    "actor",
    "subject",
    "causation",
    "payload_size",
)


@pytest.mark.parametrize(("field", "value"), HOSTILE)
def test_an_entry_that_its_own_writer_spelled_wrongly_is_found(field: str, value: str) -> None:
    """Digest, chain and event ids all fit: only the parser refuses it."""
    records = chained([{} for _ in range(3)])
    lines = chained([{} for _ in range(4)])[3].entry.decode().split("\n")
    lines[_LINES.index(field)] = value
    data = "\n".join(lines).encode()
    leaf = leaf_hash(data)
    event_type = value if field == "event_type" else TYPES[0]
    wrong = Record(index=3, event_id=event_id(3, leaf), event_type=event_type, entry=data, payload=b"{}")
    after = chained([{}], start=4, previous=leaf.hex())
    assert not fits([*records, wrong, *after])
    assert examined([*records, wrong, *after]).part().stop == 3


def test_entries_whose_ends_are_shifted_do_not_pass_for_others() -> None:
    """The same bytes, cut at another place: together they have the right lines, each alone has not."""
    one, two = chained([{}, {}])
    whole = one.entry + two.entry
    for cut in range(1, len(whole)):
        parts = whole[:cut], whole[cut:]
        leaves = [leaf_hash(part) for part in parts]
        records = [
            replace(record, entry=part, event_id=event_id(record.index, leaf))
            for record, part, leaf in zip((one, two), parts, leaves, strict=True)
        ]
        assert fits(records) == (cut == len(one.entry))


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6), asked=st.integers(1, 200))
def test_parts_join_to_the_tree_of_the_whole(sizes: list[int], asked: int) -> None:
    width = 32
    counts = [width if at < len(sizes) - 1 else min(size, width) for at, size in enumerate(sizes)]
    records = chained([{} for _ in range(sum(counts))])
    leaves = [leaf_hash(record.entry) for record in records]
    whole, start, previous = Frontier(), 0, PREVIOUS_OF_FIRST
    for count in counts:
        task = PartTask(
            origin=ORIGIN,
            start=start,
            stop=start + count,
            noted_types=frozenset(TYPES),
            root_size=asked if start < asked <= start + count else 0,
        )
        examination = PartExamination(task)
        for at in range(start, start + count, 7):
            assert examination.take(RecordColumns.of(records[at : min(at + 7, start + count)]))
        part = examination.part()
        assert part.stop == start + count
        assert part.previous == (previous if count else PREVIOUS_OF_FIRST)
        for seal in part.seals:
            assert whole.root_with(seal.root) == root_of(leaves[: seal.index + 1])
        assert (part.root is not None) == bool(task.root_size)
        if part.root is not None:
            assert whole.root_with(part.root) == root_of(leaves[:asked])
        assert [index for index, _ in part.noted] == list(range(start, start + count))
        whole.extend_frontier(Frontier.from_bytes(part.frontier))
        assert whole.root() == root_of(leaves[: start + count])
        start += count
        previous = part.last
