"""Examining parts of a ledger side by side, each in a process of its own.

Hashing many short messages keeps one core busy with Python, and a store can be read by several processes.
The children are ``ledger.chain_child``.  While they start, which takes a tenth of a second and more, parts
are examined in a thread of this process; from then on it is free for putting the parts together.

A child that fails takes nothing with it: its part is examined by whoever asked, and when no child is left,
the thread goes on.
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
CHILDREN_MAX = 8
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
    """How many children are worth starting: as many as there are cores."""
    return min(len(os.sched_getaffinity(0)), CHILDREN_MAX)


class PartProcesses:
    """Whoever examines parts of one ledger.  Use ``async with part_processes(reader)``."""

    def __init__(self, reader: ColumnReader) -> None:
        self._reader = reader
        self._children: list[_Child] = []
        self._starting: list[asyncio.Task[None]] = []
        # Whoever can take a part; None is this process.  A place that is not given back is waited for for
        # ever.
        self._idle: asyncio.Queue[_Child | None] = asyncio.Queue()
        self._idle.put_nowait(None)
        self._working = 0

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
        while (child := await self._idle.get()) is None and self._working:
            pass  # The children are there: this process is not needed any more.
        part = None
        if child is None:
            with contextlib.suppress(Exception):  # the caller examines it and meets what is wrong there
                part = await asyncio.to_thread(examine, self._reader, task)
            self._idle.put_nowait(None)
            return part
        try:
            answer = await asyncio.wait_for(child.ask(task), PART_SECONDS_MAX)
        except (OSError, EOFError, TimeoutError, pickle.UnpicklingError):
            self._lose(child)
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
        self._working += 1
        for _ in range(PARTS_EACH):
            self._idle.put_nowait(child)

    def _lose(self, child: _Child) -> None:
        """A child is of no use any more, and none of its places is given back."""
        if not child.is_lost:
            child.is_lost = True
            child.end()
            self._working -= 1
            if not self._working:
                self._idle.put_nowait(None)


class _Child:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.is_lost = False
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


@asynccontextmanager
async def part_processes(reader: ColumnReader) -> AsyncIterator[PartProcesses]:
    """One process, this one, until others are started; these end afterwards."""
    processes = PartProcesses(reader)
    try:
        yield processes
    finally:
        await processes.close()
