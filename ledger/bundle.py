"""Receipt bundles: one file that verifies offline with nothing but the ledger's public key.

A bundle is canonical JSON::

    {"entry": base64,          the entry's bytes (ledger.entry)
     "envelope": base64,       the receipt, a DSSE envelope (ledger.receipt), the body the entry commits to
     "format": "tallystick/bundle/v1",
     "proof": base64}          a tlog-proof v1 (ledger.tlog_proof): path and checkpoint

and where it needs more, ``tallystick/bundle/v2`` or ``v3``, with what it needs beside these::

     "keys": [                 the ledger's keys have changed: its key events, in order, all of those that the
       {"entry": base64,       proof's checkpoint covers, under that same checkpoint (ledger.key_chain)
        "path": [base64, …],
        "payload": base64}, …],
     "meta": {                 the proof's checkpoint is itself recorded, in a log of logs (ledger.meta_proof)
       "entry": base64,        the entry whose body is that checkpoint
       "keys": [...],          v3: the keys of that log have changed, too: its key events under its checkpoint
       "proof": base64}        a tlog-proof v1 of that entry, under the checkpoint that witnesses cosign

A bundle that needs none of these is written as v1, and one without ``meta.keys`` as v2, so that one receipt
under one checkpoint has one spelling.

The name of such a file ends in ``.tally.json``.  Everything in it can also be read by tools that know DSSE,
in-toto, signed notes and RFC 6962 and nothing of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, Struct, UnsetType

from domain.canonical import JSON_ERRORS, canonical_json
from domain.errors import LimitError, MalformedError
from ledger.entry import ENTRY_BYTES_MAX
from ledger.key_chain import KEY_CHAIN_BYTES_MAX
from ledger.meta_proof import MetaProof, WireMetaProof, read_meta, wire_meta
from ledger.ports import PAYLOAD_BYTES_MAX
from ledger.proven_entry import ProvenEntry
from ledger.proving import changed_keys, covering_of_entry
from ledger.spelling import format_base64, parse_base64
from ledger.tlog_proof import PROOF_BYTES_MAX, format_tlog_proof

if TYPE_CHECKING:
    # Whoever only verifies receipts opens no ledger, and does not wait for what that takes.
    from ledger.ledger import Ledger

FORMAT = "tallystick/bundle/v1"
FORMAT_2 = "tallystick/bundle/v2"
FORMAT_3 = "tallystick/bundle/v3"
FILE_SUFFIX = ".tally.json"
MEDIA_TYPE = "application/vnd.tallystick.bundle+json"
META_BYTES_MAX = ENTRY_BYTES_MAX + PROOF_BYTES_MAX + KEY_CHAIN_BYTES_MAX
BUNDLE_BYTES_MAX = (
    ENTRY_BYTES_MAX + PAYLOAD_BYTES_MAX + PROOF_BYTES_MAX + META_BYTES_MAX + KEY_CHAIN_BYTES_MAX
) * 4 // 3 + 1_024


class MalformedBundleError(MalformedError):
    """These bytes are not a receipt bundle."""


class Bundle(Struct, frozen=True, kw_only=True):
    """A bundle's parts as bytes; nothing in it has been verified."""

    entry: bytes
    envelope: bytes
    proof: bytes
    keys: tuple[ProvenEntry, ...] = ()
    meta: MetaProof | None = None

    @property
    def format(self) -> str:
        """The version that has room for these parts."""
        if self.meta is not None and self.meta.keys:
            return FORMAT_3
        return FORMAT if self.meta is None and not self.keys else FORMAT_2


class _Wire(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    entry: str
    envelope: str
    format: str
    proof: str
    keys: tuple[ProvenEntry, ...] | UnsetType = UNSET
    meta: WireMetaProof | UnsetType = UNSET


def format_bundle(bundle: Bundle) -> bytes:
    """Spell a bundle, in the version that has room for what is in it."""
    return canonical_json(
        _Wire(
            entry=format_base64(bundle.entry),
            envelope=format_base64(bundle.envelope),
            format=bundle.format,
            proof=format_base64(bundle.proof),
            keys=bundle.keys or UNSET,
            meta=UNSET if bundle.meta is None else wire_meta(bundle.meta),
        )
    )


def parse_bundle(data: bytes) -> Bundle:
    """Read a bundle of any version, refusing every other spelling.  Raises: MalformedBundleError,
    LimitError."""
    if len(data) > BUNDLE_BYTES_MAX:
        raise LimitError("bundle too long", expected=f"<= {BUNDLE_BYTES_MAX} bytes", actual=str(len(data)))
    try:
        wire = msgspec.json.decode(data, type=_Wire)
    except JSON_ERRORS as error:
        raise MalformedBundleError(
            "not a receipt bundle",
            actual=str(error),
            remedy="Fetch it again: tally receipts --bundle, or GET …/bundle.",
        ) from error
    if wire.format not in (FORMAT, FORMAT_2, FORMAT_3):
        raise MalformedBundleError(
            "unknown bundle format",
            field="format",
            expected=f"{FORMAT}, {FORMAT_2} or {FORMAT_3}",
            actual=wire.format[:80],
        )
    try:
        bundle = Bundle(
            entry=parse_base64(wire.entry, "entry"),
            envelope=parse_base64(wire.envelope, "envelope"),
            proof=parse_base64(wire.proof, "proof"),
            keys=() if isinstance(wire.keys, UnsetType) else wire.keys,
            meta=None if isinstance(wire.meta, UnsetType) else read_meta(wire.meta),
        )
    except MalformedError as error:
        raise MalformedBundleError(
            error.what, field=error.field, expected=error.expected, actual=error.actual
        ) from error
    # Also refuses a version that does not go with what is in it.
    if format_bundle(bundle) != data.removesuffix(b"\n"):
        raise MalformedBundleError("not the canonical spelling of a bundle")
    return bundle


async def bundle_of(ledger: Ledger, receipt_index: int, *, is_newest: bool = False) -> Bundle:
    """The bundle of a recorded receipt, proven under the newest checkpoint that witnesses have cosigned, or
    the newest seal (``covering_of_entry``)."""
    record, _ = await ledger.get(receipt_index)
    covering = await covering_of_entry(ledger, receipt_index, is_newest=is_newest)
    return Bundle(
        entry=record.entry,
        envelope=record.payload,
        proof=format_tlog_proof(ledger.prove(receipt_index, covering)),
        keys=await changed_keys(ledger, covering.checkpoint),
        meta=covering.meta,
    )
