"""What a newer mapper version changed: the difference between two ``records.json`` artifacts of one payload.

The changes hold a person's values and are shown to whoever may see the records, never written into the
ledger.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from domain.errors import MalformedError
from domain.health.records import RECORDS_FORMAT, HealthRecord, RecordSet

# A line of a terminal has room for two of these and the path.
RENDERED_LENGTH_MAX = 48


class Change(enum.StrEnum):
    """What became of a record."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class FieldChange(Struct, frozen=True, kw_only=True):
    """One field with its value before and after, as short text; long series are summed up."""

    path: str
    before: str
    after: str


class RecordChange(Struct, frozen=True, kw_only=True):
    """One record that is not what it was; ``fields`` is empty where it was added or removed as a whole."""

    record_key: str
    change: Change
    fields: tuple[FieldChange, ...] = ()


class RecordDiff(Struct, frozen=True, kw_only=True):
    """All changes between two artifacts, ordered by record key; mappers are written ``name version``."""

    mapper_before: str
    mapper_after: str
    changes: tuple[RecordChange, ...]
    unchanged_count: int


def diff_record_sets(before: bytes, after: bytes) -> RecordDiff:
    """Compare two ``records.json`` artifacts.  Provenance is left out: it differs by intention.

    Raises: MalformedError when either is not one.
    """
    old, new = _parse(before, "before"), _parse(after, "after")
    old_records, new_records = _by_key(old), _by_key(new)
    changes: list[RecordChange] = []
    for key in sorted(old_records.keys() | new_records.keys()):
        earlier, later = old_records.get(key), new_records.get(key)
        if earlier is None:
            changes.append(RecordChange(record_key=key[0], change=Change.ADDED))
        elif later is None:
            changes.append(RecordChange(record_key=key[0], change=Change.REMOVED))
        elif fields := tuple(_field_changes(earlier, later)):
            changes.append(RecordChange(record_key=key[0], change=Change.CHANGED, fields=fields))
    return RecordDiff(
        mapper_before=f"{old.mapper} {old.mapper_version}",
        mapper_after=f"{new.mapper} {new.mapper_version}",
        changes=tuple(changes),
        unchanged_count=len(old_records.keys() | new_records.keys()) - len(changes),
    )


def _parse(data: bytes, field: str) -> RecordSet:
    try:
        record_set = msgspec.json.decode(data, type=RecordSet)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MalformedError("not a set of records", field=field, expected=RECORDS_FORMAT) from error
    if record_set.format != RECORDS_FORMAT:
        raise MalformedError("not a set of records", field=f"{field}.format", expected=RECORDS_FORMAT)
    return record_set


def _by_key(record_set: RecordSet) -> dict[tuple[str, int], HealthRecord]:
    """Records by key and how often it was there before: a payload can hold one record twice."""
    found: dict[tuple[str, int], HealthRecord] = {}
    seen: dict[str, int] = {}
    for record in record_set.records:
        repeat = seen.get(record.record_key, 0)
        seen[record.record_key] = repeat + 1
        found[record.record_key, repeat] = record
    return found


def _field_changes(before: HealthRecord, after: HealthRecord) -> Iterator[FieldChange]:
    yield from _changes("", msgspec.to_builtins(before.record), msgspec.to_builtins(after.record))
    yield from _changes("implausible_rules", list(before.implausible_rules), list(after.implausible_rules))


def _changes(path: str, before: Any, after: Any) -> Iterator[FieldChange]:
    if before == after and type(before) is type(after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            inner = f"{path}.{name}" if path else name
            yield from _changes(inner, before.get(name), after.get(name))
        return
    if isinstance(before, tuple | list | str) and isinstance(after, type(before)):
        yield FieldChange(path=path, before=_render(before), after=_render(after, compared_with=before))
        return
    yield FieldChange(path=path, before=_render(before), after=_render(after))


def _render(value: Any, compared_with: Sequence[Any] | None = None) -> str:
    text = msgspec.json.encode(value).decode()
    if len(text) <= RENDERED_LENGTH_MAX:
        return text
    if isinstance(value, dict):
        return f"object with {len(value)} fields"
    unit = "characters" if isinstance(value, str) else "values"
    rendered = f"{len(value)} {unit}"
    if compared_with is not None and len(compared_with) == len(value):
        differing = sum(one != other for one, other in zip(compared_with, value, strict=True))
        rendered += f", {differing} of them different"
    return rendered
