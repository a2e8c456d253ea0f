"""What must hold on every store when any step of it fails: before it took effect, or after.

*Error but not persisted*: nothing happened, and doing it again does it.  *Persisted but error*: it happened,
nobody was told, and doing it again finds it.  Either way the history is the one without a fault: nothing is
lost, nothing is there twice, the ledger audits.

An adapter's test class inherits this and gives `open_log`, which opens the same store each time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from adapters.checkpoint_memory import FileCheckpointMemory
from adapters.erasure_journal import FolderErasureJournal
from adapters.executor.pinned_executor import PinnedExecutor
from adapters.files.detect import SampleFileFormat
from adapters.key_store_file import FileKeyStore
from adapters.setup_files import parse_setup
from adapters.sqlite_index import SQLiteIndex
from adapters.vault_directory import DirectoryVault
from api.demo import CONNECTION, DATA
from api.setup import apply_setup
from ledger.audit import audit
from ledger.desk import Desk
from ledger.erasure import ErasureReason, apply_erasures, erase_subject
from ledger.errors import UnknownSubjectKeyError
from ledger.ingest import ingest
from ledger.key_change import rotate_key
from ledger.ledger import ledger_name
from ledger.ports import EventLog, ExecutorAnswer, ExecutorTask
from ledger.recorded import recorded_of
from ledger.seen import open_seen
from ledger.worker import settle
from tests.faults.injection import IS_SWEEP
from tests.ledger.desk import ORIGIN, TENANT, ticking_clock
from tests.story.told import payload_upload

SETUP = b"""
connections: [{connection_id: wearer-1-oura, provider: oura}]
contracts: [contracts/oura-sleep.yaml]
deployments:
  - {procedure: oura.sleep, version: "1.0.0", consumes: oura.sleep, contract: oura-sleep, contract_version: 1}
