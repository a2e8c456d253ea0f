"""Examining parts of a ledger side by side, each in a process of its own.

Hashing many short messages keeps one core busy with Python, and a store can be read by several processes.
Parent and child speak in pickles, each after its length in eight bytes, big-endian: the parent sends where
the ledger is stored (``ColumnReader``), then one ``PartTask`` after the other, and the child answers each
with its ``ChainPart`` or with why it has none.  Pickles are safe here: nobody but these two holds the pipe.

A child that fails takes nothing with it: its part is examined by whoever asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pickle
import struct
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import BinaryIO, cast

from ledger.chain import ChainPart, PartExamination, PartTask
from ledger.ports import ColumnReader

# More than this, and the one who puts the parts together is what everybody waits for.
CHILDREN_MAX = 8
# Long for the slowest disk and the largest bodies; a child that hangs is ended, not waited for.
PART_SECONDS_MAX = 600.0

_LENGTH = struct.Struct(">Q")
# Some megabytes are needed again for every batch of rows.  Without this, glibc gives them back to the system
# in between, and getting them again takes a tenth of the time.
_KEEP_FREED_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "67108864", "MALLOC_MMAP_THRESHOLD_": "67108864"}


class PartProcesses:
    """Children that examine parts of one ledger.  Use ``async with part_processes(reader)``."""

    def __init__(self, children: Iterable[asyncio.subprocess.Process]) -> None:
        self._idle: asyncio.Queue[asyncio.subprocess.Process | None] = asyncio.Queue()
        self._count = 0
        for child in children:
            self._idle.put_nowait(child)
            self._count += 1

    @property
    def ahead(self) -> int:
        """How many parts are worth asking for before the first has been answered."""
        return 2 * self._count

    async def examine(self, task: PartTask) -> ChainPart | None:
        """Examine a part in whichever child is free first; None when no child could."""
        child = await self._idle.get()
        part = None
        if child is not None:
            try:
                part = await asyncio.wait_for(_ask(child, task), PART_SECONDS_MAX)
            except (OSError, EOFError, TimeoutError, pickle.UnpicklingError):
                _end(child)
                child = None
        # A place that is not given back is waited for for ever.
        self._idle.put_nowait(child)
        return part


@asynccontextmanager
async def part_processes(reader: ColumnReader, count: int = 0) -> AsyncIterator[PartProcesses]:
    """Start ``count`` children (as many as there are cores, without one) and end them afterwards."""
    number = count or min(len(os.sched_getaffinity(0)), CHILDREN_MAX)
    # The caller's folder is nobody's module path, so what can be imported here is named to the child.
    path = os.pathsep.join(path for path in sys.path if path)
    variables = {**os.environ, **_KEEP_FREED_MEMORY, "PYTHONPATH": path}
    children = []
    try:
        for _ in range(number):
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                __name__,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=variables,
            )
            children.append(child)
            _send(child, reader)
        yield PartProcesses(children)
    finally:
        for child in children:
            _end(child)
        for child in children:
            await child.wait()


async def _ask(child: asyncio.subprocess.Process, task: PartTask) -> ChainPart | None:
    _send(child, task)
    assert child.stdin is not None
    assert child.stdout is not None
    await child.stdin.drain()
    (size,) = _LENGTH.unpack(await child.stdout.readexactly(_LENGTH.size))
    answer = pickle.loads(await child.stdout.readexactly(size))
    return answer if isinstance(answer, ChainPart) else None


def _send(child: asyncio.subprocess.Process, value: object) -> None:
    assert child.stdin is not None
    data = pickle.dumps(value)
    child.stdin.write(_LENGTH.pack(len(data)) + data)


def _end(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()


def serve(down: BinaryIO, up: BinaryIO) -> None:
    """The child: answer tasks until the parent closes the pipe."""
    # Nothing here refers in circles, and looking for that among millions of rows costs a tenth of the time.
    gc.disable()
    reader = cast(ColumnReader, _receive(down))
    while (task := _receive(down)) is not None:
        answer: ChainPart | str
        try:
            answer = examine(reader, cast(PartTask, task))
        except Exception as error:  # whoever asked examines it himself, and meets what is wrong there
            answer = repr(error)
        data = pickle.dumps(answer)
        up.write(_LENGTH.pack(len(data)) + data)
        up.flush()


def examine(reader: ColumnReader, task: PartTask) -> ChainPart:
    """Examine a part, reading it with ``reader``.  Raises: what the reader raises."""
    examination = PartExamination(task)
    for columns in reader.columns(task.start, task.stop):
        if not examination.take(columns):
            break
    return examination.part()


def _receive(pipe: BinaryIO) -> object:
    head = pipe.read(_LENGTH.size)
    return pickle.loads(pipe.read(*_LENGTH.unpack(head))) if len(head) == _LENGTH.size else None


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
