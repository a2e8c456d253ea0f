"""Work measured in a process of its own, so that its memory is its own.

``python -m api.bench.child MODULE FUNCTION ARGUMENT…`` calls the function with the arguments as text and
prints what it returned, with the most memory that was resident: the process's own, and that of each process
it started, which is looked at every 50 ms.  Pages of a file that several have mapped count for each of them.

The kernel's own sum (``getrusage``) will not do: a process starts with the peak of the one that started it.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from domain.errors import TallystickError

SECONDS_BETWEEN = 0.05
_PROCESSES = Path("/proc")
_PEAK = re.compile(rb"^VmHWM:\s+([0-9]+) kB$", re.MULTILINE)
_PARENT = re.compile(rb"^PPid:\s+([0-9]+)$", re.MULTILINE)


class Measured(Struct, frozen=True, kw_only=True):
    """What a child returned, and the peak resident memory of it and all it started, in bytes."""

    result: dict[str, Any]
    peak_bytes: int


def in_child(module: str, function: str, *arguments: str) -> Measured:
    """Call ``module.function(*arguments)`` in a fresh process."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__, module, function, *arguments],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    if done.returncode != 0:
        raise TallystickError("a benchmark failed in its own process", field=f"{module}.{function}")
    return msgspec.json.decode(done.stdout, type=Measured)


def main(module: str, function: str, *arguments: str) -> None:
    """The child."""
    memory = _Memory()
    result = getattr(importlib.import_module(module), function)(*arguments)
    sys.stdout.buffer.write(msgspec.json.encode(Measured(result=result, peak_bytes=memory.peak_bytes())))


class _Memory:
    """Watches how much memory this process and those below it take."""

    def __init__(self) -> None:
        self._peaks_kb = {os.getpid(): 0}
        self._strangers: set[int] = set()
        self._done = threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def peak_bytes(self) -> int:
        """The sum of every process's own peak; ends the watching."""
        self._done.set()
        self._watching.join()
        self._look()
        return sum(self._peaks_kb.values()) * 1_024

    def _watch(self) -> None:
        while not self._done.wait(SECONDS_BETWEEN):
            self._look()

    def _look(self) -> None:
        running = {int(name) for name in os.listdir(_PROCESSES) if name.isdigit()}
        self._strangers &= running
        for process in sorted(running - self._strangers):
            try:
                status = (_PROCESSES / str(process) / "status").read_bytes()
            except OSError:  # it has ended
                continue
            parent, peak = _PARENT.search(status), _PEAK.search(status)
            if process not in self._peaks_kb and parent and int(parent[1]) not in self._peaks_kb:
                self._strangers.add(process)
            elif peak:
                # It never falls, but when a process that was just forked becomes another program.
                self._peaks_kb[process] = int(peak[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
