"""Several processes write to one ledger, and one of them is killed: one history, and everything that was
acknowledged is in it, once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ledger.audit import audit
from ledger.ledger import ledger_name
from ledger.merkle import Frontier, leaf_hash
from tests.adapters.esdb_node.fixture import esdb_uri
from tests.faults.injection import IS_SWEEP, ROOT
from tests.faults.writer import open_store
from tests.ledger.desk import TENANT, open_ledger

__all__ = ["esdb_uri"]

NAME = ledger_name(TENANT)
WRITERS = 4
APPENDS = 200 if IS_SWEEP else 25


@pytest.fixture(params=["SQLite", "EventStoreDB"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "SQLite":
        return str(tmp_path / "log")
    return str(request.getfixturevalue("esdb_uri"))


def start(store: str, folder: Path, name: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-B", "-m", "tests.faults.writer", store, str(folder), str(name), str(APPENDS)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(output: str) -> list[dict[str, Any]]:
    lines = [line for line in output.splitlines() if line.startswith("{") and line.endswith("}")]
    return [json.loads(line) for line in lines if "index" in json.loads(line)]


def write_at_once(store: str, tmp_path: Path) -> list[list[dict[str, Any]]]:
    """Run the writers side by side; the last one is killed when it has been answered ten times."""
    for name in range(WRITERS):
        (tmp_path / str(name)).mkdir()
    running = [start(store, tmp_path / str(name), name) for name in range(WRITERS)]
    doomed = running[-1]
    assert doomed.stdout is not None
    heard = [doomed.stdout.readline() for _ in range(11)]
    doomed.kill()
    outputs = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running[:-1]] == [0] * (WRITERS - 1), outputs
    return [
        *(said(output) for output, _ in outputs[:-1]),
        said("".join(heard) + outputs[-1][0]),
    ]


@pytest.mark.anyio
async def test_one_history_with_everything_that_was_acknowledged(store: str, tmp_path: Path) -> None:
    acknowledged = await asyncio.to_thread(write_at_once, store, tmp_path)
    assert [len(lines) for lines in acknowledged[:-1]] == [2 * APPENDS] * (WRITERS - 1)
    assert 10 <= len(acknowledged[-1]) < 2 * APPENDS
    log = open_store(store, tmp_path)
    try:
        report = await audit(log, NAME)
        assert report.findings == ()
        leaves: list[str] = []
        roots: dict[int, str] = {}
        subjects: Counter[bytes] = Counter()
        frontier = Frontier()
        for record in await log.read(NAME, 0, 10_000):
            leaf = leaf_hash(record.entry)
            frontier.append(leaf)
            leaves.append(leaf.hex())
            roots[record.index + 1] = frontier.root().hex()
            subjects[record.payload] += 1
        for line in (line for lines in acknowledged for line in lines):
            assert leaves[line["index"]] == line["leaf"]
            assert roots[line["size"]] == line["root"], "two roots for one size"
        # Facts that all writers recorded are there once; so are everybody's own.
        assert set(subjects.values()) == {1}
        assert len(leaves) <= 2 + APPENDS * (WRITERS + 1)
        # The next process goes on where they stopped.
        (tmp_path / "next").mkdir()
        async with open_ledger(tmp_path / "next", log=log) as ledger:
            assert ledger.size == len(leaves)
    finally:
        await log.close()
