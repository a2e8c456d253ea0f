"""The writer of one ledger: it drafts what is asked while the append before is being stored.

Life of an append: callers wait → they are taken into the open draft, one after the other → as soon as the
append before is stored, the draft is sealed and stored → its callers are answered.  A draft begins where the
one before ends, although that is not stored yet; when storing that fails, the draft is thrown away and its
callers are taken in again.  So nobody is answered before everything under his seal is durable.

Whoever waits at the same time shares an append (group commit).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from domain.errors import TallystickError
from domain.events import Recorded
from ledger.draft import Caller, Draft, Position
from ledger.errors import LedgerConflictError
from ledger.ports import Record

# A writer that loses this often to others reports it instead of spinning.
CONFLICTS_MAX = 64


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
        """Store them and stand after them.  Raises: LedgerConflictError when somebody else was first."""

    async def catch_up(self) -> None:
        """Read what others have appended."""

    async def answer_late(self, draft: Draft, answer: Sequence[int]) -> tuple[Recorded, ...]:
        """The events at these places, of which some were in the ledger before."""


class Writer:
    """Run it in a task of its own; callers ask from the same event loop."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._waiting: deque[Caller] = deque()
        self._wake = asyncio.Event()
        self._is_closing = False
        self._is_remote = False
        self._draft: Draft | None = None
        self._callers: list[Caller] = []
        """Who is in the open draft."""
        self._is_full = False
        self._found: dict[str, int] = {}
        """Facts that callers asked for again, and where they are."""
        self._storing: Draft | None = None
        self._stored_for: list[Caller] = []
        """Who is in the draft that is being stored."""
        self._conflicts = 0
        self._answering: set[asyncio.Task[None]] = set()

    @property
    def is_closing(self) -> bool:
        """Nobody is taken in any more."""
        return self._is_closing

    def ask(self, caller: Caller) -> None:
        """Let somebody wait."""
        self._waiting.append(caller)
        if self._storing is None:
            self._wake.set()
        elif not self._is_remote:
            self._take_in()

    def close(self) -> None:
        """Finish what was asked, then end."""
        self._is_closing = True
        self._wake.set()

    async def run(self) -> None:
        """Until it is closed and nobody waits."""
        try:
            while self._waiting or not self._is_closing:
                await self._wake.wait()
                self._wake.clear()
                await self._take_in_all()
                while self._draft is not None:
                    await self._carry_out(self._draft)
                    await self._take_in_all()
        except BaseException as error:
            _fail([*self._stored_for, *self._callers, *self._waiting], error)
            raise

    async def _take_in_all(self) -> None:
        """Take into the open draft whoever waits and fits."""
        self._is_remote = bool(self._waiting) and self._book.is_deciding_remote
        if not self._is_remote:
            self._take_in()
            return
        # A key that is far away keeps nobody else waiting.
        while (draft := self._with_room()) is not None:
            caller = self._waiting.popleft()
            self._take(caller, is_taken=await asyncio.to_thread(draft.add, caller))

    def _take_in(self) -> None:
        while (draft := self._with_room()) is not None:
            caller = self._waiting.popleft()
            self._take(caller, is_taken=draft.add(caller))

    def _with_room(self) -> Draft | None:
        """The open draft, if somebody waits for whom it may have room."""
        while self._waiting and self._waiting[0].future.cancelled():
            self._waiting.popleft()
        if not self._waiting or self._is_full:
            return None
        if self._draft is None:
            storing = self._storing
            if storing is None:
                self._draft = self._book.draft(self._book.position(), self._found)
            else:
                # What is being stored is taken for stored.
                self._draft = self._book.draft(storing.end, {**self._found, **storing.places})
        return self._draft

    def _take(self, caller: Caller, *, is_taken: bool) -> None:
        if is_taken:
            self._callers.append(caller)
        else:
            self._waiting.appendleft(caller)
            self._is_full = True

    async def _carry_out(self, draft: Draft) -> None:
        """Seal the open draft, store it and answer."""
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
        self._stored_for = self._callers
        self._draft, self._callers, self._is_full, self._found = None, [], False, {}
        try:
            if records:
                self._storing = draft
                await self._book.store(draft, records)
                self._conflicts = 0
            self._answer(draft)
        except LedgerConflictError as conflict:
            await self._redo(conflict)
        except Exception as error:
            self._take_back()
            _fail(self._stored_for, error)
        finally:
            self._storing = None
        self._stored_for = []

    async def _redo(self, conflict: LedgerConflictError) -> None:
        """Take in again who was overtaken, and after them those who were drafted on top of it."""
        self._storing = None
        self._take_back()
        self._conflicts += 1
        try:
            if self._conflicts > CONFLICTS_MAX:
                raise conflict
            await asyncio.sleep(0.001 * min(self._conflicts, 20))
            await self._book.catch_up()
        except Exception as error:
            self._conflicts = 0
            _fail(self._stored_for, error)
        else:
            self._waiting.extendleft(reversed(self._stored_for))

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
