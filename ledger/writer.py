"""The writer of one ledger: it drafts what is asked while the append before is being stored.

Life of an append: callers wait → they are taken into the open draft, one after the other → as soon as the
append before is stored, the draft is sealed and stored → its callers are answered.  A draft begins where the
one before ends, although that is not stored yet; when storing that fails, the draft is thrown away and its
callers are taken in again.  So nobody is answered before everything under his seal is durable.

Whoever waits at the same time shares an append (group commit), or one of two that take turns.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from domain.errors import TallystickError
from domain.events import Recorded
from ledger.draft import Caller, Draft, Position
from ledger.errors import LedgerConflictError
from ledger.ports import Record

# A writer that loses this often to others reports it instead of spinning.
CONFLICTS_MAX = 64
# An idle store begins once drafting has taken this part of the time that storing takes.  On a slow store
# nearly everybody shares an append; on a quick one it does not wait for the interpreter.
DRAFTED_AHEAD = 0.25


class Book(Protocol):
    """What the writer needs of the ledger it writes."""

    def position(self) -> Position:
        """Where the ledger stands."""

    def draft(self, start: Position, found: Mapping[str, int]) -> Draft:
        """An empty draft from there on."""

    @property
    def is_deciding_remote(self) -> bool:
        """Decisions may sign with a key that is far away."""

    async def known(self, keys: Collection[str]) -> dict[str, int]:
        """Those of ``keys`` that the ledger has, and where."""

    async def seal(self, draft: Draft) -> list[Record]:
        """The draft's records with their seal."""

    async def store(self, draft: Draft, records: Sequence[Record]) -> None:
        """Store them and stand after them.  Raises: LedgerConflictError."""

    async def overtaken(self, conflict: LedgerConflictError) -> None:
        """Somebody else appended first: read what he did.  Raises: InvalidError for a store that lost
        entries."""

    async def answer_late(self, draft: Draft, answer: Sequence[int]) -> tuple[Recorded, ...]:
        """The events at these places, of which some were in the ledger before."""


class _Storing(NamedTuple):
    draft: Draft
    callers: list[Caller]
    task: asyncio.Task[None]


