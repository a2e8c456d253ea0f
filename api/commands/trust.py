"""Whom to believe: a public key or a policy, from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from api.commands.command import read_file
from domain.errors import MalformedError
from ledger.notes import VerifierKey, parse_verifier_key
from ledger.policy import Policy, WitnessedCheckpoint, logs_of, parse_policy, policy_of_log
from ledger.sealing_keys import all_keys

if TYPE_CHECKING:
    from api.workplace import Workplace
    from ledger.ledger import Ledger

KEY_FILE_BYTES_MAX = 65_536


def policy_from(key: str | None, policy: str | None) -> Policy:
    """The policy in a file, or the one that a bare key stands for.  Raises: MalformedError when neither is
    given."""
    if policy:
        return parse_policy(read_file(policy, KEY_FILE_BYTES_MAX))
    if not key:
        raise MalformedError("nobody to believe", remedy="Give --key VKEY or --policy FILE.")
    return policy_of_log(key_from(key))


def key_from(key: str) -> VerifierKey:
    """The public key that an argument is: a vkey, or a file that holds one.  Raises: MalformedError."""
    is_file = Path(key).is_file()
    text = read_file(key, KEY_FILE_BYTES_MAX).decode("utf-8", "replace").strip() if is_file else key
    return parse_verifier_key(text)


async def known_policy(workplace: Workplace, ledger: Ledger) -> Policy:
    """What this installation knows of a ledger of its own: every key it ever had, and its witnesses."""
    if workplace.witnessing is None:
        return Policy(logs=logs_of(all_keys(ledger.state.keys)))
    return await workplace.witnessing.known_policy(ledger)


def names_of(witnessed: WitnessedCheckpoint) -> list[str]:
    """The known witnesses who have cosigned."""
    return [cosignature.key.name for cosignature in witnessed.cosignatures]


def describe_witnesses(names: Sequence[str]) -> str:
    """Who vouches for a checkpoint, in words."""
    return f"cosigned by {', '.join(names)}" if names else "which no witness that is known here has cosigned"
