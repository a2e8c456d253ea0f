"""The log on EventStoreDB beside the embedded one, and moving a ledger between them, in the same run.

Run with ``python -m tests.benchmarks.bench_esdb``; ``--events 1000000`` for the figure in the documentation,
``--uri esdb://…`` for a real server instead of a development node (which runs in a process of its own and
shares the machine).  The records are those of a real ledger: chained, sealed, 100 per atomic append.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from adapters.esdb_log import EventStoreDBLog
from adapters.sqlite_log import SQLiteLog
from api.bench.node import NODE
from domain.events import BatchIngested
from ledger.ledger import Proposal, ledger_name
from ledger.migrate import migrate
from ledger.ports import EventLog, Record
from tests.ledger.desk import TENANT, open_ledger
from tests.ledger.names_apart import NamesApart

NAME = ledger_name(TENANT)
BATCH = 100


@contextmanager
def server(uri: str | None, folder: Path) -> Iterator[str]:
    """A development node in a process of its own, unless a server is given."""
    if uri is not None:
        yield uri
        return
    arguments = [sys.executable, "-c", NODE, str(folder / "node.db")]
    node = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert node.stdout is not None
    try:
        yield f"esdb://127.0.0.1:{int(node.stdout.readline())}?Tls=false"
    finally:
        node.communicate("")


async def make(log: EventLog, folder: Path, count: int) -> None:
    """A ledger of ``count`` entries."""
    async with open_ledger(folder, log=log) as ledger:
        for start in range(0, count, BATCH):
            await ledger.record(*(proposal(number) for number in range(start, min(start + BATCH, count))))


def proposal(number: int) -> Proposal:
    event = BatchIngested(
        batch_id=f"b{number}",
        source_id="bench",
        kind="samples",
        media_type="text/csv",
        byte_count=number,
        digest=f"sha256:{number:064x}",
        is_encrypted=False,
        received_at_ns=number,
    )
    return Proposal(event=event, actor="bench", subject=f"batch/b{number}")


async def read(log: EventLog, count: int) -> list[Record]:
    records: list[Record] = []
    while len(records) < count:
        records += await log.read(NAME, len(records), min(4_096, count - len(records)))
    return records


async def append_all(log: EventLog, batches: Sequence[Sequence[Record]]) -> None:
    for batch in batches:
        await log.append(NAME, batch[0].index, batch)


async def rate(count: int, work: Awaitable[object]) -> float:
    """Events a second."""
    begun = time.perf_counter()
    await work
    return count / (time.perf_counter() - begun)


async def measure(folder: Path, uri: str, count: int) -> None:
    source = SQLiteLog(folder / "source")
    await make(source, folder, count)
    begin = await read(source, min(count, 50_000))
    batches = [begin[start : start + BATCH] for start in range(0, len(begin), BATCH)]
    embedded = SQLiteLog(folder / "embedded")
    remote = NamesApart(EventStoreDBLog(uri), Path(uuid4().hex))
    moved = NamesApart(EventStoreDBLog(uri), Path(uuid4().hex))
    back = SQLiteLog(folder / "back")
    rows = [
        (
            f"append, {BATCH} an append, one writer",
            await rate(len(begin), append_all(remote, batches)),
            await rate(len(begin), append_all(embedded, batches)),
        ),
        (
            "read in pages",
            await rate(len(begin), read(remote, len(begin))),
            await rate(len(begin), read(embedded, len(begin))),
        ),
    ]
    print(f"{'work':36}{'EventStoreDB/s':>16}{'embedded/s':>14}{'ratio':>8}")
    for work, ours, theirs in rows:
        print(f"{work:36}{ours:16,.0f}{theirs:14,.0f}{ours / theirs:8.2f}")
    print(f"\nmigrate, {count:,} entries, copied, read back and compared:")
    print(f"  embedded to EventStoreDB {await rate(count, migrate(source, moved, NAME)):12,.0f}/s")
    print(f"  EventStoreDB to embedded {await rate(count, migrate(moved, back, NAME)):12,.0f}/s")
    print(f"  both compared, no copy   {await rate(count, migrate(source, back, NAME)):12,.0f}/s")
    print(f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")
    for log in (source, embedded, remote, moved, back):
        await log.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--uri", help="a real server, instead of a development node")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        server(arguments.uri, Path(name)) as uri,
    ):
        asyncio.run(measure(Path(name), uri, arguments.events))


if __name__ == "__main__":
    main()
