"""Postings: every entry is found under its type, its subject and what its body names, wherever it waits."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.sqlite_index import SQLiteIndex
from adapters.sqlite_postings import TOPICS_MAX, topic_key
from domain.errors import LimitError
from ledger.entry import PREVIOUS_OF_FIRST, entry_bytes, entry_head
from ledger.mentions import about, mentions_of, of_subject, of_type
from ledger.merkle import leaf_hash
from ledger.ports import Record

TYPES = ("batch.ingested.v1", "run.started.v1", "statement.added.v1")
SUBJECTS = ("batch/a", "run/b", "statement/text/plain", "tenant/straße")
SOURCES = ("logger-1", "logger-2")


def record_of(index: int, event_type: str, subject: str, payload: bytes) -> Record:
    entry = entry_bytes(
        entry_head("tests.local/demo", index, event_type, index),
        "cli",
        subject,
        "-",
        len(payload),
        hashlib.sha256(payload).hexdigest(),
        PREVIOUS_OF_FIRST,
    )
    return Record(index=index, event_id=bytes(16), event_type=event_type, entry=entry, payload=payload)


Kind = tuple[int, int, int]
kinds = st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 1))


def records_of(asked: list[Kind]) -> list[Record]:
    return [
        record_of(index, TYPES[kind], SUBJECTS[subject], json.dumps({"source_id": SOURCES[source]}).encode())
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
    index.advance(records, [leaf_hash(record.entry) for record in records], [() for _ in records])


def expected(records: list[Record], topics: list[str], start: int) -> list[int]:
    def filed(record: Record) -> set[str]:
        subject = record.entry.decode().split("\n")[6]
        return {of_type(record.event_type), of_subject(subject), *mentions_of(record)}

    return [record.index for record in records if record.index >= start and filed(record) >= set(topics)]


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


def test_an_entry_that_cannot_be_read_is_still_taken_in(tmp_path: Path) -> None:
    broken = Record(index=0, event_id=b"", event_type="x.y.v1", entry=b"", payload=b"{")
    with opened(tmp_path / "index.sqlite") as index:
        add(index, [broken])
        index.flush()
        assert index.find_entries([of_type("x.y.v1")], 0, 10) == [0]
        assert index.frontier()[0].size == 1


def test_a_topic_is_kept_as_the_beginning_of_its_digest() -> None:
    digest = hashlib.sha256(b"type:batch.ingested.v1").digest()
    assert topic_key(of_type("batch.ingested.v1")).to_bytes(8, "big", signed=True) == digest[:8]


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[1]", b'{"source_id": 3}', b"\xff", b'{"datasets": {}}', b"[" * 100_000],
)
def test_a_body_that_cannot_be_read_names_nothing(payload: bytes) -> None:
    for event_type in ("batch.ingested.v1", "receipt.issued.v1", "statement.added.v1"):
        assert mentions_of(record_of(0, event_type, "x/y", payload)) == ()


def test_a_body_names_each_thing_once() -> None:
    payload = {
        "run_id": "run-1",
        "source_id": "logger-1",
        "datasets": [{"digest": "sha256:aa", "index": 3}, {"digest": "sha256:aa"}, {"digest": "sha256:bb"}],
        "supersedes": "r1",
        "options": {"run_id": "not this one"},
    }
    record = record_of(0, "run.started.v1", "run/run-1", json.dumps(payload).encode())
    assert mentions_of(record) == (
        "about:source/logger-1",
        "about:run/run-1",
        "about:receipt/r1",
        "about:dataset/sha256:aa",
        "about:dataset/sha256:bb",
    )
