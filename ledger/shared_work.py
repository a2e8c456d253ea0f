"""Working one ledger off from several machines: each record goes to one of them, by the store's own queue.

Without a queue every machine would carry out every command; nothing would be wrong, because a fact is
recorded once, and all but one of them would have computed in vain.  Here a worker that is handed a record
carries out what the flow asks for because of it (``cause_of``), and is done with the record once the answers
are in the ledger.  What a worker held that died is handed to another one.

A record whose commands fail comes again after a pause that grows to a minute, to whichever worker; after
``ledger.work_queue.ATTEMPTS_MAX`` it is parked, and what is parked is tried anew every ``PARKED_SECONDS``.
What is pending is a fold over the ledger here as elsewhere (``domain.flow``): the queue says who does it,
never whether it was done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, assert_never

from domain.errors import InvalidError, TallystickError
from domain.events import BatchIngested, DatasetDerived, RunStarted
from domain.flow import Command, DeriveDataset, ExecuteRun, StartRun
from ledger.desk import Desk
from ledger.errors import RefusedByStoreError
from ledger.work_queue import WorkItem, WorkQueue, WorkSession
from ledger.worker import RETRY_SECONDS_MAX, Stuck, carry_out, work

#: The destination whose workers carry out the flow.
FLOW: Final = "flow"
#: Longer than any task may take (``adapters.executor``), or two workers would compute the same.
LEASE_SECONDS: Final = 660.0
#: Most records ask for nothing and are done with at once; so many of them are on their way at a time.
BUFFER_RECORDS: Final = 512
PARKED_SECONDS: Final = 300.0

_CAUSES: Final = frozenset({BatchIngested.TYPE, DatasetDerived.TYPE, RunStarted.TYPE})

_log = logging.getLogger("tallystick.shared_work")


def cause_of(command: Command) -> int:
    """The entry because of which the flow asks for ``command``."""
    match command:
        case DeriveDataset():
            return command.batch_index
        case StartRun():
            # The dataset that completed what the deployment needs came last.
            return max(command.dataset_indices)
        case ExecuteRun():
            return command.started_index
        case _:
            assert_never(command)


async def work_together(desk: Desk, queue: WorkQueue, on_stuck: Callable[[Stuck], None]) -> None:
    """Take part in the work on this ledger for ever.

    A store that does not let us have a queue is told, and the ledger is worked off without one.
    """
    pause_seconds = 1.0
    while True:
        # A destination that is new begins where something is left to do.
        start = min(map(cause_of, desk.ledger.pending), default=desk.ledger.size)
        is_open = False
        try:
            async with queue.work(desk.ledger.name, FLOW, start=start) as session:
                is_open, pause_seconds = True, 1.0
                await _Worker(desk, queue, session, on_stuck).run()
        except TallystickError as error:
            if isinstance(error, RefusedByStoreError) and not is_open:
                _log.warning("%s is worked off by each machine for itself: %s", desk.ledger.name, error)
                await work(desk, on_stuck)
            _log.error("work on %s, next try in %g s: %s", desk.ledger.name, pause_seconds, error)
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, RETRY_SECONDS_MAX)


class _Worker:
    """One worker's part.  Records that ask for nothing do not wait for those that do."""

    def __init__(
        self, desk: Desk, queue: WorkQueue, session: WorkSession, on_stuck: Callable[[Stuck], None]
    ) -> None:
        self._desk = desk
        self._queue = queue
        self._session = session
        self._on_stuck = on_stuck
        self._waiting: asyncio.Queue[WorkItem] = asyncio.Queue()
        self._later: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until the session ends.  Raises: what ended it."""
        parts = [asyncio.create_task(part) for part in (self._take(), self._do(), self._replay_parked())]
        try:
            ended, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            for task in (*parts, *self._later):
                task.cancel()
            await asyncio.gather(*parts, *self._later, return_exceptions=True)

    async def _take(self) -> None:
        async for item in self._session:
            if item.record.event_type in _CAUSES:
                self._waiting.put_nowait(item)
            else:
                await self._session.done(item)

    async def _do(self) -> None:
        while True:
            item = await self._waiting.get()
            command: Command | None = None
            try:
                for command in await self._asked_by(item.record.index):
                    await carry_out(self._desk, command)
            except Exception as error:  # whatever it is, it must not stop the others; it is tried again
                if command is None:
                    _log.warning("entry %d of %s: %s", item.record.index, self._desk.ledger.name, error)
                else:
                    self._on_stuck(Stuck(command=command, error=error))
                task = asyncio.create_task(self._again(item))
                self._later.add(task)
                task.add_done_callback(self._later.discard)
            else:
                await self._session.done(item)

    async def _asked_by(self, index: int) -> list[Command]:
        """What is still to be done because of an entry, whoever may have begun with it."""
        ledger = self._desk.ledger
        await ledger.catch_up()
        if ledger.size <= index:
            raise InvalidError("the queue is ahead of the store", field=ledger.name, actual=str(index))
        return [command for command in ledger.pending if cause_of(command) == index]

    async def _again(self, item: WorkItem) -> None:
        await asyncio.sleep(min(2.0**item.attempt, RETRY_SECONDS_MAX))
        await self._session.again(item)

    async def _replay_parked(self) -> None:
        while True:
            await asyncio.sleep(PARKED_SECONDS)
            if self._desk.ledger.pending:
                await self._queue.replay_parked(self._desk.ledger.name, FLOW)
