"""The ledger of a tenant: order, seals, group commit, conflicts, and what a crash leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from adapters.esdb_log import EventStoreDBLog
from domain.errors import InvalidError, LimitError, UnknownError
from domain.events import BatchIngested, DeviceRegistered, Recorded
from domain.state import State
from ledger.audit import audit
from ledger.checkpoint import open_checkpoint
from ledger.errors import ClosedError, LedgerConflictError
from ledger.ledger import Proposal, ledger_name
from ledger.merkle import leaf_hash, root_of, verify_consistency
from ledger.policy import policy_of_log
from ledger.ports import PAYLOAD_BYTES_MAX, EventLog, Record, nothing
from ledger.tlog_proof import verify_tlog_proof
from tests.adapters.esdb_node.fixture import esdb_uri
from tests.ledger import desk
from tests.ledger.desk import ORIGIN, TENANT, batch, open_ledger, ticking_clock
from tests.ledger.names_apart import NamesApart
from tests.ledger.signing_key import SigningKey

__all__ = ["esdb_uri"]

NAME = ledger_name(TENANT)


@pytest.fixture(autouse=True, params=["SQLite", "EventStoreDB"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here runs on every store."""
    if request.param == "EventStoreDB":
        uri = request.getfixturevalue("esdb_uri")
        monkeypatch.setattr(desk, "open_log", lambda folder: NamesApart(EventStoreDBLog(uri), folder))


def device(number: int) -> Proposal:
    event = DeviceRegistered(
        device_id=f"d{number}", manufacturer="m", model="x", serial_number=str(number), channels=()
    )
    return Proposal(event=event, actor="cli", subject=f"device/d{number}")


