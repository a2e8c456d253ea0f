"""Who works a tenant off: one process at a time, so that no run is computed twice.

Work is safe without it, because every fact has one name in the ledger and the second to record it finds the
first; the lease only saves the effort.  It is the operating system's lock on a file, and ends with the
process that held it, however that ended.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from domain.errors import ConflictError
from domain.flow import command_key
from ledger.desk import Desk
from ledger.worker import Stuck, settle

POLL_SECONDS = 0.1
# Longer than any single task may take (``adapters.executor``), so a holder that is silent for that long is
# stuck.
QUIET_SECONDS_MAX = 660.0


class WorkLease:
    """A tenant's lease; ``take`` and ``release`` it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Take it if nobody has it; says whether it is held now."""
        if self._descriptor is not None:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let others have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


async def settle_or_wait(
    desk: Desk, lease: WorkLease, on_waiting: Callable[[], None] = lambda: None
) -> tuple[Stuck, ...]:
    """Carry out everything that is pending, or wait until the process that holds the lease has.

    Raises: ConflictError when the holder does nothing for ``QUIET_SECONDS_MAX``.
    """
    loop = asyncio.get_running_loop()
    awaited = {command_key(command) for command in desk.ledger.pending}
    moved_at, size, is_told = loop.time(), desk.ledger.size, False
    while awaited:
        if lease.take():
            try:
                return await settle(desk)
            finally:
                lease.release()
        if not is_told:
            on_waiting()
            is_told = True
        await asyncio.sleep(POLL_SECONDS)
        await desk.ledger.catch_up()
        # What follows from our commands is awaited too; what others bring meanwhile may be, and does no harm.
        awaited = {command_key(command) for command in desk.ledger.pending}
        if desk.ledger.size != size:
            moved_at, size = loop.time(), desk.ledger.size
        elif loop.time() - moved_at > QUIET_SECONDS_MAX:
            raise ConflictError(
                "the process that works this ledger off does nothing",
                field=desk.ledger.name,
                remedy="Look at its log. What is pending stays pending.",
            )
    return ()
