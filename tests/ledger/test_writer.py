"""The writer: what is drafted while the append before is being stored, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.sqlite_log import SQLiteLog
from domain.events import Recorded
from domain.state import State
from ledger.audit import audit
from ledger.errors import LedgerConflictError
from ledger.ledger import Ledger, Proposal, ledger_name
from ledger.ports import EventLog, Record, nothing
from ledger.writer import CONFLICTS_MAX
from tests.ledger.desk import TENANT, batch, open_ledger

NAME = ledger_name(TENANT)


class GatedLog:
    """A real log that lets an append through, or fails it before or after, when the test says so."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.sizes: list[int] = []
        self._gates: asyncio.Queue[asyncio.Future[str]] = asyncio.Queue()
        self.is_gated = False

    async def append(
        self,
        ledger: str,
        expected_size: int,
        records: Sequence[Record],
        after: Record | None = None,
        meanwhile: Callable[[], None] = nothing,
    ) -> None:
        verdict = "store"
        if self.is_gated:
            gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self._gates.put_nowait(gate)
            verdict = await gate
        if verdict == "fail":
            raise OSError("no space left on device")
        await self._log.append(ledger, expected_size, records, after, meanwhile)
        self.sizes.append(len(records))
        if verdict == "lose":
            raise OSError("connection lost")

    async def let(self, verdict: str) -> None:
        """Wait for an append to come to the gate, and let it go on."""
        (await self._gates.get()).set_result(verdict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


@asynccontextmanager
async def gated(folder: Path) -> AsyncIterator[tuple[Ledger, GatedLog]]:
    """A ledger whose first append of a test waits at the gate."""
    log = GatedLog(SQLiteLog(folder / "log"))
    async with open_ledger(folder, log=log) as ledger:
        log.is_gated = True
        yield ledger, log
        log.is_gated = False
    report = await audit(log, NAME)
    assert report.findings == ()
    await log.close()


async def asked(ledger: Ledger, *numbers: int) -> list[asyncio.Task[tuple[Recorded, ...]]]:
    """Callers that have come to the writer by now."""
    tasks = [asyncio.ensure_future(ledger.record(batch(number))) for number in numbers]
    for _ in range(10):
        await asyncio.sleep(0)
    return tasks


async def indices(tasks: Sequence[asyncio.Task[tuple[Recorded, ...]]]) -> list[int]:
    return [(await task)[0].index for task in tasks]


@pytest.mark.anyio
async def test_who_comes_while_an_append_is_stored_shares_the_next_one(tmp_path: Path) -> None:
    async with gated(tmp_path) as (ledger, log):
        first = await asked(ledger, 1)
        others = [*await asked(ledger, 2), *await asked(ledger, 3, 4)]
        assert not any(task.done() for task in others)
        await log.let("store")
        await log.let("store")
        assert await indices([*first, *others]) == [2, 3, 4, 5]
    assert log.sizes == [2, 1, 3]


@pytest.mark.anyio
async def test_nobody_is_answered_before_what_he_stands_on_is_stored(tmp_path: Path) -> None:
    async with gated(tmp_path) as (ledger, log):
        first, second = await asked(ledger, 1), await asked(ledger, 2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not first[0].done()
        assert not second[0].done()
        assert ledger.size == 2
        await log.let("store")
        assert await indices(first) == [2]
        assert not second[0].done()
        await log.let("store")
        assert await indices(second) == [3]


@pytest.mark.anyio
async def test_what_was_drafted_on_an_append_that_failed_is_drafted_again(tmp_path: Path) -> None:
    async with gated(tmp_path) as (ledger, log):
        first, second = await asked(ledger, 1), await asked(ledger, 2, 3)
        await log.let("fail")
        await log.let("store")
        with pytest.raises(OSError, match="no space"):
            await first[0]
        assert await indices(second) == [2, 3]
        assert ledger.size == 4


@pytest.mark.anyio
async def test_what_was_drafted_on_an_append_whose_answer_was_lost_follows_it(tmp_path: Path) -> None:
    """It was stored after all: whoever comes next is overtaken by it, and nothing is there twice."""
    async with gated(tmp_path) as (ledger, log):
        first, second = await asked(ledger, 1), await asked(ledger, 2)
        await log.let("lose")
        await log.let("store")  # refused: the ledger is longer than was believed
        await log.let("store")
        with pytest.raises(OSError, match="connection lost"):
            await first[0]
        assert await indices(second) == [3]
        log.is_gated = False
        assert (await ledger.record(batch(1)))[0].index == 2


@pytest.mark.anyio
async def test_both_drafts_are_made_again_when_another_process_was_first(tmp_path: Path) -> None:
    async with gated(tmp_path) as (ledger, log):
        first, second = await asked(ledger, 1), await asked(ledger, 2)
        async with open_ledger(tmp_path, index_name="other") as other:
            assert (await other.record(batch(1), batch(9)))[-1].index == 3
        await log.let("store")  # refused
        await log.let("store")
        # The other process recorded the same fact; ours is that one.
        assert await indices([*first, *second]) == [2, 4]


@pytest.mark.anyio
async def test_catching_up_after_a_lost_race_is_not_taken_for_a_store_that_lost_entries(
    tmp_path: Path,
) -> None:
    """The size that the conflict names is old by the time the writer comes to look at it."""

    class Overtaken(GatedLog):
        async def append(self, ledger: str, expected_size: int, *rest: Any, **named: Any) -> None:
            try:
                await super().append(ledger, expected_size, *rest, **named)
            except LedgerConflictError:
                await other.record(batch(8))
                catching_up.append(asyncio.ensure_future(loser.catch_up()))
                raise

    catching_up: list[asyncio.Future[None]] = []
    log = Overtaken(SQLiteLog(tmp_path / "log"))
    async with (
        open_ledger(tmp_path, log=log) as loser,
        open_ledger(tmp_path, index_name="other") as other,
    ):
        for number in range(10, 30):
            await other.record(batch(100 + number))
            assert (await loser.record(batch(number)))[0].index > 2
        await asyncio.gather(*catching_up)
        assert catching_up
    await log.close()


@pytest.mark.anyio
async def test_the_same_fact_twice_is_one_also_while_it_is_being_stored(tmp_path: Path) -> None:
    async with gated(tmp_path) as (ledger, log):
        first, again = await asked(ledger, 1), await asked(ledger, 1, 2)
        await log.let("store")
        await log.let("store")
        assert await indices([*first, *again]) == [2, 2, 3]


@pytest.mark.anyio
async def test_a_decision_sees_what_is_being_stored(tmp_path: Path) -> None:
    async with gated(tmp_path) as (ledger, log):
        await asked(ledger, 1)
        seen: list[int] = []

        def decide(state: State) -> Sequence[Proposal]:
            seen.append(state.size)
            return [batch(2)]

        decided = asyncio.ensure_future(ledger.append(decide))
        for _ in range(10):
            await asyncio.sleep(0)
        assert seen == [3]
        await log.let("store")
        await log.let("store")
        assert (await decided)[0].index == 3


@pytest.mark.anyio
async def test_a_decision_that_fails_fails_nobody_else(tmp_path: Path) -> None:
    async with gated(tmp_path) as (ledger, log):

        def fail(state: State) -> Sequence[Proposal]:
            raise ValueError("no")

        first = await asked(ledger, 1)
        failing = asyncio.ensure_future(ledger.append(fail))
        others = await asked(ledger, 2)
        await log.let("store")
        await log.let("store")
        assert await indices([*first, *others]) == [2, 3]
        with pytest.raises(ValueError, match="no"):
            await failing


@pytest.mark.anyio
async def test_a_caller_who_goes_away_is_forgotten_or_recorded_and_holds_up_nobody(tmp_path: Path) -> None:
    async with gated(tmp_path) as (ledger, log):
        first, second = await asked(ledger, 1), await asked(ledger, 2, 3)
        second[0].cancel()
        await log.let("store")
        await log.let("store")
        assert await indices(first) == [2]
        assert (await second[1])[0].index in (3, 4)


@pytest.mark.anyio
async def test_closing_waits_for_both_drafts(tmp_path: Path) -> None:
    async with gated(tmp_path) as (ledger, log):
        tasks = [*await asked(ledger, 1), *await asked(ledger, 2)]
        closing = asyncio.ensure_future(ledger.close())
        await log.let("store")
        await log.let("store")
        await closing
        assert await indices(tasks) == [2, 3]


@pytest.mark.anyio
async def test_a_writer_that_always_loses_says_so_and_goes_on(tmp_path: Path) -> None:
    class Losing(GatedLog):
        lost = 0

        async def append(self, ledger: str, expected_size: int, *rest: Any, **named: Any) -> None:
            if 0 < self.lost <= CONFLICTS_MAX + 1:
                self.lost += 1
                raise LedgerConflictError(ledger, expected_size=expected_size, actual_size=expected_size)
            await super().append(ledger, expected_size, *rest, **named)

    log = Losing(SQLiteLog(tmp_path / "log"))
    async with open_ledger(tmp_path, log=log) as ledger:
        log.lost = 1
        with pytest.raises(LedgerConflictError):
            await ledger.record(batch(1))
        assert (await ledger.record(batch(1)))[0].index == 2
    await log.close()
