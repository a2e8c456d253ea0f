"""A ledger on a real store in a temporary folder, with a clock that tests set."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.sqlite_index import SQLiteIndex
from adapters.sqlite_log import SQLiteLog
from domain.events import BatchIngested
from ledger.ledger import Ledger, Proposal
from ledger.ports import EventLog, SigningKeys
from tests.ledger.key_ring import KeyRing
from tests.ledger.signing_key import SigningKey

ORIGIN = "tests.local/demo"
TENANT = "demo"
START_NS = 1_780_000_000_000_000_000

#: Where ledgers of these tests lie when a test does not say; `tests.ledger.test_ledger` runs on every store.
open_log: Callable[[Path], EventLog] = SQLiteLog


def ticking_clock(start_ns: int = START_NS) -> Callable[[], int]:
    """A clock that moves one millisecond each time somebody looks."""
    now = start_ns

    def clock() -> int:
        nonlocal now
        now += 1_000_000
        return now

    return clock


def batch(number: int) -> Proposal:
    """An event that changes nothing but the size; the same number is the same fact."""
    event = BatchIngested(
        batch_id=f"b{number}",
        source_id="s",
        kind="samples",
        media_type="text/csv",
        byte_count=1,
        digest="sha256:" + f"{number:064x}",
        is_encrypted=False,
        received_at_ns=number,
    )
    return Proposal(event=event, actor="cli", subject=f"batch/b{number}")


@asynccontextmanager
async def open_ledger(
    folder: Path,
    *,
    log: EventLog | None = None,
    signer: SigningKey | None = None,
    keys: SigningKeys | None = None,
    index_name: str = "index",
    clock: Callable[[], int] | None = None,
) -> AsyncIterator[Ledger]:
    """Open (or create) the test tenant's ledger in ``folder``."""
    own_log = open_log(folder / "log") if log is None else None
    store = log if log is not None else own_log
    assert store is not None
    try:
        ledger = await Ledger.open(
            log=store,
            tenant=TENANT,
            origin=ORIGIN,
            keys=keys or KeyRing(signer or SigningKey(ORIGIN)),
            clock=clock or ticking_clock(),
            index=SQLiteIndex(folder / f"{index_name}.sqlite"),
        )
        try:
            yield ledger
        finally:
            await ledger.close()
    finally:
        if own_log is not None:
            await own_log.close()
