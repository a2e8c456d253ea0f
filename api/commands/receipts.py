"""``tally receipts``: list them, show one, or write its bundle and artifacts to files."""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial
from pathlib import Path

import msgspec

from api.commands.command import DONE, at_desk, print_json
from api.commands.outcomes import why
from api.commands.table import format_table, format_time, format_verdict
from api.commands.views import add_limit, at_views, rows_of
from api.workplace import Workplace
from domain.errors import InvalidError, MalformedError, UnknownError
from domain.events import ReceiptIssued, RunGatesDecided
from domain.outcomes import Outcome
from ledger.bundle import bundle_of, format_bundle
from ledger.desk import Desk
from ledger.dsse import parse_envelope
from ledger.receipt import Predicate, parse_receipt
from ledger.recorded import event_of
from ledger.replay import find_receipt
from ledger.reprocess import artifact_of
from ledger.run import decided_of
from projections.reading.receipts import ReceiptSummary, list_receipts

REPORT_PREFIX = "report."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("receipt", nargs="?", help="a receipt's id, to see what it says")
    parser.add_argument("--source", help="only of this device or connection")
    parser.add_argument("--procedure", help="only of this procedure, such as coherence")
    parser.add_argument("--verdict", choices=[outcome.value for outcome in Outcome], help="only these")
    parser.add_argument("--bundle", metavar="FILE", help="write what verifies offline; - for standard output")
    parser.add_argument(
        "--newest",
        action="store_true",
        help="with --bundle: under the newest seal, also where witnesses have cosigned one that covers it",
    )
    parser.add_argument("--artifact", metavar="NAME", help="write this artifact to --output")
    parser.add_argument("--output", metavar="FILE", help="where --artifact goes; - for standard output")
    parser.add_argument(
        "--even-withheld", action="store_true", help="with --artifact: also what must not be presented"
    )
    add_limit(parser)


def run(arguments: argparse.Namespace) -> int:
    """List, show, or write."""
    if (arguments.artifact is None) != (arguments.output is None):
        raise MalformedError("an artifact goes to a file", expected="--artifact NAME --output FILE")
    if not arguments.receipt:
        if arguments.bundle or arguments.artifact:
            raise MalformedError("which receipt?", remedy="Name one: tally receipts RECEIPT --bundle FILE")
        return at_views(
            arguments,
            lambda connection: rows_of(
                partial(list_receipts, connection),
                arguments.limit,
                source_id=arguments.source,
                procedure=arguments.procedure,
                verdict=arguments.verdict,
            ),
            lambda found: print_json(found) if arguments.json else _show(found),
        )
    return at_desk(arguments, lambda workplace, desk: _one(workplace, desk, arguments))


async def _one(workplace: Workplace, desk: Desk, arguments: argparse.Namespace) -> int:
    index = await find_receipt(desk, arguments.receipt)
    envelope = event_of((await desk.ledger.get(index))[1], ReceiptIssued).envelope
    receipt_id, predicate = parse_receipt(envelope)
    decided = await decided_of(desk.ledger, predicate.run.decided_index)
    written: list[tuple[str, str, int]] = []
    if arguments.bundle:
        bundle = format_bundle(await bundle_of(desk.ledger, index, is_newest=arguments.newest))
        written.append(await asyncio.to_thread(_write, "bundle", arguments.bundle, bundle))
    if arguments.artifact:
        data = await _artifact(desk, predicate, decided, arguments)
        written.append(await asyncio.to_thread(_write, arguments.artifact, arguments.output, data))
    if any(file == "-" for _, file, _ in written):
        return DONE
    if written:
        if arguments.json:
            print_json([{"what": what, "file": file, "byte_count": size} for what, file, size in written])
        else:
            print(format_table(("what", "file", "bytes"), written))
    elif arguments.json:
        print_json(
            {
                "receipt_id": receipt_id,
                "index": index,
                "statement": msgspec.Raw(parse_envelope(envelope).payload),
            }
        )
    else:
        _show_one(receipt_id, index, predicate, decided)
    return DONE


async def _artifact(
    desk: Desk, predicate: Predicate, decided: RunGatesDecided, arguments: argparse.Namespace
) -> bytes:
    name = arguments.artifact
    may_be_shown = predicate.is_presentable or name.startswith(REPORT_PREFIX) or arguments.even_withheld
    if not may_be_shown:
        raise InvalidError(
            "this result is withheld",
            field=name,
            actual=f"verdict {predicate.verdict}",
            remedy="Read report.html for the reasons; --even-withheld writes it as evidence.",
        )
    data = await artifact_of(desk, predicate.source.source_id, decided, name)
    if data is None:
        raise UnknownError(
            "no such artifact",
            field="--artifact",
            actual=name[:80],
            expected=", ".join(artifact.name for artifact in decided.artifacts),
        )
    return data


def _write(what: str, file: str, data: bytes) -> tuple[str, str, int]:
    if file == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        Path(file).write_bytes(data)
    return what, file, len(data)


def _show(found: list[ReceiptSummary]) -> None:
    rows = [
        (
            row.receipt_index,
            row.receipt_id,
            f"{row.procedure} {row.procedure_version}",
            row.source_id,
            format_verdict(row.verdict),
            row.status,
            row.last_replay_result,
            format_time(row.recorded_at_ns),
        )
        for row in found
    ]
    headers = ("entry", "receipt", "procedure", "source", "verdict", "status", "last replay", "issued")
    print(format_table(headers, rows))


def _show_one(receipt_id: str, index: int, predicate: Predicate, decided: RunGatesDecided) -> None:
    shown = "presented" if predicate.is_presentable else "WITHHELD"
    print(f"{receipt_id}, entry {index}: {format_verdict(predicate.verdict)}, {shown}")
    if reasons := why(predicate):
        print(f"  {reasons}")
    rows: list[tuple[object, ...]] = [
        ("run", predicate.run.run_id, predicate.run.started_index),
        ("source", predicate.source.source_id, predicate.source.index),
        (
            "contract",
            f"{predicate.contract.contract_id} {predicate.contract.version}",
            predicate.contract.index,
        ),
        ("procedure", f"{predicate.procedure.name} {predicate.procedure.version}", predicate.procedure.index),
        *(("batch", batch.batch_id, batch.index) for batch in predicate.batches),
        *(("dataset", dataset.digest, dataset.index) for dataset in predicate.datasets),
    ]
    if predicate.configuration:
        rows.append(("firmware", predicate.configuration.firmware, predicate.configuration.index))
    if predicate.calibration:
        calibration = predicate.calibration
        rows.append(("calibration", calibration.calibration.calibration_id, calibration.index))
    print("\n" + format_table(("rests on", "what", "entry"), rows))
    artifacts = [(part.name, part.media_type, part.byte_count, part.digest) for part in decided.artifacts]
    print("\n" + format_table(("artifact", "media type", "bytes", "digest"), artifacts))
    if predicate.supersedes:
        print(f"\n  supersedes {predicate.supersedes}")
    print(f"\n  verify it offline: tally receipts {receipt_id} --bundle {receipt_id}.tally.json")
