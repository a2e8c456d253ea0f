"""Durable, sealed appends of 100 events, beside stock eventsourcing and beside bare SQLite.

Stock: aggregates of 100 events each, made and saved; 100 events a save.  Ours: 100 events, proposed and
recorded in one append.  Making the events counts on both sides, except where the row says otherwise.  Bare:
the very rows that the ledger stored, inserted 100 per commit into a file with the same schema and settings.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from msgspec import to_builtins

from adapters.sqlite_log import PRAGMAS, SCHEMA
from api.bench.history import EVENTS_PER_UPLOAD, MixedHistory, joined, small_batch, small_proposals
from api.bench.places import folder, open_ledger
from api.bench.row import Aim, Row, Scale, compared
from api.bench.stock import stock_application, stock_notebook, stock_source
from ledger.ledger import Ledger, Proposal
from ledger.ports import Record

PER_APPEND = 100
CALLERS = 4
STOCK = "eventsourcing 9.5, SQLite"
BARE = "bare sqlite3, same rows"
_INSERT = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)"


def rows(scale: Scale) -> Iterator[Row]:
    """Appends of small events and of the mix, in turns with the references."""
    turns, appends = scale.of(7, 3), scale.of(100, 30)
    with folder() as place:
        yield from asyncio.run(_small(place, turns, appends))
    with folder() as place:
        yield from asyncio.run(_mixed(place, turns, max(10, appends // 4)))


async def _small(place: Path, turns: int, appends: int) -> list[Row]:
    whole: list[tuple[float, float]] = []
    made: list[tuple[float, float]] = []
    shared: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    stock = stock_application(place / "stock.sqlite")
    number, count = 0, appends * PER_APPEND
    with closing(_bare_database(place / "bare.sqlite")) as database:
        async with open_ledger(place) as ledger:
            await _copy(ledger, 0, database)
            for _ in range(turns):
                start = ledger.size
                began = time.perf_counter()
                for _ in range(appends):
                    await ledger.record(*small_proposals(number, PER_APPEND))
                    number += PER_APPEND
                ours = count / (time.perf_counter() - began)

                began = time.perf_counter()
                for at in range(appends):
                    first = number + at * PER_APPEND
                    stock.save(stock_source([small_batch(n) for n in range(first, first + PER_APPEND - 1)]))
                whole.append((ours, count / (time.perf_counter() - began)))

                ready = [small_proposals(number + at * PER_APPEND, PER_APPEND) for at in range(appends)]
                number += count
                ours = await _recorded(ledger, ready)
                sources = [
                    stock_source([small_batch(at * PER_APPEND + n) for n in range(PER_APPEND - 1)])
                    for at in range(appends)
                ]
                began = time.perf_counter()
                for source in sources:
                    stock.save(source)
                theirs = count / (time.perf_counter() - began)
                made.append((ours, theirs))
                bare.append((ours, 2 * count / await _copy(ledger, start, database)))
                ready = [small_proposals(number + at * PER_APPEND, PER_APPEND) for at in range(appends)]
                number += count
                shared.append((await _recorded(ledger, ready, CALLERS), theirs))
                await _copy(ledger, start + 2 * count, database)
    stock.close()
    return [
        compared(
            "100 events an append", "rate", whole, beside=STOCK, aim=Aim("≥", 2), note="events made in time"
        ),
        compared("the same", "rate", made, beside=STOCK, note="events made beforehand"),
        compared(
            f"the same, {CALLERS} callers with 100 each",
            "rate",
            shared,
            beside=STOCK,
            note="made beforehand; who waits at once shares an append",
        ),
        compared("the same", "rate", bare, beside=BARE, aim=Aim("≥", 0.6)),
    ]


async def _mixed(place: Path, turns: int, appends: int) -> list[Row]:
    against_stock: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    history = MixedHistory()
    stock = stock_application(place / "stock.sqlite")
    with closing(_bare_database(place / "bare.sqlite")) as database:
        async with open_ledger(place) as ledger:
            await ledger.append(history.opening)
            await _copy(ledger, 0, database)
            for _ in range(turns):
                start, ready, index = ledger.size, [], ledger.size
                for _ in range(appends):
                    uploads = []
                    for _ in range(PER_APPEND // EVENTS_PER_UPLOAD):
                        uploads.append(history.upload(index))
                        index += len(uploads[-1])
                    ready.append(joined(uploads))
                bodies = [[to_builtins(one.event) for one in some] for some in ready]
                count = sum(map(len, ready))
                ours = await _recorded(ledger, ready)
                began = time.perf_counter()
                for some in bodies:
                    stock.save(stock_notebook(some))
                against_stock.append((ours, count / (time.perf_counter() - began)))
                bare.append((ours, count / await _copy(ledger, start, database)))
            records = await ledger.read(0, 1_000)
    stock.close()
    each = sum(len(record.entry) + len(record.payload) for record in records) / len(records)
    note = f"{each:,.0f} bytes each, made beforehand"
    return [
        compared("96 mixed events an append", "rate", against_stock, beside=STOCK, note=note),
        compared("the same", "rate", bare, beside=BARE),
    ]


async def _recorded(ledger: Ledger, ready: Sequence[Sequence[Proposal]], callers: int = 1) -> float:
    """Events a second."""
    left = iter(ready)

    async def call() -> None:
        for proposals in left:
            await ledger.record(*proposals)

    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return sum(map(len, ready)) / (time.perf_counter() - began)


def _bare_database(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    for pragma in PRAGMAS:
        database.execute(f"PRAGMA {pragma}")
    for statement in SCHEMA:
        database.execute(statement)
    return database


async def _copy(ledger: Ledger, start: int, database: sqlite3.Connection) -> float:
    """Insert what the ledger stored from ``start`` on; returns the seconds it took."""
    taken = 0.0
    while records := await ledger.read(start, 50 * PER_APPEND):
        values = [_values(record) for record in records]
        began = time.perf_counter()
        for at in range(0, len(values), PER_APPEND):
            database.execute("BEGIN IMMEDIATE")
            database.executemany(_INSERT, values[at : at + PER_APPEND])
            database.execute("COMMIT")
        taken += time.perf_counter() - began
        start = records[-1].index + 1
    return taken


def _values(record: Record) -> tuple[int, bytes, str, bytes, bytes, bytes]:
    return record.index, record.event_id, record.event_type, record.entry, record.payload, record.seal