@pytest.mark.anyio
async def test_a_new_ledger_opens_with_its_name_and_key(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        records = await ledger.read(0, 10)
        assert [record.event_type for record in records] == ["ledger.opened.v1", "key.created.v1"]
        assert ledger.state.tenant == TENANT
        assert ledger.size == 2


@pytest.mark.anyio
async def test_every_append_is_sealed_over_exactly_what_it_covers(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        await ledger.record(device(1), device(2), device(3))
        await ledger.record(device(4))
        records = await ledger.read(0, 10)
        leaves = [leaf_hash(record.entry) for record in records]
        sealed = [record.index for record in records if record.seal]
        assert sealed == [1, 4, 5]
        for index in sealed:
            checkpoint = open_checkpoint(records[index].seal, [ledger.verifier_key], origin=ORIGIN)
            assert (checkpoint.size, checkpoint.root) == (index + 1, root_of(leaves[: index + 1]))
        assert ledger.checkpoint == records[-1].seal


@pytest.mark.anyio
async def test_callers_that_wait_together_share_a_seal(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        answers = await asyncio.gather(*(ledger.record(device(n)) for n in range(50)))
        assert sorted(answer[0].index for answer in answers) == list(range(2, 52))
        seals = [record for record in await ledger.read(2, 100) if record.seal]
        assert len(seals) < 10


@pytest.mark.anyio
async def test_one_callers_bad_decision_is_nobody_elses(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:

        def refuse(state: State) -> Sequence[Proposal]:
            raise UnknownError("no")

        good, bad, other = await asyncio.gather(
            ledger.record(device(1)), ledger.append(refuse), ledger.record(device(2)), return_exceptions=True
        )
        assert isinstance(bad, UnknownError)
        assert not isinstance(good, BaseException)
        assert not isinstance(other, BaseException)
        assert ledger.size == 4


@pytest.mark.anyio
async def test_a_decision_sees_what_was_decided_just_before_it(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:

        def register_once(state: State) -> Sequence[Proposal]:
            return () if "d1" in state.sources else (device(1),)

        answers = await asyncio.gather(*(ledger.append(register_once) for _ in range(10)))
        assert [len(answer) for answer in answers].count(1) == 1
        assert ledger.size == 3


@pytest.mark.anyio
async def test_the_same_fact_is_recorded_once(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        first = await ledger.record(batch(1))
        again = await ledger.record(batch(1))
        together = await asyncio.gather(*(ledger.record(batch(2)) for _ in range(5)))
        assert again == first
        assert len({answer[0].index for answer in together}) == 1
        assert ledger.size == 4
    async with open_ledger(tmp_path) as ledger:
        assert await ledger.record(batch(1)) == first


@pytest.mark.anyio
async def test_time_never_runs_backwards_in_the_ledger(tmp_path: Path) -> None:
    times = iter([50, 40, 60, 10, 70, 1, 2, 3])
    async with open_ledger(tmp_path, clock=lambda: next(times)) as ledger:
        recorded: list[Recorded] = []
        for number in range(4):
            recorded += await ledger.record(device(number))
        assert [r.recorded_at_ns for r in recorded] == [60, 60, 70, 70]


@pytest.mark.anyio
async def test_every_entry_is_proven_under_the_newest_seal(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        for start in range(0, 600, 100):
            await ledger.record(*(batch(n) for n in range(start, start + 100)))
        policy = policy_of_log(ledger.verifier_key)
        records = await ledger.read(0, 1_000)
        for index in [*range(0, ledger.size, 37), 255, 256, 257, 511, 512, ledger.size - 1]:
            verify_tlog_proof(ledger.prove(index), leaf_hash(records[index].entry), policy)


@pytest.mark.anyio
async def test_growth_is_proven_from_every_seal_to_the_newest(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        for start in range(0, 420, 60):
            await ledger.record(*(batch(n) for n in range(start, start + 60)))
        now = open_checkpoint(ledger.checkpoint, [ledger.verifier_key])
        for record in await ledger.read(0, 1_000):
            if record.seal:
                then = open_checkpoint(record.seal, [ledger.verifier_key])
                path = ledger.prove_growth(then.size)
                verify_consistency(then.size, now.size, then.root, now.root, path)


@pytest.mark.anyio
async def test_a_lost_or_damaged_index_is_made_again(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        await ledger.record(*(batch(n) for n in range(300)))
    (tmp_path / "index.sqlite").write_bytes(b"this is not a database" * 500)
    async with open_ledger(tmp_path) as ledger:
        assert (await ledger.record(batch(7)))[0].index == 9
        assert ledger.size == 302
        record = (await ledger.read(100, 1))[0]
        verify_tlog_proof(ledger.prove(100), leaf_hash(record.entry), policy_of_log(ledger.verifier_key))


@pytest.mark.anyio
async def test_an_index_of_another_ledger_is_not_believed(tmp_path: Path) -> None:
    async with open_ledger(tmp_path / "a") as ledger:
        await ledger.record(*(batch(n) for n in range(300)))
    async with open_ledger(tmp_path / "b") as ledger:
        await ledger.record(*(batch(n + 1_000) for n in range(400)))
    (tmp_path / "a" / "index.sqlite").replace(tmp_path / "b" / "index.sqlite")
    async with open_ledger(tmp_path / "b") as ledger:
        assert await ledger.find(f"batch/s/samples/sha256:{1000:064x}") == 2
        record = (await ledger.read(300, 1))[0]
        verify_tlog_proof(ledger.prove(300), leaf_hash(record.entry), policy_of_log(ledger.verifier_key))


@pytest.mark.anyio
async def test_two_writers_take_turns_on_one_ledger(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as one, open_ledger(tmp_path, index_name="other") as two:
        await asyncio.gather(
            *(one.record(batch(n)) for n in range(30)), *(two.record(batch(n + 100)) for n in range(30))
        )
        await one.catch_up()
        await two.catch_up()
        assert one.size == two.size == 62
        assert one.checkpoint == two.checkpoint
    log = desk.open_log(tmp_path / "log")
    assert (await audit(log, NAME)).is_clean
    await log.close()


@pytest.mark.anyio
async def test_what_was_decided_before_catching_up_is_decided_again(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as one, open_ledger(tmp_path, index_name="other") as two:
        await two.record(device(1), batch(1))
        async with one._catch_up_lock:
            waiting = [asyncio.create_task(one.record(batch(n))) for n in (2, 3)]
            for _ in range(5):
                await asyncio.sleep(0)  # the writer has decided, and waits for the lock
            await one._read_new()
        assert [(await answer)[0].index for answer in waiting] == [4, 5]
    log = desk.open_log(tmp_path / "log")
    assert (await audit(log, NAME)).is_clean
    await log.close()


@pytest.mark.anyio
async def test_two_writers_register_a_device_once(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as one, open_ledger(tmp_path, index_name="other") as two:

        def register_once(state: State) -> Sequence[Proposal]:
            return () if "d1" in state.sources else (device(1),)

        await one.append(register_once)
        assert await two.append(register_once) == ()


@pytest.mark.anyio
async def test_many_facts_sent_again_among_new_ones_keep_their_places(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        for start in range(0, 300, 100):
            await ledger.record(*(batch(number) for number in range(start, start + 100)))
        again = [7, *range(298, 340, 3), 150, 151, 290, 7]
        placed = await ledger.record(*(batch(number) for number in again))
        assert [one.index - 2 for one in placed if one.index < 302] == [n for n in again if n < 300]
        assert len({one.index for one in placed if one.index >= 302}) == len([n for n in again if n >= 300])
        assert ledger.size == 302 + len([n for n in again if n >= 300])


class FailingLog:
    """A real store that fails as stores do: before the write, or after it."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.fail_before = False
        self.fail_after = False

    async def append(
        self,
        ledger: str,
        expected_size: int,
        records: Sequence[Record],
        after: Record | None = None,
        meanwhile: Callable[[], None] = nothing,
    ) -> None:
        if self.fail_before:
            raise OSError("no space left on device")
        await self._log.append(ledger, expected_size, records, after, meanwhile)
        if self.fail_after:
            raise OSError("connection lost")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


@pytest.mark.anyio
async def test_an_append_that_failed_left_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    log = FailingLog(desk.open_log(tmp_path / "log"))
    async with open_ledger(tmp_path, log=log) as ledger:
        log.fail_before = True
        with pytest.raises(OSError, match="no space"):
            await ledger.record(batch(1))
        log.fail_before = False
        assert (await ledger.record(batch(1)))[0].index == 2
    assert (await audit(log, NAME)).is_clean
    await log.close()


@pytest.mark.anyio
async def test_an_append_that_was_stored_but_reported_lost_is_found_again(tmp_path: Path) -> None:
    log = FailingLog(desk.open_log(tmp_path / "log"))
    async with open_ledger(tmp_path, log=log) as ledger:
        log.fail_after = True
        with pytest.raises(OSError, match="connection lost"):
            await ledger.record(batch(1))
        log.fail_after = False
        assert (await ledger.record(batch(1)))[0].index == 2
        assert (await ledger.record(batch(2)))[0].index == 3
        assert ledger.size == 4
    report = await audit(log, NAME)
    assert report.is_clean
    assert report.size == 4
    await log.close()


@pytest.mark.anyio
async def test_another_key_cannot_continue_a_ledger(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        await ledger.record(batch(1))
    with pytest.raises(InvalidError):
        async with open_ledger(tmp_path, signer=SigningKey(ORIGIN, "another"), index_name="fresh"):
            pass


@pytest.mark.anyio
async def test_what_is_too_large_is_refused_and_the_ledger_goes_on(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        huge = BatchIngested(
            batch_id="b",
            source_id="s",
            kind="samples",
            media_type="x",
            byte_count=1,
            digest="sha256:" + "0" * 64,
            is_encrypted=False,
            received_at_ns=1,
            format_options={"x": "y" * PAYLOAD_BYTES_MAX},
        )
        with pytest.raises(LimitError):
            await ledger.record(Proposal(event=huge, actor="cli", subject="batch/b"))
        assert (await ledger.record(batch(1)))[0].index == 2


@pytest.mark.anyio
@pytest.mark.parametrize("subject", ["", "two\nlines", "x" * 300, "nul\0"])
async def test_a_subject_that_would_break_the_entry_is_refused(tmp_path: Path, subject: str) -> None:
    async with open_ledger(tmp_path) as ledger:
        with pytest.raises(InvalidError):
            await ledger.record(Proposal(event=device(1).event, actor="cli", subject=subject))
        assert ledger.size == 2


@pytest.mark.anyio
async def test_a_cause_must_come_before_its_effect(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        proposal = Proposal(event=device(1).event, actor="cli", subject="device/d1", causation=(2,))
        with pytest.raises(InvalidError, match="later than its effect"):
            await ledger.record(proposal)
        assert (await ledger.record(device(1)))[0].index == 2


@pytest.mark.anyio
async def test_closing_finishes_what_was_asked_before(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        waiting = [asyncio.create_task(ledger.record(batch(n))) for n in range(20)]
        await asyncio.sleep(0)
    assert all(task.exception() is None for task in waiting)
    async with open_ledger(tmp_path) as ledger:
        assert ledger.size == 22
        await ledger.close()
        with pytest.raises(ClosedError):
            await ledger.record(batch(99))


@pytest.mark.anyio
async def test_reopening_folds_the_same_state(tmp_path: Path) -> None:
    clock = ticking_clock()
    async with open_ledger(tmp_path, clock=clock) as ledger:
        await ledger.record(*(device(n) for n in range(20)))
        before = ledger.state
        pending = ledger.pending
    async with open_ledger(tmp_path, clock=clock) as ledger:
        assert ledger.state == before
        assert ledger.pending == pending


def test_conflicts_carry_both_sizes() -> None:
    error = LedgerConflictError("ledger-x", expected_size=3, actual_size=5)
    assert "3" in str(error)
    assert "5" in str(error)
