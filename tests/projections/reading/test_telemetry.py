"""Telemetry: points and buckets say what the runs measured, holes included."""

from __future__ import annotations

import math

import pytest
from duckdb import DuckDBPyConnection

from domain.errors import InvalidError, LimitError
from domain.event_codec import decode_event
from domain.events import RunGatesDecided
from projections.errors import UnknownRowError
from projections.reading.telemetry import (
    BUCKETS_MAX,
    TelemetryPoint,
    list_metrics,
    telemetry_of_run,
    telemetry_points,
    telemetry_series,
)
from tests.projections.opened import opened
from tests.projections.reading.known import Known
from tests.projections.story import SECOND_NS, Story, tell

MINUTE_NS = 60 * SECOND_NS


def measured(story: Story, metric: str) -> list[tuple[int | None, float | None]]:
    """Start and value of every window of a metric, from the events."""
    found: list[tuple[int | None, float | None]] = []
    for record in story.records:
        event = decode_event(record.event_type, record.payload)
        if isinstance(event, RunGatesDecided):
            for track in event.metrics:
                if track.name == metric:
                    found += zip((window.start_ns for window in event.windows), track.values, strict=True)
    return found


def test_a_run_has_every_metric_of_every_window(connection: DuckDBPyConnection, told: Known) -> None:
    points = telemetry_of_run(connection, told.passed_run)
    assert len(points) == 2 * 3
    first = [point for point in points if point.metric == "gap_ratio"]
    assert [point.value for point in first] == [0.5, 0.5, 0.5]
    assert [point.window for point in first] == [0, 1, 2]
    assert all(point.time_ns == point.start_ns for point in first)
    assert {point.unit for point in points} == {"1"}


def test_a_personal_window_stands_where_its_batch_was_received(
    connection: DuckDBPyConnection, told: Known
) -> None:
    points = telemetry_of_run(connection, told.better_run)
    assert {point.start_ns for point in points} == {None}
    ((received,),) = connection.execute(
        "SELECT received_at_ns FROM batch_ingested WHERE batch_id = ?", [told.batches["drifted"]]
    ).fetchall()
    assert {point.time_ns for point in points} == {received}


def test_a_run_without_a_decision_has_no_telemetry_and_an_unknown_one_is_unknown(
    connection: DuckDBPyConnection, told: Known
) -> None:
    assert telemetry_of_run(connection, told.open_run) == ()
    with pytest.raises(UnknownRowError):
        telemetry_of_run(connection, "r-nobody")


def test_points_are_those_of_the_events_with_reasons_for_holes() -> None:
    story = tell(51, rounds=30, devices=1, connections=0, window_count=7)
    with opened(None, story.records) as view, view.cursor() as connection:
        points = telemetry_points(connection, metric="drift_ppm", source_id="logger-0")
    expected = measured(story, "drift_ppm")
    assert sorted((point.time_ns, point.value is None, point.value or 0.0) for point in points) == sorted(
        (start or 0, value is None, value or 0.0) for start, value in expected
    )
    assert any(point.value is None for point in points)
    for point in points:
        assert (point.reason == "none") == (point.value is not None)


def test_buckets_hold_what_points_hold() -> None:
    story = tell(52, rounds=25, devices=1, connections=0, window_count=6)
    bucket_ns = 7 * MINUTE_NS
    with opened(None, story.records) as view, view.cursor() as connection:
        points = telemetry_points(connection, metric="jitter_p99_ratio", source_id="logger-0")
        series = telemetry_series(
            connection, metric="jitter_p99_ratio", source_id="logger-0", bucket_ns=bucket_ns
        )
    groups: dict[int, list[TelemetryPoint]] = {}
    for point in points:
        groups.setdefault(point.time_ns // bucket_ns * bucket_ns, []).append(point)
    assert [bucket.time_ns for bucket in series] == sorted(groups)
    for bucket in series:
        values = [point.value for point in groups[bucket.time_ns] if point.value is not None]
        assert bucket.count == len(values)
        assert bucket.missing_count == len(groups[bucket.time_ns]) - len(values)
        assert (bucket.minimum, bucket.maximum) == (min(values, default=None), max(values, default=None))
        if values:
            assert bucket.average == pytest.approx(math.fsum(values) / len(values))


def test_a_range_of_time_is_half_open(connection: DuckDBPyConnection, told: Known) -> None:
    points = telemetry_of_run(connection, told.passed_run)
    second = next(point for point in points if point.window == 1 and point.metric == "gap_ratio")
    found = telemetry_points(
        connection,
        metric="gap_ratio",
        source_id="logger-1",
        run_id=told.passed_run,
        from_ns=second.time_ns,
        until_ns=second.time_ns + MINUTE_NS,
    )
    assert [point.window for point in found] == [1]


def test_points_are_bounded_and_go_on_from_the_last(connection: DuckDBPyConnection, told: Known) -> None:
    first = telemetry_points(connection, metric="gap_ratio", run_id=told.passed_run, limit=2)
    assert [point.window for point in first] == [0, 1]
    rest = telemetry_points(
        connection, metric="gap_ratio", run_id=told.passed_run, from_ns=first[-1].time_ns + 1
    )
    assert [point.window for point in rest] == [2]


def test_unbounded_or_senseless_questions_are_refused(connection: DuckDBPyConnection, told: Known) -> None:
    with pytest.raises(InvalidError):
        telemetry_points(connection, metric="gap_ratio")
    with pytest.raises(InvalidError):
        telemetry_points(connection, metric="gap_ratio", run_id="r", limit=0)
    with pytest.raises(InvalidError):
        telemetry_series(connection, metric="gap_ratio", source_id="logger-1", bucket_ns=0)


def test_a_series_with_too_many_buckets_is_refused() -> None:
    story = tell(53, rounds=95, devices=1, connections=0, window_count=60)
    with opened(None, story.records) as view, view.cursor() as connection:
        assert len(measured(story, "gap_ratio")) > BUCKETS_MAX
        with pytest.raises(LimitError):
            telemetry_series(connection, metric="gap_ratio", source_id="logger-0", bucket_ns=1)


def test_the_metrics_of_a_source_are_known(connection: DuckDBPyConnection) -> None:
    assert [(name.metric, name.run_count) for name in list_metrics(connection, "logger-1")] == [
        ("clip_ratio", 2),
        ("gap_ratio", 2),
    ]
    assert list_metrics(connection, "nobody") == ()
