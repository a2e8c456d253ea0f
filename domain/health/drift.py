"""Schema drift: where a provider's document departs from the shape that a mapper was written for.

The shape is compiled once from the struct that the mapper decodes into, so that there is one list of fields
and not two. Findings carry field paths and kinds of JSON value, never a value: paths may be read by people
who must not see the person's data.  Even a field name is only repeated when it looks like one
(``PRINTABLE``), since a map keyed by names or dates would otherwise leak its keys.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from domain.canonical import canonical_json
from domain.errors import LimitError
from domain.outcomes import Outcome
from domain.procedures.procedure import Artifact

DRIFT_FORMAT = "tallystick.drift.v1"
DRIFT_ARTIFACT = "drift.json"
# What a person reads; the counts in the metrics stay exact beyond it.
DRIFT_PATHS_MAX = 500
# RFC 7493 (I-JSON) section 2.2: beyond this, senders and receivers disagree about the number.
INTEGER_MAX = 2**53 - 1

PRINTABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)

_KINDS: Mapping[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "text",
    list: "list",
    dict: "object",
}
_NUMERIC = frozenset({int, float, type(None)})
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Drift(enum.StrEnum):
    """A way to depart from the known shape."""

    UNKNOWN = "unknown"
    MISSING = "missing"
    RETYPED = "retyped"
    ENUM_GROWTH = "enum_growth"


SEVERITY: Mapping[Drift, Outcome] = {
    # More than we know is told: nothing known is lost.
    Drift.UNKNOWN: Outcome.BORDERLINE,
    Drift.ENUM_GROWTH: Outcome.BORDERLINE,
    # Something we knew is gone or means something else.
    Drift.MISSING: Outcome.FAIL,
    Drift.RETYPED: Outcome.FAIL,
}


class DriftFinding(Struct, frozen=True, kw_only=True):
    """One departure in one record; ``expected`` and ``found`` name kinds of JSON value."""

    drift: Drift
    path: str
    expected: str = ""
    found: str = ""


class FieldShape(Struct, frozen=True, kw_only=True):
    """What may stand in one field.  ``length_max`` bounds a text or list; 0 means no bound of its own."""

    kinds: frozenset[str]
    is_essential: bool
    is_expected: bool
    fields: Shape | None = None
    item_kinds: frozenset[str] = frozenset()
    length_max: int = 0

    @property
    def expectation(self) -> str:
        return " or ".join(sorted(self.kinds))


class Shape(Struct, frozen=True, kw_only=True):
    """The known fields of a document.

    ``essential`` fields must be readable or nothing is mapped; ``expected`` ones are sent even when they are
    null. ``values`` lists the texts a field may hold, ``codes`` the characters of which a field is made up.
    """

    fields: dict[str, FieldShape]
    essential: tuple[str, ...]
    expected: tuple[str, ...]
    values: Mapping[str, frozenset[str]] = {}
    codes: Mapping[str, str] = {}


def compile_shape(
    document_type: type[Struct],
    *,
    expected: Iterable[str] = (),
    values: Mapping[str, frozenset[str]] | None = None,
    codes: Mapping[str, str] | None = None,
) -> Shape:
    """The shape of a struct: fields without a default are essential, the named ones expected."""
    shape = _shape(msgspec.inspect.type_info(document_type), frozenset(expected))
    return Shape(
        fields=shape.fields,
        essential=shape.essential,
        expected=shape.expected,
        values=values or {},
        codes=codes or {},
    )


def sift(
    document: Mapping[str, Any], shape: Shape, prefix: str = ""
) -> tuple[dict[str, Any], list[DriftFinding]]:
    """Split a decoded document into the part that fits the shape, and findings about the rest.

    A field that does not fit is left out, a list item that does not fit becomes ``None``.  Raises:
    LimitError.
    """
    fitting: dict[str, Any] = {}
    findings: list[DriftFinding] = []
    for name, value in document.items():
        field = shape.fields.get(name)
        kind = kind_of(value)
        if field is None:
            findings.append(DriftFinding(drift=Drift.UNKNOWN, path=prefix + printable(name), found=kind))
            continue
        path = prefix + name
        if kind not in field.kinds:
            findings.append(
                DriftFinding(drift=Drift.RETYPED, path=path, expected=field.expectation, found=kind)
            )
            continue
        if field.length_max and isinstance(value, str | list) and len(value) > field.length_max:
            raise LimitError(
                "too long", field=path, expected=f"<= {field.length_max}", actual=str(len(value))
            )
        if isinstance(value, dict) and field.fields is not None:
            value, inner = sift(value, field.fields, path + ".")
            findings += inner
            if any(essential not in value for essential in field.fields.essential):
                continue
        elif isinstance(value, list):
            value, found = _fitting_items(value, field.item_kinds)
            if found:
                expectation = " or ".join(sorted(field.item_kinds))
                findings.append(
                    DriftFinding(drift=Drift.RETYPED, path=path + "[]", expected=expectation, found=found)
                )
        fitting[name] = value
    findings += [
        DriftFinding(drift=Drift.MISSING, path=prefix + name, expected=shape.fields[name].expectation)
        for name in shape.expected
        if name not in document
    ]
    return fitting, findings


def missing_fields(document: Struct, shape: Shape) -> list[DriftFinding]:
    """Expected fields that a decoded struct was not given."""
    if UNSET not in msgspec.structs.astuple(document):
        return []
    return [
        DriftFinding(drift=Drift.MISSING, path=name, expected=shape.fields[name].expectation)
        for name in shape.expected
        if getattr(document, name) is UNSET
    ]


def enum_growth(document: Struct, shape: Shape) -> list[DriftFinding]:
    """Enumerated fields that hold something the provider had not documented when the mapper was written."""
    findings = []
    for name, values in shape.values.items():
        value = getattr(document, name)
        if isinstance(value, str) and value not in values:
            findings.append(DriftFinding(drift=Drift.ENUM_GROWTH, path=name, expected="a known value"))
    for name, codes in shape.codes.items():
        value = getattr(document, name)
        # Deleting the known codes leaves nothing exactly when there are no others.
        if isinstance(value, str) and value.encode().translate(None, codes.encode()):
            findings.append(DriftFinding(drift=Drift.ENUM_GROWTH, path=name, expected=f"codes {codes}"))
    return findings


def count(findings: Iterable[DriftFinding], drift: Drift) -> int:
    """How many findings are of this sort."""
    return sum(finding.drift is drift for finding in findings)


def drift_artifact(
    mapper: str, mapper_version: str, findings_by_position: Sequence[Sequence[DriftFinding]]
) -> Artifact | None:
    """The findings of a run as ``drift.json``, one entry per field with the positions of the records;
    ``None`` without drift.
    """
    positions: dict[DriftFinding, list[int]] = {}
    for position, findings in enumerate(findings_by_position):
        for finding in findings:
            positions.setdefault(finding, []).append(position)
    if not positions:
        return None
    ordered = sorted(positions, key=lambda finding: (finding.path, finding.drift, finding.found))
    body = {
        "format": DRIFT_FORMAT,
        "mapper": mapper,
        "mapper_version": mapper_version,
        "findings": [
            {
                "path": finding.path,
                "drift": finding.drift,
                "severity": SEVERITY[finding.drift],
                "expected": finding.expected,
                "found": finding.found,
                "positions": positions[finding],
            }
            for finding in ordered[:DRIFT_PATHS_MAX]
        ],
        "omitted_count": max(0, len(ordered) - DRIFT_PATHS_MAX),
    }
    return Artifact(name=DRIFT_ARTIFACT, media_type="application/json", data=canonical_json(body))


def printable(name: str) -> str:
    """A field name if it looks like one, and otherwise only that there was a key."""
    return name if PRINTABLE.fullmatch(name) else "(key)"


def kind_of(value: object) -> str:
    """The kind of a decoded JSON value, with a kind of their own for those that JSON can say and a record
    cannot.
    """
    kind = _KINDS[type(value)]
    match value:
        case str() if not value.isascii() and _LONE_SURROGATE.search(value):
            return "text with half a character"
        case int() if not -INTEGER_MAX <= value <= INTEGER_MAX:
            return "integer beyond 2^53"
        case float() if not math.isfinite(value):
            return "number beyond 64 bits"
        case _:
            return kind


def _fitting_items(items: list[Any], kinds: frozenset[str]) -> tuple[list[Any], str]:
    """The items with ``None`` for those that do not fit, and the kind of the first of these."""
    if _NUMERIC.issuperset(map(type, items)) and {_KINDS[item] for item in set(map(type, items))} <= kinds:
        numbers = [item for item in set(items) if item is not None]
        if not numbers or (min(numbers) >= -INTEGER_MAX and max(numbers) <= INTEGER_MAX):
            return items, ""
    found = ""
    fitting = []
    for item in items:
        kind = kind_of(item)
        if kind in kinds:
            fitting.append(item)
        else:
            fitting.append(None)
            found = found or kind
    return fitting, found


def _shape(info: msgspec.inspect.Type, expected: frozenset[str]) -> Shape:
    assert isinstance(info, msgspec.inspect.StructType), info
    fields = {
        field.encode_name: _field(field.type, field.required, field.encode_name in expected)
        for field in info.fields
    }
    unknown = expected - fields.keys()
    assert not unknown, f"expected fields that {info.cls.__name__} does not have: {sorted(unknown)}"
    essential = tuple(name for name, field in fields.items() if field.is_essential)
    # An essential field that is missing must be reported like any other.
    ordered = tuple(name for name in fields if name in expected or name in essential)
    return Shape(fields=fields, essential=essential, expected=ordered)


def _field(info: msgspec.inspect.Type, is_essential: bool, is_expected: bool) -> FieldShape:
    options = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    nested: Shape | None = None
    item_kinds: frozenset[str] = frozenset()
    length_max = 0
    for option in options:
        match option:
            case msgspec.inspect.StructType():
                nested = _shape(option, frozenset())
            case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType():
                item_kinds = _field(option.item_type, False, False).kinds
                length_max = option.max_length or 0
            case msgspec.inspect.StrType():
                length_max = option.max_length or 0
            case _:
                pass
    return FieldShape(
        kinds=frozenset(_kind(option) for option in options),
        is_essential=is_essential,
        is_expected=is_expected,
        fields=nested,
        item_kinds=item_kinds,
        length_max=length_max,
    )


def _kind(info: msgspec.inspect.Type) -> str:
    match info:
        case msgspec.inspect.NoneType():
            return "null"
        case msgspec.inspect.BoolType():
            return "boolean"
        case msgspec.inspect.IntType():
            return "integer"
        case msgspec.inspect.FloatType():
            return "number"
        case msgspec.inspect.StrType():
            return "text"
        case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType():
            return "list"
        case msgspec.inspect.StructType():
            return "object"
        case _:
            raise AssertionError(f"a provider document has no fields of this type: {info}")
