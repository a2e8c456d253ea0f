"""Entries that travel with their proof: the entry's bytes, the body it commits to, and the path to a
checkpoint that stands beside them.

    {"entry": base64, "path": [base64, ...], "payload": base64}

Many of them share one checkpoint (``ledger.completeness``, ``ledger.audit_bundle``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from msgspec import Struct

from domain.errors import InvalidError
from domain.events import Recorded
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.entry import parse_entry
from ledger.ledger import Ledger
from ledger.merkle import leaf_hash, verify_inclusion
from ledger.notes import parse_note
from ledger.ports import Record
from ledger.recorded import recorded_of
from ledger.spelling import format_base64, parse_base64, parse_hash
from ledger.tiles import prove_inclusion


class InvalidProvenEntryError(InvalidError):
    """An entry that is not of this ledger, or does not commit to the body beside it."""


class ProvenEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As it travels, all in base64; nothing has been verified."""

    entry: str
    path: tuple[str, ...]
    payload: str


class OpenedEntry(Struct, frozen=True, kw_only=True):
    """A verified entry with its event and leaf hash."""

    recorded: Recorded
    payload: bytes
    leaf: bytes


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


def open_proven_entry(part: ProvenEntry, checkpoint: Checkpoint) -> OpenedEntry:
    """Verify one: it parses, is of the checkpoint's ledger, commits to its body, and is in the tree.

    Raises: MalformedError, InvalidProvenEntryError, InvalidInclusionProofError, UnknownError for a newer
    event type.
    """
    data, payload = parse_base64(part.entry, "entry"), parse_base64(part.payload, "payload")
    entry = parse_entry(data)
    if entry.origin != checkpoint.origin:
        raise InvalidProvenEntryError(
            "an entry of another ledger",
            field=f"entry {entry.index}",
            expected=checkpoint.origin,
            actual=entry.origin,
        )
    if entry.payload_size != len(payload) or entry.payload_sha256 != hashlib.sha256(payload).hexdigest():
        raise InvalidProvenEntryError("an entry does not commit to its body", field=f"entry {entry.index}")
    leaf = leaf_hash(data)
    path = [parse_hash(node, "path") for node in part.path]
    verify_inclusion(entry.index, checkpoint.size, leaf, path, checkpoint.root)
    record = Record(index=entry.index, event_id=b"", event_type=entry.event_type, entry=data, payload=payload)
    return OpenedEntry(recorded=recorded_of(record), payload=payload, leaf=leaf)
