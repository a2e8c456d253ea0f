"""The specification names every event and every member of it, and nothing that there is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec import inspect

from domain.contract import Contract
from domain.event_codec import EVENT_TYPES
from domain.events import (
    ArtifactReference,
    Event,
    KeyCompromised,
    KeyCreated,
    KeyRevoked,
    KeyRotated,
    NumericEnvironment,
    ReceiptIssued,
    StatementAdded,
    TenantCheckpointed,
)
from domain.outcomes import Reason
from domain.procedures.procedure import RecordRevision
from ledger.erasure import ErasureReason
from tests.docs.test_verify import verify

TEXT = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
RAW = (ReceiptIssued.TYPE, StatementAdded.TYPE, TenantCheckpointed.TYPE)
CLASSES: dict[str, type[Any]] = {kind.TYPE: kind for kind in get_args(Event)}
# Where the specification has a shorter name for a structure than the code.
NAMES = {ArtifactReference: "Artifact", NumericEnvironment: "Environment", RecordRevision: "Revision"}
_BLOCK = re.compile(r"^    ([a-z0-9_.]+\.v[1-9]|[A-Z]\w*)(?: \| (\S.*?) \| (\S.*))?$")
_MEMBER = re.compile(r"^      ([a-z0-9_]+)(\?)? +([^ ]+(?: or null\]?)?)(?: {2,}.*)?$")


def section(name: str) -> str:
    return TEXT.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def blocks() -> dict[str, dict[str, tuple[str, bool]]]:
    """Every block of the section: its members, each with its kind and whether it may be left out."""
    found: dict[str, dict[str, tuple[str, bool]]] = {}
    members: dict[str, tuple[str, bool]] = {}
    for line in section("Events").splitlines():
        if block := _BLOCK.match(line):
            assert block[1] not in found
            members = found[block[1]] = {}
        elif member := _MEMBER.match(line):
            assert member[1] not in members
            members[member[1]] = (member[3], bool(member[2]))
    return found


BLOCKS = blocks()
# The subject and the causes of an event's entry, as the specification writes them.
HEADS = {
    block[1]: (block[2], block[3])
    for block in map(_BLOCK.match, section("Events").splitlines())
    if block and block[2]
}


def name_of(kind: type) -> str:
    return NAMES.get(kind, kind.__name__)


def spelled(kind: inspect.Type, structures: set[type]) -> set[str]:
    """The kinds by which the specification may name a type."""
    match kind:
        case inspect.UnionType(types=types):
            (other,) = (one for one in types if not isinstance(one, inspect.NoneType))
            return {f"{one} or null" for one in spelled(other, structures)}
        case inspect.StrType(pattern=pattern):
            return {"digest"} if pattern else {"text", "id"}
        case inspect.IntType():
            return {"int", "ns", "index"}
        case inspect.FloatType():
            return {"number"}
        case inspect.BoolType():
            return {"bool"}
        case inspect.BytesType():
            return {"base64"}
        case inspect.AnyType():
            return {"json"}
        case inspect.EnumType() | inspect.LiteralType():
            return {"text"}
        case inspect.VarTupleType(item_type=item):
            return {f"[{one}]" for one in spelled(item, structures)}
        case inspect.DictType(value_type=value):
            return {f"{{{one}}}" for one in spelled(value, structures)}
        case inspect.StructType(cls=cls):
            structures.add(cls)
            return {name_of(cls)}
    raise AssertionError(kind)


def check_members(cls: type, structures: set[type]) -> None:
    stated = BLOCKS[getattr(cls, "TYPE", "") or name_of(cls)]
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    omits = cls.__struct_config__.omit_defaults  # type: ignore[attr-defined]
    assert {field.encode_name for field in info.fields} == set(stated)
    for field in info.fields:
        kind, may_be_absent = stated[field.encode_name]
        wanted = spelled(field.type, structures)
        if omits and not field.required:
            # Absent where it is null, so it is never null.
            wanted = {one.removesuffix(" or null") for one in wanted}
        assert kind in wanted, field.encode_name
        assert may_be_absent == (omits and not field.required), field.encode_name


def test_every_event_that_can_stand_in_a_ledger_is_specified() -> None:
    assert {name for name in BLOCKS if "." in name} == EVENT_TYPES == set(CLASSES)


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_every_member_is_specified_with_its_kind(event_type: str) -> None:
    if event_type in RAW:
        assert BLOCKS[event_type] == {}
        return
    check_members(CLASSES[event_type], set())


def test_every_structure_inside_is_specified_and_no_other() -> None:
    structures: set[type] = set()
    for event_type in EVENT_TYPES - set(RAW):
        check_members(CLASSES[event_type], structures)
    seen: set[type] = set()
    while structures - seen:
        one = (structures - seen).pop()
        seen.add(one)
        check_members(one, structures)
    assert {name_of(one) for one in structures} == {name for name in BLOCKS if "." not in name}


def test_members_that_may_not_be_more_are_those_that_refuse_more() -> None:
    said = " ".join(section("Events").split())
    assert "except in bodies of the types `key.*`, `Contract` and `Gate`, which have exactly these." in said
    assert Contract.__struct_config__.forbid_unknown_fields
    for kind in (KeyCreated, KeyRotated, KeyRevoked, KeyCompromised):
        assert set(verify.KEY_EVENTS[kind.TYPE]) == set(BLOCKS[kind.TYPE])


def test_codes_are_listed_completely() -> None:
    listed = re.findall(r"`([a-z_]+)`", section("Events").partition("A *reason* is")[2].partition("### ")[0])
    assert listed == [reason.value for reason in Reason]
    codes = re.sub(r"\s+", " ", section("Events").partition("subject.erased.v1 |")[2])[:600]
    for reason in ErasureReason:
        assert reason.value in codes


def test_every_section_is_in_the_table_and_links_lead_somewhere() -> None:
    headings = re.findall(r"^#{2,3} (.*)$", TEXT, re.MULTILINE)
    slugs = {heading.lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([a-z0-9-]+)\)", TEXT)) <= slugs
    listed = re.findall(r"^\| \[([^]]+)\]\(#", TEXT, re.MULTILINE)
    assert listed == re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    for path in re.findall(r"`((?:ledger|domain|adapters)/[a-z_/]+\.py)`", TEXT):
        assert (Path(__file__).parents[2] / path).exists(), path


def test_sections_of_the_second_verifier_have_the_names_of_the_specification() -> None:
    source = Path(verify.__file__).read_text()
    named = re.findall(r"^# --- (.*?) -+$", source, re.MULTILINE)
    assert set(named) - {"Command line"} <= set(re.findall(r"^## (.*)$", TEXT, re.MULTILINE))
