"""Contract files: a contract as people write it, in YAML or JSON.

The keys are those of ``domain.contract``; nothing is renamed, and only what has a default there may be left
out::

    contract_id: spectra
    version: 1
    title: Spectra of one sensor
    presentable: [pass, borderline]        # optional
    gates:
      - gate_id: gaps
        title: Share of the window that is missing
        metric: sampling.gap_ratio
        unit: "1"
        rule: at_most                      # or at_least
        pass_limit: 1e-3
        fail_limit: 0.01
        guard_band: 0                      # optional, as is all below but rule_id
        required: true
        reason: gap
        window_pass_fraction_min: 1.0
        rule_id: "where the limits come from"
"""

from __future__ import annotations

import difflib
import re
from enum import Enum
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from adapters.plain_documents import Path, PlainDocument, Tree, parse_plain, walk
from domain.contract import GATES_MAX, Contract, Gate
from domain.errors import InvalidError, LimitError, MalformedError, TallystickError
from domain.identifiers import parse_identifier

# A title or rule id is a sentence, and stands in every receipt and report.
TEXT_LENGTH_MAX = 400

# Control characters, and the bidirectional marks with which a title could display other than it reads.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_MSGSPEC_MESSAGE = re.compile(r"(?s)(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?")
_KIND_NAMES = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "nothing",
}

T = TypeVar("T")


def parse_contract(data: bytes, name: str) -> Contract:
    """Parse the contract in ``data``; ``name`` is a file name for messages, and ``.json`` at its end means
    JSON.

    Raises: MalformedError (not YAML or JSON, unknown or missing keys, wrong types), InvalidError (limits
    that contradict each other), LimitError (size, depth, number of gates); ``field`` is like
    ``spectra.yaml: gates[0].pass_limit (line 12)``.
    """
    document = parse_plain(data, name)
    tree = _mapping(document, (), document.tree, Contract)
    gates = tree["gates"]
    if not isinstance(gates, list):
        raise MalformedError(
            "gates are a list",
            field=document.place(("gates",)),
            expected="a list of gates",
            actual=_kind(gates),
        )
    if not 1 <= len(gates) <= GATES_MAX:
        raise LimitError(
            "a contract has gates",
            field=document.place(("gates",)),
            expected=f"1 to {GATES_MAX}",
            actual=str(len(gates)),
        )
    _check_texts(document)
    parsed: dict[str, Gate] = {}
    for index, item in enumerate(gates):
        path: Path = ("gates", index)
        gate = _convert(document, path, _mapping(document, path, item, Gate), Gate)
        _check_gate(document, path, gate)
        if parsed.setdefault(gate.gate_id, gate) is not gate:
            raise InvalidError(
                "a gate id stands once in a contract",
                field=document.place((*path, "gate_id")),
                actual=gate.gate_id,
            )
    contract = _convert(document, (), {**tree, "gates": list(parsed.values())}, Contract)
    if not any(gate.required for gate in contract.gates):
        raise InvalidError(
            "a contract requires at least one gate",
            field=document.place(("gates",)),
            remedy="A run of which nothing is required can never pass.",
        )
    return contract


def _mapping(document: PlainDocument, path: Path, node: Tree, kind: type[Any]) -> dict[str, Tree]:
    """``node`` if it is a mapping with the keys of ``kind``.  Raises: MalformedError."""
    if not isinstance(node, dict):
        raise MalformedError(
            f"a {kind.__name__.lower()} is a mapping",
            field=document.place(path),
            expected="keys " + ", ".join(kind.__struct_fields__),
            actual=_kind(node),
        )
    for key in node:
        if key not in kind.__struct_fields__:
            close = difflib.get_close_matches(key[:80], kind.__struct_fields__, n=1)
            raise MalformedError(
                "unknown key",
                field=document.place((*path, key[:80])),
                expected=", ".join(kind.__struct_fields__),
                remedy=f"Did you mean {close[0]}?" if close else "",
            )
    for field in msgspec.structs.fields(kind):
        if field.required and field.name not in node:
            raise MalformedError("missing key", field=document.place(path), expected=field.name)
    return node


def _check_texts(document: PlainDocument) -> None:
    for path, node in walk(document.tree):
        if not isinstance(node, str):
            continue
        if len(node) > TEXT_LENGTH_MAX:
            raise LimitError(
                "the text is too long",
                field=document.place(path),
                expected=f"<= {TEXT_LENGTH_MAX} characters",
                actual=str(len(node)),
            )
        if found := _UNPRINTABLE.search(node):
            raise MalformedError(
                "an unprintable character", field=document.place(path), actual=f"U+{ord(found.group()):04X}"
            )


def _check_gate(document: PlainDocument, path: Path, gate: Gate) -> None:
    """What a gate's own invariants leave open: events of old must stay readable, a new file can be held to
    more."""
    try:
        parse_identifier(gate.metric, "metric")
    except TallystickError as error:
        raise _placed(error, document, path) from None
    for field in ("unit", "rule_id"):
        if not getattr(gate, field).strip():
            raise MalformedError(
                "must not be empty",
                field=document.place((*path, field)),
                remedy='A ratio has the unit "1".' if field == "unit" else "Say where the limits come from.",
            )


def _convert(document: PlainDocument, path: Path, node: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(node, type=kind, strict=True)
    except msgspec.ValidationError as error:
        match = _MSGSPEC_MESSAGE.fullmatch(str(error))
        what, steps = (match["what"], _steps(match["path"] or "")) if match else (str(error), ())
        field = str(steps[0]) if steps else ""
        value: Any = node.get(field)
        for step in steps[1:]:
            value = value[step]
        raise MalformedError(
            "wrong type or value",
            field=document.place((*path, *steps)),
            expected=_expected(kind, field) or what,
            actual=f"{_kind(value)}: {value!r}"[:100] if value is not None else _kind(value),
            remedy=f'Quote it: "{value}".' if "`str`" in what and not isinstance(value, list | dict) else "",
        ) from None
    except TallystickError as error:
        raise _placed(error, document, path) from None


def _placed(error: TallystickError, document: PlainDocument, path: Path) -> TallystickError:
    """The same error, saying where in the file it is."""
    field = error.field.rpartition(".")[2]
    if field in Gate.__struct_fields__ or field in Contract.__struct_fields__:
        path = (*path, field)
    return type(error)(
        error.what,
        field=document.place(path),
        expected=error.expected,
        actual=error.actual,
        remedy=error.remedy,
    )


def _steps(path: str) -> Path:
    """The steps of a path as msgspec writes it, ``presentable[1]``."""
    return tuple(int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", path))


def _expected(kind: type[Any], field: str) -> str:
    """The type of a field in a person's words; empty where it cannot be said shortly."""
    hint = get_type_hints(kind).get(field)
    if get_origin(hint) is tuple:
        hint = get_args(hint)[0]
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(str(member.value) for member in hint)
    return _KIND_NAMES.get(hint, "") if isinstance(hint, type) else ""


def _kind(node: object) -> str:
    return _KIND_NAMES.get(type(node), type(node).__name__)
