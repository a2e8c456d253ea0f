"""One of several processes that write to the same ledger; says what was acknowledged, one JSON line each.

    python -m tests.faults.writer STORE FOLDER NAME APPENDS

STORE is ``esdb://…`` or a folder; FOLDER is where this writer keeps what it derives.  Half of what a writer
records are facts of its own, the other half facts that every writer records.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from adapters.esdb_log import EventStoreDBLog
from adapters.sqlite_log import SQLiteLog
from ledger.checkpoint import open_checkpoint
from ledger.ledger import Proposal
from ledger.merkle import leaf_hash
from ledger.ports import EventLog
from tests.faults.appender import proposal
from tests.ledger.desk import open_ledger
from tests.ledger.names_apart import NamesApart

SHARED = 5_000_000


def open_store(store: str, folder: Path) -> EventLog:
    """The store that all writers share."""
    if "://" in store:
        return NamesApart(EventStoreDBLog(store), folder, suffix="-writers")  # type: ignore[return-value]
    return SQLiteLog(Path(store))


def proposals(name: int, number: int) -> tuple[Proposal, ...]:
    """The facts of one append."""
    return proposal(name * 1_000_000 + number), proposal(SHARED + number)


async def run(store: str, folder: Path, name: int, append_count: int) -> None:
    log = open_store(store, folder.parent)
    try:
        async with open_ledger(folder, log=log) as ledger:
            print(json.dumps({"opened": ledger.size}), flush=True)
            for number in range(append_count):
                for recorded in await ledger.record(*proposals(name, number)):
                    record, _ = await ledger.get(recorded.index)
                    checkpoint = open_checkpoint(ledger.checkpoint, [ledger.verifier_key])
                    line = {
                        "index": recorded.index,
                        "leaf": leaf_hash(record.entry).hex(),
                        "size": checkpoint.size,
                        "root": checkpoint.root.hex(),
                    }
                    print(json.dumps(line), flush=True)
    finally:
        await log.close()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
