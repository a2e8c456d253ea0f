"""``tally key``: the ledger's public key, to be handed to whoever verifies."""

from __future__ import annotations

import argparse

from api.commands.command import DONE, at_workplace, print_json
from api.workplace import Workplace
from ledger.notes import format_verifier_key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(arguments: argparse.Namespace) -> int:
    """Print the key as a C2SP vkey."""

    async def work(workplace: Workplace) -> int:
        ledger = (await workplace.desk()).ledger
        key = format_verifier_key(ledger.verifier_key)
        if arguments.json:
            print_json({"origin": ledger.origin, "verifier_key": key, "size": ledger.size})
        else:
            print(key)
        return DONE

    return at_workplace(arguments, work)
