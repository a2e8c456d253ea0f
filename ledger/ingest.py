"""Ingest: bytes are kept first, understood second.

An upload is acknowledged once its bytes are in the vault and the fact is sealed in the ledger.  What it holds
is found out afterwards; what cannot be parsed is quarantined with its bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from domain.canonical import canonical_json
from domain.digests import Digest, digest_of
from domain.errors import InvalidError, LimitError, TallystickError
from domain.events import BatchIngested, BatchQuarantined, DatasetDerived, Recorded
from domain.identifiers import parse_identifier
from domain.state import Source, State
from ledger.desk import Desk
from ledger.errors import ErasedSubjectError, UnknownSubjectKeyError
from ledger.ledger import Proposal
from ledger.ports import BATCH_BYTES_MAX

SAMPLES = "samples"
BATCH_PURPOSE = "batch"
PAYLOAD_PARSER = "payload/v1"
TEXT_CHARACTERS_MAX = 255


class Upload(Struct, frozen=True, kw_only=True):
    """What a sender hands over.  ``kind`` is ``samples`` or a payload kind; ``received_at_ns`` is stamped by
    the receiver."""

    source_id: str
    kind: str
    data: bytes
    media_type: str
    received_at_ns: int
    file_name: str = ""
    sequence: int | None = None
    provider_event_time_ns: int | None = None
    format_options: dict[str, Any] = {}


async def ingest(desk: Desk, upload: Upload, actor: str) -> tuple[Recorded, bool]:
    """Keep an upload and record it; returns the event and whether it is new (the same bytes again, to be read
    in the same way, are the same batch).

    Raises: UnknownError for an unregistered source, ErasedSubjectError for one whose person was erased,
    InvalidError for an empty or ill-described upload, LimitError.
    """
    source = desk.source(upload.source_id)
    refuse_erased(source)
    _check(upload, source)
    stored, is_encrypted = desk.guard(source, upload.data, BATCH_PURPOSE)
    digest = digest_of(stored)
    event = BatchIngested(
        batch_id=_batch_id(upload, digest),
        source_id=upload.source_id,
        kind=upload.kind,
        media_type=upload.media_type,
        byte_count=len(upload.data),
        digest=digest,
        is_encrypted=is_encrypted,
        received_at_ns=upload.received_at_ns,
        file_name="" if is_encrypted else upload.file_name,
        sequence=upload.sequence,
        provider_event_time_ns=upload.provider_event_time_ns,
        format_options=upload.format_options,
    )
    await desk.vault.put(stored)
    size_before = desk.ledger.size

    def decide(state: State) -> Sequence[Proposal]:
        refuse_erased(state.sources[upload.source_id])
        return (Proposal(event=event, actor=actor, subject=f"batch/{event.batch_id}"),)

    recorded = (await desk.ledger.append(decide))[0]
    return recorded, recorded.index >= size_before


def _batch_id(upload: Upload, digest: Digest) -> str:
    """By what decides which dataset comes of it: whose it is, the bytes, and how they are to be read."""
    identity = f"{upload.source_id}\n{upload.kind}\n{digest}".encode()
    if upload.format_options:
        identity += b"\n" + canonical_json(upload.format_options)
    return "b" + hashlib.sha256(identity).hexdigest()[:24]


def refuse_erased(source: Source) -> None:
    """Raises: ErasedSubjectError when the person behind this connection was erased."""
    if source.erased_index is not None:
        raise ErasedSubjectError(source.source_id, source.subject_key_id, source.erased_index)


async def derive(desk: Desk, batch_index: int) -> Recorded:
    """Turn a batch into its dataset, or quarantine it with the reason."""
    batch = (await desk.ledger.get(batch_index))[1]
    event = batch.event
    if not isinstance(event, BatchIngested):
        raise InvalidError("not a batch", field="index", actual=str(batch_index))
    try:
        refuse_erased(desk.source(event.source_id))
        outcome: DatasetDerived | BatchQuarantined = await _derived(desk, event)
    except UnknownSubjectKeyError:
        outcome = _quarantined(event, "shredded", "the subject's key was destroyed", "")
    except TallystickError as error:
        outcome = _quarantined(event, type(error).__name__, _sentence(error), error.remedy)
    proposal = Proposal(
        event=outcome, actor="worker", subject=f"batch/{event.batch_id}", causation=(batch_index,)
    )
    return (await desk.ledger.record(proposal))[0]


async def batch_bytes(desk: Desk, event: BatchIngested) -> bytes:
    """The upload as it came, decrypted.  Raises: UnknownObjectError, CorruptObjectError,
    UnknownSubjectKeyError."""
    return desk.reveal(desk.source(event.source_id), await desk.vault.get(event.digest), BATCH_PURPOSE)


async def _derived(desk: Desk, event: BatchIngested) -> DatasetDerived:
    if event.kind != SAMPLES:
        # A payload's canonical form is the payload; its mapper reads it.
        return DatasetDerived(
            batch_id=event.batch_id,
            source_id=event.source_id,
            kind=event.kind,
            digest=event.digest,
            object_digest=event.digest,
            parser=PAYLOAD_PARSER,
        )
    data = await batch_bytes(desk, event)
    dataset = await desk.formats.derive(data, event.media_type, event.file_name, event.format_options)
    return DatasetDerived(
        batch_id=event.batch_id,
        source_id=event.source_id,
        kind=event.kind,
        digest=dataset.digest,
        object_digest=await desk.vault.put(dataset.data),
        parser=dataset.parser,
        channels=dataset.channels,
    )


def _check(upload: Upload, source: Source) -> None:
    if not upload.data:
        raise InvalidError("an upload has bytes", field="data", expected=">= 1 byte", actual="0 bytes")
    if len(upload.data) > BATCH_BYTES_MAX:
        raise LimitError(
            "upload too large",
            expected=f"<= {BATCH_BYTES_MAX} bytes",
            actual=str(len(upload.data)),
            remedy="Send it as several batches.",
        )
    for field, text in (("media_type", upload.media_type), ("file_name", upload.file_name)):
        if len(text) > TEXT_CHARACTERS_MAX or any(ord(c) < 32 for c in text):
            raise InvalidError("not a short line of text", field=field, actual=repr(text)[:80])
    parse_identifier(upload.kind, "kind")
    if (upload.kind == SAMPLES) != (source.kind == "device"):
        raise InvalidError(
            "this source does not send that",
            field="kind",
            expected=SAMPLES if source.kind == "device" else f"{source.provider}.<data type>",
            actual=upload.kind,
        )
    if source.kind == "connection" and not upload.kind.startswith(f"{source.provider}."):
        raise InvalidError(
            "payload of another provider", field="kind", expected=f"{source.provider}.…", actual=upload.kind
        )
    if upload.sequence is not None and not 0 <= upload.sequence < 1 << 63:
        raise InvalidError("not a sequence number", field="sequence", actual=str(upload.sequence))


def _quarantined(event: BatchIngested, reason: str, detail: str, remedy: str) -> BatchQuarantined:
    return BatchQuarantined(
        batch_id=event.batch_id,
        source_id=event.source_id,
        stage="parse",
        reason=reason,
        detail=detail,
        remedy=remedy,
    )


def _sentence(error: TallystickError) -> str:
    """The error without its remedy, bounded; a hostile file cannot write a novel into the ledger."""
    parts = [
        error.what,
        *(f"{name} {value}" for name in ("field", "expected", "actual") if (value := getattr(error, name))),
    ]
    return "; ".join(parts)[:500]
