"""Receipts: which there are, what replaced them, and what came of replaying them.

The signed bytes are in the ledger at ``receipt_index``; a view only helps to find them.
"""

from __future__ import annotations

from typing import Final

from duckdb import DuckDBPyConnection
from msgspec import Struct

from projections.reading.rows import PAGE_ROWS, Conditions, Listing, Page


class ReceiptSummary(Struct, frozen=True, kw_only=True):
    """A receipt with its run.

    ``status`` is ``valid``, ``withheld`` (its verdict is not presentable), ``superseded`` or ``recalled``.
    ``last_replay_result`` is ``reproduced``, ``reproduced-quantised`` or ``diverged``; ``None`` without a
    replay.
    """

    receipt_index: int
    receipt_id: str
    recorded_at_ns: int
    decision_index: int
    run_id: str
    run_index: int
    source_id: str
    procedure: str
    procedure_version: str
    verdict: str
    is_presentable: bool
    status: str
    supersedes: str
    superseded_by: str | None
    recall_id: str | None
    replay_count: int
    diverged_count: int
    last_replay_result: str | None
    last_replay_index: int | None
    last_replay_at_ns: int | None


class Replay(Struct, frozen=True, kw_only=True):
    """One replay of a receipt; ``first_difference`` is empty when it reproduced."""

    entry_index: int
    recorded_at_ns: int
    result: str
    first_difference: str


RECEIPTS: Final = Listing("receipt", ReceiptSummary, "receipts", "receipt_index", "receipt_issued")
REPLAYS: Final = Listing("replay", Replay, "receipt_replayed", "entry_index", "receipt_replayed")


def list_receipts(
    connection: DuckDBPyConnection,
    *,
    source_id: str | None = None,
    procedure: str | None = None,
    verdict: str | None = None,
    is_presentable: bool | None = None,
    dataset_digest: str | None = None,
    recorded_from_ns: int | None = None,
    recorded_until_ns: int | None = None,
    before: int | None = None,
    limit: int = PAGE_ROWS,
) -> Page[ReceiptSummary]:
    """Receipts by descending ledger index, those before index ``before``; ``dataset_digest`` finds what
    rests on a dataset."""
    runs = Conditions()
    runs.add("source_id = ?", source_id)
    runs.add("procedure = ?", procedure)
    runs.add("list_contains(list_transform(datasets, lambda each: each.digest), ?)", dataset_digest)
    decided = Conditions()
    decided.add("verdict = ?", verdict)
    decided.add("is_presentable = ?", is_presentable)
    if runs:
        decided.add(f"run_index IN (SELECT entry_index FROM run_started WHERE {runs})", *runs.parameters)
    conditions = Conditions()
    conditions.add("recorded_at_ns >= ?", recorded_from_ns)
    conditions.add("recorded_at_ns < ?", recorded_until_ns)
    if decided:
        conditions.add(
            f"decision_index IN (SELECT entry_index FROM run_decided WHERE {decided})", *decided.parameters
        )
    return RECEIPTS.page(connection, conditions, before=before, limit=limit)


def get_receipt(connection: DuckDBPyConnection, receipt_id: str) -> ReceiptSummary:
    """A receipt by its id.  Raises: UnknownRowError."""
    return RECEIPTS.one(connection, "receipt_id", receipt_id)


def list_replays(
    connection: DuckDBPyConnection, receipt_id: str, *, before: int | None = None, limit: int = PAGE_ROWS
) -> Page[Replay]:
    """Replays of a receipt, newest first."""
    conditions = Conditions()
    conditions.add("receipt_id = ?", receipt_id)
    return REPLAYS.page(connection, conditions, before=before, limit=limit)
