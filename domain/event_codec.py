"""Event bodies as bytes: canonical JSON of the struct, told apart by the entry's type, never by an import
path."""

from __future__ import annotations

from typing import Any, cast, get_args

import msgspec

from domain.canonical import JSON_ERRORS, canonical_json
from domain.errors import MalformedError, UnknownError
from domain.events import Event, ReceiptIssued, StatementAdded, TenantCheckpointed

_TYPES: dict[str, type] = {kind.TYPE: kind for kind in get_args(Event)}
# Their bodies are the very bytes that they say were recorded.
_VERBATIM: frozenset[type] = frozenset((ReceiptIssued, TenantCheckpointed, StatementAdded))
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(kind) for name, kind in _TYPES.items() if kind not in _VERBATIM
}

EVENT_TYPES: frozenset[str] = frozenset(_TYPES)


def encode_event(event: Event) -> bytes:
    """The body bytes of ``event``: canonical JSON, or the very thing that the event says was recorded."""
    if type(event) not in _VERBATIM:
        return canonical_json(event)
    match event:
        case StatementAdded():
            return event.statement
        case ReceiptIssued():
            return event.envelope
        case TenantCheckpointed():
            return event.note
    raise AssertionError(event)


def decode_event(event_type: str, payload: bytes) -> Event:
    """Read a body.  Raises: UnknownError for a type this version does not know, MalformedError for a body
    that is not one."""
    if event_type == ReceiptIssued.TYPE:
        return ReceiptIssued(envelope=payload)
    if event_type == TenantCheckpointed.TYPE:
        return TenantCheckpointed(note=payload)
    if event_type == StatementAdded.TYPE:
        return StatementAdded(statement=payload)
    decoder = _DECODERS.get(event_type)
    if decoder is None:
        raise UnknownError(
            "unknown event type", actual=event_type, remedy="A newer Tallystick wrote it; upgrade to read it."
        )
    try:
        return cast(Event, decoder.decode(payload))
    except JSON_ERRORS as error:
        raise MalformedError(f"not a {event_type} body", actual=str(error)) from error