"""
# A step that fails is asked for again this often; each fault happens once.
TRIES_MAX = 3
STEPS = (
    "log.append",
    "log.read",
    "log.size",
    "vault.put",
    "vault.get",
    "keys.create_subject_key",
    "keys.destroy_subject_key",
    "keys.next_signer",
    "memory.keep",
    "journal.keep",
)


class BrokenError(OSError):
    """The store is gone, before or after it did what it was asked."""


class Faults:
    """Which call fails, and how often each was made."""

    def __init__(self, step: str = "", nth: int = 0, *, is_persisted: bool = False) -> None:
        self.calls: Counter[str] = Counter()
        self.has_struck = False
        self._step = step
        self._nth = nth
        self._is_persisted = is_persisted

    def strike(self, step: str, *, is_done: bool) -> None:
        if not is_done:
            self.calls[step] += 1
        is_hit = step == self._step and self.calls[step] == self._nth and is_done == self._is_persisted
        if is_hit and not self.has_struck:
            self.has_struck = True
            raise BrokenError(f"{step} failed {'after' if is_done else 'before'} it took effect")


class Breaking:
    """A real part of the store, in front of which a call may break."""

    def __init__(self, part: str, inner: Any, faults: Faults) -> None:
        self._part = part
        self._inner = inner
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._inner, name)
        step = f"{self._part}.{name}"
        if step not in STEPS:
            return inner
        faults = self._faults

        async def call_later(*arguments: Any, **named: Any) -> Any:
            faults.strike(step, is_done=False)
            answer = await inner(*arguments, **named)
            faults.strike(step, is_done=True)
            return answer

        def call(*arguments: Any, **named: Any) -> Any:
            faults.strike(step, is_done=False)
            answer = inner(*arguments, **named)
            faults.strike(step, is_done=True)
            return answer

        return call_later if self._part in ("log", "vault") else call


class RememberingExecutor:
    """The real executor; what it answered once, it need not compute again."""

    def __init__(self) -> None:
        self._inner = PinnedExecutor()
        self._answers: dict[bytes, ExecutorAnswer] = {}
        self._digests: dict[tuple[str, str], str] = {}

    async def run(self, task: ExecutorTask) -> ExecutorAnswer:
        # The names of records come from a person's key, which is another one in each home; here nobody looks
        # at them.
        key = msgspec.json.encode(replace(task, record_key_secret=b""))
        if key not in self._answers:
            self._answers[key] = await self._inner.run(task)
        return self._answers[key]

    async def source_digest(self, procedure: str, version: str) -> str:
        key = (procedure, version)
        if key not in self._digests:
            self._digests[key] = await self._inner.source_digest(*key)
        return self._digests[key]

    async def close(self) -> None:
        await self._inner.close()


@asynccontextmanager
async def open_desk(
    home: Path, log: EventLog, executor: RememberingExecutor, faults: Faults, clock: Callable[[], int]
) -> AsyncIterator[Desk]:
    keys: Any = Breaking("keys", FileKeyStore(home / "keys"), faults)
    memory: Any = Breaking("memory", FileCheckpointMemory(home / "seen"), faults)
    vault: Any = Breaking("vault", DirectoryVault(home / "vault"), faults)
    journal: Any = Breaking("journal", FolderErasureJournal(home / "seen"), faults)
    store: Any = Breaking("log", log, faults)
    ledger = await open_seen(
        memory,
        log=store,
        tenant=TENANT,
        origin=ORIGIN,
        keys=keys,
        clock=clock,
        index=SQLiteIndex(home / "index.sqlite"),
    )
    desk = Desk(
        ledger=ledger,
        vault=vault,
        keys=keys,
        executor=executor,
        formats=SampleFileFormat(),
        clock=clock,
        erasures=journal,
    )
    try:
        await apply_erasures(desk)
        yield desk
    finally:
        await ledger.close()


async def live(home: Path, log: EventLog, executor: RememberingExecutor, faults: Faults) -> list[str]:
    """A short life of a ledger; each step is asked for again when it fails, after a fresh opening if need be.
    Returns what is on record at the end."""
    clock = ticking_clock()

    async def set_up(desk: Desk) -> None:
        setup = parse_setup(SETUP, "setup.yaml")
        await apply_setup(desk, setup, lambda name: (DATA / name).read_bytes(), "test")

    async def take_in(desk: Desk) -> None:
        await ingest(desk, payload_upload("sleep_2026-03-28.json"), "test")
        for stuck in await settle(desk):
            raise stuck.error

    async def rotate(desk: Desk) -> None:
        if len(desk.ledger.state.keys.spans) == 1:
            await rotate_key(desk.ledger, desk.keys, reason="drill", actor="test")

    async def erase(desk: Desk) -> None:
        await erase_subject(desk, CONNECTION, ErasureReason.OBJECTION, "test")

    for step in (set_up, take_in, rotate, erase):
        await _until_done(home, log, executor, faults, clock, step)
    async with open_desk(home, log, executor, Faults(), clock) as desk:
        assert await settle(desk) == ()
        report = await audit(log, ledger_name(TENANT), vault=desk.vault, keys=desk.keys)
        assert report.findings == ()
        with pytest.raises(UnknownSubjectKeyError):
            desk.keys.subject_key(desk.ledger.state.sources[CONNECTION].subject_key_id)
        records = await log.read(ledger_name(TENANT), 0, 1_000)
        return [recorded_of(record).event.TYPE for record in records]


async def _until_done(
    home: Path,
    log: EventLog,
    executor: RememberingExecutor,
    faults: Faults,
    clock: Callable[[], int],
    step: Callable[[Desk], Awaitable[None]],
) -> None:
    for _ in range(TRIES_MAX):
        try:
            async with open_desk(home, log, executor, faults, clock) as desk:
                try:
                    await step(desk)
                except BrokenError:
                    # At once and in the same process, as a caller would.
                    await step(desk)
                return
        except BrokenError:
            continue  # it broke while it was opened
    raise AssertionError(f"{step.__name__} did not end")


class StoreStepsContract:
    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[RememberingExecutor]:
        executor = RememberingExecutor()
        yield executor
        asyncio.run(executor.close())

    @pytest.mark.anyio
    @pytest.mark.parametrize("is_persisted", [False, True], ids=["not-persisted", "persisted"])
    @pytest.mark.parametrize("step", STEPS)
    async def test_a_step_that_fails_once_changes_nothing_in_the_history(
        self,
        open_log: Callable[[Path], EventLog],
        executor: RememberingExecutor,
        tmp_path: Path,
        step: str,
        is_persisted: bool,
    ) -> None:
        async def lived(number: int, faults: Faults) -> list[str]:
            home = tmp_path / str(number)
            log = open_log(home / "log")
            try:
                return await live(home, log, executor, faults)
            finally:
                await log.close()

        counted = Faults()
        history = await lived(0, counted)
        count = counted.calls[step]
        assert count > 0, "this step is never taken"
        for nth in range(1, count + 1) if IS_SWEEP else sorted({1, count}):
            faults = Faults(step, nth, is_persisted=is_persisted)
            assert await lived(nth, faults) == history
            assert faults.has_struck
