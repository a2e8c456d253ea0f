"""The log on EventStoreDB: the contract every log keeps, and what a server in between adds to it.

Runs against a development node, or against the server that ``ESDB_URI`` names.
"""

from __future__ import annotations

import asyncio
import base64
import json
import multiprocessing
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from esdbclient import AsyncEventStoreDBClient, NewEvent, StreamState

from adapters import esdb_columns, esdb_pages
from adapters.esdb_log import EventStoreDBLog
from domain.errors import InvalidError, LimitError, MalformedError
from ledger.entry import event_id, format_entry
from ledger.errors import LedgerConflictError
from ledger.merkle import leaf_hash
from ledger.ports import ColumnLog, EventLog, Record
from tests.adapters.esdb_node.fixture import esdb_uri
from tests.contracts.event_log_contract import EventLogContract
from tests.ledger.records import make_entry, make_records

__all__ = ["esdb_uri"]


@pytest.mark.usefixtures("_uri")
class TestEventStoreDBLog(EventLogContract):
    uri = ""

    @pytest.fixture
    def _uri(self, esdb_uri: str) -> None:
        self.uri = esdb_uri

    def ledger(self) -> str:
        return new_ledger()

    @asynccontextmanager
    async def open_log(self, place: Path) -> AsyncIterator[EventLog]:
        async with open_esdb(self.uri) as log:
            yield log


def new_ledger() -> str:
    return f"ledger-{uuid4()}"


@asynccontextmanager
async def open_esdb(uri: str) -> AsyncIterator[EventStoreDBLog]:
    log = EventStoreDBLog(uri)
    try:
        yield log
    finally:
        await log.close()


@asynccontextmanager
async def log_and_client(uri: str) -> AsyncIterator[tuple[EventStoreDBLog, AsyncEventStoreDBClient]]:
    """The log, and the plain client that somebody with the store's own tools has."""
    async with open_esdb(uri) as log:
        client = AsyncEventStoreDBClient(uri)
        await client.connect()
        async with client:
            yield log, client


@pytest.mark.anyio
async def test_the_stores_own_tools_see_subject_and_cause(esdb_uri: str) -> None:
    name = new_ledger()
    records = [chained(0), chained(1), chained(2, causation=(0, 1)), chained(3, causation=(1,))]
    async with log_and_client(esdb_uri) as (log, client):
        await log.append(name, 0, records[:2])
        await log.append(name, 2, records[2:])
        events = await client.get_stream(name)
    async with open_esdb(esdb_uri) as fresh:
        # A log that has not seen the causes go by asks the server for them.
        await fresh.append(name, 4, [chained(4, causation=(0, 2))])
        assert len(await fresh.read(name, 0, 10)) == 5
    for event, record in zip(events, records, strict=True):
        metadata = json.loads(event.metadata)
        assert metadata["$correlationId"] == f"batch/b{record.index}"
        assert base64.b64decode(metadata["entry"]) == record.entry
        assert event.id == UUID(bytes=record.event_id)
        assert (event.type, event.data) == (record.event_type, record.payload)
        assert event.content_type == "application/json"
    causes = [json.loads(event.metadata).get("$causationId") for event in events]
    assert causes == [None, None, str(events[1].id), str(events[1].id)]


@pytest.mark.anyio
async def test_the_last_cause_is_named_though_this_process_never_saw_it(esdb_uri: str) -> None:
    name = new_ledger()
    async with open_esdb(esdb_uri) as log:
        await log.append(name, 0, [chained(0), chained(1)])
    async with log_and_client(esdb_uri) as (fresh, client):
        await fresh.append(name, 2, [chained(2, causation=(1,))])
        events = await client.get_stream(name)
    assert json.loads(events[2].metadata)["$causationId"] == str(events[1].id)


@pytest.mark.anyio
async def test_more_bytes_than_the_server_takes_at_once_are_refused_with_its_limit(esdb_uri: str) -> None:
    name = new_ledger()
    async with open_esdb(esdb_uri) as log:
        large = b'{"x":"' + b"y" * 600_000 + b'"}'
        with pytest.raises(LimitError, match="1048576"):
            await log.append(name, 0, make_records(2, payloads=[large, large]))
        assert await log.size(name) == 0
        await log.append(name, 0, make_records(1, payloads=[large]))
        assert (await log.read(name, 0, 1))[0].payload == large


