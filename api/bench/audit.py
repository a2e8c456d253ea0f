"""Auditing a whole ledger, beside one SHA-256 pass over the same bytes.

The audit derives every link, every root and every seal again (``ledger.audit_chain``); 100 events were sealed
at a time.  The reference is one call of hashlib over all entries and bodies in one file, mapped and in
memory: what hashing alone would cost.  The reference has one core and the audit has all; the reference hashes
one long message, and the audit three short ones an event (body, leaf and a node of the tree), reads them from
SQLite and checks a signature for every seal.  With small events most of the work is per event and not per
byte, so both mixes are shown (``api.bench.history``).  The whole audit adds SQLite's own integrity check of
the file.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapters.sqlite_log import SQLiteLog
from api.bench.appends import PER_APPEND
from api.bench.child import in_child
from api.bench.history import EVENTS_PER_UPLOAD, MixedHistory, joined, small_proposals
from api.bench.places import TENANT, folder, open_ledger
from api.bench.row import Aim, Row, Scale, alone, compared
from domain.errors import InvalidError
from ledger.audit_chain import ChainAudit
from ledger.ledger import ledger_name

SMALL_EVENTS, MIXED_EVENTS = 1_000_000, 250_000
MEMORY_MB_MAX = 500
HASH = "one SHA-256 pass"


def rows(scale: Scale) -> Iterator[Row]:
    """Both mixes."""
    turns = scale.of(5, 3)
    for name, count in (
        ("mixed", scale.of(MIXED_EVENTS, 15_000)),
        ("small", scale.of(SMALL_EVENTS, 100_000)),
    ):
        with folder() as place:
            asyncio.run(fill_ledger(place, name, count))
            yield from _measured(place, name, turns)


def _measured(place: Path, name: str, turns: int) -> Iterator[Row]:
    figures: list[tuple[float, float]] = []
    peaks: list[float] = []
    result: dict[str, Any] = {}
    bytes_path = place / "bytes"
    for _ in range(turns):
        measured = in_child("api.bench.audit", "audit_once", str(place))
        result = measured.result
        peaks.append(measured.peak_bytes / 1e6)
        figures.append((result["seconds"], _hashed(bytes_path)))
    size, each = result["size"], result["byte_count"] / result["size"]
    note = (
        f"{size:,} events of {each:,.0f} bytes, {result['seals']:,} seals,"
        f" {result['processor_seconds']:.2f} s of processor time"
    )
    # The aim is for a ledger as it really is; where every event is a few hundred bytes, it is said beside.
    yield compared(f"audit, {name} events", "seconds", figures, beside=HASH, aim=Aim("≤", 4), note=note)
    yield alone(
        "its peak memory, all processes", "megabytes", peaks, aim=Aim("≤", MEMORY_MB_MAX, "ours", "MB")
    )
    whole = in_child("api.bench.audit", "check_storage_once", str(place)).result["seconds"]
    yield alone("SQLite's integrity check of the file, beside", "seconds", [whole])


async def fill_ledger(place: Path, name: str, count: int) -> None:
    """A ledger of so many events, 100 an append, and a file with all its entries and bodies."""
    history = MixedHistory()
    async with open_ledger(place) as ledger:
        if name == "mixed":
            await ledger.append(history.opening)
        while ledger.size < count:
            if name == "small":
                await ledger.record(*small_proposals(ledger.size, PER_APPEND))
                continue
            index = ledger.size
            uploads = range(PER_APPEND // EVENTS_PER_UPLOAD)
            await ledger.record(*joined([history.upload(index + EVENTS_PER_UPLOAD * at) for at in uploads]))
    log = SQLiteLog(place / "ledgers")
    with (place / "bytes").open("wb") as file:
        for columns in log.column_reader(ledger_name(TENANT)).columns(0, 1 << 62):
            for entry, payload in zip(columns.entries, columns.payloads, strict=True):
                file.write(entry)
                file.write(payload)


def _hashed(path: Path) -> float:
    """Seconds for one pass over the file, which is in memory already."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for at in range(0, len(data), mmap.PAGESIZE):
            data[at]
        began = time.perf_counter()
        hashlib.sha256(data).digest()
        return time.perf_counter() - began


def audit_once(place: str) -> dict[str, Any]:
    """In a child: audit the ledger there."""

    async def run() -> dict[str, Any]:
        log = SQLiteLog(Path(place) / "ledgers")
        chain = ChainAudit(log, ledger_name(TENANT))
        began, worked = time.perf_counter(), _processor_seconds()
        await chain.run()
        taken = time.perf_counter() - began
        await log.close()
        if chain.findings:
            raise InvalidError("the benchmark's ledger does not audit", actual=str(chain.findings[0]))
        return {
            "seconds": taken,
            "processor_seconds": _processor_seconds() - worked,
            "size": chain.size,
            "seals": chain.seal_count,
            "byte_count": chain.byte_count,
        }

    return asyncio.run(run())


def _processor_seconds() -> float:
    """What this process and those that it started and that have ended have worked."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def check_storage_once(place: str) -> dict[str, Any]:
    """In a child: let the store check itself."""

    async def run() -> dict[str, Any]:
        log = SQLiteLog(Path(place) / "ledgers")
        began = time.perf_counter()
        findings = await log.check_storage(ledger_name(TENANT))
        taken = time.perf_counter() - began
        await log.close()
        return {"seconds": taken, "findings": findings}

    return asyncio.run(run())
