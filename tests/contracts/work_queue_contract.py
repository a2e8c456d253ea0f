"""What every work queue promises; an adapter's test class inherits this and gives `open_queue`.

class TestMyQueue(WorkQueueContract):
    @asynccontextmanager
    async def open_queue(self, place: Path) -> AsyncIterator[tuple[WorkQueue, EventLog]]: ...
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from domain.errors import MalformedError
from ledger.ports import EventLog
from ledger.work_queue import ATTEMPTS_MAX, WorkItem, WorkQueue, WorkSession
from tests.ledger.records import make_records

#: Long enough for a busy machine; nothing asserts it.
PATIENCE_SECONDS = 30


class WorkQueueContract:
    def open_queue(self, place: Path) -> AbstractAsyncContextManager[tuple[WorkQueue, EventLog]]:
        """A queue whose leases end after about a second; the same place is the same store."""
        raise NotImplementedError

    def ledger(self) -> str:
        """A name no other test uses."""
        raise NotImplementedError

    @asynccontextmanager
    async def filled(self, place: Path, count: int) -> AsyncIterator[tuple[WorkQueue, EventLog, str]]:
        """A queue over a ledger of ``count`` records."""
        async with self.open_queue(place) as (queue, log):
            name = self.ledger()
            await log.append(name, 0, make_records(count))
            yield queue, log, name

    @pytest.mark.anyio
    async def test_a_new_destination_gets_everything_in_order_to_the_byte(self, tmp_path: Path) -> None:
        async with self.filled(tmp_path, 40) as (queue, _, name), queue.work(name, "a") as session:
            items = await take_and_finish(session, 40)
            assert [item.record for item in items] == make_records(40)
            assert {item.attempt for item in items} == {1}

    @pytest.mark.anyio
    async def test_what_comes_later_is_handed_out_too(self, tmp_path: Path) -> None:
        async with self.filled(tmp_path, 2) as (queue, log, name), queue.work(name, "a") as session:
            await take_and_finish(session, 2)
            waiting = asyncio.create_task(take(session))
            await asyncio.sleep(0.1)
            await log.append(name, 2, make_records(1, start=2))
            assert (await waiting).record.index == 2

    @pytest.mark.anyio
    async def test_a_destination_can_wait_for_a_ledger_that_does_not_exist_yet(self, tmp_path: Path) -> None:
        async with self.open_queue(tmp_path) as (queue, log):
            name = self.ledger()
            async with queue.work(name, "a") as session:
                waiting = asyncio.create_task(take(session))
                await asyncio.sleep(0.1)
                await log.append(name, 0, make_records(1))
                assert (await waiting).record.index == 0

    @pytest.mark.anyio
    async def test_a_destination_begins_where_it_was_told_to_only_once(self, tmp_path: Path) -> None:
        async with self.filled(tmp_path, 10) as (queue, _, name):
            async with queue.work(name, "a", start=6) as session:
                assert [item.record.index for item in await take_and_finish(session, 2)] == [6, 7]
            async with queue.work(name, "a", start=0) as session:
                assert (await take(session)).record.index == 8

    @pytest.mark.anyio
    async def test_what_is_done_does_not_come_again(self, tmp_path: Path) -> None:
        async with self.filled(tmp_path, 10) as (queue, _, name):
            async with queue.work(name, "a") as session:
                await take_and_finish(session, 6)
            async with queue.work(name, "a") as session:
                assert [item.record.index for item in await take_and_finish(session, 4)] == [6, 7, 8, 9]

    @pytest.mark.anyio
    async def test_what_was_taken_and_not_finished_comes_again(self, tmp_path: Path) -> None:
        async with self.filled(tmp_path, 3) as (queue, _, name):
            async with queue.work(name, "a") as session:
                first = await take(session)
                second = await take(session)
                await session.done(second)
            async with queue.work(name, "a") as session:
                items = await take_and_finish(session, 2)
                assert sorted(item.record.index for item in items) == [first.record.index, 2]

    @pytest.mark.anyio
    async def test_a_worker_that_hangs_loses_its_record_to_another(self, tmp_path: Path) -> None:
        async with (
            self.filled(tmp_path, 1) as (queue, _, name),
            queue.work(name, "a") as hanging,
            queue.work(name, "a") as other,
        ):
            takes = {asyncio.create_task(take(session)): session for session in (hanging, other)}
            (first,), _ = await asyncio.wait(takes, return_when=asyncio.FIRST_COMPLETED)
            (again,), _ = await asyncio.wait(set(takes) - {first}, timeout=PATIENCE_SECONDS)
            assert again.result().record.index == first.result().record.index == 0
            await takes[again].done(again.result())
            await until(lambda: self._is_at(queue, name, 1))

    @pytest.mark.anyio
    async def test_a_record_goes_to_one_worker_at_a_time(self, tmp_path: Path) -> None:
        async with self.filled(tmp_path, 60) as (queue, _, name):
            seen: list[int] = []

            async def work() -> None:
                async with queue.work(name, "a") as session:
                    async for item in session:
                        seen.append(item.record.index)
                        await session.done(item)
                        await asyncio.sleep(0.002)

            workers = [asyncio.create_task(work()) for _ in range(3)]
            await until(lambda: self._is_at(queue, name, 60))
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            assert sorted(seen) == list(range(60))

    @pytest.mark.anyio
    async def test_destinations_do_not_disturb_each_other(self, tmp_path: Path) -> None:
        async with self.filled(tmp_path, 4) as (queue, _, name):
            async with queue.work(name, "a") as one, queue.work(name, "b") as two:
                await take_and_finish(one, 4)
                assert [item.record.index for item in await take_and_finish(two, 2)] == [0, 1]
            await until(lambda: self._is_at(queue, name, 4, "a"))
            await until(lambda: self._is_at(queue, name, 2, "b"))

    @pytest.mark.anyio
    async def test_ledgers_do_not_disturb_each_other(self, tmp_path: Path) -> None:
        async with self.filled(tmp_path, 2) as (queue, log, name):
            other = self.ledger()
            await log.append(other, 0, make_records(2, seed="other"))
            async with queue.work(name, "a") as one, queue.work(other, "a") as two:
                assert (await take(one)).record == make_records(2)[0]
                assert (await take(two)).record == make_records(2, seed="other")[0]

    @pytest.mark.anyio
    async def test_a_record_that_failed_comes_again_and_is_counted(self, tmp_path: Path) -> None:
        async with self.filled(tmp_path, 2) as (queue, _, name), queue.work(name, "a") as session:
            first = await take(session)
            await session.again(first)
            seen = [await take(session), await take(session)]
            assert {(item.record.index, item.attempt) for item in seen} == {(0, 2), (1, 1)}

    @pytest.mark.anyio
    async def test_a_record_that_keeps_failing_is_parked_by_itself(self, tmp_path: Path) -> None:
        async with self.filled(tmp_path, 2) as (queue, _, name), queue.work(name, "a") as session:
            attempts: list[int] = []
            while len(attempts) < ATTEMPTS_MAX:
                item = await take(session)
                if item.record.index == 0:
                    attempts.append(item.attempt)
                    await session.again(item)
                else:
                    await session.done(item)
            assert attempts == list(range(1, ATTEMPTS_MAX + 1))
            await until(lambda: self._has_parked(queue, name, [0]))
            await until(lambda: self._is_at(queue, name, 2))

    @pytest.mark.anyio
    async def test_what_was_parked_waits_for_a_person(self, tmp_path: Path) -> None:
        async with self.filled(tmp_path, 3) as (queue, _, name):
            assert await queue.parked(name, "a") == []
            async with queue.work(name, "a") as session:
                for _ in range(3):
                    item = await take(session)
                    await (session.park(item) if item.record.index == 1 else session.done(item))
                await until(lambda: self._has_parked(queue, name, [1]))
                await until(lambda: self._is_at(queue, name, 3))
                waiting = asyncio.create_task(take(session))
                await asyncio.sleep(0.3)
                assert not waiting.done()
                await queue.replay_parked(name, "a")
                item = await waiting
                assert item.record == make_records(3)[1]
                await session.done(item)
                await until(lambda: self._has_parked(queue, name, []))

    @pytest.mark.anyio
    async def test_a_place_moves_over_finished_work_only(self, tmp_path: Path) -> None:
        async with self.filled(tmp_path, 5) as (queue, _, name):
            assert await queue.position(name, "a") == 0
            async with queue.work(name, "a") as session:
                items = [await take(session) for _ in range(5)]
                for item in items[2:]:
                    await session.done(item)
                await asyncio.sleep(0.2)
                assert await queue.position(name, "a") == 0
                await session.done(items[0])
                await until(lambda: self._is_at(queue, name, 1))
                await session.done(items[1])
                await until(lambda: self._is_at(queue, name, 5))

    @pytest.mark.anyio
    async def test_a_cancelled_wait_loses_no_record(self, tmp_path: Path) -> None:
        async with self.filled(tmp_path, 1) as (queue, log, name), queue.work(name, "a") as session:
            items: list[WorkItem] = []
            for index in range(1, 6):
                waiting = asyncio.create_task(anext(session))
                await asyncio.sleep(0.02)
                waiting.cancel()
                (found,) = await asyncio.gather(waiting, return_exceptions=True)
                if isinstance(found, WorkItem):
                    items.append(found)
                    await session.done(found)
                await log.append(name, index, make_records(1, start=index))
            items += await take_and_finish(session, 6 - len(items))
            assert [(item.record.index, item.attempt) for item in items] == [(n, 1) for n in range(6)]

    @pytest.mark.anyio
    async def test_a_forgotten_destination_begins_again(self, tmp_path: Path) -> None:
        async with self.filled(tmp_path, 3) as (queue, _, name):
            await queue.forget(name, "a")
            async with queue.work(name, "a") as session:
                await take_and_finish(session, 3)
            await queue.forget(name, "a")
            async with queue.work(name, "a") as session:
                assert (await take(session)).record.index == 0

    @pytest.mark.anyio
    @pytest.mark.parametrize("destination", ["", "A", "a/b", "a::b", "../a", "$all"])
    async def test_names_that_mean_something_to_a_store_are_refused(
        self, tmp_path: Path, destination: str
    ) -> None:
        async with self.open_queue(tmp_path) as (queue, _):
            for work in (
                queue.work("ledger-a", destination).__aenter__(),
                queue.work(f"ledger-{destination}", "a").__aenter__(),
                queue.position("ledger-a", destination),
                queue.forget("ledger-a", destination),
            ):
                with pytest.raises(MalformedError):
                    await work

    @staticmethod
    async def _is_at(queue: WorkQueue, name: str, position: int, destination: str = "a") -> bool:
        found = await queue.position(name, destination)
        assert found <= position
        return found == position

    @staticmethod
    async def _has_parked(queue: WorkQueue, name: str, indices: list[int]) -> bool:
        return await queue.parked(name, "a") == indices


async def take(session: WorkSession) -> WorkItem:
    """The next record, whenever it comes."""
    return await asyncio.wait_for(anext(session), PATIENCE_SECONDS)


async def take_and_finish(session: WorkSession, count: int) -> list[WorkItem]:
    items = []
    for _ in range(count):
        items.append(await take(session))
        await session.done(items[-1])
    return items


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Look until it holds."""
    for _ in range(PATIENCE_SECONDS * 20):
        if await holds():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError
