"""Mentions: under what an entry is filed, so that an auditor finds every entry about something.

``type:<event type>`` and ``subject:<subject>`` are in the entry itself.  ``about:<kind>/<id>`` are the things
that the body names: ``source`` (a device or connection), ``batch``, ``run``, ``receipt``, ``dataset`` (by
digest) and ``calibration``.  Statements name nothing: their bytes are nobody's business here.

What is found through mentions is a help and no proof: that a list is complete is proven by topics
(``ledger.completeness``).
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from domain.canonical import JSON_ERRORS
from domain.errors import TallystickError
from domain.events import ReceiptIssued, StatementAdded, TenantCheckpointed
from ledger.ports import Record
from ledger.receipt import parse_receipt

# A recall names as many receipts as one part of it holds; nothing else names more than a few things.
MENTIONS_MAX = 16_384
# Bodies that are not JSON, or name nothing.
_SILENT = frozenset({StatementAdded.TYPE, TenantCheckpointed.TYPE})


def of_type(event_type: str) -> str:
    """Entries of this type."""
    return f"type:{event_type}"


def of_subject(subject: str) -> str:
    """Entries with this subject."""
    return f"subject:{subject}"


def about(kind: str, name: str) -> str:
    """Entries whose body names this thing."""
    return f"about:{kind}/{name}"


def mentions_of(record: Record) -> tuple[str, ...]:
    """What the body of ``record`` names, each once; nothing for a body that cannot be read."""
    if record.event_type in _SILENT:
        return ()
    try:
        found = (
            _in_receipt(record.payload) if record.event_type == ReceiptIssued.TYPE else _named(record.payload)
        )
    except (TallystickError, *JSON_ERRORS):
        return ()
    return tuple(dict.fromkeys(found))[:MENTIONS_MAX]


class _Reference(Struct):
    digest: str = ""


class _Recalled(Struct):
    receipt_id: str = ""


class _Body(Struct):
    """What a body may name; msgspec skips the rest."""

    source_id: str = ""
    device_id: str = ""
    connection_id: str = ""
    batch_id: str = ""
    run_id: str = ""
    receipt_id: str = ""
    calibration_id: str = ""
    supersedes: str = ""
    digest: str = ""
    datasets: tuple[_Reference, ...] = ()
    receipts: tuple[_Recalled, ...] = ()


_decode = msgspec.json.Decoder(_Body).decode


def _named(payload: bytes) -> list[str]:
    body = _decode(payload)
    sources = (body.source_id, body.device_id, body.connection_id)
    found = [about("source", source) for source in sources if source]
    for kind, name in (
        ("batch", body.batch_id),
        ("run", body.run_id),
        ("receipt", body.receipt_id),
        ("receipt", body.supersedes),
        ("calibration", body.calibration_id),
        ("dataset", body.digest),
    ):
        if name:
            found.append(about(kind, name))
    found += [about("dataset", dataset.digest) for dataset in body.datasets]
    found += [about("receipt", receipt.receipt_id) for receipt in body.receipts]
    return found


def _in_receipt(envelope: bytes) -> list[str]:
    receipt_id, predicate = parse_receipt(envelope)
    found = [
        about("receipt", receipt_id),
        about("source", predicate.source.source_id),
        about("run", predicate.run.run_id),
    ]
    if predicate.supersedes:
        found.append(about("receipt", predicate.supersedes))
    found += [about("batch", batch.batch_id) for batch in predicate.batches]
    found += [about("dataset", dataset.digest) for dataset in predicate.datasets]
    if predicate.calibration is not None:
        found.append(about("calibration", predicate.calibration.calibration.calibration_id))
    return found
