"""Sources: devices and connections with what is in force for them."""

from __future__ import annotations

from typing import Final

from duckdb import DuckDBPyConnection
from msgspec import Struct

from projections.reading.rows import PAGE_ROWS, Conditions, Listing, Page


class SourceSummary(Struct, frozen=True, kw_only=True):
    """A source; ``kind`` is ``device`` or ``connection``, ``title`` its maker and model or its provider.

    ``erased_index`` is the entry that erased the person behind a connection, ``erasure_reason`` the code that
    stands in it; ``None`` where nobody was erased.
    """

    entry_index: int
    recorded_at_ns: int
    source_id: str
    kind: str
    title: str
    erased_index: int | None
    erased_at_ns: int | None
    erasure_reason: str | None


class Device(Struct, frozen=True, kw_only=True):
    """A device with its newest firmware, configuration and calibration; ``None`` where there was none yet.

    ``channels`` and ``configuration`` are the JSON text that was recorded.
    """

    entry_index: int
    recorded_at_ns: int
    source_id: str
    manufacturer: str
    model: str
    serial_number: str
    channels: str
    firmware: str | None
    configuration: str | None
    configuration_index: int | None
    configured_at_ns: int | None
    calibration_index: int | None
    calibration_id: str | None
    certificate_id: str | None
    laboratory: str | None
    issued_at_ns: int | None
    valid_from_ns: int | None
    valid_until_ns: int | None


class Connection(Struct, frozen=True, kw_only=True):
    """A person's link to a provider, and when the person's data was erased."""

    entry_index: int
    recorded_at_ns: int
    source_id: str
    provider: str
    subject_key_id: str
    erased_index: int | None
    erased_at_ns: int | None
    erasure_reason: str | None


SOURCES: Final = Listing("source", SourceSummary, "sources", "entry_index", "sources")
DEVICES: Final = Listing("device", Device, "devices", "entry_index", "devices")
CONNECTIONS: Final = Listing("connection", Connection, "connections", "entry_index", "connections")


def list_sources(
    connection: DuckDBPyConnection,
    *,
    kind: str | None = None,
    before: int | None = None,
    limit: int = PAGE_ROWS,
) -> Page[SourceSummary]:
    """Sources by descending ledger index of their registration, those before index ``before``."""
    conditions = Conditions()
    conditions.add("kind = ?", kind)
    return SOURCES.page(connection, conditions, before=before, limit=limit)


def get_device(connection: DuckDBPyConnection, device_id: str) -> Device:
    """A device by its id.  Raises: UnknownRowError."""
    return DEVICES.one(connection, "source_id", device_id)


def get_connection(connection: DuckDBPyConnection, connection_id: str) -> Connection:
    """A connection by its id.  Raises: UnknownRowError."""
    return CONNECTIONS.one(connection, "source_id", connection_id)
