"""Folding ahead of the writer gives the rows that folding entry by entry gives, and never hides a fault."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import projections.ahead
from adapters.sqlite_log import SQLiteLog
from domain.errors import InvalidError
from domain.events import ReceiptIssued
from ledger.ports import Record, RecordColumns
from projections.ahead import FoldedAhead
from projections.current import current_view
from projections.errors import ProjectionStoppedError, ViewMismatchError
from projections.facts import WITHOUT_ROWS
from projections.fold import Increment, Position, fold
from projections.rebuild import RebuildReport, rebuild
from projections.view import View
from tests.projections.opened import contents, opened
from tests.projections.story import LEDGER, tell

STORY = tell(31, rounds=10)
WHOLE = STORY.records
WITHOUT_BODY = WITHOUT_ROWS | {ReceiptIssued.TYPE}


class Columns:
    """A reader of records in memory, some at a time."""

    def __init__(self, records: Sequence[Record], rows_max: int = 37) -> None:
        self._records = records
        self._rows_max = rows_max

    def columns(self, start: int, stop: int) -> Iterator[RecordColumns]:
        wanted = [record for record in self._records if start <= record.index < stop]
        for at in range(0, len(wanted), self._rows_max):
            yield RecordColumns.of(wanted[at : at + self._rows_max])


def increments(
    records: Sequence[Record], position: Position | None = None, stop: int | None = None
) -> list[Increment]:
    ahead = FoldedAhead(Columns(records), LEDGER, position or Position(), {}, stop)
    return list(iter(ahead.next, None))


async def stored(folder: Path, records: Sequence[Record]) -> SQLiteLog:
    log = SQLiteLog(folder)
    for start in range(0, len(records), 500):
        await log.append(LEDGER, start, records[start : start + 500])
    return log


def rebuilt(folder: Path, records: Sequence[Record]) -> RebuildReport:
    async def run() -> RebuildReport:
        log = await stored(folder / "log", records)
        try:
            return await rebuild(log, LEDGER, folder / "acme.duckdb")
        finally:
            await log.close()

    return asyncio.run(run())


@pytest.mark.parametrize("events_max", [1, 64, 32_768])
def test_increments_follow_each_other_and_give_the_rows_of_the_whole(
    events_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projections.ahead, "TRANSACTION_EVENTS", events_max)
    found = increments(WHOLE)
    assert [each.before for each in found] == [Position(), *(each.after for each in found[:-1])]
    assert found[-1].after == fold(WHOLE, Position(), {}).after
    view = View(None, LEDGER)
    for increment in found:
        view.write(increment)
    with opened(None, WHOLE) as whole:
        assert contents(view) == contents(whole)
    view.close()


def test_large_bodies_end_an_increment_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projections.ahead, "TRANSACTION_BYTES", 20_000)
    found = increments(WHOLE)
    assert len(found) > 3
    assert found[-1].after.next_index == len(WHOLE)


def test_folding_ends_where_it_is_told_to_and_goes_on_from_there() -> None:
    first = increments(WHOLE, stop=100)
    assert first[-1].after.next_index == 100
    assert increments(WHOLE[:100], first[-1].after) == []


def test_another_history_is_refused() -> None:
    with pytest.raises(ViewMismatchError):
        increments(WHOLE, Position(next_index=50, leaf="0" * 64))


def test_a_missing_entry_is_refused() -> None:
    with pytest.raises(InvalidError):
        increments([*WHOLE[:60], *WHOLE[61:]])


def test_a_store_leaves_out_what_a_view_does_not_look_at(tmp_path: Path) -> None:
    async def reader() -> list[RecordColumns]:
        log = await stored(tmp_path, WHOLE)
        try:
            return list(log.column_reader(LEDGER).events(5, len(WHOLE) - 5, WITHOUT_BODY))
        finally:
            await log.close()

    found = [record for columns in asyncio.run(reader()) for record in columns.records()]
    assert any(record.event_type == ReceiptIssued.TYPE for record in found)
    assert [(each.index, each.event_type, each.entry, each.payload) for each in found] == [
        (each.index, each.event_type, each.entry, b"" if each.event_type in WITHOUT_BODY else each.payload)
        for each in WHOLE[5:-5]
    ]


def test_a_view_rebuilt_from_a_store_is_proven_equal_to_one_that_was_folded_as_entries_came(
    tmp_path: Path,
) -> None:
    path = tmp_path / "acme.duckdb"
    with opened(path, WHOLE[:100]) as view:
        view.advance(WHOLE[100:])
    report = rebuilt(tmp_path, WHOLE)
    assert report.is_equal
    assert (report.compared_count, report.event_count) == (len(WHOLE), len(WHOLE))
    with opened(path) as view, opened(None, WHOLE) as whole:
        assert contents(view) == contents(whole)


def test_a_commands_view_of_a_store_is_current_from_wherever_it_stood(tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"

    async def seen(records: Sequence[Record]) -> int:
        log = await stored(tmp_path / str(len(records)), records)
        try:
            async with current_view(log, LEDGER, path) as view:
                with opened(None, records) as expected:
                    assert contents(view) == contents(expected)
                return view.position.next_index
        finally:
            await log.close()

    for size in (0, 100, len(WHOLE)):
        assert asyncio.run(seen(WHOLE[:size])) == size


@pytest.mark.parametrize("poison", ["unknown type", "no JSON", "a value of another type in a list"])
def test_a_poison_stops_a_rebuild_from_a_store_at_the_same_entry_with_the_same_reason(
    poison: str, tmp_path: Path
) -> None:
    story = tell(31, rounds=10)
    if poison == "unknown type":
        story.add_bytes("run.started.v9", b"{}", "run/x")
    elif poison == "no JSON":
        story.add_bytes("batch.ingested.v1", b"{", "batch/x")
    else:
        decided = next(record for record in WHOLE if record.event_type == "run.gates_decided.v1")
        run_id = next(record for record in WHOLE if record.event_type == "run.started.v1")
        story.add_bytes("run.started.v1", run_id.payload, "run/again")
        story.add_bytes(
            "run.gates_decided.v1", decided.payload.replace(b'"values":[', b'"values":["one",'), "run/again"
        )
    with opened(None) as view, pytest.raises(ProjectionStoppedError) as expected:
        view.advance(story.records)
    with pytest.raises(ProjectionStoppedError) as caught:
        rebuilt(tmp_path, story.records)
    assert str(caught.value) == str(expected.value)
    assert not (tmp_path / "acme.duckdb").exists()
