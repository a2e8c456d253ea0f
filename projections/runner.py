"""The runner: keeps one tenant's view up with its ledger, and answers questions from it.

All folding happens on one thread of its own, all reading on others; the event loop waits for neither.  A
runner catches up in pages, then follows the log.  It stops at the first entry that it cannot fold, and when
the log or the disk fails; it says so in ``failure`` and to everyone who waits, and goes on answering from
what it has.  ``restart`` lets it try again; when to do that is its owner's to decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

from duckdb import DuckDBPyConnection

from domain.errors import InvalidError
from ledger.ports import EventLog, Record
from projections.catch_up import PAGE_EVENTS_MAX, pages
from projections.errors import MalformedViewError, ViewBehindError, ViewStorageError
from projections.rebuild import RebuildReport, Scratch, digests_of
from projections.view import View, check_history

P = ParamSpec("P")
T = TypeVar("T")

# Questions at a time to one tenant's view; more wait, so that one tenant cannot take every core.
READERS_MAX: Final = 2
WAIT_SECONDS: Final = 5.0


class ProjectionRunner:
    """Folds the ``ledger`` of ``log`` into the view at ``path`` (``None``: in memory).  Use it as an async
    context manager, or ``start`` and ``stop`` it."""

    def __init__(self, log: EventLog, ledger: str, path: Path | None) -> None:
        self.log = log
        self.ledger = ledger
        self.path = path
        self.failure: BaseException | None = None
        """Why the runner no longer folds; ``None`` while it does."""
        self._folder = ThreadPoolExecutor(1, thread_name_prefix=f"fold {ledger}")
        self._readers = ThreadPoolExecutor(READERS_MAX, thread_name_prefix=f"read {ledger}")
        self._view: View | None = None
        self._task: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()
        self._reading = 0
        self._gate = asyncio.Condition()
        self._is_switching = False

    async def start(self) -> None:
        """Open the view and begin to fold.

        Raises: ViewInUseError when another runner has it, MalformedViewError when it cannot be read,
        ViewMismatchError when it was folded from another history than this ledger's.
        """
        self._view = await self._fold(View, self.path, self.ledger)
        try:
            await check_history(self.log, self._view)
        except BaseException:
            await self._fold(self._view.close)
            raise
        self.failure = None
        self._resume()

    async def failed(self) -> BaseException:
        """Return once it no longer folds, with the reason."""
        while self.failure is None:
            await self._moved.wait()
        return self.failure

    async def restart(self) -> None:
        """Fold on after a failure.  A view that could not be written is opened again, as after a crash.

        Raises: as ``start``; then nothing is folded, and ``failure`` is what was raised.
        """
        await self._pause()
        try:
            if self._view is None or isinstance(self.failure, ViewStorageError | MalformedViewError):
                async with self._without_readers():
                    if self._view is not None:
                        await self._fold(self._view.close)
                        self._view = None
                    self._view = await self._fold(View, self.path, self.ledger)
            await check_history(self.log, self.view)
        except Exception as error:
            self.failure = error
            raise
        self.failure = None
        self._resume()

    async def stop(self) -> None:
        """Finish the transaction under way, close the view and let go of it."""
        await self._pause()
        async with self._without_readers():
            if self._view:
                await self._fold(self._view.close)
                self._view = None
        self._folder.shutdown(wait=False)
        self._readers.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def view(self) -> View:
        """The open view.  Raises: the failure that closed it, InvalidError when it was never opened."""
        if self._view is None:
            if self.failure is not None:
                raise self.failure.with_traceback(None)
            raise InvalidError("the projection is not running", field=self.ledger)
        return self._view

    @property
    def position(self) -> int:
        """How many entries are in the view: the index it wants next."""
        return self.view.position.next_index

    async def lag(self) -> int:
        """How many entries the view is behind its ledger."""
        return max(0, await self.log.size(self.ledger) - self.position)

    async def wait(self, index: int, timeout_seconds: float = WAIT_SECONDS) -> None:
        """Return once entry ``index`` is in the view, so that what was written can be read.

        Raises: ViewBehindError after ``timeout_seconds``; the failure (ProjectionStoppedError …) when the
        view will not get there.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                while self.position <= index:
                    if self.failure is not None:
                        raise self.failure.with_traceback(None)
                    await self._moved.wait()
        except TimeoutError:
            raise ViewBehindError(
                index=index, position=self.position, timeout_seconds=timeout_seconds
            ) from None

    async def query(
        self, read: Callable[Concatenate[DuckDBPyConnection, P], T], *arguments: P.args, **options: P.kwargs
    ) -> T:
        """Answer a question: ``read(connection, …)`` on a reader's thread.  It sees whole increments only."""
        async with self._gate:
            await self._gate.wait_for(lambda: not self._is_switching)
            self._reading += 1
        view = self.view

        def ask() -> T:
            with view.cursor() as connection:
                return read(connection, *arguments, **options)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, ask)
        finally:
            async with self._gate:
                self._reading -= 1
                self._gate.notify_all()

    async def rebuild(self) -> RebuildReport:
        """Fold the ledger again from zero beside the live view, which goes on meanwhile; prove both equal,
        then switch.

        Folding pauses from the comparison to the switch, questions for the switch alone.  Raises: as
        ``start``; ProjectionStoppedError when an entry cannot be folded, and the live view then stays.
        """
        if self.path is None:
            raise InvalidError("a view in memory has no file to switch", field=self.ledger)
        async with Scratch(self.log, self.ledger, self.path) as scratch:
            await scratch.advance()
            await self._pause()
            try:
                position = max(self.position, scratch.position)
                await self._catch_up(position)
                await scratch.advance(position)
                with self.view.cursor() as connection:
                    digests = await self._fold(digests_of, connection)
                tables = await scratch.compare(digests)
                async with self._without_readers():
                    await self._fold(self.view.close)
                    self._view = None
                    try:
                        return await scratch.take_over("compared", "", position, tables)
                    finally:
                        await self._reopen(self.path)
            finally:
                self._resume()

    async def _reopen(self, path: Path) -> None:
        try:
            self._view = await self._fold(View, path, self.ledger)
        except BaseException as error:
            self.failure = error
            self._move()
            raise

    async def _run(self) -> None:
        try:
            await self._catch_up()
            async for records in self.log.follow(self.ledger, self.position):
                for start in range(0, len(records), PAGE_EVENTS_MAX):
                    await self._advance(records[start : start + PAGE_EVENTS_MAX])
        except Exception as error:
            self.failure = error
            self._move()

    async def _catch_up(self, stop: int | None = None) -> None:
        async with aclosing(pages(self.log, self.ledger, self.position, stop)) as found:
            async for records in found:
                await self._advance(records)

    async def _advance(self, records: Sequence[Record]) -> None:
        try:
            await self._fold(self.view.advance, records)
        finally:
            self._move()

    def _move(self) -> None:
        """Wake everyone who waits for the position to change."""
        self._moved.set()
        self._moved = asyncio.Event()

    async def _pause(self) -> None:
        """End folding after the transaction under way."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
            await self._fold(int)  # whatever the thread still does is done after this
            self._move()

    def _resume(self) -> None:
        if self._view is not None and self.failure is None:
            self._task = asyncio.create_task(self._run(), name=f"projection of {self.ledger}")

    @asynccontextmanager
    async def _without_readers(self) -> AsyncIterator[None]:
        async with self._gate:
            self._is_switching = True
            await self._gate.wait_for(lambda: self._reading == 0)
        try:
            yield
        finally:
            async with self._gate:
                self._is_switching = False
                self._gate.notify_all()

    async def _fold(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Call ``function`` on the thread that owns the view."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._folder, partial(function, *arguments, **options))
