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

_log = logging.getLogger("tallystick.views")


class TenantViews:
    """The views of one tenant.  Create it with ``open``."""

    def __init__(self, runner: ProjectionRunner) -> None:
        self._runner = runner

    @classmethod
    async def open(cls, log: EventLog, ledger: Ledger, folder: Path) -> TenantViews:
        """Open the tenant's view in ``folder`` and begin to follow the ledger.

        A file that is damaged or of another history is folded again first; it is only an image of the ledger.
        While another process has it, the view is kept in memory.
        """
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        path = view_path(folder, ledger.tenant)
        runner = ProjectionRunner(log, ledger.name, path)
        try:
            await runner.start()
        except ViewInUseError as error:
            _log.warning("%s; the view of %s is kept in memory", error, ledger.tenant)
            runner = ProjectionRunner(log, ledger.name, None)
            await runner.start()
        except (MalformedViewError, ViewMismatchError) as error:
            _log.warning("%s; it is folded again", error)
            await rebuild(log, ledger.name, path)
            runner = ProjectionRunner(log, ledger.name, path)
            await runner.start()
        return cls(runner)

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
        await self._runner.stop()
