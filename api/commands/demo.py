"""``tally demo``: the main job on real input, and an account of it."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from shlex import quote
from textwrap import shorten

from adapters.event_logs import describe
from api.commands.command import CHECK_FAILED, DONE, at_workplace, print_json, progress
from api.commands.outcomes import why
from api.commands.table import format_table, format_verdict
from api.demo import DATA, DemoAccount, run_demo
from api.settings import Settings
from api.workplace import Workplace
from domain.events import BatchIngested


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; 1 when a receipt does not verify or replay."""

    async def work(workplace: Workplace) -> int:
        desk = await workplace.desk()
        started = time.perf_counter()
        bars: dict[str, object] = {}

        def on_step(label: str, done: int, size: int) -> None:
            bar = bars.setdefault(label, progress(label))
            bar(done, size)  # type: ignore[operator]

        account = await run_demo(desk, workplace.settings.home / "demo", on_step)
        seconds = time.perf_counter() - started
        if arguments.json:
            print_json(_summary(account, seconds))
        else:
            flags = f" --home {_short(workplace.settings.home)}" if arguments.home else ""
            flags += f" --store {quote(describe(arguments.store))}" if arguments.store else ""
            _print(account, workplace.settings, desk.ledger.origin, seconds, flags)
        is_good = not account.stuck and all(checked.replayed.is_reproduced for checked in account.checked)
        return DONE if is_good else CHECK_FAILED

    return at_workplace(arguments, work)


def _print(account: DemoAccount, settings: Settings, origin: str, seconds: float, flags: str) -> None:
    print(f"\nTallystick demo, ledger {origin}\n")
    if not account.is_new:
        print("Everything was already there: nothing new was recorded, every receipt was checked again.\n")
    print("1. What was set up")
    rows: list[tuple[object, ...]] = [
        (r.index, r.event.TYPE, r.subject, "new" if new else "already there") for r, new in account.setup
    ]
    print(format_table(("entry", "event", "subject", ""), rows))
    print("\n2. What was ingested (kept byte for byte, encrypted where it is a person's)")
    rows = []
    for name, recorded, new in account.batches:
        event = recorded.event
        assert isinstance(event, BatchIngested)
        kept = "encrypted" if event.is_encrypted else "as it came"
        rows.append(
            (recorded.index, name, event.kind, event.byte_count, kept, "new" if new else "already there")
        )
    print(format_table(("entry", "file", "kind", "bytes", "kept", ""), rows))
    print("\n3. Receipts: every run ends in one, also those that must not be believed")
    rows = []
    for checked in account.checked:
        predicate = checked.predicate
        rows.append(
            (
                checked.index,
                f"{predicate.procedure.name} {predicate.procedure.version}",
                len(predicate.windows),
                format_verdict(predicate.verdict),
                "presented" if predicate.is_presentable else "WITHHELD",
                "verified",
                checked.replayed.result,
                checked.receipt_id,
            )
        )
    headers = ("entry", "procedure", "windows", "verdict", "", "offline", "replay", "receipt")
    print(format_table(headers, rows))
    withheld = [checked for checked in account.checked if not checked.predicate.is_presentable]
    if withheld:
        print("\n   Withheld, because:")
        for checked in withheld:
            print(f"   {checked.receipt_id}  {shorten(why(checked.predicate), 150, placeholder=' …')}")
    for stuck in account.stuck:
        print(f"\n   stuck: {stuck.error}")
    print(f"\n{account.size} entries, {len(account.checked)} receipts, {seconds:.1f} s.\n")
    first = account.checked[0]
    print("4. Where things lie")
    places = [
        ("ledger", place_of(settings.store)),
        ("vault", _short(settings.home / "vault")),
        ("receipts, one file each", _short(account.folder / "receipts")),
        ("reports, open in a browser", _short(account.folder / "reports")),
        ("the ledger's public key", _short(account.key_path)),
    ]
    print(format_table(("what", "where"), places))
    print("\n5. What to try next")
    tally = _command() + flags
    for line in (
        f"tally verify {_short(first.bundle_path)} --key {_short(account.key_path)}",
        f"tally replay {first.receipt_id}",
        f"tally status {first.receipt_id}",
        f"tally history {first.receipt_id}",
        "tally audit",
        "tally runs",
        "tally batches --quarantined",
        f"tally apply {_short(DATA / 'setup-oura-1.1.yaml')} && tally reprocess oura.sleep",
        "tally serve",
    ):
        print(f"   {line.replace('tally ', f'{tally} ')}")


def place_of(store: str) -> str:
    """Where ledgers lie, as a person is told: a folder, or a server without its password."""
    return describe(store) if "://" in store else _short(Path(store))


def _command() -> str:
    """How this person calls ``tally``: by name where the shell finds it, by path otherwise."""
    called = Path(sys.argv[0])
    return "tally" if shutil.which("tally") or called.name != "tally" else _short(called.absolute())


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _summary(account: DemoAccount, seconds: float) -> dict[str, object]:
    return {
        "is_new": account.is_new,
        "size": account.size,
        "seconds": round(seconds, 3),
        "receipts": [
            {
                "receipt_id": checked.receipt_id,
                "index": checked.index,
                "procedure": checked.predicate.procedure.name,
                "verdict": checked.predicate.verdict,
                "is_presentable": checked.predicate.is_presentable,
                "replay": checked.replayed.result,
                "bundle": str(checked.bundle_path),
            }
            for checked in account.checked
        ],
        "stuck": [str(stuck.error) for stuck in account.stuck],
    }
