"""From a provider's bytes to typed documents: quick when they are exactly as known, thorough when they are
not.

The quick way is one strict decode into structs that refuses unknown fields and other types, and a count of
the keys that shows whether any stood there twice.  Bytes that it does not accept go the thorough way, which
says what is wrong: it refuses what is not JSON or not safe to read as JSON, and otherwise takes each document
apart field by field (``domain.health.drift``).  Both ways give the same documents for the same bytes, and
neither depends on the interpreter's recursion limit.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from domain.errors import LimitError, MalformedError
from domain.health.drift import (
    Drift,
    DriftFinding,
    Shape,
    enum_growth,
    kind_of,
    missing_fields,
    printable,
    sift,
)
from domain.metrics import WINDOWS_MAX

# Four years of nights with five-minute series are 8 MB; more than this is not one answer of a provider.
PAYLOAD_BYTES_MAX = 32 * 1024 * 1024
# Each record is a window of its run.
RECORDS_MAX = WINDOWS_MAX
# One sample a second for 25 hours.
SERIES_ITEMS_MAX = 90_000
# The deepest known document has five levels; unknown fields may have more, a bomb has thousands.
NESTING_MAX = 32

_BOM = b"\xef\xbb\xbf"
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")

D = TypeVar("D", bound=Struct)


class ProviderDocument(Struct, Generic[D], frozen=True):
    """One document of a payload, with what was found on reading it.  ``path`` is where it stood: ``data[3]``,
    or empty for a payload that is the document itself.
    """

    position: int
    path: str
    body: D
    findings: tuple[DriftFinding, ...]

    def at(self, field: str) -> str:
        """The path of one of its fields in the payload."""
        return f"{self.path}.{field}" if self.path else field


class Answer(Struct, Generic[D], frozen=True, forbid_unknown_fields=True):
    """A provider's answer with several documents (Oura: ``MultiDocumentResponse``)."""

    data: Annotated[tuple[D, ...], Meta(max_length=RECORDS_MAX)]
    next_token: str | UnsetType | None = UNSET


class DocumentReader(Generic[D]):
    """Reads payloads whose documents have one type.  ``document_type`` forbids unknown fields and gives
    ``UNSET`` to absent ones.
    """

    def __init__(self, document_type: type[D], shape: Shape) -> None:
        self._type = document_type
        self._shape = shape
        self._answer = msgspec.json.Decoder(Answer[document_type])  # type: ignore[valid-type]
        self._document = msgspec.json.Decoder(document_type)

    def read(self, payload: bytes) -> list[ProviderDocument[D]]:
        """The documents of ``payload``: a list under ``data``, or one document by itself.

        Raises: MalformedError when it is not JSON or an essential field of a document cannot be read,
        LimitError.
        """
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise LimitError(
                "the payload is too large to be one answer of a provider",
                field="payload",
                expected=f"<= {PAYLOAD_BYTES_MAX} bytes",
                actual=f"{len(payload)} bytes",
                remedy="Ask for a shorter span of days.",
            )
        documents = self._read_exact(payload)
        return self._read_thoroughly(payload) if documents is None else documents

    def _read_exact(self, payload: bytes) -> list[ProviderDocument[D]] | None:
        """The documents if nothing about them needs explaining (enumerations apart), otherwise ``None``."""
        if b"\\" in payload:
            # A colon can be spelled with an escape, and then colons cannot be counted.
            return None
        decoded: Answer[D] | D
        try:
            decoded = self._answer.decode(payload)
        except (msgspec.DecodeError, ValueError, RecursionError):
            try:
                decoded = self._document.decode(payload)
            except (msgspec.DecodeError, ValueError, RecursionError):
                return None
        if _holds_a_key_twice(payload, decoded):
            return None
        if not isinstance(decoded, Answer):
            return [self._document_at(0, "", decoded, missing_fields(decoded, self._shape))]
        return [
            self._document_at(position, f"data[{position}]", body, missing_fields(body, self._shape))
            for position, body in enumerate(decoded.data)
        ]

    def _read_thoroughly(self, payload: bytes) -> list[ProviderDocument[D]]:
        top = _parse_json(payload)
        if not isinstance(top, dict):
            raise MalformedError(
                "a provider's answer is one JSON object",
                field="payload",
                expected="object",
                actual=kind_of(top),
            )
        if "data" not in top or "data" in self._shape.fields:
            return [self._sifted(0, "", top)]
        items = top["data"]
        if not isinstance(items, list):
            raise MalformedError(
                "the documents are a list", field="data", expected="list", actual=kind_of(items)
            )
        if len(items) > RECORDS_MAX:
            raise LimitError(
                "too many documents in one payload",
                field="data",
                expected=f"<= {RECORDS_MAX}",
                actual=str(len(items)),
                remedy="Ask for a shorter span of days.",
            )
        documents = [self._sifted(position, f"data[{position}]", item) for position, item in enumerate(items)]
        around = tuple(
            DriftFinding(drift=Drift.UNKNOWN, path=f"$.{printable(name)}", found=kind_of(value))
            for name, value in top.items()
            if name not in {"data", "next_token"}
        )
        if around and documents:
            # The answer around the documents has no window of its own; its first document speaks for it.
            first = documents[0]
            documents[0] = ProviderDocument(first.position, first.path, first.body, around + first.findings)
        return documents

    def _sifted(self, position: int, path: str, item: Any) -> ProviderDocument[D]:
        if not isinstance(item, dict):
            raise MalformedError(
                "a document is an object", field=path, expected="object", actual=kind_of(item)
            )
        prefix = f"{path}." if path else ""
        fitting, findings = sift(item, self._shape)
        for name in self._shape.essential:
            if name not in fitting:
                raise _unmappable(prefix + name, name, findings, self._shape)
        try:
            body = msgspec.convert(fitting, self._type)
        except msgspec.ValidationError as error:
            # Only a bound on the length of a text can still be broken; its message names the bound, not the
            # text.
            raise MalformedError(
                "a field has the wrong length", field=path or "payload", actual=str(error)
            ) from error
        return self._document_at(position, path, body, findings)

    def _document_at(
        self, position: int, path: str, body: D, findings: list[DriftFinding]
    ) -> ProviderDocument[D]:
        return ProviderDocument(position, path, body, (*findings, *enum_growth(body, self._shape)))


