"""Appends to a ledger and says what was acknowledged, one JSON line each; run as a process that faults are
injected into.

    python -m tests.faults.appender FOLDER COUNT

A line is printed only after the ledger has answered: from then on the entry must never be lost.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from msgspec.structs import replace

from ledger.checkpoint import open_checkpoint
from ledger.ledger import Proposal
from ledger.merkle import leaf_hash
from tests.ledger.desk import batch, open_ledger

PER_APPEND = 3


def proposal(number: int) -> Proposal:
    plain = batch(number)
    return replace(plain, event=replace(plain.event, file_name="x" * 200))


async def run(folder: Path, append_count: int) -> int:
    failures = 0
    async with open_ledger(folder) as ledger:
        print(json.dumps({"opened": ledger.size}), flush=True)
        for number in range(append_count):
            first = 1_000 * ledger.size + number * PER_APPEND
            try:
                answered = await ledger.record(*(proposal(first + offset) for offset in range(PER_APPEND)))
            except Exception as error:
                failures += 1
                print(json.dumps({"refused": str(error)[:120]}), flush=True)
                continue
            checkpoint = open_checkpoint(ledger.checkpoint, [ledger.verifier_key])
            for recorded in answered:
                record, _ = await ledger.get(recorded.index)
                line = {
                    "index": recorded.index,
                    "leaf": leaf_hash(record.entry).hex(),
                    "size": checkpoint.size,
                    "root": checkpoint.root.hex(),
                }
                print(json.dumps(line), flush=True)
    return failures


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
