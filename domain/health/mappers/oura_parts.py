"""What Oura's documents have in common: sampled series, metadata, and how a document stands among its
revisions.

Facts are from Oura's API v2 description (OpenAPI 1.29 to 1.41): every document carries ``meta{version,
updated_at}``; a webhook notification carries ``event_time``; there is no flag "tentative", so each kind of
document says for itself what is settled.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, TypeAlias, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from domain.errors import LimitError, MalformedError
from domain.health.drift import INTEGER_MAX, Drift, DriftFinding
from domain.health.instants import parse_local_instant
from domain.health.provider_documents import SERIES_ITEMS_MAX, DocumentReader, ProviderDocument
from domain.health.records import OrderingSource, SampleSeries, SourceDevice
from domain.procedures.procedure import ProcedureInput

PROVIDER = "oura"
MANUFACTURER = "Oura"
# Oura writes UUIDs of 36 characters.
IDENTIFIER_LENGTH_MAX = 128
TEXT_LENGTH_MAX = 1_024

Int: TypeAlias = Annotated[int, Meta(ge=-INTEGER_MAX, le=INTEGER_MAX)]
Num: TypeAlias = Int | float
Text: TypeAlias = Annotated[str, Meta(max_length=TEXT_LENGTH_MAX)]
Identifier: TypeAlias = Annotated[str, Meta(min_length=1, max_length=IDENTIFIER_LENGTH_MAX)]
# One character per interval, like the items of a series.
Codes: TypeAlias = Annotated[str, Meta(max_length=SERIES_ITEMS_MAX)]

T = TypeVar("T")
D = TypeVar("D", bound=Struct)


class LevelTable(dict[int, str]):
    """For ``str.translate``: a provider's codes to our digits, everything else to ``0`` (unknown), so that
    every interval keeps its place.
    """

    def __init__(self, levels: Mapping[str, enum.IntEnum]) -> None:
        super().__init__({ord(code): str(level.value) for code, level in levels.items()})

    def __missing__(self, code: int) -> str:
        return "0"


class OuraSample(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """``PublicSample``: values at even intervals of seconds; item i is at ``timestamp + i * interval``."""

    interval: Num
    items: Annotated[tuple[Num | None, ...], Meta(max_length=SERIES_ITEMS_MAX)]
    timestamp: Text


class OuraMeta(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """``Metadata``: the document's running version and the time of its last change, UTC."""

    updated_at: Text
    version: Int | UnsetType | None = UNSET


def read_documents(reader: DocumentReader[D], payload: bytes) -> list[ProviderDocument[D]]:
    """The documents of a payload.  For a mapper, one beyond a limit is one that it cannot map: it is
    quarantined too.

    Raises: MalformedError.
    """
    try:
        return reader.read(payload)
    except LimitError as error:
        raise MalformedError(
            error.what,
            field=error.field,
            expected=error.expected,
            actual=error.actual,
            remedy=error.remedy or "The bytes are kept; ask the provider for a shorter span of days.",
        ) from error


def given(value: T | UnsetType | None) -> T | None:
    """The value, or ``None`` where the provider sent none."""
    return None if value is UNSET else value


def ordering(
    meta: OuraMeta | UnsetType | None, task: ProcedureInput, findings: list[DriftFinding]
) -> tuple[int, OrderingSource]:
    """Unix nanoseconds that order a document's revisions, and whose clock they are.

    The document's own time of change is exact; a notification's time can lag behind the document that is then
    fetched; without either, a pulled document is the newest state at the moment it arrived.
    """
    if isinstance(meta, OuraMeta):
        updated_ns = _unix_ns(meta.updated_at)
        if updated_ns is not None:
            return updated_ns, OrderingSource.DOCUMENT
        findings.append(unreadable_time("meta.updated_at"))
    if task.provider_event_time_ns is not None:
        return task.provider_event_time_ns, OrderingSource.EVENT
    return task.received_at_ns, OrderingSource.RECEIPT


def series(
    sample: OuraSample | UnsetType | None,
    name: str,
    findings: list[DriftFinding],
    beside: tuple[OuraSample | UnsetType | None, SampleSeries | None] = (None, None),
) -> SampleSeries | None:
    """The sampled series of the field ``name``; its values are kept even where its start cannot be read.

    ``beside`` is a sample with the series it became.  Series of one document nearly always begin together,
    and then the time is read only once.
    """
    if not isinstance(sample, OuraSample):
        return None
    other, known = beside
    local: str | None = None
    offset: int | None = None
    if known is not None and isinstance(other, OuraSample) and other.timestamp == sample.timestamp:
        local, offset = known.start_time_local, known.start_offset_seconds
    else:
        with suppress(MalformedError):
            start = parse_local_instant(sample.timestamp, name)
            local, offset = start.local, start.offset_seconds
    if local is None:
        findings.append(unreadable_time(f"{name}.timestamp"))
    return SampleSeries(
        start_time_local=local,
        start_offset_seconds=offset,
        interval_seconds=sample.interval,
        values=sample.items,
    )


def device(device_id: str | None = None, algorithm_version: str | None = None) -> SourceDevice:
    """The ring, as far as a document names it."""
    return SourceDevice(
        provider=PROVIDER,
        manufacturer=MANUFACTURER,
        device_id=device_id,
        algorithm_version=algorithm_version,
    )


def unreadable_time(path: str) -> DriftFinding:
    """A text that should be a time and is not: the field changed its meaning."""
    return DriftFinding(
        drift=Drift.RETYPED, path=path, expected="ISO 8601 time with offset", found="other text"
    )


def _unix_ns(text: str) -> int | None:
    try:
        return parse_local_instant(text, "meta.updated_at").unix_ns
    except MalformedError:
        return None
