"""The EventStoreDB development node, in a process of its own, and ledgers on it.

A client that does next to nothing (``api.bench.thin_client``) shows what the node can do, beside bare SQLite
with rows of the same size.  Then what Tallystick gets through esdbclient: appends of 100 sealed records
beside the embedded log, and ledgers moved there and back, proven equal.  Node and clients share the machine.
"""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from adapters.esdb_log import EventStoreDBLog
from adapters.sqlite_log import SQLiteLog
from api.bench.appends import PER_APPEND
from api.bench.audit import fill_ledger
from api.bench.places import TENANT, folder
from api.bench.row import Aim, Row, Scale, alone, compared
from api.bench.thin_client import DATA, thin_batches, thin_read, thin_single
from ledger.ledger import ledger_name
from ledger.migrate import migrate
from ledger.ports import EventLog, Record

NODE = """
import asyncio, sys
from pathlib import Path
import uvloop
from adapters.esdb_node.node import Node, NodeOptions

async def main():
    async with Node(NodeOptions(path=Path(sys.argv[1]), port=0)) as node:
        print(node.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)

uvloop.run(main())
"""
_LEDGER = ledger_name(TENANT)
_BARE = "bare sqlite3, rows of that size"
_EMBEDDED = "the embedded log"


def rows(scale: Scale) -> Iterator[Row]:
    """The node alone, then ledgers on it."""
    with folder() as place:
        yield from _node_alone(place, scale.of(3, 1), 1.0 if not scale.is_quick else 0.1)
    with folder() as place:
        yield from asyncio.run(_ledgers(place, scale.of(3, 1), scale.of(50_000, 3_000)))


def _node_alone(place: Path, turns: int, share: float) -> Iterator[Row]:
    singles, batches, reads = [], [], []
    for turn in range(turns):
        single, batched, read = _bare_rates(place / f"bare-{turn}.sqlite", share)
        with _node(place / f"node-{turn}.db") as port:
            thin_single(port, 500, 64)
            singles.append((thin_single(port, int(10_000 * share), 128), single))
            batches.append((thin_batches(port, int(1_500 * share), PER_APPEND, 16), batched))
            reads.append((thin_read(port)[0], read))
    yield compared("node: single appends", "rate", singles, beside=_BARE, aim=Aim("≥", 5_000, "ours", "/s"))
    yield compared(
        "node: events in batches of 100", "rate", batches, beside=_BARE, aim=Aim("≥", 50_000, "ours", "/s")
    )
    yield compared("node: events read", "rate", reads, beside=_BARE, aim=Aim("≥", 100_000, "ours", "/s"))


async def _ledgers(place: Path, turns: int, count: int) -> list[Row]:
    await fill_ledger(place, "small", count)
    source = SQLiteLog(place / "ledgers")
    records = await _read(source, count)
    appends = [records[at : at + PER_APPEND] for at in range(0, len(records), PER_APPEND)]
    appended, read, there, back = [], [], [], []
    for turn in range(turns):
        embedded = SQLiteLog(place / f"embedded-{turn}")
        with _node(place / f"appended-{turn}.db") as port:
            remote = EventStoreDBLog(f"esdb://127.0.0.1:{port}?Tls=false")
            appended.append((await _append(remote, appends), await _append(embedded, appends)))
            began = time.perf_counter()
            await _read(remote, len(records))
            middle = time.perf_counter()
            await _read(embedded, len(records))
            end = time.perf_counter()
            read.append((len(records) / (middle - began), len(records) / (end - middle)))
            await remote.close()
        await embedded.close()
        with _node(place / f"moved-{turn}.db") as port:
            remote = EventStoreDBLog(f"esdb://127.0.0.1:{port}?Tls=false")
            there.append(await _move(source, remote))
            home = SQLiteLog(place / f"back-{turn}")
            back.append(await _move(remote, home))
            await home.close()
            await remote.close()
    await source.close()
    aim = Aim("≥", 20_000, "ours", "/s")
    return [
        compared(
            "ledger on it: appends of 100, esdbclient",
            "rate",
            appended,
            beside=_EMBEDDED,
            aim=Aim("≥", 0.3),
        ),
        compared("ledger on it: read in pages", "rate", read, beside=_EMBEDDED),
        alone("moved there from SQLite and proven", "rate", there, aim=aim),
        alone("moved back and proven", "rate", back, aim=aim),
    ]


@contextmanager
def _node(path: Path) -> Iterator[int]:
    """A development node in a process of its own; gives its port."""
    arguments = [sys.executable, "-c", NODE, str(path)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.communicate("")


async def _read(log: EventLog, count: int) -> list[Record]:
    records: list[Record] = []
    while len(records) < count:
        records += await log.read(_LEDGER, len(records), min(4_096, count - len(records)))
    return records


async def _append(log: EventLog, appends: Sequence[Sequence[Record]]) -> float:
    began = time.perf_counter()
    for records in appends:
        await log.append(_LEDGER, records[0].index, records)
    return sum(map(len, appends)) / (time.perf_counter() - began)


async def _move(source: EventLog, target: EventLog) -> float:
    began = time.perf_counter()
    report = await migrate(source, target, _LEDGER)
    return report.size / (time.perf_counter() - began)


def _bare_rates(path: Path, share: float) -> tuple[float, float, float]:
    """Rows a second with a commit each, with a commit per 100, and read."""
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 8000;"
    )
    database.execute("CREATE TABLE records (position INTEGER PRIMARY KEY, frame BLOB NOT NULL)")
    row = bytes(len(DATA) + 160)

    def timed(count: int, work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        return count / (time.perf_counter() - began)

    def insert(transactions: int, size: int) -> None:
        for _ in range(transactions):
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT INTO records (frame) VALUES (?)", [(row,)] * size)
            database.execute("COMMIT")

    singles, batches = int(1_000 * share), int(500 * share)
    single = timed(singles, lambda: insert(singles, 1))
    batched = timed(batches * PER_APPEND, lambda: insert(batches, PER_APPEND))
    stored = singles + batches * PER_APPEND
    read = timed(
        stored, lambda: sum(len(found[0]) for found in database.execute("SELECT frame FROM records"))
    )
    database.close()
    return single, batched, read
