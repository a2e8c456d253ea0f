"""Code that is killed at a chosen system call, so that a crash at any write can be looked at afterwards."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _strace_works() -> bool:
    strace = shutil.which("strace")
    return (
        strace is not None and subprocess.run([strace, "-o", os.devnull, "true"], check=False).returncode == 0
    )


needs_strace = pytest.mark.skipif(not _strace_works(), reason="needs strace and the right to trace a child")


def run_and_kill(
    code: str, arguments: list[str], *, system_call: str, nth: int
) -> subprocess.CompletedProcess[bytes]:
    """Run Python code and kill it at the ``nth`` occurrence of a call, before the call takes effect.

    Fails the test when the code does not get that far, because then nothing was tested.
    """
    killed = subprocess.run(
        [
            "strace",
            "-f",
            *("-o", os.devnull),
            # Some machines have only the ...at() form of a call; `?` lets strace pass over names it does not
            # know.
            *("-e", f"trace=?{system_call},?{system_call}at"),
            *("-e", f"inject=?{system_call},?{system_call}at:signal=KILL:when={nth}"),
            *(sys.executable, "-B", "-c", code, *arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert killed.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), killed.stderr
    return killed
