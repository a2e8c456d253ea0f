"""A ledger that was killed, or whose disk failed, at any step: audits clean, has everything it acknowledged,
and goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.sqlite_log import SQLiteLog
from ledger.audit import audit
from ledger.checkpoint import open_checkpoint
from ledger.ledger import ledger_name
from ledger.merkle import Frontier, leaf_hash
from tests.adapters.killed_process import needs_strace
from tests.faults.appender import PER_APPEND, proposal
from tests.faults.injection import points, run_injected
from tests.ledger.desk import TENANT, open_ledger

NAME = ledger_name(TENANT)
APPENDS = 6

pytestmark = needs_strace


async def look(folder: Path, lines: list[str]) -> int:
    """Check what a faulted process left behind against what it said; returns how many entries it had
    acknowledged."""
    said = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    acknowledged = {line["index"]: line for line in said if "index" in line}
    roots = {line["size"]: line["root"] for line in acknowledged.values()}
    log = SQLiteLog(folder / "log")
    try:
        if await log.size(NAME):
            report = await audit(log, NAME)
            assert report.findings == ()
        async with open_ledger(folder, log=log) as ledger:
            before = ledger.size
            await ledger.record(*(proposal(900_000_000 + n) for n in range(PER_APPEND)))
            assert ledger.size == before + PER_APPEND
            frontier = Frontier()
            for record in await ledger.read(0, 10_000):
                leaf = leaf_hash(record.entry)
                frontier.append(leaf)
                if record.index in acknowledged:
                    assert acknowledged[record.index]["leaf"] == leaf.hex()
                if record.index + 1 in roots:
                    assert roots[record.index + 1] == frontier.root().hex(), "two roots for one size"
                if record.seal:
                    sealed = open_checkpoint(record.seal, [ledger.verifier_key])
                    assert (sealed.size, sealed.root) == (record.index + 1, frontier.root())
            assert max(acknowledged, default=-1) < ledger.size
        assert (await audit(log, NAME)).findings == ()
    finally:
        await log.close()
    return len(acknowledged)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("calls", "nth"),
    [
        *(("pwrite64", n) for n in points([5, 34, 43, 60], 110)),
        *(("fsync,fdatasync", n) for n in points([2, 7], 14)),
        *(("ftruncate", n) for n in points([1], 6)),
        *(("unlink,unlinkat,rename", n) for n in points([1], 4)),
    ],
)
async def test_a_kill_at_any_write_loses_nothing_acknowledged(tmp_path: Path, calls: str, nth: int) -> None:
    killed = run_injected(
        "tests.faults.appender", [str(tmp_path), str(APPENDS)], calls=calls, fault="signal=KILL", nth=nth
    )
    await look(tmp_path, killed.stdout.splitlines())


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("calls", "error", "nth"),
    [
        *(("pwrite64", "ENOSPC", n) for n in points([41], 110)),
        *(("pwrite64", "EIO", n) for n in points([36], 110)),
        *(("fsync,fdatasync", "EIO", n) for n in points([7], 14)),
        *(("ftruncate", "EIO", n) for n in points([1], 6)),
    ],
)
async def test_a_call_that_fails_refuses_the_append_and_loses_nothing(
    tmp_path: Path, calls: str, error: str, nth: int
) -> None:
    failed = run_injected(
        "tests.faults.appender", [str(tmp_path), str(APPENDS)], calls=calls, fault=f"error={error}", nth=nth
    )
    assert failed.returncode >= 0, failed.stderr
    await look(tmp_path, failed.stdout.splitlines())


@pytest.mark.anyio
async def test_without_a_fault_everything_is_acknowledged(tmp_path: Path) -> None:
    """The injection itself changes nothing: with an occurrence that never comes, all appends are answered."""
    run = run_injected(
        "tests.faults.appender",
        [str(tmp_path), str(APPENDS)],
        calls="pwrite64",
        fault="signal=KILL",
        nth=9_999,
    )
    assert run.returncode == 0, run.stderr
    assert await look(tmp_path, run.stdout.splitlines()) == APPENDS * PER_APPEND


@pytest.mark.anyio
async def test_the_chosen_points_do_hit(tmp_path: Path) -> None:
    """A sweep that never kills anything would pass everything."""
    killed = run_injected(
        "tests.faults.appender", [str(tmp_path), str(APPENDS)], calls="pwrite64", fault="signal=KILL", nth=44
    )
    assert killed.returncode != 0
    assert 0 < len([line for line in killed.stdout.splitlines() if "index" in line]) < APPENDS * PER_APPEND
