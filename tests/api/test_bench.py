"""``tally bench``: what a row says, and that every benchmark can be run."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import api.bench as bench
from api.bench.child import in_child
from api.bench.history import MixedHistory, small_proposals
from api.bench.places import open_ledger
from api.bench.row import Aim, Row, Scale, alone, compared, format_rows
from api.command_line import main
from domain.errors import TallystickError, UnknownError
from ledger.audit import audit

QUICK = Scale(is_quick=True)


def test_a_ratio_is_the_median_of_the_turns_and_not_of_the_sides() -> None:
    row = compared("w", "rate", [(2, 1), (30, 10), (4, 4)], beside="theirs", aim=Aim("≥", 2))
    assert (row.ours, row.reference, row.ratio) == (4, 4, 2)
    assert row.is_met
    assert row.spread == (1, 3)


def test_an_aim_looks_at_the_ratio_or_at_our_own_figure() -> None:
    turns = [(5.0, 1.0)]
    assert not compared("w", "seconds", turns, beside="", aim=Aim("≤", 4)).is_met
    assert compared("w", "seconds", turns, beside="", aim=Aim("≤", 5, "ours", "s")).is_met
    assert alone("w", "megabytes", [499, 1, 600], aim=Aim("≤", 500, "ours", "MB")).is_met
    assert alone("w", "megabytes", [1]).is_met is None


def test_figures_are_told_in_units_that_people_read() -> None:
    told = format_rows(
        [
            Row(work="a", kind="seconds", ours=0.000_012_3),
            Row(work="b", kind="seconds", ours=0.045),
            Row(work="c", kind="seconds", ours=12.34),
            Row(work="d", kind="rate", ours=123_456.7),
            Row(work="e", note="skipped: it is not installed"),
        ]
    )
    for text in ("12.3 µs", "45.0 ms", "12.3 s", "123,457/s", "skipped: it is not installed"):
        assert text in told


@pytest.mark.parametrize("name", sorted(bench.BENCHMARKS))
def test_every_benchmark_is_a_module_with_rows(name: str) -> None:
    assert callable(importlib.import_module(f"api.bench.{name}").rows)


def test_a_name_that_is_no_benchmark_is_refused() -> None:
    with pytest.raises(UnknownError, match="appends"):
        bench.run_benchmarks(["nothing"], quick=True, json=False)


def test_a_quick_run_prints_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "mapper", "--quick", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (only,) = told["benchmarks"]
    assert only["name"] == "mapper"
    assert all(row["ours"] > 0 and row["reference"] > 0 for row in only["rows"])


@pytest.mark.anyio
async def test_the_histories_are_ledgers_that_audit(tmp_path: Path) -> None:
    history = MixedHistory()
    async with open_ledger(tmp_path) as ledger:
        await ledger.record(*small_proposals(0, 30))
        await ledger.append(history.opening)
        for _ in range(10):
            await ledger.record(*history.upload(ledger.size))
        assert ledger.pending
        report = await audit(ledger.log, ledger.name)
        sizes = [len(record.payload) for record in await ledger.read(36, 100)]
    # The envelopes hold no statement; everything else about the ledger is real.
    assert {finding.check for finding in report.findings} <= {"receipt"}
    assert 3_500 < sum(sizes) / len(sizes) < 6_000


def say(word: str) -> dict[str, str]:
    return {"said": word}


def say_through_another(word: str) -> dict[str, str]:
    """With a process that takes 100 MB for a while."""
    subprocess.run([sys.executable, "-c", "import time; x = b'1' * 100_000_000; time.sleep(0.5)"], check=True)
    return say(word)


def fail() -> None:
    raise RuntimeError("on purpose")


def test_a_child_tells_what_it_returned_and_how_much_memory_it_took() -> None:
    measured = in_child(__name__, "say", "hello")
    assert measured.result == {"said": "hello"}
    assert 1_000_000 < measured.peak_bytes < 10_000_000_000
    more = in_child(__name__, "say_through_another", "hello")
    assert more.peak_bytes - measured.peak_bytes > 100_000_000
    with pytest.raises(TallystickError):
        in_child(__name__, "fail")
