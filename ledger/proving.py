"""Taking proofs from an open ledger: entries with their bodies and paths, and its key events, all under one
checkpoint (``ledger.proven_entry`` and ``ledger.key_chain`` say how they are judged).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ledger.checkpoint import parse_checkpoint
from ledger.covering import Covering
from ledger.notes import parse_note
from ledger.proven_entry import ProvenEntry
from ledger.sealing_keys import names_keys
from ledger.spelling import format_base64
from ledger.tiles import prove_inclusion

if TYPE_CHECKING:
    # Formats are read without opening a ledger (``ledger.bundle``).
    from ledger.ledger import Ledger


def newest_seal(ledger: Ledger) -> Covering:
    """The ledger's newest seal, which covers every entry and which no witness has seen yet."""
    return Covering(checkpoint=ledger.checkpoint, size=ledger.size)


async def covering_of_entry(ledger: Ledger, index: int, *, is_newest: bool = False) -> Covering:
    """What to prove the entry at ``index`` under: the newest checkpoint that witnesses have cosigned, or the
    newest seal while none of those covers it, and where it is asked for plainly.

    A change of the ledger's keys is covered, too: nobody is handed a proof today that keeps from him that a
    key was declared compromised yesterday.
    """
    if is_newest or index >= ledger.size:
        return newest_seal(ledger)
    return await ledger.covering(max(index, ledger.state.keys.indices[-1]))


async def prove_entries(
    ledger: Ledger, indices: Sequence[int], checkpoint: bytes = b""
) -> tuple[bytes, list[ProvenEntry]]:
    """One checkpoint, and the entries at ``indices`` proven under it; ``checkpoint`` is one of this ledger's,
    the newest seal if none is given.  Raises: UnknownError."""
    # All paths are taken at one size, before anything is awaited.
    checkpoint = checkpoint or ledger.checkpoint
    size = parse_checkpoint(parse_note(checkpoint).text).size
    paths = [prove_inclusion(ledger.tile, index, size) for index in indices]
    records = [(await ledger.get(index))[0] for index in indices]
    entries = [
        ProvenEntry(
            entry=format_base64(record.entry),
            path=tuple(format_base64(node) for node in path),
            payload=format_base64(record.payload),
        )
        for record, path in zip(records, paths, strict=True)
    ]
    return checkpoint, entries


async def prove_keys(ledger: Ledger, checkpoint: bytes = b"") -> tuple[bytes, tuple[ProvenEntry, ...]]:
    """A checkpoint, and every key event that it covers, proven under it; ``checkpoint`` is one of this
    ledger's, the newest seal if none is given."""
    checkpoint = checkpoint or ledger.checkpoint
    size = parse_checkpoint(parse_note(checkpoint).text).size
    covered = [index for index in ledger.state.keys.indices if index < size]
    checkpoint, parts = await prove_entries(ledger, covered, checkpoint)
    return checkpoint, tuple(parts)


async def changed_keys(ledger: Ledger, checkpoint: bytes) -> tuple[ProvenEntry, ...]:
    """The key events under ``checkpoint`` if the ledger's keys have changed; none otherwise, for then its
    first key is all there is to know."""
    if not names_keys(parse_checkpoint(parse_note(checkpoint).text)):
        return ()
    return (await prove_keys(ledger, checkpoint))[1]
