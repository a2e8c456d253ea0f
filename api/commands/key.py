"""``tally key``: the ledger's public key, its history, and how keys come and go.

::

    tally key                                       the key that rules now, to be handed to whoever verifies
    tally key history                               every key and the entries it counts for
    tally key rotate --reason "once a year"         a new key, beside the old one until that is revoked
    tally key rotate --to pkcs11:… --reason "HSM"   the same, in another key store
    tally key revoke KEYID --reason "rotated"       a key retires; what it signed before stays valid
    tally key compromised KEYID --from-index N --reason "a stolen laptop"
"""

from __future__ import annotations

import argparse

from adapters.key_stores import open_key_store
from api.commands.command import DONE, at_workplace, print_json
from api.commands.table import format_table, format_time
from api.workplace import Workplace
from domain.errors import MalformedError, UnknownError
from domain.events import KeyCompromised, KeyCreated, KeyRevoked, KeyRotated, Recorded
from domain.key_history import ED25519, ML_DSA_44, KeyHistory, KeySpan, Standing
from ledger.key_change import declare_compromised, revoke_key, rotate_key
from ledger.key_statement import verifier_key
from ledger.ledger import Ledger
from ledger.metalog import META_TENANT
from ledger.notes import format_verifier_key

ACTIONS = ("show", "history", "rotate", "revoke", "compromised")
ACTOR = "cli"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "action", nargs="?", choices=ACTIONS, default="show", help="what to do (default show)"
    )
    parser.add_argument("key_id", nargs="?", metavar="KEYID", help="eight hex digits, name+id, or a vkey")
    parser.add_argument("--reason", help="why, in one line; it is recorded for ever")
    parser.add_argument(
        "--from-index",
        type=int,
        metavar="N",
        help="the first entry that a compromised key is not believed for",
    )
    parser.add_argument(
        "--to",
        metavar="KEYS",
        help="the key store for the new key, as in TALLY_KEYS, which has to say so from then on",
    )
    parser.add_argument(
        "--algorithm",
        choices=(ED25519, ML_DSA_44),
        help=f"of the new key (default {ED25519}; {ML_DSA_44} signs beside it)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Show, list or change the ledger's keys."""
    _check(arguments)

    async def work(workplace: Workplace) -> int:
        ledger = await _ledger(workplace)
        match arguments.action:
            case "rotate":
                folder = workplace.settings.keys_folder
                recorded = await rotate_key(
                    ledger,
                    open_key_store(arguments.to, folder) if arguments.to else workplace.keys,
                    reason=arguments.reason,
                    actor=ACTOR,
                    algorithm=arguments.algorithm or ED25519,
                )
            case "revoke":
                recorded = await revoke_key(ledger, arguments.key_id, reason=arguments.reason, actor=ACTOR)
            case "compromised":
                recorded = await declare_compromised(
                    ledger,
                    arguments.key_id,
                    from_index=arguments.from_index,
                    reason=arguments.reason,
                    actor=ACTOR,
                )
            case "history":
                return await _print_history(ledger, is_json=arguments.json)
            case _:
                return _print_key(ledger, is_json=arguments.json)
        return _print_change(ledger, recorded, is_json=arguments.json, moved_to=arguments.to or "")

    return at_workplace(arguments, work)


async def _ledger(workplace: Workplace) -> Ledger:
    """The tenant's ledger, or the meta-log, whose keys change as any ledger's do.  Raises: UnknownError."""
    if workplace.settings.tenant != META_TENANT:
        return (await workplace.existing_desk()).ledger
    meta = None if workplace.witnessing is None else await workplace.witnessing.meta_log()
    if meta is None:
        raise UnknownError(
            "there is no meta-log here", field="tenant", remedy="`tally witnesses submit` makes it."
        )
    return meta.ledger


def _check(arguments: argparse.Namespace) -> None:
    """Every action with what it needs, and nothing that it would not look at."""
    needed = {
        "rotate": {"--reason"},
        "revoke": {"KEYID", "--reason"},
        "compromised": {"KEYID", "--reason", "--from-index"},
    }.get(arguments.action, set())
    given = {
        name
        for name, value in (
            ("KEYID", arguments.key_id),
            ("--reason", arguments.reason),
            ("--from-index", arguments.from_index),
            ("--algorithm", arguments.algorithm),
            ("--to", arguments.to),
        )
        if value is not None
    }
    allowed = needed | ({"--algorithm", "--to"} if arguments.action == "rotate" else set())
    if not needed <= given <= allowed:
        raise MalformedError(
            f"tally key {arguments.action} was asked for wrongly",
            field=", ".join(sorted((needed - given) | (given - allowed))),
            expected=" ".join(sorted(needed)) or "no more arguments",
            remedy="See: tally key --help",
        )


def _print_key(ledger: Ledger, *, is_json: bool) -> int:
    key = format_verifier_key(ledger.verifier_key)
    if is_json:
        print_json({"origin": ledger.origin, "verifier_key": key, "size": ledger.size})
    else:
        print(key)
    return DONE


async def _print_history(ledger: Ledger, *, is_json: bool) -> int:
    history, size = ledger.state.keys, ledger.size
    changes = [(await ledger.get(index))[1] for index in history.indices]
    if is_json:
        keys = [_view(history, span, size) for span in history.spans]
        print_json(
            {"origin": ledger.origin, "size": size, "keys": keys, "changes": list(map(_change, changes))}
        )
        return DONE
    rows = []
    for span in history.spans:
        view = _view(history, span, size)
        mark = "rules" if view["is_ruling"] else "in force" if view["is_in_force"] else view["standing"]
        rows.append(
            (
                view["key_id"],
                span.algorithm,
                span.from_index,
                span.until_index,
                span.believed_until_index,
                mark,
            )
        )
    print(format_table(("key", "algorithm", "from entry", "retired at", "not believed from", "now"), rows))
    print()
    told = [
        (change.index, format_time(change.recorded_at_ns), change.event.TYPE, _change(change)["reason"])
        for change in changes
    ]
    print(format_table(("entry", "recorded", "event", "reason"), told))
    return DONE


def _print_change(ledger: Ledger, recorded: Recorded, *, is_json: bool, moved_to: str) -> int:
    history, change = ledger.state.keys, _change(recorded)
    ruling = [span.verifier_key for span in history.ruling(ledger.size)]
    if is_json:
        print_json({"origin": ledger.origin, **change, "ruling": ruling})
        return DONE
    print(f"entry {recorded.index}: {change['event']} {change['key_id']}")
    match recorded.event:
        case KeyRotated():
            others = [span for span in history.in_force(ledger.size) if span.verifier_key not in ruling]
            print(f"\nHand this key to whoever verifies:\n  {recorded.event.verifier_key}\n")
            if moved_to:
                print("From now on this ledger is opened with that key store: set TALLY_KEYS to it.")
            if others:
                print(
                    "Older keys sign beside it for those who know only them. When everybody has the new one:"
                )
                for span in others:
                    print(f"  tally key revoke {verifier_key(span.verifier_key).key_id.hex()} --reason …")
        case KeyCompromised():
            print(f"\nWhat it signed before entry {recorded.event.from_index} stays valid.")
            print("Who trusts this key can be deceived by its thief: hand out the newest one (tally key).")
            print("tally audit lists the receipts that nothing else has signed; run them again.")
        case _:
            print("\nWhat it signed before stays valid; it signs nothing from here on.")
    return DONE


def _view(history: KeyHistory, span: KeySpan, size: int) -> dict[str, object]:
    key = verifier_key(span.verifier_key)
    standing = span.standing(size)
    return {
        "key_id": key.key_id.hex(),
        "verifier_key": span.verifier_key,
        "algorithm": span.algorithm,
        "from_index": span.from_index,
        "until_index": span.until_index,
        "believed_until_index": span.believed_until_index,
        "standing": standing,
        "is_in_force": standing is Standing.VALID,
        "is_ruling": span in history.ruling(size),
    }


def _change(recorded: Recorded) -> dict[str, object]:
    event = recorded.event
    assert isinstance(event, KeyCreated | KeyRotated | KeyRevoked | KeyCompromised)
    return {
        "index": recorded.index,
        "recorded_at_ns": recorded.recorded_at_ns,
        "event": event.TYPE,
        "key_id": verifier_key(event.verifier_key).key_id.hex(),
        "reason": "" if isinstance(event, KeyCreated) else event.reason,
    }
