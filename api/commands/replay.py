"""``tally replay RECEIPT``: run a receipt again and compare byte for byte."""

from __future__ import annotations

import argparse

from api.commands.command import CHECK_FAILED, DONE, at_workplace, print_json
from api.workplace import Workplace
from ledger.replay import REPRODUCED, Replay, record_replay, replay


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("receipt", help="receipt id (see: tally receipts)")
    parser.add_argument("--dry", action="store_true", help="do not record the outcome as an event")


def run(arguments: argparse.Namespace) -> int:
    """Replay one receipt; 0 when it was reproduced, 1 when it diverged."""

    async def work(workplace: Workplace) -> int:
        desk = await workplace.desk()
        outcome = await replay(desk, arguments.receipt)
        index = None if arguments.dry else (await record_replay(desk, outcome, "cli")).index
        if arguments.json:
            print_json(_summary(outcome, index))
        else:
            _print(outcome, index)
        return DONE if outcome.is_reproduced else CHECK_FAILED

    return at_workplace(arguments, work)


def _summary(outcome: Replay, index: int | None) -> dict[str, object]:
    return {
        "receipt_id": outcome.receipt_id,
        "receipt_index": outcome.receipt_index,
        "result": outcome.result,
        "first_difference": outcome.first_difference,
        "environment_class": outcome.environment.class_digest,
        "recorded_index": index,
    }


def _print(outcome: Replay, index: int | None) -> None:
    if outcome.result == REPRODUCED:
        print(f"✓ {outcome.receipt_id} reproduced: the same {len(outcome.statement):,} bytes.")
    elif outcome.is_reproduced:
        print(f"✓ {outcome.receipt_id} reproduced after rounding, in another numeric environment.")
        print(f"  first difference in exact bytes: {outcome.first_difference}")
    else:
        print(f"✗ {outcome.receipt_id} diverged.\n  first difference: {outcome.first_difference}")
    if index is not None:
        print(f"  recorded as entry {index}")
