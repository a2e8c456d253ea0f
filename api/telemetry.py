"""Telemetry for a chart: a metric over time, in no more parts than asked for, without what is withheld.

The same rule as in a run's report: of a run that is withheld, or whose receipt was recalled, only the metrics
that its gates looked at are shown, because another may be the very result that must not be presented.  An
auditor may see all.
"""

from __future__ import annotations

from typing import Final

from duckdb import DuckDBPyConnection
from msgspec import Struct

PARTS_DEFAULT: Final = 500
# More than a screen has pixels.
PARTS_MAX: Final = 5_000
WITHHELD: Final = "withheld"


class TelemetryPart(Struct, frozen=True, kw_only=True):
    """A metric over ``[time_ns, time_ns + bucket_ns)``, or in one window when ``bucket_ns`` is 0.

    ``missing_count`` of the ``window_count`` windows have no value; ``reason`` says why one of them has none
    (``withheld`` when it is not shown), and ``none`` where nothing is missing.
    """

    time_ns: int
    unit: str
    window_count: int
    missing_count: int
    minimum: float | None
    average: float | None
    maximum: float | None
    reason: str
    run_id: str


class Telemetry(Struct, frozen=True, kw_only=True):
    """Parts, oldest first; ``withheld_count`` windows of withheld runs are not shown."""

    metric: str
    bucket_ns: int
    window_count: int
    withheld_count: int
    parts: tuple[TelemetryPart, ...]


def read_telemetry(
    connection: DuckDBPyConnection,
    *,
    metric: str,
    source_id: str | None,
    run_id: str | None,
    procedure: str | None,
    from_ns: int | None,
    until_ns: int | None,
    parts_max: int,
    is_auditor: bool,
) -> Telemetry:
    """A metric of a source or of a run, each window by itself if that makes no more than ``parts_max``."""
    parameters = {
        "metric": metric,
        "source_id": source_id,
        "run_id": run_id,
        "procedure": procedure,
        "from_ns": from_ns,
        "until_ns": until_ns,
        "is_auditor": is_auditor,
    }
    counted = (
        f"{_POINTS} SELECT count(*), count(*) FILTER (NOT is_shown), min(time_ns), max(time_ns) FROM points"
    )
    count, withheld_count, first_ns, last_ns = connection.execute(counted, parameters).fetchall()[0]
    bucket_ns = 0
    if count > parts_max:
        # One part fewer than asked for, because the first and the last are cut by the epoch's grid.
        bucket_ns = _round_width(-(-(last_ns - first_ns + 1) // (parts_max - 1)))
    if bucket_ns:
        rows = connection.execute(f"{_POINTS} {_BUCKETS}", {**parameters, "bucket_ns": bucket_ns}).fetchall()
    else:
        rows = connection.execute(f"{_POINTS} {_WINDOWS}", parameters).fetchall()
    names = TelemetryPart.__struct_fields__
    return Telemetry(
        metric=metric,
        bucket_ns=bucket_ns,
        window_count=count,
        withheld_count=withheld_count,
        parts=tuple(TelemetryPart(**dict(zip(names, row, strict=True))) for row in rows),
    )


def _round_width(width_ns: int) -> int:
    """The next width that a person would choose."""
    for scale, steps in _WIDTHS:
        for step in steps:
            if width_ns <= step * scale:
                return step * scale
    return -(-width_ns // _DAY_NS) * _DAY_NS


_SECOND_NS: Final = 1_000_000_000
_DAY_NS: Final = 86_400 * _SECOND_NS
_WIDTHS: Final[tuple[tuple[int, tuple[int, ...]], ...]] = (
    *((int(10**power), (1, 2, 5)) for power in range(9)),
    (_SECOND_NS, (1, 2, 5, 10, 15, 30)),
    (60 * _SECOND_NS, (1, 2, 5, 10, 15, 30)),
    (3_600 * _SECOND_NS, (1, 2, 3, 6, 12)),
    (_DAY_NS, (1, 7)),
)
_POINTS: Final = f"""
WITH chosen AS (
    SELECT entry_index AS run_index, run_id, batch_index FROM run_started
    WHERE source_id = coalesce($source_id, source_id) AND run_id = coalesce($run_id, run_id)
    AND procedure = coalesce($procedure, procedure)),
judged AS (
    SELECT run_decided.entry_index, chosen.run_index, chosen.run_id, batch_index, windows, start_ns, end_ns,
           $is_auditor OR (is_presentable AND run_decided.entry_index NOT IN (
               SELECT decision_index FROM receipt_issued SEMI JOIN recalls USING (receipt_id)))
           OR list_contains(json_extract_string(gates, '$[*].metric'), $metric) AS is_shown
    FROM run_decided JOIN chosen USING (run_index)),
tracks AS (
    SELECT judged.run_index, judged.run_id, batch_index, unit, is_shown, unnest(windows) AS each,
           unnest(track) AS figure, unnest(from_json(reasons, '["VARCHAR"]')) AS given
    FROM metric_track JOIN judged USING (entry_index)
    WHERE metric = $metric AND (end_ns IS NULL OR end_ns > coalesce($from_ns, 0))
    AND (start_ns IS NULL OR start_ns < coalesce($until_ns, {(1 << 63) - 1}))),
points AS (
    SELECT tracks.run_index, run_id, unit, is_shown, coalesce(each.start_ns, received_at_ns) AS time_ns,
           CASE WHEN is_shown THEN figure END AS shown,
           CASE WHEN is_shown THEN coalesce(given, 'none') ELSE '{WITHHELD}' END AS reason
    FROM tracks JOIN batch_ingested ON batch_ingested.entry_index = batch_index
    WHERE coalesce(each.start_ns, received_at_ns) >= coalesce($from_ns, 0)
    AND coalesce(each.start_ns, received_at_ns) < coalesce($until_ns, {(1 << 63) - 1}))
"""
_WINDOWS: Final = """
SELECT time_ns, unit, 1, CASE WHEN shown IS NULL THEN 1 ELSE 0 END, shown, shown, shown, reason, run_id
FROM points ORDER BY time_ns, run_index
"""
_BUCKETS: Final = """
SELECT time_ns - time_ns % $bucket_ns::BIGINT AS part_ns, unit, count(*), count(*) - count(shown),
       min(shown), avg(shown ORDER BY time_ns, run_index), max(shown),
       coalesce(min(reason) FILTER (shown IS NULL), 'none'), min(run_id)
FROM points GROUP BY part_ns, unit ORDER BY part_ns, unit
"""