def _holds_a_key_twice(payload: bytes, decoded: Struct) -> bool:
    """Whether an object of a payload that was decoded without loss had two keys of one name.

    A key that stood twice was decoded once, so that its second colon is missing when the same is written
    again.
    """
    return payload.count(b":") != msgspec.json.encode(decoded).count(b":")


def _parse_json(payload: bytes) -> Any:
    """Decode any JSON of bounded depth in which no key stands twice.  Raises: MalformedError, LimitError."""
    if payload.startswith(_BOM):
        raise _not_json("it begins with a byte order mark")
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_json(f"byte {error.start} is not UTF-8") from error
    _check_depth(payload)
    try:
        return json.loads(text, object_pairs_hook=_object_without_repeats, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise _not_json(f"{error.msg} at character {error.pos}") from error
    except ValueError as error:
        # Python refuses to convert integers of more than 4,300 digits.
        raise _not_json("it holds a number of absurd length") from error


def _check_depth(payload: bytes) -> None:
    """Raise LimitError before a parser recurses as deep as the sender likes."""
    if payload.count(b"[") + payload.count(b"{") <= NESTING_MAX:
        return
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", payload)):
        depth += 1 if bracket in b"[{" else -1
        if depth > NESTING_MAX:
            raise LimitError("nested too deeply", field="payload", expected=f"<= {NESTING_MAX} levels")


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    known = dict(pairs)
    if len(known) != len(pairs):
        repeats = Counter(name for name, _ in pairs)
        twice = next(name for name, times in repeats.items() if times > 1)
        raise MalformedError(
            "an object holds the same key twice",
            field=printable(twice),
            remedy="Nobody can say which of the two is meant.",
        )
    return known


def _refuse_constant(name: str) -> None:
    raise _not_json(f"{name} is not a number in JSON")


def _not_json(why: str) -> MalformedError:
    return MalformedError(
        "the payload is not JSON", field="payload", expected="JSON (RFC 8259) in UTF-8", actual=why
    )


def _unmappable(field: str, name: str, findings: list[DriftFinding], shape: Shape) -> MalformedError:
    found = next(
        (item.found for item in findings if item.path == name and item.drift is Drift.RETYPED), "nothing"
    )
    return MalformedError(
        "a record cannot be mapped without this field",
        field=field,
        expected=shape.fields[name].expectation,
        actual=found,
        remedy="The bytes are kept; reprocess them with a mapper version that knows this shape.",
    )
