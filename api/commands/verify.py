"""``tally verify BUNDLE``: check a receipt with nothing but a public key."""

from __future__ import annotations

import argparse

from api.commands.command import DONE, print_json, read_file
from api.commands.table import format_table, format_time, format_verdict
from api.commands.trust import names_of, policy_from
from domain.errors import MalformedError
from ledger.bundle import BUNDLE_BYTES_MAX
from ledger.ports import BATCH_BYTES_MAX
from ledger.verify import STEPS, VerifiedReceipt, verify_bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("bundle", help="a .tally.json file, or - for standard input")
    trust = parser.add_mutually_exclusive_group(required=True)
    trust.add_argument(
        "--key", help="the ledger's public key: a vkey (name+id+base64), or a file that holds one"
    )
    trust.add_argument("--policy", help="a tlog-policy file: log key, witnesses and quorum")
    parser.add_argument(
        "--artifact",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="also check that FILE is the artifact of that name (may be repeated)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Verify; every failed step is an error that names itself."""
    policy = policy_from(arguments.key, arguments.policy)
    artifacts = dict(_artifact(pair) for pair in arguments.artifact)
    verified = verify_bundle(read_file(arguments.bundle, BUNDLE_BYTES_MAX), policy, artifacts)
    if arguments.json:
        print_json(_summary(verified))
    else:
        _print(verified)
    return DONE


def _artifact(pair: str) -> tuple[str, bytes]:
    name, separator, file = pair.partition("=")
    if not separator or not name or not file:
        raise MalformedError("not an artifact", field="--artifact", expected="NAME=FILE", actual=pair)
    return name, read_file(file, BATCH_BYTES_MAX)


def _summary(verified: VerifiedReceipt) -> dict[str, object]:
    predicate = verified.predicate
    return {
        "verified": True,
        "receipt_id": verified.receipt_id,
        "ledger": verified.entry.origin,
        "index": verified.entry.index,
        "checkpoint_size": verified.checkpoint.size,
        "witnesses": names_of(verified.witnessed),
        "verdict": predicate.verdict,
        "is_presentable": predicate.is_presentable,
        "procedure": predicate.procedure.name,
        "procedure_version": predicate.procedure.version,
        "source_id": predicate.source.source_id,
        "supersedes": predicate.supersedes,
        "artifacts": verified.artifacts,
        "checked_artifacts": verified.checked_artifacts,
    }


def _print(verified: VerifiedReceipt) -> None:
    predicate = verified.predicate
    for step, text in STEPS.items():
        if step == 10 and not verified.checked_artifacts:
            print(f"  –  {step:2} {text} (none given; use --artifact NAME=FILE)")
        else:
            print(f"  ✓  {step:2} {text}")
    shown = "presented" if predicate.is_presentable else "WITHHELD"
    print(f"\nReceipt {verified.receipt_id} verifies: {format_verdict(predicate.verdict)}, {shown}.\n")
    rows = [
        (
            "ledger",
            f"{verified.entry.origin}, entry {verified.entry.index} of {verified.checkpoint.size} sealed",
        ),
        ("cosigned by", ", ".join(names_of(verified.witnessed)) or None),
        ("recorded", format_time(verified.entry.recorded_at_ns)),
        ("source", f"{predicate.source.kind} {predicate.source.source_id}"),
        ("procedure", f"{predicate.procedure.name} {predicate.procedure.version}"),
        ("contract", f"{predicate.contract.contract_id} version {predicate.contract.version}"),
        ("firmware", predicate.configuration.firmware if predicate.configuration else None),
        ("calibration", predicate.calibration.calibration.certificate_id if predicate.calibration else None),
        ("failed gates", ", ".join(predicate.failures) or None),
        ("abstained gates", ", ".join(predicate.abstentions) or None),
        ("supersedes", predicate.supersedes or None),
    ]
    print(format_table(("what", "the receipt says"), rows))
