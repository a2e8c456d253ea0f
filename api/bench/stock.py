"""The reference for appends: an eventsourcing application on SQLite, as the library ships it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from domain.events import BatchIngested


class Source(Aggregate):
    """A source with the same facts as ours, one aggregate event each."""

    @event("Ingested")
    def ingest(
        self,
        batch_id: str,
        source_id: str,
        kind: str,
        media_type: str,
        byte_count: int,
        digest: str,
        is_encrypted: bool,
        received_at_ns: int,
    ) -> None:
        """A batch was ingested."""


class Notebook(Aggregate):
    """Takes any body, as plain JSON values."""

    @event("Noted")
    def note(self, body: dict[str, Any]) -> None:
        """Something was noted."""


def stock_notebook(bodies: Sequence[dict[str, Any]]) -> Notebook:
    """A new notebook with one event for its creation and one for each body."""
    notebook = Notebook()
    for body in bodies:
        notebook.note(body=body)
    return notebook


def stock_application(path: Path) -> Application[UUID]:
    """An application whose events are kept in this file, with the settings the library brings."""
    return Application(env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)})


def stock_source(batches: list[BatchIngested]) -> Source:
    """A new source with one event for its creation and one for each batch."""
    source = Source()
    for batch in batches:
        record_batch(source, batch)
    return source


def record_batch(source: Source, batch: BatchIngested) -> None:
    """Let the source record a batch."""
    source.ingest(
        batch_id=batch.batch_id,
        source_id=batch.source_id,
        kind=batch.kind,
        media_type=batch.media_type,
        byte_count=batch.byte_count,
        digest=batch.digest,
        is_encrypted=batch.is_encrypted,
        received_at_ns=batch.received_at_ns,
    )
