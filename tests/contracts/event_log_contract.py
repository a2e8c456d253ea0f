"""What every event log promises; an adapter's test class inherits this and gives `open_log`.

class TestMyLog(EventLogContract):
    @asynccontextmanager
    async def open_log(self, place: Path) -> AsyncIterator[EventLog]: ...   # the same place is the same store
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from itertools import count
from pathlib import Path

import pytest
from msgspec.structs import replace

from domain.errors import TallystickError
from ledger.entry import event_id
from ledger.errors import DamagedStoreError, LedgerConflictError
from ledger.ports import APPEND_EVENTS_MAX, EventLog, Record
from tests.ledger.records import make_records

LEDGER = "ledger-contract"
_places = count()


class EventLogContract:
    def open_log(self, place: Path) -> AbstractAsyncContextManager[EventLog]:
        raise NotImplementedError

    def ledger(self) -> str:
        """A name no other test uses: a store may outlive one test."""
        return f"{LEDGER}-{next(_places)}"

    @pytest.mark.anyio
    async def test_a_ledger_that_does_not_exist_is_empty(self, tmp_path: Path) -> None:
        async with self.open_log(tmp_path) as log:
            name = self.ledger()
            assert await log.size(name) == 0
            assert await log.read(name, 0, 10) == []

    @pytest.mark.anyio
    async def test_what_was_appended_is_read_back_to_the_byte(self, tmp_path: Path) -> None:
        async with self.open_log(tmp_path) as log:
            name = self.ledger()
            records = make_records(5)
            await log.append(name, 0, records[:2])
            await log.append(name, 2, records[2:])
            assert await log.size(name) == 5
            assert await log.read(name, 0, 10) == records
            assert await log.read(name, 1, 2) == records[1:3]
            assert await log.read(name, 5, 2) == []
            assert name in await log.ledgers()

    @pytest.mark.anyio
    async def test_hostile_bytes_survive(self, tmp_path: Path) -> None:
        async with self.open_log(tmp_path) as log:
            name = self.ledger()
            records = make_records(3, payloads=[b"", bytes(range(256)) * 40, "\u2028\u0000é".encode()])
            await log.append(name, 0, records)
            assert await log.read(name, 0, 3) == records

    @pytest.mark.anyio
    async def test_appending_nothing_changes_nothing(self, tmp_path: Path) -> None:
        async with self.open_log(tmp_path) as log:
            name = self.ledger()
            await log.append(name, 0, [])
            assert await log.size(name) == 0

    @pytest.mark.anyio
    async def test_what_is_appended_stands_on_what_was_sealed_or_not_at_all(self, tmp_path: Path) -> None:
        async with self.open_log(tmp_path) as log:
            name = self.ledger()
            records = make_records(4)
            await log.append(name, 0, records[:2])
            for wrong in (replace(records[1], payload=b"other"), replace(records[1], entry=records[0].entry)):
                with pytest.raises(DamagedStoreError) as caught:
                    await log.append(name, 2, records[2:3], after=wrong)
                assert caught.value.index == 1
            assert await log.size(name) == 2
            await log.append(name, 2, records[2:3], after=records[1])
            await log.append(name, 2, records[2:3], after=records[1])  # a retry
            with pytest.raises(LedgerConflictError):
                await log.append(name, 2, make_records(1, start=2, seed="late"), after=records[1])
            assert await log.read(name, 0, 10) == records[:3]

    @pytest.mark.anyio
    async def test_there_may_be_time_for_something_else_meanwhile_but_once(self, tmp_path: Path) -> None:
        async with self.open_log(tmp_path) as log:
            name = self.ledger()
            done: list[int] = []
            records = make_records(3)
            for at, record in enumerate(records):
                await log.append(name, at, [record], meanwhile=lambda at=at: done.append(at))  # type: ignore[misc]
            assert await log.read(name, 0, 10) == records
            await asyncio.sleep(0)
            assert done == sorted(set(done))

    @pytest.mark.anyio
    async def test_a_writer_who_comes_late_is_told_the_size(self, tmp_path: Path) -> None:
        async with self.open_log(tmp_path) as log:
            name = self.ledger()
            await log.append(name, 0, make_records(2))
            with pytest.raises(LedgerConflictError) as caught:
                await log.append(name, 0, make_records(1, seed="somebody else"))
            assert (caught.value.expected_size, caught.value.actual_size) == (0, 2)
            assert await log.size(name) == 2

    @pytest.mark.anyio
    async def test_a_writer_who_is_ahead_is_told_the_size(self, tmp_path: Path) -> None:
        async with self.open_log(tmp_path) as log:
            name = self.ledger()
            await log.append(name, 0, make_records(2))
            with pytest.raises(LedgerConflictError) as caught:
                await log.append(name, 5, make_records(1, start=5))
            assert caught.value.actual_size == 2

    @pytest.mark.anyio
    async def test_a_retried_append_succeeds_without_effect(self, tmp_path: Path) -> None:
        async with self.open_log(tmp_path) as log:
            name = self.ledger()
            records = make_records(4)
            await log.append(name, 0, records[:2])
            await log.append(name, 0, records[:2])
            await log.append(name, 2, records[2:])
            await log.append(name, 0, records[:2])
            assert await log.read(name, 0, 10) == records

    @pytest.mark.anyio
    async def test_an_append_is_all_or_nothing(self, tmp_path: Path) -> None:
        async with self.open_log(tmp_path) as log:
            name = self.ledger()
            first = make_records(1)
            await log.append(name, 0, first)
            half_known = [first[0], *make_records(1, start=1)]
            with pytest.raises(TallystickError):
                await log.append(name, 0, half_known)
            assert await log.size(name) == 1

    @pytest.mark.anyio
    async def test_records_out_of_sequence_are_refused(self, tmp_path: Path) -> None:
        async with self.open_log(tmp_path) as log:
            name = self.ledger()
            with pytest.raises(TallystickError):
                await log.append(name, 0, list(reversed(make_records(2))))
            assert await log.size(name) == 0

    @pytest.mark.anyio
    async def test_more_than_the_limit_in_one_append_is_refused(self, tmp_path: Path) -> None:
        async with self.open_log(tmp_path) as log:
            name = self.ledger()
            with pytest.raises(TallystickError):
                await log.append(name, 0, make_records(APPEND_EVENTS_MAX + 1))
            assert await log.size(name) == 0

    @pytest.mark.anyio
    async def test_ledgers_do_not_see_each_other(self, tmp_path: Path) -> None:
        async with self.open_log(tmp_path) as log:
            one, two = self.ledger(), self.ledger()
            await log.append(one, 0, make_records(3, seed="one"))
            await log.append(two, 0, make_records(2, seed="two"))
            assert await log.read(one, 0, 10) == make_records(3, seed="one")
            assert await log.read(two, 0, 10) == make_records(2, seed="two")

    @pytest.mark.anyio
    async def test_concurrent_writers_lose_cleanly(self, tmp_path: Path) -> None:
        async with self.open_log(tmp_path) as log:
            name = self.ledger()

            async def write(writer: int) -> bool:
                try:
                    await log.append(name, 0, make_records(3, seed=str(writer)))
                except LedgerConflictError:
                    return False
                return True

            won = await asyncio.gather(*(write(writer) for writer in range(6)))
            assert sum(won) == 1
            assert await log.size(name) == 3
            assert await log.read(name, 0, 10) == make_records(3, seed=str(won.index(True)))

    @pytest.mark.anyio
    async def test_a_follower_sees_what_was_and_what_comes(self, tmp_path: Path) -> None:
        async with self.open_log(tmp_path) as log:
            name = self.ledger()
            records = make_records(6)
            await log.append(name, 0, records[:3])
            seen: list[Record] = []
            follower = log.follow(name, 1)
            seen += await self._next(follower)
            while len(seen) < 2:
                seen += await self._next(follower)
            waiting = asyncio.create_task(self._next(follower))
            await asyncio.sleep(0.05)
            await log.append(name, 3, records[3:])
            seen += await asyncio.wait_for(waiting, 20)
            while len(seen) < 5:
                seen += await asyncio.wait_for(self._next(follower), 20)
            assert seen == records[1:]
            await follower.aclose()  # type: ignore[attr-defined]

    @pytest.mark.anyio
    async def test_what_was_appended_is_there_after_reopening(self, tmp_path: Path) -> None:
        name = self.ledger()
        records = make_records(4)
        async with self.open_log(tmp_path) as log:
            await log.append(name, 0, records)
        async with self.open_log(tmp_path) as log:
            assert await log.read(name, 0, 10) == records
            with pytest.raises(LedgerConflictError):
                await log.append(name, 0, make_records(1, seed="other"))

    @pytest.mark.anyio
    async def test_a_healthy_store_has_no_findings(self, tmp_path: Path) -> None:
        async with self.open_log(tmp_path) as log:
            name = self.ledger()
            await log.append(name, 0, make_records(4))
            assert await log.check_storage(name) == []

    @staticmethod
    async def _next(follower: AsyncIterator[object]) -> list[Record]:
        return list(await anext(follower))  # type: ignore[call-overload, no-any-return]


def test_event_ids_are_uuids_of_version_8() -> None:
    raw = event_id(7, b"\xff" * 32)
    assert (raw[6] >> 4, raw[8] >> 6) == (8, 2)