class Writer:
    """Run it in a task of its own; callers ask from the same event loop."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._waiting: deque[Caller] = deque()
        self._wake = asyncio.Event()
        self._is_closing = False
        self._draft: Draft | None = None
        self._callers: list[Caller] = []
        """Who is in the open draft."""
        self._is_full = False
        self._found: dict[str, int] = {}
        """Facts that callers asked for again, and where they are."""
        self._storing: _Storing | None = None
        self._store_seconds = 1.0
        """How long the last append took to store."""
        self._conflicts = 0
        self._answering: set[asyncio.Task[None]] = set()

    @property
    def is_closing(self) -> bool:
        """Nobody is taken in any more."""
        return self._is_closing

    def ask(self, caller: Caller) -> None:
        """Let somebody wait."""
        self._waiting.append(caller)
        self._wake.set()

    def close(self) -> None:
        """Finish what was asked, then end."""
        self._is_closing = True
        self._wake.set()

    async def run(self) -> None:
        """Until it is closed and nobody waits."""
        try:
            while not (self._is_closing and self._is_idle):
                await self._wake.wait()
                self._wake.clear()
                if self._storing is not None and self._storing.task.done():
                    await self._finish(self._storing)
                await self._take_in()
                while self._draft is not None and self._storing is None:
                    await self._begin(self._draft)
                    await self._take_in()
        except BaseException as error:
            stored = [] if self._storing is None else self._storing.callers
            _fail([*stored, *self._callers, *self._waiting], error)
            raise

    @property
    def _is_idle(self) -> bool:
        return not self._waiting and self._draft is None and self._storing is None

    async def _take_in(self) -> None:
        """Take into the open draft whoever waits and fits."""
        is_remote = bool(self._waiting) and self._book.is_deciding_remote
        began = time.perf_counter()
        while self._waiting and not self._is_full:
            if self._is_long_enough(began):
                return
            if self._waiting[0].future.cancelled():
                self._waiting.popleft()
                continue
            draft = self._draft
            if draft is None:
                draft = self._draft = self._open()
            caller = self._waiting.popleft()
            # A key that is far away keeps nobody else waiting.
            if await asyncio.to_thread(draft.add, caller) if is_remote else draft.add(caller):
                self._callers.append(caller)
            else:
                self._waiting.appendleft(caller)
                self._is_full = True

    def _is_long_enough(self, began: float) -> bool:
        """Whether the store, which has nothing to do, should begin with what was drafted since ``began``; the
        others are drafted meanwhile."""
        if self._storing is not None or self._draft is None:
            return False
        return time.perf_counter() - began > DRAFTED_AHEAD * self._store_seconds

    def _open(self) -> Draft:
        storing = self._storing
        if storing is None:
            return self._book.draft(self._book.position(), self._found)
        # What is being stored is taken for stored.
        return self._book.draft(storing.draft.end, {**self._found, **storing.draft.places})

    async def _begin(self, draft: Draft) -> None:
        """Seal the open draft and begin to store it."""
        try:
            if known := await self._book.known(draft.places):
                # Rare, so it is cheaper to begin again than to look before each event.
                self._found |= known
                self._take_back()
                return
            records = await self._book.seal(draft) if draft.records else []
        except Exception as error:
            _fail(self._callers, error)
            self._take_back()
            return
        callers = self._callers
        self._draft, self._callers, self._is_full, self._found = None, [], False, {}
        if not records:
            self._answer(draft)
            return
        task = asyncio.create_task(self._store(draft, records))
        task.add_done_callback(lambda _: self._wake.set())
        self._storing = _Storing(draft, callers, task)

    async def _store(self, draft: Draft, records: Sequence[Record]) -> None:
        began = time.perf_counter()
        await self._book.store(draft, records)
        self._store_seconds = time.perf_counter() - began
        self._answer(draft)

    async def _finish(self, storing: _Storing) -> None:
        """Go on after an append that is stored, or was not."""
        self._storing = None
        try:
            try:
                storing.task.result()
                self._conflicts = 0
            except LedgerConflictError as conflict:
                # What was drafted on top of it is drafted again, after those who were overtaken.
                self._take_back()
                self._conflicts += 1
                if self._conflicts > CONFLICTS_MAX:
                    self._conflicts = 0
                    raise
                await asyncio.sleep(0.001 * min(self._conflicts, 20))
                await self._book.overtaken(conflict)
                self._waiting.extendleft(reversed(storing.callers))
        except BaseException as error:
            self._take_back()
            _fail(storing.callers, error)
            if not isinstance(error, Exception):
                raise

    def _take_back(self) -> None:
        """Throw the open draft away; whoever is in it waits again, before all others."""
        self._waiting.extendleft(caller for caller in reversed(self._callers) if not caller.future.done())
        self._draft, self._callers, self._is_full = None, [], False

    def _answer(self, draft: Draft) -> None:
        """Tell every caller what happened."""
        for caller, error in draft.failures:
            if not caller.future.done():
                caller.future.set_exception(error)
        for caller, answer in draft.answers:
            if caller.future.done():
                continue
            recorded = [one for one in map(draft.recorded, answer) if one is not None]
            if len(recorded) == len(answer):
                caller.future.set_result(tuple(recorded))
            else:
                task = asyncio.create_task(self._answer_late(caller, draft, answer))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)

    async def _answer_late(self, caller: Caller, draft: Draft, answer: Sequence[int]) -> None:
        """Answer a caller some of whose facts were in the ledger before; they are read."""
        try:
            result = await self._book.answer_late(draft, answer)
        except Exception as error:
            _fail([caller], error)
            return
        if not caller.future.done():
            caller.future.set_result(result)


def _fail(callers: Sequence[Caller], error: BaseException) -> None:
    for caller in callers:
        if not caller.future.done():
            caller.future.set_exception(_as_answer(error))


def _as_answer(error: BaseException) -> Exception:
    if isinstance(error, Exception):
        return error
    return TallystickError("the ledger was closed before this could be appended", remedy="Send it again.")
