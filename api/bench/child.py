"""Work measured in a process of its own, so that its memory is its own.

``python -m api.bench.child PROCESSES MODULE FUNCTION ARGUMENT…`` calls the function with the arguments as
text and prints what it returned, with the most memory that was resident: the process's own, and for each
process it started, as many times the largest of them.
"""

from __future__ import annotations

import importlib
import os
import resource
import subprocess
import sys
from typing import Any

import msgspec
from msgspec import Struct

from domain.errors import TallystickError


class Measured(Struct, frozen=True, kw_only=True):
    """What a child returned, and its peak resident memory in bytes."""

    result: dict[str, Any]
    peak_bytes: int


def in_child(module: str, function: str, *arguments: str, processes: int = 0) -> Measured:
    """Call ``module.function(*arguments)`` in a fresh process that starts up to ``processes`` others."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__, str(processes), module, function, *arguments],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    if done.returncode != 0:
        raise TallystickError("a benchmark failed in its own process", field=f"{module}.{function}")
    return msgspec.json.decode(done.stdout, type=Measured)


def main(processes: str, module: str, function: str, *arguments: str) -> None:
    """The child."""
    result = getattr(importlib.import_module(module), function)(*arguments)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    others = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * int(processes)
    measured = Measured(result=result, peak_bytes=(own + others) * 1_024)
    sys.stdout.buffer.write(msgspec.json.encode(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
