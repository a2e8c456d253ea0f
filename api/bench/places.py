"""Where benchmarks happen: a folder that goes when they are done, and ledgers in it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from adapters.key_store_file import FileKeyStore
from adapters.sqlite_index import SQLiteIndex
from adapters.sqlite_log import SQLiteLog
from ledger.ledger import Ledger

TENANT = "bench"
ORIGIN = "tallystick.local/bench"


@contextmanager
def folder() -> Iterator[Path]:
    """A folder beside the caller's files, so that it lies on a disk and not in memory, as /tmp may."""
    with tempfile.TemporaryDirectory(
        prefix=".tally-bench-", dir=Path.cwd(), ignore_cleanup_errors=True
    ) as name:
        yield Path(name)


@asynccontextmanager
async def open_ledger(place: Path) -> AsyncIterator[Ledger]:
    """A ledger as the product opens it, in ``place``."""
    log = SQLiteLog(place / "ledgers")
    try:
        ledger = await Ledger.open(
            log=log,
            tenant=TENANT,
            origin=ORIGIN,
            keys=FileKeyStore(place / "keys"),
            clock=time.time_ns,
            index=SQLiteIndex(place / "index.sqlite"),
        )
        try:
            yield ledger
        finally:
            await ledger.close()
    finally:
        await log.close()
