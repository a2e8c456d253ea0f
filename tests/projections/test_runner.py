"""A runner keeps a view up with its ledger, lets writers read what they wrote, and stops cleanly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from duckdb import DuckDBPyConnection

from projections.errors import (
    ProjectionStoppedError,
    ViewBehindError,
    ViewInUseError,
    ViewMismatchError,
)
from projections.runner import ProjectionRunner
from tests.projections.memory_log import MemoryLog, log_of
from tests.projections.opened import contents, opened
from tests.projections.story import LEDGER, tell

WHOLE = tell(21, rounds=8).records
# Long enough for a machine that many share; nothing is measured by it.
PATIENCE_SECONDS = 50.0


def count_runs(connection: DuckDBPyConnection) -> int:
    return int(connection.execute("SELECT count(*) FROM runs").fetchall()[0][0])


def position(connection: DuckDBPyConnection) -> tuple[int, int]:
    """Position and number of batches, from one snapshot."""
    query = "SELECT (SELECT next_index FROM position), (SELECT count(*) FROM batch_ingested)"
    return tuple(connection.execute(query).fetchall()[0])  # type: ignore[return-value]


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


def test_a_runner_catches_up_follows_and_lets_writers_read_what_they_wrote(tmp_path: Path) -> None:
    async def test() -> None:
        log = await log_of(WHOLE[:100], LEDGER)
        async with ProjectionRunner(log, LEDGER, tmp_path / "acme.duckdb") as runner:
            await runner.wait(99, timeout_seconds=PATIENCE_SECONDS)
            assert await runner.lag() == 0
            for start in range(100, len(WHOLE), 17):
                page = WHOLE[start : start + 17]
                await log.append(LEDGER, start, page)
                await runner.wait(page[-1].index, timeout_seconds=PATIENCE_SECONDS)
                assert runner.position == page[-1].index + 1
            expected = sum(record.event_type == "run.started.v1" for record in WHOLE)
            assert await runner.query(count_runs) == expected
        with opened(tmp_path / "acme.duckdb") as view, opened(None, WHOLE) as whole:
            assert contents(view) == contents(whole)

    run(test)


def test_what_a_store_delivers_again_changes_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        log = MemoryLog(is_repeating=True, read_limit_max=13)
        await log.append(LEDGER, 0, WHOLE[:60])
        async with ProjectionRunner(log, LEDGER, tmp_path / "acme.duckdb") as runner:
            await runner.wait(59, timeout_seconds=PATIENCE_SECONDS)
            await log.append(LEDGER, 60, WHOLE[60:])
            await runner.wait(len(WHOLE) - 1, timeout_seconds=PATIENCE_SECONDS)
            with opened(None, WHOLE) as whole:
                assert contents(runner.view) == contents(whole)

    run(test)


def test_a_runner_on_an_empty_ledger_waits_for_the_first_entry(tmp_path: Path) -> None:
    async def test() -> None:
        log = MemoryLog()
        async with ProjectionRunner(log, LEDGER, tmp_path / "acme.duckdb") as runner:
            assert runner.position == 0
            waiting = asyncio.create_task(runner.wait(1, timeout_seconds=PATIENCE_SECONDS))
            await log.append(LEDGER, 0, WHOLE[:3])
            await waiting

    run(test)


def test_waiting_for_an_entry_that_does_not_come_ends(tmp_path: Path) -> None:
    async def test() -> None:
        log = await log_of(WHOLE[:10], LEDGER)
        async with ProjectionRunner(log, LEDGER, tmp_path / "acme.duckdb") as runner:
            await runner.wait(9, timeout_seconds=PATIENCE_SECONDS)
            with pytest.raises(ViewBehindError) as caught:
                await runner.wait(10, timeout_seconds=0.05)
            assert (caught.value.index, caught.value.position) == (10, 10)

    run(test)


def test_a_poison_ends_folding_tells_everyone_and_leaves_the_view_readable(tmp_path: Path) -> None:
    async def test() -> None:
        story = tell(22, rounds=2)
        log = await log_of(story.records, LEDGER)
        size = len(story.records)
        async with ProjectionRunner(log, LEDGER, tmp_path / "acme.duckdb") as runner:
            await runner.wait(size - 1, timeout_seconds=PATIENCE_SECONDS)
            waiting = asyncio.create_task(runner.wait(size + 1, timeout_seconds=PATIENCE_SECONDS))
            await asyncio.sleep(0)
            story.add_bytes("run.started.v7", b"{}", "run/x")
            story.connection("c-late")
            await log.append(LEDGER, size, story.records[size:])
            with pytest.raises(ProjectionStoppedError) as caught:
                await waiting
            assert caught.value.index == size
            assert isinstance(runner.failure, ProjectionStoppedError)
            assert await runner.query(count_runs) > 0
            assert runner.view.stop is not None
            assert await runner.lag() == 2

    run(test)


def test_two_runners_on_one_file_are_refused(tmp_path: Path) -> None:
    async def test() -> None:
        log = await log_of(WHOLE, LEDGER)
        path = tmp_path / "acme.duckdb"
        async with ProjectionRunner(log, LEDGER, path) as runner:
            with pytest.raises(ViewInUseError):
                await ProjectionRunner(log, LEDGER, path).start()
            await runner.wait(len(WHOLE) - 1, timeout_seconds=PATIENCE_SECONDS)
        async with ProjectionRunner(log, LEDGER, path) as runner:
            assert runner.position == len(WHOLE)

    run(test)


@pytest.mark.parametrize("fate", ["shorter", "other"])
def test_a_ledger_that_is_not_the_one_the_view_came_from_is_noticed_at_the_start(
    fate: str, tmp_path: Path
) -> None:
    async def test() -> None:
        path = tmp_path / "acme.duckdb"
        log = await log_of(WHOLE, LEDGER)
        async with ProjectionRunner(log, LEDGER, path) as runner:
            await runner.wait(len(WHOLE) - 1, timeout_seconds=PATIENCE_SECONDS)
        other = WHOLE[:50] if fate == "shorter" else tell(99, rounds=9).records
        log.replace(LEDGER, other)
        with pytest.raises(ViewMismatchError) as caught:
            await ProjectionRunner(log, LEDGER, path).start()
        assert caught.value.remedy
        log.replace(LEDGER, WHOLE)
        async with ProjectionRunner(log, LEDGER, path) as runner:
            assert runner.position == len(WHOLE), "and nothing was held or changed by the refusal"

    run(test)


def test_readers_see_rows_and_position_of_the_same_moment(tmp_path: Path) -> None:
    async def test() -> None:
        log = MemoryLog(read_limit_max=7)
        await log.append(LEDGER, 0, WHOLE)
        seen = []
        async with ProjectionRunner(log, LEDGER, tmp_path / "acme.duckdb") as runner:
            while runner.position < len(WHOLE):
                seen.append(await runner.query(position))
        for next_index, batch_count in seen:
            assert batch_count == sum(
                record.event_type == "batch.ingested.v1" for record in WHOLE[:next_index]
            )

    run(test)


def test_stopping_in_the_middle_leaves_a_view_that_goes_on(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "acme.duckdb"
        log = MemoryLog(read_limit_max=9)
        await log.append(LEDGER, 0, WHOLE)
        reached = 0
        for _ in range(100):
            runner = ProjectionRunner(log, LEDGER, path)
            await runner.start()
            goal = min(reached + 40, len(WHOLE))
            await runner.wait(goal - 1, timeout_seconds=PATIENCE_SECONDS)
            reached = runner.position
            await runner.stop()
            if reached == len(WHOLE):
                break
        with opened(path) as view, opened(None, WHOLE) as whole:
            assert contents(view) == contents(whole)

    run(test)


def test_a_runner_in_memory_answers_too() -> None:
    async def test() -> None:
        log = await log_of(WHOLE, LEDGER)
        async with ProjectionRunner(log, LEDGER, None) as runner:
            await runner.wait(len(WHOLE) - 1, timeout_seconds=PATIENCE_SECONDS)
            assert await runner.query(count_runs) > 0

    run(test)


def test_a_question_that_fails_fails_alone(tmp_path: Path) -> None:
    def wrong(connection: DuckDBPyConnection) -> None:
        connection.execute("SELECT no_such_column FROM runs")

    async def test() -> None:
        log = await log_of(WHOLE, LEDGER)
        async with ProjectionRunner(log, LEDGER, tmp_path / "acme.duckdb") as runner:
            await runner.wait(len(WHOLE) - 1, timeout_seconds=PATIENCE_SECONDS)
            results = await asyncio.gather(
                *(runner.query(wrong if i % 2 else count_runs) for i in range(10)), return_exceptions=True
            )
            assert [isinstance(result, Exception) for result in results] == [False, True] * 5
            assert runner.failure is None

    run(test)


def test_a_runner_can_be_rebuilt_while_it_is_asked_and_fed(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "acme.duckdb"
        log = await log_of(WHOLE[:150], LEDGER)
        async with ProjectionRunner(log, LEDGER, path) as runner:
            await runner.wait(149, timeout_seconds=PATIENCE_SECONDS)
            stopped = asyncio.Event()

            async def feed() -> None:
                for start in range(150, len(WHOLE), 5):
                    await log.append(LEDGER, start, WHOLE[start : start + 5])
                    await asyncio.sleep(0.002)

            async def ask() -> int:
                asked = 0
                while not stopped.is_set():
                    assert await runner.query(count_runs) > 0
                    asked += 1
                return asked

            asking, feeding = asyncio.create_task(ask()), asyncio.create_task(feed())
            report = await runner.rebuild()
            assert report.is_equal
            assert report.compared_count >= 150
            await feeding
            await runner.wait(len(WHOLE) - 1, timeout_seconds=PATIENCE_SECONDS)
            stopped.set()
            assert await asking > 0
            with opened(None, WHOLE) as whole:
                assert contents(runner.view) == contents(whole)

    run(test)
    files = ["acme.duckdb", "acme.duckdb.lock", "acme.duckdb.previous"]
    assert sorted(file.name for file in tmp_path.iterdir()) == files
