"""A ledger's key events, carried beside what it signed, so that whoever trusts any of its keys can judge it.

Each is an entry with its body and its path (``ledger.proven_entry``), all under one checkpoint, and all the
key events that the checkpoint covers, in order.  Verifying them with keys that the verifier trusts:

1. Every entry parses, is of the checkpoint's ledger, commits to its body, and is in the checkpoint's tree.
2. Together they are a history of keys: the first entry creates the first key, and each change is vouched for
   by the keys before it and names the change before it (``ledger.key_statement``).
3. One of the trusted keys is in it.  A younger key follows from it by signed succession, an older one was
   sealed with it.
4. The checkpoint is signed by the keys that rule at its last entry, and its extension line names the last
   change, so that none is left out (``ledger.sealing_keys``).

What it cannot show is what came after the checkpoint: somebody who holds a key that was declared compromised
later can show an older checkpoint, or one that he signed himself.  Trust the newest key you have heard of,
and no other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from domain.errors import InvalidError
from domain.key_history import KEY_EVENTS_MAX, KeyEvent, KeyHistory
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.key_statement import check_key_event, read_key_event
from ledger.notes import VerifierKey, key_hint, parse_note
from ledger.proven_entry import ProvenEntry, open_proven_entry
from ledger.sealing_keys import all_keys, open_seal

# An entry, a body with the signatures of every key in force, and a path of 64 hashes.
KEY_CHAIN_BYTES_MAX = KEY_EVENTS_MAX * 32_768


class InvalidKeyChainError(InvalidError):
    """These keys cannot be trusted; ``field`` names the step."""


def verify_key_chain(
    parts: Sequence[ProvenEntry], note: bytes, trusted: Collection[VerifierKey] | None
) -> tuple[Checkpoint, KeyHistory]:
    """Verify the checkpoint ``note`` and the key events under it, by the steps above.

    With ``trusted`` None step 3 is left out: the keys vouch for each other and for the checkpoint, and nobody
    vouches for them.

    Raises: MalformedError, InvalidProvenEntryError, InvalidInclusionProofError (1), InvalidKeyChangeError,
    InvalidKeyEventError, LimitError (2), InvalidKeyChainError (2, 3), InvalidNoteError,
    InvalidCheckpointError, InvalidSignerError (4).
    """
    checkpoint = parse_checkpoint(parse_note(note).text)
    history = KeyHistory()
    for part in parts:
        opened = open_proven_entry(part, checkpoint)
        recorded = opened.recorded
        if not isinstance(recorded.event, KeyEvent):
            raise InvalidKeyChainError(
                "not a key event", field="step 2", actual=f"[{recorded.index}] {recorded.event.TYPE}"
            )
        event = read_key_event(opened.payload, recorded.event)
        history = check_key_event(history, checkpoint.origin, recorded.index, event)
    keys = all_keys(history)
    if trusted is not None and not any(key in keys for key in trusted):
        raise InvalidKeyChainError(
            "none of this ledger's keys is one that you trust",
            field="step 3",
            expected=", ".join(key_hint(key) for key in trusted),
            actual=", ".join(key_hint(key) for key in keys)[:400],
            remedy="Use a public key of that ledger; it does not have to be the newest.",
        )
    return open_seal(note, history, checkpoint.size - 1, checkpoint.origin), history
