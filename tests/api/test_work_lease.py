"""Who works a ledger off: one process at a time, and another one when that has gone."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from api import intake, work_lease
from api.problems import ApiError
from api.work_lease import WorkLease, settle_or_wait
from domain.errors import ConflictError
from ledger.ingest import ingest
from ledger.worker import settle
from tests.story.told import at_desk, payload_upload

pytestmark = pytest.mark.anyio


async def test_one_holds_it_and_another_one_after_him(tmp_path: Path) -> None:
    first, second = WorkLease(tmp_path / "w"), WorkLease(tmp_path / "w")
    assert first.take()
    assert first.take()
    assert not second.take()
    first.release()
    assert second.take()
    second.release()


async def test_who_does_not_hold_it_waits_until_the_work_is_done(told: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(told, tmp_path / "home"))
    holder = WorkLease(tmp_path / "w")
    assert holder.take()
    told_of = []
    async with at_desk(home) as (_, desk):
        await ingest(desk, payload_upload("sleep_2026-03-28.json"), "test")
        waiting = asyncio.create_task(
            settle_or_wait(desk, WorkLease(tmp_path / "w"), lambda: told_of.append(1))
        )
        await asyncio.sleep(0.3)
        assert not waiting.done()
        assert desk.ledger.pending
        await settle(desk)
        assert await waiting == ()
    assert told_of == [1]


async def test_when_the_holder_dies_the_work_is_taken_over(told: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(told, tmp_path / "home"))
    holder = WorkLease(tmp_path / "w")
    assert holder.take()
    async with at_desk(home) as (_, desk):
        await ingest(desk, payload_upload("sleep_2026-03-28.json"), "test")
        waiting = asyncio.create_task(settle_or_wait(desk, WorkLease(tmp_path / "w")))
        await asyncio.sleep(0.2)
        holder.release()
        assert await waiting == ()
        assert desk.ledger.pending == ()


async def test_a_holder_that_does_nothing_is_not_waited_for_for_ever(
    told: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_lease, "QUIET_SECONDS_MAX", 0.3)
    home = Path(shutil.copytree(told, tmp_path / "home"))
    holder = WorkLease(tmp_path / "w")
    assert holder.take()
    async with at_desk(home) as (_, desk):
        await ingest(desk, payload_upload("sleep_2026-03-28.json"), "test")
        with pytest.raises(ConflictError, match="does nothing"):
            await settle_or_wait(desk, WorkLease(tmp_path / "w"))
        assert desk.ledger.pending


async def test_a_sender_that_pauses_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BODY_PAUSE_SECONDS_MAX", 0.05)

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"some"
        await asyncio.sleep(10)

    stream = chunks()
    assert await intake._next(stream) == b"some"
    with pytest.raises(ApiError) as given_up:
        await intake._next(stream)
    assert given_up.value.name == "slow"
