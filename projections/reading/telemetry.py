"""Telemetry: metrics over time, window by window or in buckets.

A window stands at its start; where that is personal data and so not in the ledger, at the time its batch
was received.
"""

from __future__ import annotations

from typing import Final

from duckdb import DuckDBPyConnection
from msgspec import Struct

from domain.errors import InvalidError, LimitError
from projections.errors import UnknownRowError
from projections.reading.rows import Conditions, fetch

# A plot has fewer pixels than that.
BUCKETS_MAX: Final = 5_000
# A day of one-minute windows, seven times.
POINTS_MAX: Final = 10_080


class TelemetryPoint(Struct, frozen=True, kw_only=True):
    """A metric in one window: ``value`` in ``unit``, or ``None`` and the ``reason``."""

    run_id: str
    window: int
    time_ns: int
    start_ns: int | None
    end_ns: int | None
    metric: str
    unit: str
    value: float | None
    reason: str


class TelemetryBucket(Struct, frozen=True, kw_only=True):
    """A metric over ``[time_ns, time_ns + bucket_ns)``; ``missing_count`` windows have no value, and
    without any the figures are ``None``."""

    time_ns: int
    unit: str
    count: int
    missing_count: int
    minimum: float | None
    average: float | None
    maximum: float | None


class MetricName(Struct, frozen=True, kw_only=True):
    """A metric there is, with its unit and the number of runs that measured it."""

    metric: str
    unit: str
    run_count: int


_POINTS: Final = """(
    SELECT started.run_id, "window", coalesce(each.start_ns, received_at_ns) AS time_ns, each.start_ns,
        each.end_ns, metric, unit, "value", coalesce(reason, 'none') AS reason, run_index, position
    FROM (
        SELECT metric_track.run_index, position, metric, unit, generate_subscripts(track, 1) - 1 AS "window",
            unnest(windows) AS each, unnest(track) AS "value",
            unnest(from_json(reasons, '["VARCHAR"]')) AS reason
        FROM metric_track JOIN run_decided USING (entry_index)
        WHERE metric_track.run_index IN (SELECT entry_index FROM run_started WHERE {runs}) AND {tracks}
    ) AS unfolded
    JOIN (
        SELECT run_started.entry_index AS run_index, run_id, received_at_ns
        FROM run_started JOIN batch_ingested ON batch_ingested.entry_index = batch_index
    ) AS started USING (run_index)
)"""


def telemetry_of_run(connection: DuckDBPyConnection, run_id: str) -> tuple[TelemetryPoint, ...]:
    """Every metric of every window of a run, in the order of the procedure.  Raises: UnknownRowError."""
    source = _POINTS.format(runs="run_id = ?", tracks="true") + ' ORDER BY position, "window"'
    rows = fetch(connection, TelemetryPoint, source, [run_id])
    if not rows and not connection.execute("SELECT 1 FROM run_started WHERE run_id = ?", [run_id]).fetchall():
        raise UnknownRowError("run", run_id)
    return rows


def telemetry_points(
    connection: DuckDBPyConnection,
    *,
    metric: str,
    source_id: str | None = None,
    run_id: str | None = None,
    procedure: str | None = None,
    from_ns: int | None = None,
    until_ns: int | None = None,
    limit: int = POINTS_MAX,
) -> tuple[TelemetryPoint, ...]:
    """A metric in each window, oldest first, at most ``limit``; go on with ``from_ns`` after the last.

    Raises: InvalidError without a source or run, or for a limit below 1.
    """
    source, parameters = _selected(metric, source_id, run_id, procedure, from_ns, until_ns)
    if limit < 1:
        raise InvalidError("a page has rows", field="limit", expected=f"1 to {POINTS_MAX}", actual=str(limit))
    order = f'{source} ORDER BY time_ns, run_index, "window" LIMIT {min(limit, POINTS_MAX)}'
    return fetch(connection, TelemetryPoint, order, parameters)


def telemetry_series(
    connection: DuckDBPyConnection,
    *,
    metric: str,
    bucket_ns: int,
    source_id: str | None = None,
    run_id: str | None = None,
    procedure: str | None = None,
    from_ns: int | None = None,
    until_ns: int | None = None,
) -> tuple[TelemetryBucket, ...]:
    """A metric in buckets of ``bucket_ns``, aligned to the epoch, oldest first; empty buckets are left out.

    Raises: InvalidError without a source or run or for a bucket below 1 ns, LimitError beyond
    ``BUCKETS_MAX`` buckets.
    """
    if bucket_ns < 1:
        raise InvalidError("a bucket has a width", field="bucket_ns", expected=">= 1", actual=str(bucket_ns))
    source, parameters = _selected(metric, source_id, run_id, procedure, from_ns, until_ns)
    buckets = f"""(
        SELECT time_ns - time_ns % ?::BIGINT AS time_ns, unit, count("value") AS count,
            count(*) - count("value") AS missing_count, min("value") AS minimum,
            avg("value" ORDER BY run_index, "window") AS average, max("value") AS maximum
        FROM {source} GROUP BY ALL
    ) ORDER BY time_ns, unit LIMIT {BUCKETS_MAX + 1}"""
    found = fetch(connection, TelemetryBucket, buckets, [bucket_ns, *parameters])
    if len(found) > BUCKETS_MAX:
        raise LimitError(
            "too many buckets",
            field="bucket_ns",
            expected=f"<= {BUCKETS_MAX} buckets",
            remedy="Ask for wider buckets.",
        )
    return found


def list_metrics(connection: DuckDBPyConnection, source_id: str) -> tuple[MetricName, ...]:
    """Metrics that runs on a source measured, by name."""
    query = """(
        SELECT metric, unit, count(*) AS run_count FROM metric_track
        WHERE run_index IN (SELECT entry_index FROM run_started WHERE source_id = ?) GROUP BY ALL
    ) ORDER BY metric, unit"""
    return fetch(connection, MetricName, query, [source_id])


def _selected(
    metric: str,
    source_id: str | None,
    run_id: str | None,
    procedure: str | None,
    from_ns: int | None,
    until_ns: int | None,
) -> tuple[str, list[object]]:
    """Points as a FROM clause with its parameters."""
    if source_id is None and run_id is None:
        raise InvalidError(
            "telemetry is of a source or of a run", field="source_id", expected="source_id or run_id"
        )
    runs = Conditions()
    runs.add("source_id = ?", source_id)
    runs.add("run_id = ?", run_id)
    runs.add("procedure = ?", procedure)
    # Runs whose windows all lie outside are left out before their tracks are unfolded.
    tracks = Conditions()
    tracks.add("metric = ?", metric)
    tracks.add("(end_ns IS NULL OR end_ns > ?)", from_ns)
    tracks.add("(start_ns IS NULL OR start_ns < ?)", until_ns)
    times = Conditions()
    times.add("time_ns >= ?", from_ns)
    times.add("time_ns < ?", until_ns)
    source = f"{_POINTS.format(runs=runs, tracks=tracks)} WHERE {times}"
    return source, [*runs.parameters, *tracks.parameters, *times.parameters]
