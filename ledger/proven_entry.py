"""Entries that travel with their proof: the entry's bytes, the body it commits to, and the path to a
checkpoint that stands beside them.

    {"entry": base64, "path": [base64, ...], "payload": base64}

Many of them share one checkpoint (``ledger.completeness``, ``ledger.audit_bundle``).  ``ledger.proving``
takes them from a ledger.
"""

from __future__ import annotations

import hashlib

from msgspec import Struct

from domain.errors import InvalidError
from domain.events import Recorded
from ledger.checkpoint import Checkpoint
from ledger.entry import parse_entry
from ledger.merkle import leaf_hash, verify_inclusion
from ledger.ports import Record
from ledger.recorded import recorded_of
from ledger.spelling import parse_base64, parse_hash


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
