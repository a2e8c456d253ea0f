"""Health: how each provider and each device has been doing.

Counts are of batches received since ``since_ns`` and of the runs on them.  Freshness is the time from the
provider's own event to its arrival here; availability the share of samples that came of those that the
nominal rate promises.
"""

from __future__ import annotations

from duckdb import DuckDBPyConnection
from msgspec import Struct

from projections.reading.rows import fetch


class ProviderHealth(Struct, frozen=True, kw_only=True):
    """One connection and payload kind.  Times are Unix nanoseconds; ``last_success_at_ns`` is when the last
    batch arrived that led to a presentable run, ``last_reason`` why the newest run that did not pass, or
    the newest quarantine, came to be.  ``erased_at_ns`` is when the person's data was erased: nothing comes
    any more, and what came cannot be read."""

    source_id: str
    provider: str
    kind: str
    batch_count: int
    byte_count: int
    quarantined_count: int
    run_count: int
    pass_count: int
    borderline_count: int
    fail_count: int
    abstain_count: int
    last_received_at_ns: int
    last_success_at_ns: int | None
    last_drift_at_ns: int | None
    freshness_p50_seconds: float | None
    freshness_p95_seconds: float | None
    last_reason: str | None
    last_reason_at_ns: int | None
    erased_at_ns: int | None


class DeviceHealth(Struct, frozen=True, kw_only=True):
    """One device.  ``last_seen_at_ns`` is its newest sign of life (batch or report of its configuration);
    ``availability`` lies in 0..1."""

    source_id: str
    manufacturer: str
    model: str
    serial_number: str
    firmware: str | None
    batch_count: int
    byte_count: int
    quarantined_count: int
    run_count: int
    pass_count: int
    borderline_count: int
    fail_count: int
    abstain_count: int
    last_seen_at_ns: int
    last_received_at_ns: int | None
    last_success_at_ns: int | None
    last_sample_at_ns: int | None
    sample_count: int | None
    gap_count: int | None
    availability: float | None
    calibration_id: str | None
    calibration_valid_until_ns: int | None
    last_reason: str | None
    last_reason_at_ns: int | None


def provider_health(
    connection: DuckDBPyConnection, *, since_ns: int = 0, source_id: str | None = None
) -> tuple[ProviderHealth, ...]:
    """Every connection and payload kind that sent something since ``since_ns``, by source and kind."""
    query = "provider_health_since(?) WHERE source_id = coalesce(?, source_id) ORDER BY source_id, kind"
    return fetch(connection, ProviderHealth, query, [since_ns, source_id])


def device_health(
    connection: DuckDBPyConnection, *, since_ns: int = 0, source_id: str | None = None
) -> tuple[DeviceHealth, ...]:
    """Every device, by its id; one that sent nothing since ``since_ns`` has no samples and no
    availability."""
    query = "device_health_since(?) WHERE source_id = coalesce(?, source_id) ORDER BY source_id"
    return fetch(connection, DeviceHealth, query, [since_ns, source_id])
