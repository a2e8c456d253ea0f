"""What was seen is held against what is there: a ledger that went back is not opened.

A store that was put back from an older backup audits clean: it is a ledger, only not the newest one.  Going
on from it would lose what was acknowledged and sign two histories of one size.  So an installation remembers
the newest checkpoint it has seen, outside the store and its backups (``CheckpointMemory``), and every opening
compares:

1. The store has at least as many entries as were seen.
2. The root over that many entries is the root that was seen.
3. If not, the ledger is not opened, unless an earlier opening has recorded that this checkpoint was given up
   (``ledger.restored.v1``), or somebody now accepts it, which records just that.

The checkpoint is remembered when a ledger was opened, at most ``REMEMBER_SECONDS`` after it grew, and when it
is closed.  The window: a backup that was taken less than ``REMEMBER_SECONDS`` before a machine died, and is
put back, can lack that much unnoticed; a crash alone loses nothing, because the log itself is durable.
"""

from __future__ import annotations

import asyncio
import logging

from msgspec import Struct

from domain.errors import InvalidError, TallystickError
from domain.events import LedgerRestored
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.ledger import Ledger, Proposal, ledger_name
from ledger.notes import parse_note
from ledger.ports import CheckpointMemory, Clock, EventLog, LedgerIndex, SigningKeys
from ledger.tiles import root_from_tiles

# Two fsyncs once a second while the ledger grows, and none while it does not.
REMEMBER_SECONDS = 1.0
REASON_CHARACTERS_MAX = 500

_log = logging.getLogger("tallystick.seen")


class Acceptance(Struct, frozen=True, kw_only=True):
    """Somebody's word that a ledger goes on from what is there, whatever was seen; both are recorded.
    ``reason`` has 1 to ``REASON_CHARACTERS_MAX`` characters."""

    actor: str
    reason: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.reason) <= REASON_CHARACTERS_MAX:
            raise InvalidError(
                "an acceptance says why", field="reason", expected=f"1 to {REASON_CHARACTERS_MAX} characters"
            )


class InvalidHistoryError(InvalidError):
    """The store does not hold what was seen: it is older, or its history is another one, with ``found_root``
    over the first ``seen.size`` entries."""

    def __init__(self, ledger: str, seen: Checkpoint, found_size: int, found_root: bytes | None) -> None:
        is_shorter = found_size < seen.size
        root = "" if found_root is None else f" with root {found_root.hex()}"
        super().__init__(
            "this store holds an older state of the ledger than was seen here"
            if is_shorter
            else "this store holds another history of the ledger than was seen here",
            field=ledger,
            expected=f"{seen.size} entries with root {seen.root.hex()}",
            actual=f"{found_size} entries" if is_shorter else f"{seen.size} entries{root}",
            remedy="Put the newest state back. `tally restore` compares what was seen with what is there; a "
            "witness, or a checkpoint you kept (tally audit --checkpoint), can tell which is right. To go on "
            "from what is there knowingly: tally restore --accept REASON.",
        )
        self.seen = seen
        self.found_size = found_size
        self.found_root = found_root


async def open_seen(
    memory: CheckpointMemory,
    *,
    log: EventLog,
    tenant: str,
    origin: str,
    keys: SigningKeys,
    clock: Clock,
    index: LedgerIndex,
    acceptance: Acceptance | None = None,
) -> Ledger:
    """``Ledger.open``, and steps 1 to 3 of this page.

    Raises: InvalidHistoryError, MalformedError for a memory that cannot be read; what ``Ledger.open`` raises.
    """
    note = await asyncio.to_thread(memory.last)
    seen = parse_checkpoint(parse_note(note).text) if note else None
    if seen is not None and acceptance is None:
        # Before anything derived is thrown away because it does not fit this store.
        size = await log.size(ledger_name(tenant))
        if size < seen.size:
            raise InvalidHistoryError(ledger_name(tenant), seen, size, None)
    ledger = await Ledger.open(log=log, tenant=tenant, origin=origin, keys=keys, clock=clock, index=index)
    try:
        if seen is None:
            await asyncio.to_thread(memory.keep, ledger.checkpoint)
        else:
            await _compare(ledger, memory, note, seen, acceptance)
    except BaseException:
        await ledger.close()
        raise
    return ledger


def holds(ledger: Ledger, seen: Checkpoint) -> bool:
    """Whether this ledger is, or grew out of, what was seen."""
    return ledger.size >= seen.size and _root_at(ledger, seen.size) == seen.root


async def _compare(
    ledger: Ledger, memory: CheckpointMemory, note: bytes, seen: Checkpoint, acceptance: Acceptance | None
) -> None:
    if holds(ledger, seen):
        return
    forgone = note.decode()
    if forgone not in ledger.state.forgone:
        if acceptance is None:
            raise InvalidHistoryError(ledger.name, seen, ledger.size, _root_at(ledger, seen.size))
        event = LedgerRestored(seen=forgone, found=ledger.checkpoint.decode(), reason=acceptance.reason)
        await ledger.record(Proposal(event=event, actor=acceptance.actor, subject=f"tenant/{ledger.tenant}"))
    # A crash before this: the ledger says that the checkpoint was given up; the next acceptance goes on here.
    await asyncio.to_thread(memory.give_up, note, ledger.checkpoint)


def _root_at(ledger: Ledger, size: int) -> bytes | None:
    return root_from_tiles(ledger.tile, size) if size <= ledger.size else None


class Remembering:
    """Keeps the memory of one open ledger up to date until it is closed."""

    def __init__(self, ledger: Ledger, memory: CheckpointMemory) -> None:
        self._ledger = ledger
        self._memory = memory
        self._kept = b""
        self._task = asyncio.create_task(self._keep_on(), name=f"memory of {ledger.name}")

    async def close(self) -> None:
        """Remember the last one; call it after the ledger was closed."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._keep()

    async def _keep_on(self) -> None:
        while True:
            grown = self._ledger.grown
            await self._keep()
            await grown.wait()
            await asyncio.sleep(REMEMBER_SECONDS)

    async def _keep(self) -> None:
        note = self._ledger.checkpoint
        if note == self._kept:
            return
        try:
            await asyncio.to_thread(self._memory.keep, note)
            self._kept = note
        except (TallystickError, OSError) as error:
            # The ledger itself is durable; what is weaker until this works again is only the look back.
            _log.error("cannot remember the newest checkpoint of %s: %s", self._ledger.name, error)
