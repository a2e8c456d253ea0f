"""Examining parts of a ledger side by side, each in a process of its own.

Hashing many short messages keeps one core busy with Python, and a store can be read by several processes.
This process is one of them, with a thread of its own for that; it has imported everything already, while a
child (``ledger.chain_child``) takes a tenth of a second and more to start.

A child that fails takes nothing with it: its part is examined by whoever asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ledger.chain import ChainPart, PartTask
from ledger.chain_child import LENGTH, READY, examine, message
from ledger.ports import ColumnReader

# More than this, and the one who puts the parts together is what everybody waits for.
PROCESSES_MAX = 8
# Long for the slowest disk and the largest bodies; a child that hangs is ended, not waited for.
PART_SECONDS_MAX = 600.0
# Parts that a child is given at a time, so that the next one is there when it is done with one.
PARTS_EACH = 2
_CHILD = "ledger.chain_child"
_VARIABLES = {
    # Some megabytes are needed again for every batch of rows.  Without this, glibc gives them back to the
    # system in between, and getting them again takes a tenth of the time.
    "MALLOC_TRIM_THRESHOLD_": "67108864",
    "MALLOC_MMAP_THRESHOLD_": "67108864",
    # Nothing is calculated that would keep several threads busy, and starting them takes time.
    "OPENBLAS_NUM_THREADS": "1",
}


def child_count() -> int:
    """How many children are worth starting: one for every core but this process's."""
    return min(len(os.sched_getaffinity(0)), PROCESSES_MAX) - 1


class PartProcesses:
    """Whoever examines parts of one ledger.  Use ``async with part_processes(reader)``."""

    def __init__(self, reader: ColumnReader) -> None:
        self._reader = reader
        self._children: list[_Child] = []
        self._starting: list[asyncio.Task[None]] = []
        # Whoever can take a part; None is this process, which always comes back.
        self._idle: asyncio.Queue[_Child | None] = asyncio.Queue()
        self._idle.put_nowait(None)

    @property
    def ahead(self) -> int:
        """How many parts are worth asking for before the first has been answered."""
        return 1 + PARTS_EACH * len(self._starting)

    def start(self, count: int) -> None:
        """Start ``count`` children."""
        self._starting += [asyncio.create_task(self._start()) for _ in range(count)]

    async def started(self) -> None:
        """Wait until the children that were started are there, or will never be."""
        await asyncio.gather(*self._starting, return_exceptions=True)

    async def examine(self, task: PartTask) -> ChainPart | None:
        """Examine a part in whichever process is free first; None when it could not."""
        child = await self._idle.get()
        if child is None:
            part = await asyncio.to_thread(_examined, self._reader, task)
            self._idle.put_nowait(None)
            return part
        try:
            answer = await asyncio.wait_for(child.ask(task), PART_SECONDS_MAX)
        except (OSError, EOFError, TimeoutError, pickle.UnpicklingError):
            child.end()  # its places are not given back
            return None
        self._idle.put_nowait(child)
        return answer if isinstance(answer, ChainPart) else None

    async def close(self) -> None:
        """End the children."""
        for task in self._starting:
            task.cancel()
        await self.started()
        for child in self._children:
            child.end()
        for child in self._children:
            await child.process.wait()

    async def _start(self) -> None:
        # The caller's folder is nobody's module path, so what can be imported here is named to the child.
        path = os.pathsep.join(path for path in sys.path if path)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            _CHILD,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **_VARIABLES, "PYTHONPATH": path},
        )
        child = _Child(process)
        self._children.append(child)
        try:
            if await asyncio.wait_for(child.ask(self._reader), PART_SECONDS_MAX) != READY:
                raise EOFError
        except (OSError, EOFError, TimeoutError, pickle.UnpicklingError):
            child.end()
            return
        for _ in range(PARTS_EACH):
            self._idle.put_nowait(child)


class _Child:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._turn = asyncio.Lock()

    async def ask(self, value: object) -> object:
        """Send ``value`` at once, and read the answer after those to what was sent before."""
        down, up = self.process.stdin, self.process.stdout
        assert down is not None
        assert up is not None
        down.write(message(value))
        async with self._turn:
            await down.drain()
            (size,) = LENGTH.unpack(await up.readexactly(LENGTH.size))
            return pickle.loads(await up.readexactly(size))

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


def _examined(reader: ColumnReader, task: PartTask) -> ChainPart | None:
    with contextlib.suppress(Exception):  # the caller examines it himself, and meets what is wrong there
        return examine(reader, task)
    return None


@asynccontextmanager
async def part_processes(reader: ColumnReader) -> AsyncIterator[PartProcesses]:
    """One process, this one, until others are started; these end afterwards."""
    processes = PartProcesses(reader)
    try:
        yield processes
    finally:
        await processes.close()
