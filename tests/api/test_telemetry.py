"""Telemetry for a chart: the same figures as the view's own questions give, in widths that people choose."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sqlite_log import SQLiteLog
from api.telemetry import _round_width, read_telemetry
from projections.current import current_view
from projections.reading.telemetry import list_metrics, telemetry_points, telemetry_series

DEVICE = "colocated-seismometers"
DAY_NS = 86_400_000_000_000


@given(st.integers(1, 10**19))
def test_a_width_is_rounded_up_and_not_far(width_ns: int) -> None:
    rounded = _round_width(width_ns)
    assert rounded >= width_ns
    assert rounded <= width_ns * 7 + DAY_NS or rounded % DAY_NS == 0
    assert _round_width(rounded) == rounded


@pytest.mark.anyio
async def test_an_auditor_sees_what_the_views_own_questions_say(told: Path) -> None:
    log = SQLiteLog(told / "ledgers")
    async with current_view(log, "ledger-demo", None) as view:
        with view.cursor() as connection:
            for metric in list_metrics(connection, DEVICE):
                asked = {"metric": metric.metric, "source_id": DEVICE}
                points = telemetry_points(connection, **asked)
                shown = read_telemetry(
                    connection,
                    **asked,
                    run_id=None,
                    procedure=None,
                    from_ns=None,
                    until_ns=None,
                    parts_max=5_000,
                    is_auditor=True,
                )
                assert shown.withheld_count == 0
                assert sorted(
                    (part.time_ns, part.run_id, part.average or 0.0) for part in shown.parts
                ) == sorted((point.time_ns, point.run_id, point.value or 0.0) for point in points)
                coarse = read_telemetry(
                    connection,
                    **asked,
                    run_id=None,
                    procedure=None,
                    from_ns=None,
                    until_ns=None,
                    parts_max=2,
                    is_auditor=True,
                )
                series = telemetry_series(connection, **asked, bucket_ns=coarse.bucket_ns)
                assert [(p.time_ns, p.window_count, p.minimum, p.maximum) for p in coarse.parts] == [
                    (b.time_ns, b.count + b.missing_count, b.minimum, b.maximum) for b in series
                ]
    await log.close()