@pytest.mark.anyio
async def test_a_long_ledger_is_read_in_pages(esdb_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(esdb_pages, "PAGE_EVENTS_MAX", 50)
    name = new_ledger()
    records = make_records(120)
    async with open_esdb(esdb_uri) as log:
        await log.append(name, 0, records)
        found: list[Record] = []
        while page := await log.read(name, len(found), 1_000):
            assert len(page) <= 50
            found += page
    assert found == records


@pytest.mark.anyio
async def test_a_page_of_large_bodies_ends_early(esdb_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(esdb_pages, "PAGE_BYTES_MAX", 100_000)
    name = new_ledger()
    records = make_records(10, payloads=[b"x" * 40_000] * 10)
    async with open_esdb(esdb_uri) as log:
        await log.append(name, 0, records)
        assert await log.read(name, 0, 10) == records[:3]
        assert await log.read(name, 9, 10) == records[9:]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "metadata", [{"$maxCount": 2}, {"$tb": 3}, {"$maxAge": 1_000_000}], ids=["maxCount", "tb", "maxAge"]
)
async def test_metadata_that_hides_entries_is_found(esdb_uri: str, metadata: dict[str, int]) -> None:
    name = new_ledger()
    async with log_and_client(esdb_uri) as (log, client):
        await log.append(name, 0, make_records(5))
        await client.set_stream_metadata(name, metadata=metadata)
        findings = await log.check_storage(name)
        assert any(next(iter(metadata)) in finding for finding in findings)
        if "$maxAge" not in metadata:  # nothing is that old yet
            assert any("the first 3 entries" in finding for finding in findings)
            with pytest.raises(InvalidError, match="0 to 2 are gone"):
                await log.read(name, 0, 10)
            assert len(await log.read(name, 3, 10)) == 2
        assert await log.size(name) == 5
        await client.set_stream_metadata(name, metadata={})
        assert await log.check_storage(name) == []
        assert len(await log.read(name, 0, 10)) == 5


@pytest.mark.anyio
async def test_a_deleted_ledger_is_not_taken_for_a_new_one(esdb_uri: str) -> None:
    name = new_ledger()
    async with log_and_client(esdb_uri) as (log, client):
        await log.append(name, 0, make_records(3))
        await client.delete_stream(name, current_version=StreamState.ANY)
        for work in (log.size(name), log.read(name, 0, 1), log.append(name, 0, make_records(1, seed="new"))):
            with pytest.raises(InvalidError, match="deleted"):
                await work
        assert await log.check_storage(name)
        # The first metadata after a deletion brings the stream back with everything in it hidden.
        await client.set_stream_metadata(name, metadata={})
        for work in (log.size(name), log.read(name, 0, 1)):
            with pytest.raises(InvalidError, match="every entry is hidden"):
                await work
        await client.set_stream_metadata(name, metadata={})
        assert await log.read(name, 0, 10) == make_records(3)


@pytest.mark.anyio
async def test_a_tombstoned_ledger_is_refused(esdb_uri: str) -> None:
    name = new_ledger()
    async with log_and_client(esdb_uri) as (log, client):
        await log.append(name, 0, make_records(3))
        await client.tombstone_stream(name, current_version=StreamState.ANY)
        for work in (log.size(name), log.read(name, 0, 1), log.append(name, 3, make_records(1, start=3))):
            with pytest.raises(InvalidError, match="tombstone"):
                await work
        assert any("tombstone" in finding for finding in await log.check_storage(name))


@pytest.mark.anyio
async def test_a_ledger_that_does_not_exist_is_a_finding(esdb_uri: str) -> None:
    async with open_esdb(esdb_uri) as log:
        assert any("does not exist" in finding for finding in await log.check_storage(new_ledger()))


@pytest.mark.anyio
async def test_a_strangers_event_comes_back_as_no_entry(esdb_uri: str) -> None:
    name = new_ledger()
    async with log_and_client(esdb_uri) as (log, client):
        await log.append(name, 0, make_records(2))
        stranger = NewEvent(type="note", data=b"{}", metadata=b'{"who":"me"}')
        await client.append_to_stream(name, current_version=1, events=stranger)
        (record,) = await log.read(name, 2, 1)
        assert record.entry == b'{"who":"me"}'
        assert (record.event_type, record.seal) == ("note", b"")


@pytest.mark.anyio
async def test_other_processes_read_the_same_columns(esdb_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(esdb_columns, "PAGE_EVENTS_MAX", 30)
    name = new_ledger()
    records = make_records(100)
    async with open_esdb(esdb_uri) as log:
        await log.append(name, 0, records)
        reader = pickle.loads(pickle.dumps(log.column_reader(name)))
        missing = log.column_reader(new_ledger())

    def read(start: int, stop: int) -> list[Record]:
        return [record for columns in reader.columns(start, stop) for record in columns.records()]

    assert isinstance(log, ColumnLog)
    assert read(0, 100) == records
    assert read(35, 66) == records[35:66]
    assert read(90, 200) == records[90:]
    assert list(missing.columns(0, 10)) == []


def test_a_column_reader_is_shown_without_its_password() -> None:
    log = EventStoreDBLog("esdb://admin:hunter2@127.0.0.1:2113")
    assert "hunter2" not in f"{log.column_reader('ledger-a')!r} {log.column_reader('ledger-a')}"


@pytest.mark.anyio
async def test_only_streams_that_begin_as_ledgers_are_ledgers(esdb_uri: str) -> None:
    name, other, odd = new_ledger(), f"ledger-{uuid4()}", f"orders-{uuid4()}"
    async with log_and_client(esdb_uri) as (log, client):
        await log.append(name, 0, make_records(2))
        for stream, event_type in ((other, "order.placed.v1"), (odd, "ledger.opened.v1")):
            await client.append_to_stream(
                stream, current_version=StreamState.ANY, events=NewEvent(type=event_type, data=b"{}")
            )
        found = await log.ledgers()
    assert name in found
    assert not {other, odd} & set(found)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name", ["$all", "$$ledger-a", "ledger-", "ledger-A", "ledger-a/b", "$ce-ledger", ""]
)
async def test_names_of_other_streams_are_refused(esdb_uri: str, name: str) -> None:
    async with open_esdb(esdb_uri) as log:
        for work in (log.append(name, 0, make_records(1)), log.read(name, 0, 1), log.size(name)):
            with pytest.raises(MalformedError):
                await work


@pytest.mark.anyio
async def test_a_cancelled_follower_is_cancelled(esdb_uri: str) -> None:
    """The client makes of a cancelled read one that ended; a follower would go on for ever."""
    async with open_esdb(esdb_uri) as log:
        waiting = asyncio.create_task(anext(log.follow(new_ledger(), 0)))
        await asyncio.sleep(0.2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, 20)


@pytest.mark.anyio
async def test_a_cancelled_read_is_cancelled(esdb_uri: str) -> None:
    name = new_ledger()
    async with open_esdb(esdb_uri) as log:
        await log.append(name, 0, make_records(200))
        for _ in range(5):
            reading = asyncio.create_task(log.read(name, 0, 200))
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        assert len(await log.read(name, 0, 200)) == 200


@pytest.mark.anyio
async def test_followers_of_many_ledgers_do_not_keep_each_other_waiting(esdb_uri: str) -> None:
    names = [new_ledger() for _ in range(12)]
    async with open_esdb(esdb_uri) as log:
        waiting = [asyncio.create_task(anext(log.follow(name, 0))) for name in names]
        await asyncio.sleep(0.1)
        for name in reversed(names):
            await log.append(name, 0, make_records(2, seed=name))
        pages = await asyncio.wait_for(asyncio.gather(*waiting), 20)
    assert [list(page) for page in pages] == [make_records(2, seed=name) for name in names]


def _append_until(uri: str, ledger: str, writer: int, append_count: int) -> None:
    async def run() -> None:
        async with open_esdb(uri) as log:
            done = 0
            while done < append_count:
                size = await log.size(ledger)
                try:
                    await log.append(ledger, size, make_records(2, start=size, seed=f"{writer}-{done}"))
                except LedgerConflictError:
                    continue
                done += 1

    asyncio.run(run())


def test_processes_that_write_the_same_stream_never_lose_an_append(esdb_uri: str) -> None:
    name = new_ledger()
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_until, args=(esdb_uri, name, n, 10)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0

    async def look() -> list[int]:
        async with open_esdb(esdb_uri) as log:
            return [record.index for record in await log.read(name, 0, 1_000)]

    assert asyncio.run(look()) == list(range(3 * 10 * 2))


def chained(index: int, **changes: object) -> Record:
    """A record with an entry of its own; a store does not look at the chain."""
    entry_type = "batch.ingested.v1" if index else "ledger.opened.v1"
    entry = format_entry(make_entry(index, event_type=entry_type, **changes))
    return Record(
        index=index,
        event_id=event_id(index, leaf_hash(entry)),
        event_type=entry_type,
        entry=entry,
        payload=b"{}",
        seal=b"a seal\n",
    )
