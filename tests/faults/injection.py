"""Injecting faults with strace: a process is killed at a system call, or the call fails, and then what it
left is looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 120
# `nox -s faults` sets this and takes every occurrence of every call instead of a few.
IS_SWEEP = os.environ.get("TALLY_FAULTS") == "all"


def points(few: list[int], sweep_to: int) -> list[int]:
    """Which occurrences of a call to hit."""
    return list(range(1, sweep_to + 1)) if IS_SWEEP else few


def run_injected(
    module: str, arguments: list[str], *, calls: str, fault: str, nth: int
) -> subprocess.CompletedProcess[str]:
    """Run a module with the ``nth`` occurrence of each of ``calls`` (comma-separated) hit by ``fault``.

    ``fault`` is in strace's words: ``signal=KILL`` dies before the call takes effect, ``error=EIO`` makes it
    fail.  Occurrences are counted in each thread.
    """
    known = ",".join(f"?{call}" for call in calls.split(","))
    return subprocess.run(
        [
            "strace",
            "-f",
            *("-o", os.devnull),
            *("-e", f"trace={known}"),
            *("-e", f"inject={known}:{fault}:when={nth}"),
            *(sys.executable, "-B", "-m", module, *arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
