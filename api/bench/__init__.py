"""What Tallystick's speed is measured by: every figure stands beside something else measured in the same run.

A benchmark is a module with ``rows(scale)``; each row says what was done, our figure, the reference's, their
ratio, and what we aim at.  Ours and the reference take turns, so that a busy machine hits both; the ratio is
the median over the turns, with the middle half of them beside it.  A reference that is not installed is a row
that says so.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence

from api.bench.row import Row, Scale, format_rows
from api.commands.command import DONE, print_json
from domain.errors import UnknownError

BENCHMARKS: dict[str, str] = {
    "appends": "durable, sealed appends beside stock eventsourcing and bare SQLite",
    "callers": "64 callers at once, one event each, beside stock eventsourcing with one",
    "audit": "chain, root and seals of a whole ledger beside one SHA-256 pass over the same bytes",
    "tiles": "a log audited from its tiles, and proofs from ten million leaves",
    "statements": "POST /v1/add by many writers, durable and sealed before each answer",
    "gates": "every gate of a one-minute window beside pandera's range, null and unique checks",
    "mapper": "provider payloads to records beside json.loads of the same bytes",
    "rebuild": "the read views folded again from nothing",
    "recording": "one hour of two seismic sensors, from files to receipts",
    "migrate": "a ledger moved to another store and proven equal",
    "node": "the EventStoreDB development node beside bare SQLite",
}


def run_benchmarks(names: Sequence[str], *, quick: bool, json: bool) -> int:
    """Run these benchmarks (all, without names), print what they measured; returns the exit status.

    ``quick`` takes a tenth of the time and says less.  Raises: UnknownError for a name that is none.
    """
    for name in names:
        if name not in BENCHMARKS:
            raise UnknownError("no such benchmark", field="name", expected=", ".join(BENCHMARKS), actual=name)
    scale = Scale(is_quick=quick)
    began = time.time()
    done: dict[str, list[Row]] = {}
    if not json:
        print(_machine())
    for name in names or BENCHMARKS:
        rows = done[name] = []
        for row in _rows(name, scale):
            rows.append(row)
            if json:
                print(f"{name}: {row.work}", file=sys.stderr, flush=True)
        if not json:
            print(f"\n{name}: {BENCHMARKS[name]}\n{format_rows(rows)}", flush=True)
    if json:
        told = [{"name": name, "rows": rows} for name, rows in done.items()]
        print_json({"machine": _machine(), "is_quick": quick, "started_at": int(began), "benchmarks": told})
    return DONE


def _rows(name: str, scale: Scale) -> Iterator[Row]:
    rows: Iterator[Row] = importlib.import_module(f"api.bench.{name}").rows(scale)
    yield from rows


def _machine() -> str:
    cores = len(os.sched_getaffinity(0))
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    return f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, load {load}"
