"""A tenant's read views in a serving process: kept up with the ledger, and asked by routes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from duckdb import DuckDBPyConnection

from ledger.ledger import Ledger
from ledger.ports import EventLog
from projections.errors import MalformedViewError, ViewInUseError, ViewMismatchError
from projections.rebuild import rebuild
from projections.runner import ProjectionRunner
from projections.schema import view_path

P = ParamSpec("P")
T = TypeVar("T")

# A view that stopped is tried again after so long, and twice as long each time, up to a minute.
RETRY_SECONDS = 1.0
RETRY_SECONDS_MAX = 60.0

_log = logging.getLogger("tallystick.views")


class TenantViews:
    """The views of one tenant.  Create it with ``open``.

    A runner that stops (a full disk, a store that is gone, an entry of a newer version) is started again
    after a pause that grows to ``RETRY_SECONDS_MAX``; what it has is answered from meanwhile.
    """

    def __init__(self, log: EventLog, ledger: str, path: Path, runner: ProjectionRunner) -> None:
        self._log = log
        self._ledger = ledger
        self._path = path
        self._runner = runner
        self._is_stopped = False
        self._keeping = asyncio.create_task(self._keep(), name=f"keeper of the view of {ledger}")

    @classmethod
    async def open(cls, log: EventLog, ledger: Ledger, folder: Path) -> TenantViews:
        """Open the tenant's view in ``folder`` and begin to follow the ledger.

        A file that is damaged or of another history is folded again first; it is only an image of the ledger.
        While another process has it, the view is kept in memory.
        """
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        path = view_path(folder, ledger.tenant)
        return cls(log, ledger.name, path, await _start(log, ledger.name, path))

    @property
    def failure(self) -> BaseException | None:
        """Why the view stands still; ``None`` while it follows the ledger."""
        return self._runner.failure

    async def wait(self, size: int) -> None:
        """Return once the first ``size`` entries are in the view.

        Raises: ViewBehindError, ProjectionStoppedError.
        """
        if size:
            await self._runner.wait(size - 1)

    async def query(
        self, read: Callable[Concatenate[DuckDBPyConnection, P], T], *arguments: P.args, **options: P.kwargs
    ) -> T:
        """Ask one of the questions of ``projections.reading``."""
        return await self._runner.query(read, *arguments, **options)

    async def close(self) -> None:
        """Finish the increment under way and let go of the file."""
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        await self._runner.stop()

    async def _keep(self) -> None:
        """Start the runner again whenever it has stopped."""
        loop = asyncio.get_running_loop()
        pause_seconds, restarted_at = RETRY_SECONDS, loop.time()
        while True:
            failure = await self._runner.failed()
            if loop.time() - restarted_at > RETRY_SECONDS_MAX:
                pause_seconds = RETRY_SECONDS
            _log.error(
                "the view of %s stands still, next try in %g s: %s", self._ledger, pause_seconds, failure
            )
            await asyncio.sleep(pause_seconds)
            pause_seconds, restarted_at = min(2 * pause_seconds, RETRY_SECONDS_MAX), loop.time()
            try:
                await self._restart()
            except Exception as error:  # whatever it is, it is tried again
                _log.error("the view of %s cannot be started: %s", self._ledger, error)

    async def _restart(self) -> None:
        if not self._is_stopped:
            try:
                return await self._runner.restart()
            except (MalformedViewError, ViewMismatchError):
                await self._runner.stop()
                self._is_stopped = True
        self._runner = await _start(self._log, self._ledger, self._path)
        self._is_stopped = False


async def _start(log: EventLog, ledger: str, path: Path) -> ProjectionRunner:
    runner = ProjectionRunner(log, ledger, path)
    try:
        await runner.start()
    except ViewInUseError as error:
        _log.warning("%s; the view of %s is kept in memory", error, ledger)
        runner = ProjectionRunner(log, ledger, None)
        await runner.start()
    except (MalformedViewError, ViewMismatchError) as error:
        _log.warning("%s; it is folded again", error)
        await rebuild(log, ledger, path)
        runner = ProjectionRunner(log, ledger, path)
        await runner.start()
    return runner
