"""Rate of a projection rebuild, beside what reading the same events costs at least, in the same run.

Run with ``python -m tests.benchmarks.bench_projection [--rounds N]``.  Two tenants are told: one whose events
are mostly provider payloads (five events each, one window per run), and one that is mostly recordings (eleven
events per upload, three runs of 60 one-minute windows each).  Beside the rebuild stand

- *codec*: parsing every entry and decoding every body with the ledger's own codec, and nothing else;
- *rows only*: inserting the same rows, already folded, into the same tables;
- *stock*: eventsourcing's SQLite tracking recorder, one position per event and no rows at all.

The rate to look at is the rebuild's; the ratios hold on any machine.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from eventsourcing.persistence import Tracking
from eventsourcing.sqlite import SQLiteDatastore, SQLiteTrackingRecorder

from adapters.sqlite_log import SQLiteLog
from domain.event_codec import decode_event
from ledger.entry import parse_entry
from ledger.ports import EventLog, Record
from projections.catch_up import PAGE_EVENTS_MAX
from projections.fold import Position, fold
from projections.rebuild import RebuildReport, rebuild
from projections.runner import ProjectionRunner
from projections.view import View
from tests.projections.memory_log import log_of
from tests.projections.story import LEDGER, tell

REPEATS = 3
STOCK_EVENTS = 2_000
LIVE_EVENTS = 200
APPEND_EVENTS = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=600, help="length of the histories")
    rounds = parser.parse_args().rounds
    tenants = (
        ("payloads", history(1, rounds=2 * rounds, devices=1, connections=15)),
        ("recordings", history(2, rounds=rounds, devices=4, connections=0)),
    )
    for name, records in tenants:
        with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as folder:
            measure(name, records, Path(folder))
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as folder:
        stock = best(lambda: stock_tracking(Path(folder) / "stock.sqlite"))
        print(f"stock tracking, one position per event    {STOCK_EVENTS / stock:>12,.0f} events/s")
        waits = asyncio.run(live(tenants[0][1], Path(folder) / "live.duckdb"))
        print(f"append to readable, one event at a time   {statistics.median(waits) * 1e3:>12.1f} ms median")


def history(seed: int, *, rounds: int, devices: int, connections: int) -> list[Record]:
    """Events of hourly recordings and of payloads; one track in fifty has a hole."""
    return tell(
        seed, rounds=rounds, devices=devices, connections=connections, window_count=60, hole_share=0.02
    ).records


def measure(name: str, records: list[Record], folder: Path) -> None:
    count = len(records)
    telemetry = telemetry_rows(records)
    body_bytes = sum(len(record.payload) for record in records) / count
    print(f"{name}: {count:,} events of {body_bytes:,.0f} bytes, {telemetry / count:.1f} telemetry rows each")
    memory = asyncio.run(log_of(records, LEDGER))
    codec = best(lambda: read_everything(records))
    inserted = best(lambda: rows_only(records, folder))
    rebuilt(memory, folder)  # so that there is a view to compare with
    reports = [rebuilt(memory, folder) for _ in range(REPEATS)]
    in_memory = min(report.seconds for report in reports)
    sqlite = asyncio.run(stored(records, folder))
    stored_reports = [rebuilt(sqlite, folder) for _ in range(REPEATS)]
    from_sqlite = min(report.seconds for report in stored_reports)
    asyncio.run(sqlite.close())
    for label, seconds in (
        ("rebuild, log in memory", in_memory),
        ("rebuild, SQLite log", from_sqlite),
        ("codec: entries and bodies, nothing else", codec),
        ("rows only, already folded", inserted),
    ):
        print(
            f"  {label:<40}{count / seconds:>12,.0f} events/s {telemetry / seconds:>12,.0f} telemetry rows/s"
            f"   {codec / seconds:>6.2f} x codec"
        )
    proven = all(report.is_equal for report in (*reports, *stored_reports))
    print(f"  each proven equal to the view before: {proven}")


def best(measured: Callable[[], float]) -> float:
    """The least of a few runs, in seconds: what the machine can do when nobody disturbs it."""
    return min(measured() for _ in range(REPEATS))


def telemetry_rows(records: Sequence[Record]) -> int:
    view = View(None, LEDGER)
    for start in range(0, len(records), PAGE_EVENTS_MAX):
        view.advance(records[start : start + PAGE_EVENTS_MAX])
    with view.cursor() as connection:
        ((rows,),) = connection.execute("SELECT sum(len(track)) FROM metric_track").fetchall()
    view.close()
    return int(rows)


def read_everything(records: Sequence[Record]) -> float:
    began = time.perf_counter()
    for record in records:
        parse_entry(record.entry)
        decode_event(record.event_type, record.payload)
    return time.perf_counter() - began


def rows_only(records: Sequence[Record], folder: Path) -> float:
    path = folder / "rows.duckdb"
    path.unlink(missing_ok=True)
    view = View(path, LEDGER, is_scratch=True)
    increments = []
    position, open_runs = Position(), dict[str, int]()
    for start in range(0, len(records), PAGE_EVENTS_MAX):
        increment = fold(records[start : start + PAGE_EVENTS_MAX], position, open_runs)
        open_runs |= increment.opened
        for run_id in increment.closed:
            del open_runs[run_id]
        position = increment.after
        increments.append(increment)
    began = time.perf_counter()
    for increment in increments:
        view.write(increment)
    view.checkpoint()
    seconds = time.perf_counter() - began
    view.close()
    return seconds


def rebuilt(log: EventLog, folder: Path) -> RebuildReport:
    return asyncio.run(rebuild(log, LEDGER, folder / "view.duckdb"))


async def stored(records: Sequence[Record], folder: Path) -> SQLiteLog:
    log = SQLiteLog(folder / "log")
    for start in range(0, len(records), APPEND_EVENTS):
        await log.append(LEDGER, start, records[start : start + APPEND_EVENTS])
    return log


def stock_tracking(path: Path) -> float:
    for file in path.parent.glob(path.name + "*"):
        file.unlink()
    recorder = SQLiteTrackingRecorder(SQLiteDatastore(str(path)))
    recorder.create_table()
    began = time.perf_counter()
    for notification_id in range(1, STOCK_EVENTS + 1):
        recorder.insert_tracking(Tracking("upstream", notification_id))
    return time.perf_counter() - began


async def live(records: Sequence[Record], path: Path) -> list[float]:
    """Seconds from an append to being able to read it."""
    start = len(records) - LIVE_EVENTS
    log = await log_of(records[:start], LEDGER)
    waits = []
    async with ProjectionRunner(log, LEDGER, path) as runner:
        await runner.wait(start - 1, timeout_seconds=120.0)
        for index in range(start, len(records)):
            began = time.perf_counter()
            await log.append(LEDGER, index, [records[index]])
            await runner.wait(index)
            waits.append(time.perf_counter() - began)
    return waits


if __name__ == "__main__":
    main()
