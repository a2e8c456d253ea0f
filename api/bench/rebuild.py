"""The read views folded again from nothing, beside decoding the same events and nothing else.

The history is the mix of ``api.bench.history`` on SQLite.  The reference parses every entry and decodes every
body with the ledger's own codec, which is the least any reader does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from adapters.sqlite_log import SQLiteLog
from api.bench.audit import fill_ledger
from api.bench.places import TENANT, folder
from api.bench.row import Aim, Row, Scale, compared, seconds
from domain.event_codec import decode_event
from ledger.entry import parse_entry
from ledger.ledger import ledger_name
from projections.rebuild import rebuild

EVENTS = 60_000


def rows(scale: Scale) -> Iterator[Row]:
    """Rebuilds and decodings in turns."""
    figures: list[tuple[float, float]] = []
    with folder() as place:
        asyncio.run(fill_ledger(place, "mixed", scale.of(EVENTS, 6_000)))
        for turn in range(scale.of(5, 2)):
            count, taken = asyncio.run(_rebuilt(place, turn))
            figures.append((count / taken, count / seconds(lambda: _decoded(place))))
    yield compared(
        "events folded, mixed",
        "rate",
        figures,
        beside="entries parsed, bodies decoded",
        aim=Aim("≥", 100_000, "ours", "/s"),
    )


async def _rebuilt(place: Path, turn: int) -> tuple[int, float]:
    log = SQLiteLog(place / "ledgers")
    report = await rebuild(log, ledger_name(TENANT), place / f"view-{turn}.duckdb")
    await log.close()
    return report.event_count, report.seconds


def _decoded(place: Path) -> None:
    reader = SQLiteLog(place / "ledgers").column_reader(ledger_name(TENANT))
    for columns in reader.columns(0, 1 << 62):
        for event_type, entry, payload in zip(
            columns.event_types, columns.entries, columns.payloads, strict=True
        ):
            parse_entry(entry)
            decode_event(event_type, payload)
