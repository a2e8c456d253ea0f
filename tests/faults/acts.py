"""What people do to a home, as a process that faults are injected into: it says what was acknowledged.

    python -m tests.faults.acts ACT HOME

One JSON line for each answer, printed only after it was given: from then on what it says must stay true.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from adapters.sqlite_log import SQLiteLog
from adapters.tile_directory import TileDirectory
from api.backup import back_up
from api.demo import CONNECTION
from api.workplace import Workplace, open_workplace
from domain.events import Recorded
from ledger.desk import Desk
from ledger.erasure import ErasureReason, erase_subject
from ledger.ingest import ingest
from ledger.key_change import rotate_key
from ledger.merkle import leaf_hash
from ledger.migrate import migrate
from ledger.policy import policy_of_log
from ledger.seen import Acceptance
from ledger.tile_mirror import mirror
from ledger.tile_serving import published_tile
from ledger.tiles import Tile
from ledger.worker import settle
from tests.story.told import at_desk, payload_upload, recording, recording_upload, settings

PAYLOAD = "sleep_2026-03-28.json"
SECONDS = 60


def say(**said: Any) -> None:
    print(json.dumps(said), flush=True)


async def say_entry(desk: Desk, what: str, recorded: Recorded) -> None:
    record, _ = await desk.ledger.get(recorded.index)
    leaf = leaf_hash(record.entry).hex()
    say(answer=what, index=recorded.index, leaf=leaf, checkpoint=desk.ledger.checkpoint.decode())


async def take_in(home: Path) -> None:
    """One payload and one short recording, worked off to their receipts."""
    async with at_desk(home) as (_, desk):
        for upload in (payload_upload(PAYLOAD), recording_upload(desk, 0, recording(0, SECONDS))):
            recorded, _ = await ingest(desk, upload, "test")
            await say_entry(desk, "ingested", recorded)
            size = desk.ledger.size
            stuck = await settle(desk)
            for item in stuck:
                say(stuck=str(item.error))
            for record in await desk.ledger.read(size, 1_000):
                if record.event_type == "receipt.issued.v1":
                    await say_entry(desk, "receipt", (await desk.ledger.get(record.index))[1])


async def erase(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        await say_entry(
            desk, "erased", await erase_subject(desk, CONNECTION, ErasureReason.OBJECTION, "test")
        )


async def rotate(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        for number in range(2):
            recorded = await rotate_key(desk.ledger, desk.keys, reason=f"drill {number}", actor="test")
            await say_entry(desk, "rotated", recorded)
            recorded, _ = await ingest(desk, payload_upload(PAYLOAD), "test")
            await say_entry(desk, "ingested", recorded)


async def move(home: Path) -> None:
    source, target = SQLiteLog(home / "ledgers"), SQLiteLog(home / "moved")
    report = await migrate(source, target, "ledger-demo")
    say(answer="moved", size=report.size, root=report.root)
    await source.close()
    await target.close()


async def show(home: Path) -> None:
    """Mirror the tiles, let the ledger grow, and mirror them again."""
    async with at_desk(home) as (_, desk):
        shelf = TileDirectory(home / "mirror")

        async def fetch(tile: Tile) -> bytes:
            return await published_tile(desk.ledger, tile)

        for name in ("sleep_2026-03-28.json", "sleep_2026-03-29_late_tentative.json"):
            policy = policy_of_log(desk.ledger.verifier_key)
            with shelf.writing():
                report = await mirror(fetch, desk.ledger.checkpoint, policy, shelf)
            say(answer="shown", size=report.size, root=report.root)
            await ingest(desk, payload_upload(name), "test")


async def copy(home: Path) -> None:
    async with at_desk(home) as (workplace, desk):
        made = await back_up(workplace, desk, home / "backup", keys_folder=home / "safe")
        say(answer="copied", size=made.size, root=made.root)


async def accept(home: Path) -> None:
    async with open_workplace(settings(home)) as workplace:
        desk = await _accepted(workplace)
        say(answer="accepted", size=desk.ledger.size)


async def _accepted(workplace: Workplace) -> Desk:
    return await workplace.desk(acceptance=Acceptance(actor="test", reason="a drill"))


ACTS: dict[str, Callable[[Path], Awaitable[None]]] = {
    "take-in": take_in,
    "erase": erase,
    "rotate": rotate,
    "move": move,
    "show": show,
    "copy": copy,
    "accept": accept,
}


if __name__ == "__main__":
    asyncio.run(ACTS[sys.argv[1]](Path(sys.argv[2])))  # type: ignore[arg-type]
