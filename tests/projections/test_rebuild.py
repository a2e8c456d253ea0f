"""A rebuilt view is proven equal to the live one, or the difference is named."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from projections.errors import ProjectionStoppedError, ViewInUseError
from projections.rebuild import RebuildReport, rebuild
from projections.schema import COMPARED_TABLES
from tests.projections.memory_log import MemoryLog, log_of
from tests.projections.opened import contents, opened, rows
from tests.projections.story import LEDGER, tell

WHOLE = tell(31, rounds=10).records


def rebuilt(path: Path, log: MemoryLog | None = None) -> RebuildReport:
    async def run() -> RebuildReport:
        return await rebuild(log or await log_of(WHOLE, LEDGER), LEDGER, path)

    return asyncio.run(run())


def assert_whole(path: Path) -> None:
    with opened(path) as view, opened(None, WHOLE) as whole:
        assert contents(view) == contents(whole)


def test_a_view_is_proven_equal_where_it_stands_and_rebuilt_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    with opened(path, WHOLE[:100]):
        pass
    report = rebuilt(path)
    assert report.is_equal
    assert (report.live, report.compared_count, report.event_count) == ("compared", 100, len(WHOLE))
    assert [table.table for table in report.tables] == list(COMPARED_TABLES)
    assert report.events_per_second > 0
    assert_whole(path)
    with opened(Path(report.previous)) as before:
        assert before.position.next_index == 100


def test_a_view_that_crashed_with_a_log_beside_it_is_compared_with_that_log(tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    with opened(path, WHOLE[:50]) as view:
        log = path.with_name(path.name + ".wal")
        file_bytes, log_bytes = path.read_bytes(), log.read_bytes()
        assert view.position.next_index == 50
    path.write_bytes(file_bytes)
    log.write_bytes(log_bytes)
    report = rebuilt(path)
    assert report.is_equal
    assert report.compared_count == 50
    assert not log.exists()
    assert_whole(path)


def test_rebuilding_without_a_view_makes_one(tmp_path: Path) -> None:
    report = rebuilt(tmp_path / "acme.duckdb")
    assert (report.live, report.is_equal, report.previous) == ("missing", False, "")
    assert_whole(tmp_path / "acme.duckdb")


def test_rebuilding_an_empty_ledger_makes_an_empty_view(tmp_path: Path) -> None:
    report = rebuilt(tmp_path / "acme.duckdb", MemoryLog())
    assert (report.live, report.event_count) == ("missing", 0)
    with opened(tmp_path / "acme.duckdb") as view:
        assert view.position.next_index == 0


@pytest.mark.parametrize("damage", ["garbage", "flipped bytes", "truncated", "another ledger's"])
def test_a_damaged_view_is_named_replaced_and_kept(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    with opened(path, WHOLE):
        pass
    data = bytearray(path.read_bytes())
    if damage == "garbage":
        data = bytearray(b"garbage " * 4_096)
    elif damage == "flipped bytes":
        data[20_000:] = bytes(byte ^ 0xFF for byte in data[20_000:])
    elif damage == "truncated":
        del data[6_000:]
    path.write_bytes(data)
    if damage == "another ledger's":
        path.unlink()
        log = asyncio.run(log_of(WHOLE, "ledger-other"))
        asyncio.run(rebuild(log, "ledger-other", path))
        data = bytearray(path.read_bytes())
    report = rebuilt(path)
    assert report.live == "unreadable"
    assert report.detail
    assert not report.is_equal
    assert_whole(path)
    assert Path(report.previous).read_bytes() == data


def test_a_view_ahead_of_its_ledger_says_that_entries_were_lost(tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    with opened(path, WHOLE):
        pass
    report = rebuilt(path, asyncio.run(log_of(WHOLE[:60], LEDGER)))
    assert (report.live, report.event_count) == ("ahead", 60)
    assert "60" in report.detail


def test_a_changed_row_in_any_table_changes_that_tables_digest_alone() -> None:
    with opened(None, WHOLE) as view:
        before = contents(view)
        for table in COMPARED_TABLES:
            ((column, kind),) = rows(
                view,
                "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? AND data_type IN"
                " ('VARCHAR', 'BIGINT') ORDER BY column_index LIMIT 1",
                table,
            )
            changed = f"{column} || 'x'" if kind == "VARCHAR" else f"{column} + 1"
            first = f"(SELECT min(rowid) FROM {table})"
            rows(view, f"UPDATE {table} SET {column} = {changed} WHERE rowid = {first}")
            after = contents(view)
            assert [name for name in COMPARED_TABLES if after[name] != before[name]] == [table]
            before = after


def test_a_changed_row_is_named_and_the_rebuilt_view_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    with opened(path, WHOLE) as view:
        rows(view, "UPDATE run_decided SET verdict = 'pass' WHERE verdict = 'abstain'")
    report = rebuilt(path)
    assert not report.is_equal
    assert [found.table for found in report.tables if not found.is_equal] == ["run_decided"]
    assert_whole(path)


def test_a_row_in_the_place_of_another_is_named(tmp_path: Path) -> None:
    path, table = tmp_path / "acme.duckdb", "metric_track"
    with opened(path, WHOLE) as view:
        rows(view, f"DELETE FROM {table} WHERE rowid = 1")
        rows(view, f"INSERT INTO {table} SELECT * FROM {table} WHERE rowid = 2")
    different = [found for found in rebuilt(path).tables if not found.is_equal]
    assert [found.table for found in different] == [table]
    assert different[0].live.row_count == different[0].rebuilt.row_count, "the counts alone would not say it"


def test_the_order_of_rows_makes_no_difference(tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    with opened(path, WHOLE) as view:
        rows(
            view, "CREATE TABLE turned AS SELECT * FROM metric_track ORDER BY entry_index DESC, position DESC"
        )
        rows(view, "DELETE FROM metric_track")
        rows(view, "INSERT INTO metric_track SELECT * FROM turned")
    assert rebuilt(path).is_equal


def test_a_poison_leaves_the_live_view_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    story = tell(31, rounds=10)
    story.add_bytes("run.started.v9", b"{}", "run/x")
    with opened(path, WHOLE):
        pass
    before = path.read_bytes()
    with pytest.raises(ProjectionStoppedError):
        rebuilt(path, asyncio.run(log_of(story.records, LEDGER)))
    assert path.read_bytes() == before
    assert not path.with_name(path.name + ".rebuild").exists()


def test_a_view_in_use_is_not_rebuilt_under_its_user(tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    with opened(path, WHOLE[:10]), pytest.raises(ViewInUseError):
        rebuilt(path)
    assert rebuilt(path).is_equal


def test_what_an_interrupted_rebuild_left_is_swept_away(tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    path.with_name(path.name + ".rebuild").write_bytes(b"half")
    path.with_name(path.name + ".rebuild.wal").write_bytes(b"half")
    rebuilt(path)
    assert_whole(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["acme.duckdb", "acme.duckdb.lock"]


def test_rebuilding_twice_is_equal_both_times(tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    rebuilt(path)
    first = rebuilt(path)
    second = rebuilt(path)
    assert first.is_equal
    assert second.is_equal
    assert first.tables == second.tables
