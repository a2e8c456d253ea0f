"""Mentions: under what an entry is filed, so that an auditor finds every entry about something.

``type:<event type>`` and ``subject:<subject>`` are in the entry itself.  ``about:<kind>/<id>`` are the things
that the body names: ``source`` (a device or connection), ``batch``, ``run``, ``receipt``, ``dataset`` (by
digest) and ``calibration``.  Statements name nothing: their bytes are nobody's business here.
``name:<name>`` is the name of the fact itself (``domain.lookups``), which only one entry has.

What is found through mentions is a help and no proof: that a list is complete is proven by topics
(``ledger.completeness``).
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from domain.canonical import JSON_ERRORS
from domain.errors import TallystickError
from domain.events import Event, ReceiptIssued
from domain.lookups import unique_key
from ledger.ports import Record
from ledger.receipt import receipt_id_of
from ledger.recorded import recorded_of

# A recall names as many receipts as one part of it holds; nothing else names more than a few things.
MENTIONS_MAX = 16_384

# Fields of an event's body that name one thing, in the order in which they are filed.
_THING_OF = {
    "source_id": "source",
    "device_id": "source",
    "connection_id": "source",
    "batch_id": "batch",
    "run_id": "run",
    "receipt_id": "receipt",
    "supersedes": "receipt",
    "calibration_id": "calibration",
    "digest": "dataset",
}
# Fields that are lists of things: which member names each.
_LISTS = (("datasets", "digest", "dataset"), ("receipts", "receipt_id", "receipt"))

_Fields = tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str, str], ...]]
_fields_of: dict[type, _Fields] = {}
"""For each type of event, its fields that name things, with the beginnings of their topics."""


def of_type(event_type: str) -> str:
    """Entries of this type."""
    return f"type:{event_type}"


def of_subject(subject: str) -> str:
    """Entries with this subject."""
    return f"subject:{subject}"


def about(kind: str, name: str) -> str:
    """Entries whose body names this thing."""
    return f"about:{kind}/{name}"


def named(name: str) -> str:
    """The entry of the fact with this name."""
    return f"name:{name}"


def filed_under(event: Event, subject: str, name: str) -> tuple[str, ...]:
    """Everything that the entry of ``event`` is filed under; ``name`` is the name of the fact, if it has one
    (``domain.lookups.unique_key``)."""
    always = (f"type:{event.TYPE}", f"subject:{subject}", *mentions_of(event))
    return (*always, f"name:{name}") if name else always


def filings_of(record: Record) -> frozenset[str]:
    """Everything that a stored entry is filed under; less for a body that cannot be read."""
    try:
        recorded = recorded_of(record)
        return frozenset(filed_under(recorded.event, recorded.subject, unique_key(recorded.event)))
    except TallystickError:
        return frozenset((of_type(record.event_type),))


def mentions_of(event: Event) -> list[str]:
    """What the body of an event names, each once; nothing for a receipt that cannot be read."""
    kind = type(event)
    if kind is ReceiptIssued:
        return _in_receipt(event.envelope)  # type: ignore[union-attr]
    known = _fields_of.get(kind)
    if known is None:
        known = _fields_of[kind] = _naming_fields(kind)
    single, several = known
    found = [beginning + value for field, beginning in single if (value := getattr(event, field))]
    if not several:
        return found
    for field, member, beginning in several:
        found += [beginning + getattr(one, member) for one in getattr(event, field)]
    return list(dict.fromkeys(found))[:MENTIONS_MAX]


def _naming_fields(kind: type[Struct]) -> _Fields:
    fields = kind.__struct_fields__
    return (
        tuple((field, f"about:{thing}/") for field, thing in _THING_OF.items() if field in fields),
        tuple((field, member, f"about:{thing}/") for field, member, thing in _LISTS if field in fields),
    )


class _Source(Struct, frozen=True):
    source_id: str = ""


class _Run(Struct, frozen=True):
    run_id: str = ""


class _Batch(Struct, frozen=True):
    batch_id: str = ""


class _Dataset(Struct, frozen=True):
    digest: str = ""


class _Set(Struct, frozen=True):
    calibration_id: str = ""


class _Calibration(Struct, frozen=True):
    calibration: _Set = _Set()


class _Predicate(Struct, frozen=True):
    """What a receipt may name; msgspec skips the rest."""

    source: _Source = _Source()
    run: _Run = _Run()
    supersedes: str = ""
    batches: tuple[_Batch, ...] = ()
    datasets: tuple[_Dataset, ...] = ()
    calibration: _Calibration | None = None


class _Statement(Struct, frozen=True):
    predicate: _Predicate


class _Envelope(Struct, frozen=True):
    payload: bytes


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_statement = msgspec.json.Decoder(_Statement).decode


def _in_receipt(envelope: bytes) -> list[str]:
    """What a receipt names.  It is not checked here, only filed."""
    try:
        statement = _decode_envelope(envelope).payload
        predicate = _decode_statement(statement).predicate
    except JSON_ERRORS:
        return []
    found = [
        about("receipt", receipt_id_of(statement)),
        about("source", predicate.source.source_id),
        about("run", predicate.run.run_id),
    ]
    if predicate.supersedes:
        found.append(about("receipt", predicate.supersedes))
    found += [about("batch", batch.batch_id) for batch in predicate.batches]
    found += [about("dataset", dataset.digest) for dataset in predicate.datasets]
    if predicate.calibration is not None:
        found.append(about("calibration", predicate.calibration.calibration.calibration_id))
    return list(dict.fromkeys(found))[:MENTIONS_MAX]
