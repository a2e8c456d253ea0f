"""Postings: every entry is found under its type, its subject and what its body names, wherever it waits."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import adapters.sqlite_postings as module
from adapters.sqlite_index import SQLiteIndex
from adapters.sqlite_postings import TOPICS_MAX, topic_key
from api.bench.history import small_batch
from domain.errors import LimitError
from domain.event_codec import encode_event
from domain.events import DatasetReference, DeviceConfigured, RunStarted
from ledger.entry import PREVIOUS_OF_FIRST, entry_bytes, entry_head
from ledger.mentions import about, filings_of, mentions_of, of_subject, of_type
from ledger.merkle import leaf_hash
from ledger.ports import Record

TYPES = ("batch.ingested.v1", "device.configured.v1", "statement.added.v1")
SUBJECTS = ("batch/a", "run/b", "statement/text/plain", "tenant/straße")
SOURCES = ("logger-1", "logger-2")


def record_of(index: int, event_type: str, subject: str, payload: bytes) -> Record:
    entry = entry_bytes(
        entry_head("tests.local/demo"),
        index,
        event_type,
        index,
        "cli",
        subject,
        "-",
        len(payload),
        hashlib.sha256(payload).hexdigest(),
        PREVIOUS_OF_FIRST,
    )
    return Record(index=index, event_id=bytes(16), event_type=event_type, entry=entry, payload=payload)


def body(event_type: str, source: str) -> bytes:
    match event_type:
        case "statement.added.v1":
            return source.encode()
        case "device.configured.v1":
            return encode_event(DeviceConfigured(device_id=source, firmware="1", configuration={}))
        case _:
            return encode_event(replace(small_batch(1), source_id=source))


Kind = tuple[int, int, int]
kinds = st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 1))


def records_of(asked: list[Kind]) -> list[Record]:
    return [
        record_of(index, TYPES[kind], SUBJECTS[subject], body(TYPES[kind], SOURCES[source]))
        for index, (kind, subject, source) in enumerate(asked)
    ]


@contextmanager
def opened(path: Path) -> Iterator[SQLiteIndex]:
    index = SQLiteIndex(path)
    try:
        yield index
    finally:
        index.close()


def add(index: SQLiteIndex, records: list[Record]) -> None:
    if records:
        leaves = [leaf_hash(record.entry) for record in records]
        topics = [sorted(filings_of(record)) for record in records]
        index.advance(records[0].index, leaves, index.filings(topics))


def expected(records: list[Record], topics: list[str], start: int) -> list[int]:
    return [record.index for record in records if record.index >= start and filings_of(record) >= set(topics)]


topics_asked = st.lists(
    st.sampled_from(
        [*map(of_type, TYPES), *map(of_subject, SUBJECTS), *(about("source", one) for one in SOURCES)]
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=40)
@given(
    st.lists(st.lists(kinds, min_size=1, max_size=400), min_size=1, max_size=4),
    st.lists(st.sampled_from(["wait", "flush", "reopen"]), min_size=4, max_size=4),
    topics_asked,
    st.integers(0, 600),
)
def test_entries_are_found_whether_they_wait_or_are_written(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[Kind]],
    between: list[str],
    topics: list[str],
    start: int,
) -> None:
    path = tmp_path_factory.mktemp("index") / "index.sqlite"
    records = records_of([kind for batch in batches for kind in batch])
    index = SQLiteIndex(path)
    done = 0
    for batch, then in zip(batches, between, strict=False):
        add(index, records[done : done + len(batch)])
        done += len(batch)
        if then == "flush":
            index.flush()
        elif then == "reopen":
            index.close()
            index = SQLiteIndex(path)
    found = expected(records, topics, start)
    assert index.find_entries(topics, start, 10_000) == found
    assert index.find_entries(topics, start, 3) == found[:3]
    index.close()


def test_two_processes_on_one_file_file_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    records = records_of([(number % 3, number % 4, 0) for number in range(1_000)])
    with opened(path) as one, opened(path) as other:
        add(one, records[:300])
        one.flush()
        add(other, records[:700])
        other.flush()
        add(one, records[300:])
        one.flush()
        add(other, records[700:])
        for index in (one, other):
            assert index.find_entries([of_type(TYPES[0])], 0, 10_000) == expected(
                records, [of_type(TYPES[0])], 0
            )


def test_what_was_forgotten_is_filed_again(tmp_path: Path) -> None:
    records = records_of([(0, 0, 0)] * 600)
    with opened(tmp_path / "index.sqlite") as index:
        add(index, records)
        index.flush()
        index.reset()
        assert index.find_entries([of_type(TYPES[0])], 0, 10_000) == []
        add(index, records)
        index.flush()
        assert index.find_entries([of_type(TYPES[0])], 0, 10_000) == list(range(600))


def test_a_topic_that_nobody_filed_gives_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "index.sqlite") as index:
        add(index, records_of([(0, 0, 0)]))
        assert index.find_entries([of_subject("batch/nobody")], 0, 10) == []
        with pytest.raises(LimitError):
            index.find_entries([], 0, 10)
        with pytest.raises(LimitError):
            index.find_entries([of_type("x.v1")] * (TOPICS_MAX + 1), 0, 10)


def test_runs_are_joined_and_find_the_same(tmp_path: Path) -> None:
    """Many small runs, as many short processes write them, become few, and none is larger than the limit."""
    path = tmp_path / "index.sqlite"
    with patch.object(module, "RUN_ENTRIES_MAX", 256), opened(path) as index:
        for start in range(0, 2_000, 7):
            topics = [("even" if at % 2 == 0 else "odd", f"name/{at}") for at in range(start, start + 7)]
            index.advance(start, [bytes(32)] * 7, index.filings(topics))
            index.flush()
        assert index.find_entries(["odd"], 1_000, 10_000) == list(range(1_001, 2_002, 2))
        assert index.find_entries(["odd", "name/77"], 0, 10) == [77]
    with closing(sqlite3.connect(path)) as db:
        runs = db.execute("SELECT start, stop FROM runs ORDER BY start").fetchall()
    assert [start for start, _ in runs] == [0, *(stop for _, stop in runs[:-1])]
    assert max(stop - start for start, stop in runs) <= 256
    assert len(runs) < 2 * 2_000 // 256 + 8


def test_what_waits_is_found_whether_it_was_sorted_or_came_after(tmp_path: Path) -> None:
    with patch.object(module, "UNSORTED_KEYS_MAX", 16), opened(tmp_path / "index.sqlite") as index:
        for start in range(0, 200, 5):
            topics = [("even" if at % 2 == 0 else "odd", f"name/{at}") for at in range(start, start + 5)]
            index.advance(start, [bytes(32)] * 5, index.filings(topics))
            assert index.find_entries(["odd"], 0, 1_000) == list(range(1, start + 5, 2))
            assert index.find_entries(["even", f"name/{start // 2 * 2}"], 0, 10) == [start // 2 * 2]


def test_topics_with_one_checksum_give_each_others_entries_and_lose_none(tmp_path: Path) -> None:
    """CRC-32 of these two is the same; whoever asks looks at the entries."""
    assert topic_key("plumless") == topic_key("buckeroo")
    with opened(tmp_path / "index.sqlite") as index:
        index.advance(0, [bytes(32)] * 2, index.filings([("plumless",), ("buckeroo",)]))
        for _ in range(2):
            assert index.find_entries(["plumless"], 0, 10) == [0, 1]
            index.flush()


@pytest.mark.parametrize("payload", [b"", b"{", b"[1]", b'{"source_id": 3}', b"\xff", b"[" * 100_000])
def test_a_body_that_cannot_be_read_is_filed_under_its_type_alone(payload: bytes) -> None:
    record = record_of(0, "batch.ingested.v1", "x/y", payload)
    assert filings_of(record) == {"type:batch.ingested.v1"}


@pytest.mark.parametrize("envelope", [b"", b"{", b'{"payload": "!"}', b'{"payload": "e30="}', b"\xff"])
def test_a_receipt_that_cannot_be_read_names_nothing(envelope: bytes) -> None:
    record = record_of(0, "receipt.issued.v1", "receipt/r1", envelope)
    assert filings_of(record) == {"type:receipt.issued.v1", "subject:receipt/r1"}


def test_an_event_names_each_thing_once() -> None:
    dataset = DatasetReference(digest="sha256:" + "a" * 64, index=3, batch_index=2)
    event = RunStarted(
        run_id="run-1",
        source_id="logger-1",
        source_index=1,
        procedure="spectra",
        procedure_version="1",
        deployment_index=1,
        contract_index=1,
        configuration_index=None,
        calibration_index=None,
        datasets=(dataset, dataset),
        supersedes="r1",
    )
    assert mentions_of(event) == [
        "about:source/logger-1",
        "about:run/run-1",
        "about:receipt/r1",
        f"about:dataset/sha256:{'a' * 64}",
    ]
