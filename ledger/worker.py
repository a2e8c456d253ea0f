"""The worker of a tenant: it carries out what the flow asks for, in the order of the ledger.

It holds no state of its own.  What is pending is a fold over the ledger, and a command stays pending until
the event that answers it is recorded, so a worker that dies is simply started again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import assert_never

from msgspec import Struct

from domain.flow import Command, DeriveDataset, ExecuteRun, StartRun, command_key
from ledger.desk import Desk
from ledger.ingest import derive
from ledger.run import execute_run, start_run

# A command that keeps failing (a disk that is full, a vault object that is gone) waits this long at most
# between tries.
RETRY_SECONDS_MAX = 60.0


class Stuck(Struct, frozen=True, kw_only=True):
    """A command that could not be carried out now; it stays pending."""

    command: Command
    error: Exception


async def carry_out(desk: Desk, command: Command) -> None:
    """Carry out one command; its answer is in the ledger when this returns."""
    match command:
        case DeriveDataset():
            await derive(desk, command.batch_index)
        case StartRun():
            await start_run(desk, command)
        case ExecuteRun():
            await execute_run(desk, command.started_index)
        case _:
            assert_never(command)


async def settle(desk: Desk, on_stuck: Callable[[Stuck], None] = lambda stuck: None) -> tuple[Stuck, ...]:
    """Carry out everything that is pending, and what follows from it; returns what could not be done."""
    stuck: dict[str, Stuck] = {}
    while True:
        command = next((c for c in desk.ledger.pending if command_key(c) not in stuck), None)
        if command is None:
            return tuple(stuck.values())
        try:
            await carry_out(desk, command)
        except Exception as error:  # whatever it is, it must not stop the others; it is told, and tried again
            stuck[command_key(command)] = Stuck(command=command, error=error)
            on_stuck(stuck[command_key(command)])


async def work(desk: Desk, on_stuck: Callable[[Stuck], None]) -> None:
    """Settle for ever: whenever the ledger grows, and again after a pause when something was stuck."""
    pause_seconds = 1.0
    while True:
        grown = desk.ledger.grown
        stuck = await settle(desk, on_stuck)
        pause_seconds = min(pause_seconds * 2, RETRY_SECONDS_MAX) if stuck else 1.0
        try:
            await asyncio.wait_for(grown.wait(), pause_seconds if stuck else None)
        except TimeoutError:
            continue
