"""``tally runs``: runs with their verdicts, and one run with its gates and windows."""

from __future__ import annotations

import argparse
from functools import partial

from api.commands.command import print_json
from api.commands.table import format_table, format_time, format_verdict
from api.commands.views import add_limit, at_views, rows_of
from domain.outcomes import Outcome
from projections.reading.runs import RunDetail, RunSummary, get_run, list_runs

# One mark per window, in the order of time; a line of a terminal has room for so many.
STRIP_MAX = 60
_MARKS = {"p": "█", "b": "▒", "f": "✗", "a": "·"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("run", nargs="?", help="a run's id, to see its gates and windows")
    parser.add_argument("--source", help="only of this device or connection")
    parser.add_argument("--procedure", help="only of this procedure, such as coherence")
    parser.add_argument("--verdict", choices=[outcome.value for outcome in Outcome], help="only these")
    parser.add_argument("--withheld", action="store_true", help="only those that are withheld")
    add_limit(parser)


def run(arguments: argparse.Namespace) -> int:
    """List runs, or show one."""
    if arguments.run:
        return at_views(
            arguments,
            lambda connection: get_run(connection, arguments.run),
            lambda found: print_json(found) if arguments.json else _show_one(found),
        )
    return at_views(
        arguments,
        lambda connection: rows_of(
            partial(list_runs, connection),
            arguments.limit,
            source_id=arguments.source,
            procedure=arguments.procedure,
            verdict=arguments.verdict,
            is_presentable=False if arguments.withheld else None,
        ),
        lambda found: print_json(found) if arguments.json else _show(found),
    )


def _show(found: list[RunSummary]) -> None:
    rows = [
        (
            row.run_index,
            row.run_id,
            f"{row.procedure} {row.procedure_version}",
            row.source_id,
            row.window_count,
            row.score_min,
            _verdict(row),
            row.receipt_id,
        )
        for row in found
    ]
    headers = ("entry", "run", "procedure", "source", "windows", "lowest score", "verdict", "receipt")
    print(format_table(headers, rows))


def _verdict(row: RunSummary) -> str:
    if row.verdict is None:
        return row.status
    return format_verdict(row.verdict) + ("" if row.is_presentable else ", withheld")


def _show_one(detail: RunDetail) -> None:
    row = detail.run
    print(f"{row.run_id}: {row.procedure} {row.procedure_version} on {row.source_id}, {_verdict(row)}\n")
    if row.failure:
        print(f"  it failed: {row.failure}\n")
    if detail.gates:
        print(
            format_table(
                ("gate", "outcome", "reason", "value", "unit", "margin", "", f"windows (first {STRIP_MAX})"),
                [
                    (
                        gate.gate_id,
                        gate.outcome.value,
                        gate.reason.value,
                        gate.value,
                        gate.unit,
                        gate.margin,
                        "required" if gate.required else "",
                        "".join(_MARKS[letter] for letter in gate.outcomes[:STRIP_MAX]),
                    )
                    for gate in detail.gates
                ],
            )
        )
        print("\n  █ pass  ▒ borderline  ✗ fail  · abstain, one mark per window\n")
    worst = [
        (number, format_time(window.start_ns), window.outcome.value, window.score)
        for number, window in enumerate(detail.windows)
        if window.outcome is not Outcome.PASS
    ]
    if worst:
        print(format_table(("window", "begins", "outcome", "score"), worst[:STRIP_MAX]))
        print()
    rests = [
        ("source", detail.source_index),
        ("configuration", detail.configuration_index),
        ("calibration", detail.calibration_index),
        ("contract", detail.contract_index),
        ("deployment", detail.deployment_index),
        *(("dataset", dataset.index) for dataset in detail.datasets),
        *(("batch", dataset.batch_index) for dataset in detail.datasets),
        ("receipt", row.receipt_index),
    ]
    print(format_table(("it rests on", "entry"), rests))
    if row.receipt_id:
        print(f"\n  receipt {row.receipt_id}: tally receipts {row.receipt_id}")
        if row.supersedes:
            print(f"  supersedes {row.supersedes}")
        if row.superseded_by:
            print(f"  superseded by {row.superseded_by}")
