"""64 callers at once, each with one event after the other, beside stock eventsourcing with one caller.

Stock: one caller, one aggregate event and one save at a time; its recorder has one connection for writing, so
more callers only wait for each other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from api.bench.appends import STOCK
from api.bench.history import small_batch, small_proposals
from api.bench.places import folder, open_ledger
from api.bench.row import Aim, Row, Scale, compared
from api.bench.stock import record_batch, stock_application, stock_source
from ledger.ledger import Ledger

CALLERS = 64


def rows(scale: Scale) -> Iterator[Row]:
    """The two in turns."""
    with folder() as place:
        yield asyncio.run(_callers(place, scale.of(7, 3), scale.of(150, 40), scale.of(1_500, 400)))


async def _callers(place: Path, turns: int, each: int, stock_count: int) -> Row:
    numbers = count()
    figures: list[tuple[float, float]] = []
    stock = stock_application(place / "stock.sqlite")
    source = stock_source([])
    async with open_ledger(place) as ledger:
        for _ in range(turns):
            began = time.perf_counter()
            await asyncio.gather(*(_call(ledger, numbers, each) for _ in range(CALLERS)))
            ours = CALLERS * each / (time.perf_counter() - began)
            began = time.perf_counter()
            for _ in range(stock_count):
                record_batch(source, small_batch(next(numbers)))
                stock.save(source)
            figures.append((ours, stock_count / (time.perf_counter() - began)))
    stock.close()
    return compared(
        f"{CALLERS} callers, one event at a time",
        "rate",
        figures,
        beside=f"{STOCK}, 1 caller",
        aim=Aim("≥", 10),
    )


async def _call(ledger: Ledger, numbers: count[int], each: int) -> None:
    for _ in range(each):
        await ledger.record(*small_proposals(next(numbers), 1))
