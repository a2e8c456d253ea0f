"""Exported telemetry is Parquet that says what the view says."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from projections.errors import ViewStorageError
from projections.export import export_telemetry
from tests.projections.opened import opened
from tests.projections.story import tell

RECORDS = tell(71, rounds=5).records


def test_every_row_of_the_telemetry_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.parquet"
    with opened(None, RECORDS) as view, view.cursor() as connection:
        row_count = export_telemetry(connection, path)
        expected = connection.execute(
            'SELECT run_id, metric, "window", unit, "value", reason FROM telemetry'
            ' ORDER BY run_index, metric, "window"'
        ).fetchall()
    table = pq.read_table(path)
    assert row_count == table.num_rows == len(expected) > 0
    columns = ("run_id", "metric", "window", "unit", "value", "reason")
    assert list(zip(*(table[name].to_pylist() for name in columns), strict=True)) == expected
    assert list(tmp_path.iterdir()) == [path]


def test_an_export_may_be_of_a_range_and_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.parquet"
    with opened(None, RECORDS) as view, view.cursor() as connection:
        whole = export_telemetry(connection, path)
        query = "SELECT quantile_disc(coalesce(start_ns, 0), 0.5) FROM telemetry WHERE start_ns IS NOT NULL"
        ((middle,),) = connection.execute(query).fetchall()
        early = export_telemetry(connection, path, until_ns=middle)
        late = export_telemetry(connection, path, from_ns=middle)
    assert early + late == whole
    assert early
    assert pq.read_table(path).num_rows == late


def test_exporting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    with opened(None, RECORDS) as view, view.cursor() as connection:
        export_telemetry(connection, tmp_path / "a.parquet")
        export_telemetry(connection, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_place_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    with opened(None, RECORDS) as view, view.cursor() as connection, pytest.raises(ViewStorageError):
        export_telemetry(connection, tmp_path / "no such folder" / "x.parquet")
