"""The read views folded again from nothing, beside decoding the same events and nothing else.

Two tenants on SQLite, both made by ``api.bench.history``: one that sends payloads (a sleep, a day: one
window a run, about 2 kB an event), and one that sends recordings of an hour as well (4.8 kB an event, as the
ledger of ``tally demo``; a decided run of sixty windows has 27 kB and 1,080 values).  What a rebuild costs
goes with bytes and values, so a rate in events says as much about the events as about the rebuild.

The reference parses every entry and decodes every body with the ledger's own codec, which is the least any
reader does that does not know what to leave out.  Each rebuild is compared with the view before it, which is
not in the time; the first is not counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from adapters.sqlite_log import SQLiteLog
from api.bench.history import EVENTS_PER_UPLOAD, MixedHistory, joined
from api.bench.places import TENANT, folder, open_ledger
from api.bench.row import Aim, Row, Scale, compared, seconds
from domain.event_codec import decode_event
from ledger.entry import parse_entry
from ledger.ledger import Proposal, ledger_name
from projections.rebuild import RebuildReport, rebuild

MIXED_EVENTS = 60_000
PAYLOAD_EVENTS = 120_000
UPLOADS_PER_APPEND = 16


class PayloadHistory(MixedHistory):
    """The same uploads without the recordings."""

    def upload(self, index: int) -> list[Proposal]:
        """The six events of the next payload, the first of which gets this index."""
        # Of five uploads in a row, the first two are recordings.
        while (self._serial + 1) % 5 < 2:
            self._serial += 1
        return super().upload(index)


def rows(scale: Scale) -> Iterator[Row]:
    """Rebuilds and decodings in turns, for either tenant."""
    yield _row("events folded, payloads", PayloadHistory(), scale.of(PAYLOAD_EVENTS, 12_000), scale)
    yield _row("events folded, mixed", MixedHistory(), scale.of(MIXED_EVENTS, 6_000), scale)


def _row(work: str, history: MixedHistory, count: int, scale: Scale) -> Row:
    figures: list[tuple[float, float]] = []
    processor_seconds = []
    with folder() as place:
        size, byte_count = asyncio.run(_fill(place, history, count))
        asyncio.run(_rebuilt(place))
        for _ in range(scale.of(5, 2)):
            began = time.process_time()
            report = asyncio.run(_rebuilt(place))
            processor_seconds.append(time.process_time() - began)
            assert report.is_equal, "a rebuilt view is proven equal to the one before"
            figures.append((report.events_per_second, size / seconds(lambda: _decoded(place))))
    note = (
        f"{size:,} events of {byte_count / size:,.0f} bytes, each rebuild proven equal,"
        f" {min(processor_seconds):.2f} s of processor time with that proof"
    )
    return compared(
        work,
        "rate",
        figures,
        beside="entries parsed, bodies decoded",
        aim=Aim("≥", 100_000, "ours", "/s"),
        note=note,
    )


async def _fill(place: Path, history: MixedHistory, count: int) -> tuple[int, int]:
    """A ledger of at least so many events; how many they are, and the bytes of entries and bodies."""
    async with open_ledger(place) as ledger:
        await ledger.append(history.opening)
        while ledger.size < count:
            index = ledger.size
            uploads = [history.upload(index + EVENTS_PER_UPLOAD * at) for at in range(UPLOADS_PER_APPEND)]
            await ledger.record(*joined(uploads))
        size = ledger.size
    reader = SQLiteLog(place / "ledgers").column_reader(ledger_name(TENANT))
    found = reader.columns(0, size)
    return size, sum(sum(map(len, some.entries)) + sum(map(len, some.payloads)) for some in found)


async def _rebuilt(place: Path) -> RebuildReport:
    log = SQLiteLog(place / "ledgers")
    report = await rebuild(log, ledger_name(TENANT), place / "view.duckdb")
    await log.close()
    return report


def _decoded(place: Path) -> None:
    reader = SQLiteLog(place / "ledgers").column_reader(ledger_name(TENANT))
    for columns in reader.columns(0, 1 << 62):
        for event_type, entry, payload in zip(
            columns.event_types, columns.entries, columns.payloads, strict=True
        ):
            parse_entry(entry)
            decode_event(event_type, payload)
