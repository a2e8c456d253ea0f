"""A server may have as many files open as the machine allows it, not as few as a shell hands out."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from api.open_files import OPEN_FILES_MAX, raise_open_file_limit
from tests.api.served import serving


def _soft_and_hard(pid: int) -> tuple[int, int]:
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)


def _serving_processes(port: int) -> list[int]:
    """Every process of the server that listens on ``port``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"serve" in words and str(port).encode() in words:
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks at /proc")
def test_a_server_that_was_given_few_files_takes_what_it_may_have(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, OPEN_FILES_MAX) if hard != resource.RLIM_INFINITY else OPEN_FILES_MAX
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with serving(tmp_path / "home") as server:
            limits = {_soft_and_hard(pid) for pid in _serving_processes(server.port)}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (wanted, hard) in limits


def test_a_process_that_has_what_it_may_have_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with caplog.at_level("INFO"):
        try:
            raised = raise_open_file_limit()
            again = raise_open_file_limit()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert raised == again >= before[0]
    assert f"up to {again} files may be open" in caplog.text
