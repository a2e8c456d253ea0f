"""Moving a ledger to another store, byte for byte, and proving the two equal (``ledger.migrate``).

From SQLite to SQLite here; to and from the EventStoreDB development node in the benchmark ``node``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from adapters.sqlite_log import SQLiteLog
from api.bench.audit import fill_ledger
from api.bench.places import TENANT, folder
from api.bench.row import Aim, Row, Scale, alone
from ledger.ledger import ledger_name
from ledger.migrate import migrate

EVENTS = 200_000


def rows(scale: Scale) -> Iterator[Row]:
    """Small events and the mix."""
    for name, count in (("small", scale.of(EVENTS, 10_000)), ("mixed", scale.of(EVENTS // 5, 3_000))):
        with folder() as place:
            asyncio.run(fill_ledger(place, name, count))
            rates = [asyncio.run(_moved(place, turn)) for turn in range(scale.of(3, 2))]
        yield alone(
            f"{name} events moved and proven, SQLite to SQLite",
            "rate",
            rates,
            aim=Aim("≥", 20_000, "ours", "/s"),
        )


async def _moved(place: Path, turn: int) -> float:
    source, target = SQLiteLog(place / "ledgers"), SQLiteLog(place / f"moved-{turn}")
    began = time.perf_counter()
    report = await migrate(source, target, ledger_name(TENANT))
    taken = time.perf_counter() - began
    await source.close()
    await target.close()
    return report.size / taken
