"""Batches and datasets: what arrived, what it became, and what is quarantined."""

from __future__ import annotations

from typing import Final

from duckdb import DuckDBPyConnection
from msgspec import Struct

from projections.reading.rows import PAGE_ROWS, Conditions, Listing, Page, fetch


class BatchSummary(Struct, frozen=True, kw_only=True):
    """A batch.  ``status`` is ``ingested``, ``derived`` or ``quarantined`` (with the newest reason, until a
    later fact resolves it)."""

    entry_index: int
    recorded_at_ns: int
    batch_id: str
    source_id: str
    kind: str
    media_type: str
    byte_count: int
    digest: str
    is_encrypted: bool
    received_at_ns: int
    file_name: str
    sequence: int | None
    provider_event_time_ns: int | None
    status: str
    quarantine_reason: str | None
    dataset_index: int | None
    dataset_digest: str | None


class Quarantine(Struct, frozen=True, kw_only=True):
    """A batch that could not be used; its bytes are in the vault under ``digest``.

    ``is_resolved``: a later dataset or presentable run shows that it could be used after all.
    """

    entry_index: int
    recorded_at_ns: int
    batch_id: str
    batch_index: int
    source_id: str
    kind: str
    byte_count: int
    digest: str
    received_at_ns: int
    stage: str
    reason: str
    detail: str
    remedy: str
    procedure: str
    procedure_version: str
    is_resolved: bool


class DatasetSummary(Struct, frozen=True, kw_only=True):
    """A dataset; counts and times are over its channels, ``None`` for a payload, which has none."""

    entry_index: int
    recorded_at_ns: int
    batch_id: str
    batch_index: int
    source_id: str
    kind: str
    digest: str
    object_digest: str
    parser: str
    sample_count: int | None
    gap_count: int | None
    start_ns: int | None
    end_ns: int | None


BATCHES: Final = Listing("batch", BatchSummary, "batches", "entry_index", "batch_ingested")
QUARANTINES: Final = Listing("quarantine", Quarantine, "quarantines", "entry_index", "quarantines")
_REFUSED: Final = "entry_index IN (SELECT batch_index FROM quarantines WHERE NOT is_resolved)"
_DERIVED: Final = "batch_id IN (SELECT batch_id FROM dataset_derived)"
_STATUS: Final = {
    "quarantined": _REFUSED,
    "derived": f"NOT {_REFUSED} AND {_DERIVED}",
    "ingested": f"NOT {_REFUSED} AND NOT {_DERIVED}",
}


def list_batches(
    connection: DuckDBPyConnection,
    *,
    source_id: str | None = None,
    kind: str | None = None,
    status: str | None = None,
    received_from_ns: int | None = None,
    received_until_ns: int | None = None,
    before: int | None = None,
    limit: int = PAGE_ROWS,
) -> Page[BatchSummary]:
    """Batches by descending ledger index, those before index ``before``."""
    conditions = Conditions()
    conditions.add("source_id = ?", source_id)
    conditions.add("kind = ?", kind)
    if status is not None:
        conditions.add(_STATUS.get(status, "false"))
    conditions.add("received_at_ns >= ?", received_from_ns)
    conditions.add("received_at_ns < ?", received_until_ns)
    return BATCHES.page(connection, conditions, before=before, limit=limit)


def get_batch(connection: DuckDBPyConnection, batch_id: str) -> BatchSummary:
    """A batch by its id.  Raises: UnknownRowError."""
    return BATCHES.one(connection, "batch_id", batch_id)


def list_quarantines(
    connection: DuckDBPyConnection,
    *,
    source_id: str | None = None,
    reason: str | None = None,
    is_resolved: bool | None = None,
    before: int | None = None,
    limit: int = PAGE_ROWS,
) -> Page[Quarantine]:
    """Quarantines by descending ledger index, those before index ``before``."""
    conditions = Conditions()
    conditions.add("source_id = ?", source_id)
    conditions.add("reason = ?", reason)
    conditions.add("is_resolved = ?", is_resolved)
    return QUARANTINES.page(connection, conditions, before=before, limit=limit)


def find_datasets(connection: DuckDBPyConnection, digest: str) -> tuple[DatasetSummary, ...]:
    """Every dataset with this content, oldest first (the same content may have come in several batches)."""
    return fetch(connection, DatasetSummary, "datasets WHERE digest = ? ORDER BY entry_index", [digest])
