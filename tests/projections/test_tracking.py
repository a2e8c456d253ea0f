"""The library's own suite for tracking recorders, and what it does not say of a recorder that shares its
row with a runner."""

from __future__ import annotations

import asyncio
from pathlib import Path

import duckdb
import pytest
from eventsourcing.persistence import IntegrityError, Tracking, TrackingRecorder

from projections import schema
from projections.tracking import DuckDBTrackingRecorder
from projections.view import View
from tests.projections.library_suite import suite
from tests.projections.story import LEDGER, tell


class TestDuckDBTrackingRecorder(suite.TrackingRecorderTestCase):  # type: ignore[misc,name-defined]
    def create_recorder(self) -> TrackingRecorder:
        connection = duckdb.connect(":memory:")
        schema.create(connection, LEDGER)
        self.addCleanup(connection.close)
        return DuckDBTrackingRecorder(connection)


def test_the_runner_and_the_library_see_the_same_position(tmp_path: Path) -> None:
    story = tell(3, rounds=1)
    view = View(tmp_path / "acme.duckdb", LEDGER)
    with view.cursor() as connection:
        recorder = DuckDBTrackingRecorder(connection)
        assert recorder.max_tracking_id(LEDGER) is None
        view.advance(story.records)
        assert recorder.max_tracking_id(LEDGER) == len(story.records) - 1
        assert recorder.has_tracking_id(LEDGER, len(story.records) - 1)
        with pytest.raises(IntegrityError):
            recorder.insert_tracking(Tracking(LEDGER, len(story.records) - 1))
    view.close()


def test_tracking_recorded_with_rows_is_undone_with_them(tmp_path: Path) -> None:
    view = View(tmp_path / "acme.duckdb", LEDGER)
    with view.cursor() as connection:
        connection.begin()
        DuckDBTrackingRecorder.insert_tracking_within(connection, Tracking("upstream", 7))
        connection.rollback()
        assert DuckDBTrackingRecorder(connection).max_tracking_id("upstream") is None
    view.close()


def test_a_recorder_may_be_used_from_several_threads() -> None:
    connection = duckdb.connect(":memory:")
    schema.create(connection, LEDGER)
    recorder = DuckDBTrackingRecorder(connection)

    def insert(notification_id: int) -> bool:
        try:
            recorder.insert_tracking(Tracking("upstream", notification_id))
        except IntegrityError:
            return False
        return True

    async def all_at_once() -> list[bool]:
        return await asyncio.gather(*(asyncio.to_thread(insert, i % 10) for i in range(40)))

    assert any(asyncio.run(all_at_once()))
    assert recorder.max_tracking_id("upstream") == 9
