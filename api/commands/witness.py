"""``tally witness``: cosign other people's logs, and compare what they have shown (docs/witness.md)."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from api.commands.command import CHECK_FAILED, DONE, print_json, read_file, settings_of
from api.commands.table import format_table, format_time
from api.listening import check_address, listen, url_of
from api.witness_application import WitnessSettings, open_key, open_witness
from domain.canonical import JSON_ERRORS
from domain.errors import MalformedError
from ledger.notes import format_verifier_key
from ledger.policy import POLICY_BYTES_MAX, Policy
from ledger.witness import Fork, find_forks, parse_logs

HOST_DEFAULT, PORT_DEFAULT = "127.0.0.1", 8322
# A million checkpoints of 600 bytes.
EVIDENCE_BYTES_MAX = 1024 * 1024 * 1024

ACTIONS = {
    "serve": "answer logs that ask for cosignatures, until stopped (default)",
    "key": "print this witness's public key, for the policies of those who trust it",
    "evidence": "where each log stands, and whether it has shown two trees; --json with every checkpoint",
    "compare": "look for forks in what witnesses were shown: their addresses, or files of `evidence --json`",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "actions:\n" + "\n".join(f"  {name:10} {text}" for name, text in ACTIONS.items())
    parser.add_argument("action", nargs="?", choices=tuple(ACTIONS), default="serve", metavar="ACTION")
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="with compare: addresses or files")
    parser.add_argument("--name", default="", help="the witness's name, such as witness.example/w1; for ever")
    parser.add_argument(
        "--logs",
        help="the logs to witness: `log <vkey>` lines and `quorum none` (<home>/witness/logs.policy)",
    )
    parser.add_argument("--host", default=HOST_DEFAULT, help=f"address to listen on (default {HOST_DEFAULT})")
    parser.add_argument("--port", type=int, default=PORT_DEFAULT, help=f"port (default {PORT_DEFAULT})")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    if arguments.sources and arguments.action != "compare":
        raise MalformedError("only compare takes sources", actual=" ".join(arguments.sources))
    match arguments.action:
        case "serve":
            return _serve(arguments)
        case "key":
            return _key(arguments)
        case "evidence":
            return _evidence(arguments)
        case _:
            return _compare(arguments)


def _settings(arguments: argparse.Namespace) -> WitnessSettings:
    settings = settings_of(arguments)
    logs = Path(arguments.logs).absolute() if arguments.logs else None
    return WitnessSettings(
        folder=settings.home / "witness", name=arguments.name, logs=logs, keys=settings.keys
    )


def _serve(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    check_address(arguments.host, arguments.port)
    # What is wrong with it is said here in one line, not by the server process in many.
    witness = open_witness(settings)
    witness.store.close()
    url, vkey = url_of(arguments.host, arguments.port), format_verifier_key(witness.key)
    if arguments.json:
        print_json({"url": url, "verifier_key": vkey, "origins": witness.origins})
    else:
        print(f"Witness {vkey}\non {url} for {len(witness.origins)} log(s)   stop with Ctrl-C", flush=True)
    os.environ |= {
        "TALLY_WITNESS_HOME": str(settings.folder),
        "TALLY_WITNESS_NAME": witness.key.name,
        "TALLY_WITNESS_LOGS": str(settings.logs_path),
    }
    listen("api.witness_application:create_app", arguments.host, arguments.port, is_factory=True)
    return DONE


def _key(arguments: argparse.Namespace) -> int:
    store, _, key = open_key(_settings(arguments))
    store.close()
    vkey = format_verifier_key(key)
    print_json({"name": key.name, "verifier_key": vkey}) if arguments.json else print(vkey)
    return DONE


def _evidence(arguments: argparse.Namespace) -> int:
    witness = open_witness(_settings(arguments))
    try:
        standings = [witness.store.standing(origin) for origin in witness.origins]
        if arguments.json:
            logs = []
            for standing in standings:
                shown, after = [], 0
                while found := witness.store.seen(standing.origin, after):
                    shown += found
                    after = found[-1].seen_id
                logs.append({**msgspec.structs.asdict(standing), "checkpoints": shown})
            print_json({"witness": format_verifier_key(witness.key), "logs": logs})
            return DONE
    finally:
        witness.store.close()
    rows = [
        (
            one.origin,
            one.size if one.size >= 0 else None,
            format_time(one.cosigned_at_s * 1_000_000_000 or None),
            one.seen_count,
            one.refused_count,
            ", ".join(map(str, one.fork_sizes)) or "none",
        )
        for one in standings
    ]
    print(format_table(("log", "cosigned", "at", "shown", "refused", "FORKS at size"), rows))
    return DONE


class _Shown(Struct, frozen=True, kw_only=True):
    note: str


class _LogEvidence(Struct, frozen=True, kw_only=True):
    origin: str
    checkpoints: list[_Shown]


class _Evidence(Struct, frozen=True, kw_only=True):
    logs: list[_LogEvidence]


def _compare(arguments: argparse.Namespace) -> int:
    if not arguments.sources:
        raise MalformedError("nothing to compare", remedy="Name witnesses' addresses or files of evidence.")
    logs = parse_logs(read_file(str(_settings(arguments).logs_path), POLICY_BYTES_MAX))
    forks = asyncio.run(_find_forks(arguments.sources, logs))
    if arguments.json:
        print_json(
            [
                {"origin": f.origin, "size": f.size, "one": f.one.decode(), "other": f.other.decode()}
                for f in forks
            ]
        )
    elif forks:
        for fork in forks:
            print(f"✗ {fork.origin} has signed two trees of {fork.size} entries:\n")
            print(f"{fork.one.decode()}\n{fork.other.decode()}")
        print("Each pair convinces whoever knows the log's key. Keep it, and tell those who trust the log.")
    else:
        names = sorted({log.key.name for log in logs.logs})
        print(f"No two trees of one size in what was shown of {', '.join(names)}.")
    return CHECK_FAILED if forks else DONE


async def _find_forks(sources: Sequence[str], logs: Policy) -> tuple[Fork, ...]:
    from adapters.witness_client import WitnessClient

    keys = [log.key for log in logs.logs]
    origins = list(dict.fromkeys(key.name for key in keys))
    notes: list[bytes] = []
    async with WitnessClient() as client:
        for source in sources:
            if "://" in source:
                for origin in origins:
                    notes += await client.evidence(source, origin)
            else:
                notes += await asyncio.to_thread(_notes_in, source, origins)
    return find_forks(notes, keys)


def _notes_in(source: str, origins: Sequence[str]) -> list[bytes]:
    try:
        evidence = msgspec.json.decode(read_file(source, EVIDENCE_BYTES_MAX), type=_Evidence)
    except JSON_ERRORS as error:
        raise MalformedError("not a file of evidence", field=source, actual=str(error)) from error
    return [
        shown.note.encode() for log in evidence.logs if log.origin in origins for shown in log.checkpoints
    ]
