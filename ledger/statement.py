"""in-toto Statements v1: which artifacts a claim is about, what kind of claim it is, and the claim.

    {"_type": "https://in-toto.io/Statement/v1",
     "predicate": {...},
     "predicateType": "<URI>",
     "subject": [{"name": "...", "digest": {"sha256": "<hex>"}, ...}, ...]}

- There is at least one subject and each has a digest; no two subjects share a name.
- A resource descriptor has at least one of ``uri``, ``digest`` and ``content``.  Members that say nothing are
  left out, never null or empty.
- A digest's value is lower-case hex; ``sha256`` has 64 digits and ``sha512`` 128.
- The predicate is a JSON object.

A statement travels as the payload of a DSSE envelope (``ledger.dsse``) of the type ``PAYLOAD_TYPE``.  Written
here: canonical JSON (``domain.canonical``).  ``parse_statement`` refuses every other spelling;
``parse_foreign_statement`` reads any JSON spelling and passes over members that it does not know, as the
specification's parsing rules ask.
"""

from __future__ import annotations

import re
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Raw, Struct

from domain.canonical import canonical_json, parse_canonical
from domain.digests import Digest, digest_hex
from domain.errors import MalformedError
from ledger.ports import PAYLOAD_BYTES_MAX

STATEMENT_TYPE: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

# In its envelope a statement grows by a third (base64) and must still be the body of one event.
STATEMENT_BYTES_MAX = PAYLOAD_BYTES_MAX * 3 // 4 - 4_096
# Artifacts of one run; a receipt that names more is better cut by window.
SUBJECTS_MAX = 1_024
# One of each digest that anybody uses.
DIGESTS_MAX = 8

_ALGORITHM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_HEX = re.compile(r"(?:[0-9a-f]{2}){1,128}")
_HEX_DIGITS = {"sha256": 64, "sha512": 128}
# RFC 3986: a scheme first, neither spaces nor control characters.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,2000}")

P = TypeVar("P")


class MalformedStatementError(MalformedError):
    """This is not an in-toto Statement v1."""


class ResourceDescriptor(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something by digest, address or content; annotations are any JSON.  Raises: MalformedStatementError."""

    name: str = ""
    uri: str = ""
    digest: dict[str, str] = {}
    content: bytes = b""
    download_location: str = msgspec.field(default="", name="downloadLocation")
    media_type: str = msgspec.field(default="", name="mediaType")
    annotations: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if not (self.uri or self.digest or self.content):
            raise MalformedStatementError(
                "a resource has a uri, a digest or content", field="resource", actual=repr(self.name[:80])
            )
        if len(self.digest) > DIGESTS_MAX:
            raise MalformedStatementError(
                "too many digests", field="digest", expected=f"<= {DIGESTS_MAX}", actual=str(len(self.digest))
            )
        for algorithm, value in self.digest.items():
            if not _ALGORITHM.fullmatch(algorithm):
                raise MalformedStatementError(
                    "not a digest algorithm", field="digest", actual=repr(algorithm[:80])
                )
            digits = _HEX_DIGITS.get(algorithm, len(value))
            if not _HEX.fullmatch(value) or len(value) != digits:
                raise MalformedStatementError(
                    "not a digest",
                    field=f"digest.{algorithm}",
                    expected="lower-case hex",
                    actual=repr(value[:80]),
                )


class Statement(Struct, frozen=True, kw_only=True, rename={"predicate_type": "predicateType"}):
    """A claim of the type ``predicate_type`` about ``subject``.  Raises: MalformedStatementError.

    ``predicate`` is the claim as JSON bytes, as they stand in the statement.
    """

    type_: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subject: tuple[ResourceDescriptor, ...]
    predicate_type: str
    predicate: Raw

    def __post_init__(self) -> None:
        if not 0 < len(self.subject) <= SUBJECTS_MAX:
            raise MalformedStatementError(
                "a statement has subjects",
                field="subject",
                expected=f"1 to {SUBJECTS_MAX}",
                actual=str(len(self.subject)),
            )
        names: set[str] = set()
        for number, subject in enumerate(self.subject):
            if not subject.digest:
                raise MalformedStatementError("a subject has a digest", field=f"subject[{number}].digest")
            if subject.name and subject.name in names:
                raise MalformedStatementError(
                    "two subjects share a name",
                    field=f"subject[{number}].name",
                    actual=repr(subject.name[:80]),
                )
            names.add(subject.name)
        if not _URI.fullmatch(self.predicate_type):
            raise MalformedStatementError(
                "not a URI", field="predicateType", actual=repr(self.predicate_type[:80])
            )
        if not bytes(self.predicate).lstrip(b" \t\r\n").startswith(b"{"):
            raise MalformedStatementError("a predicate is a JSON object", field="predicate")

    def predicate_as(self, kind: type[P]) -> P:
        """The predicate, refusing every spelling but the canonical one.  Raises: MalformedError."""
        return parse_canonical(bytes(self.predicate), kind)


def subject_of(name: str, digest: Digest, **annotations: Any) -> ResourceDescriptor:
    """An artifact as a subject."""
    return ResourceDescriptor(name=name, digest={"sha256": digest_hex(digest)}, annotations=annotations)


def statement_about(
    subject: tuple[ResourceDescriptor, ...], predicate_type: str, predicate: Any
) -> Statement:
    """A statement whose predicate is a struct or a dict.  Raises: MalformedStatementError."""
    return Statement(
        type_=STATEMENT_TYPE,
        subject=subject,
        predicate_type=predicate_type,
        predicate=Raw(canonical_json(predicate)),
    )


def format_statement(statement: Statement) -> bytes:
    """Spell a statement.  Raises: MalformedStatementError if it could not be read back."""
    data = b'{"_type":%b,"predicate":%b,"predicateType":%b,"subject":%b}' % (
        canonical_json(statement.type_),
        bytes(statement.predicate),
        canonical_json(statement.predicate_type),
        canonical_json(statement.subject),
    )
    if parse_statement(data) != statement:
        raise MalformedStatementError("this statement cannot be read back")
    return data


def parse_statement(data: bytes) -> Statement:
    """Read a statement in the one spelling that is written here.  Raises: MalformedStatementError."""
    _check_length(data)
    try:
        statement = parse_canonical(data, Statement)
        parse_canonical(bytes(statement.predicate), dict)
    except MalformedStatementError:
        raise
    except MalformedError as error:
        raise MalformedStatementError(error.what, field=error.field, actual=error.actual[:200]) from error
    except UnicodeDecodeError as error:
        raise MalformedStatementError("a statement is UTF-8", actual=str(error)[:200]) from error
    return statement


def parse_foreign_statement(data: bytes) -> Statement:
    """Read a statement as others may spell it.  Raises: MalformedStatementError."""
    _check_length(data)
    try:
        statement = msgspec.json.decode(data, type=Statement)
        msgspec.json.decode(statement.predicate, type=dict)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedStatementError("not a statement", actual=str(error)[:200]) from error
    return statement


def _check_length(data: bytes) -> None:
    if len(data) > STATEMENT_BYTES_MAX:
        raise MalformedStatementError(
            "statement too long", expected=f"<= {STATEMENT_BYTES_MAX} bytes", actual=str(len(data))
        )
