"""``tally witnesses``: show one's own ledgers to witnesses, and what they made of them (docs/witness.md)."""

from __future__ import annotations

import argparse
import asyncio

from api.commands.command import CHECK_FAILED, DONE, at_workplace, print_json
from api.commands.table import format_table, format_time
from api.workplace import Workplace
from domain.errors import UnknownError
from ledger.policy import format_policy
from ledger.store_witnessing import StoreWitnessing

ACTIONS = {
    "submit": "show this installation's ledgers to its witnesses, once and now (default)",
    "policy": "print the policy to hand to whoever verifies the tenant's receipts",
    "alarms": "what witnesses answered that cannot be right",
    "check": "compare what the meta-log says of the tenant's ledger with the ledger",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "actions:\n" + "\n".join(f"  {name:10} {text}" for name, text in ACTIONS.items())
    parser.add_argument("action", nargs="?", choices=tuple(ACTIONS), default="submit", metavar="ACTION")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for; 1 when too few witnesses have cosigned, or something is wrong."""
    action = {"submit": _submit, "policy": _policy, "alarms": _alarms, "check": _check}[arguments.action]
    return at_workplace(arguments, lambda workplace: action(arguments, workplace))


def _witnessing(workplace: Workplace) -> StoreWitnessing:
    if workplace.witnessing is None:
        raise UnknownError(
            "no witnesses are configured",
            field=str(workplace.settings.witnesses_path),
            remedy="Write `witness <name> <vkey> <url>` lines and a `quorum` there; see docs/witness.md.",
        )
    return workplace.witnessing


async def _submit(arguments: argparse.Namespace, workplace: Workplace) -> int:
    witnessing = _witnessing(workplace)
    ledgers = [(await workplace.desk(tenant)).ledger for tenant in await workplace.tenants()]
    outcomes = await witnessing.turn(ledgers, is_urgent=True)
    waiting = [
        one.origin
        for one in ledgers
        if witnessing.covers(one.origin) and await witnessing.covering(one, one.size - 1) is None
    ]
    if arguments.json:
        print_json({"outcomes": outcomes, "not_witnessed": waiting})
    else:
        rows = [
            (one.origin, one.size, one.outcome.witness, one.outcome.outcome, one.outcome.detail)
            for one in outcomes
        ]
        print(format_table(("log", "size", "witness", "", "why"), rows))
        if waiting:
            print(f"\n✗ Too few witnesses yet for {len(waiting)} ledger(s): {', '.join(waiting[:20])}")
        else:
            print(f"\n✓ {len(ledgers)} ledger(s) are witnessed up to their newest entry.")
    return CHECK_FAILED if waiting else DONE


async def _policy(arguments: argparse.Namespace, workplace: Workplace) -> int:
    witnessing = _witnessing(workplace)
    ledger = (await workplace.existing_desk()).ledger
    text = format_policy(await witnessing.policy_for(ledger)).decode()
    print_json({"origin": ledger.origin, "policy": text}) if arguments.json else print(text, end="")
    return DONE


async def _alarms(arguments: argparse.Namespace, workplace: Workplace) -> int:
    alarms = await asyncio.to_thread(_witnessing(workplace).alarms)
    if arguments.json:
        print_json(alarms)
    elif alarms:
        rows = [(format_time(one.at_ns), one.origin, one.witness, one.kind, one.detail) for one in alarms]
        print(format_table(("when", "log", "witness", "alarm", "what it says"), rows))
    else:
        print("No witness has said anything that cannot be right.")
    return CHECK_FAILED if alarms else DONE


async def _check(arguments: argparse.Namespace, workplace: Workplace) -> int:
    ledger = (await workplace.existing_desk()).ledger
    meta = await _witnessing(workplace).meta_log()
    if meta is None:
        raise UnknownError("there is no meta-log here", remedy="Nothing was submitted through one yet.")
    findings = await meta.check_ledger(ledger)
    if arguments.json:
        print_json(
            [
                {"index": f.index, "size": f.size, "detail": f.detail, "note": f.note.decode()}
                for f in findings
            ]
        )
    elif findings:
        rows = [(one.index, one.size, one.detail) for one in findings]
        print(format_table(("meta-log entry", "size", "the checkpoint recorded there"), rows))
        print(f"\n✗ The meta-log shows another ledger than {ledger.origin}.")
    else:
        print(f"✓ Every checkpoint of {ledger.origin} in the meta-log is one of this ledger.")
    return CHECK_FAILED if findings else DONE
