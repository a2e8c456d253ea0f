"""``tally reprocess PROCEDURE``: run what older versions saw through the version in force; shows the diff."""

from __future__ import annotations

import argparse

from api.commands.command import DONE, at_desk, print_json, progress
from api.commands.table import format_table, format_verdict
from api.workplace import Workplace
from domain.health.record_diff import RecordDiff, diff_record_sets
from ledger.desk import Desk
from ledger.reprocess import Reprocessed, reprocess

CHANGES_SHOWN_MAX = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("procedure", help="procedure whose newer version is deployed, such as oura.sleep")


def run(arguments: argparse.Namespace) -> int:
    """Reprocess; running it twice changes nothing."""

    async def work(workplace: Workplace, desk: Desk) -> int:
        bar = progress("runs")
        count = 0

        def on_done(done: Reprocessed) -> None:
            nonlocal count
            count += 1
            bar(count, max(count + 1, 1))

        found = await reprocess(desk, arguments.procedure, on_done=on_done)
        bar(count, count)
        if arguments.json:
            print_json([_summary(done) for done in found])
        elif not found:
            print(f"Nothing to do: every run of {arguments.procedure} was made by the version in force.")
        else:
            for done in found:
                _show(done)
        return DONE

    return at_desk(arguments, work)


def _diff(done: Reprocessed) -> RecordDiff | None:
    """What changed in the records; ``None`` unless both runs made some."""
    if done.records_before is None or done.records_after is None:
        return None
    return diff_record_sets(done.records_before, done.records_after)


def _summary(done: Reprocessed) -> dict[str, object]:
    return {
        "source_id": done.source_id,
        "dataset_indices": done.dataset_indices,
        "procedure": done.procedure,
        "version_before": done.version_before,
        "version_after": done.version_after,
        "receipt_before": done.receipt_before,
        "receipt_after": done.receipt_after,
        "verdict_before": done.verdict_before,
        "verdict_after": done.verdict_after,
        "diff": _diff(done),
    }


def _show(done: Reprocessed) -> None:
    print(f"{done.procedure} on {done.source_id}, dataset entry {', '.join(map(str, done.dataset_indices))}")
    rows = [
        ("before", done.version_before, format_verdict(done.verdict_before), done.receipt_before),
        ("after", done.version_after, format_verdict(done.verdict_after), done.receipt_after),
    ]
    print(format_table(("", "version", "verdict", "receipt"), rows))
    diff = _diff(done)
    if diff is None:
        before = "records" if done.records_before is not None else "no records"
        after = "records" if done.records_after is not None else "no records"
        print(f"  it made {before} before and {after} now\n")
        return
    lines = [
        (change.record_key[:12], change.change.value, field.path, field.before, field.after)
        for change in diff.changes
        for field in change.fields
    ]
    lines += [
        (change.record_key[:12], change.change.value, "–", "–", "–")
        for change in diff.changes
        if not change.fields
    ]
    if lines:
        print(format_table(("record", "", "field", "before", "after"), lines[:CHANGES_SHOWN_MAX]))
    if len(lines) > CHANGES_SHOWN_MAX:
        print(f"  … and {len(lines) - CHANGES_SHOWN_MAX} more (--json shows all)")
    print(f"  {len(diff.changes)} record(s) changed, {diff.unchanged_count} as before\n")
