"""Names of facts: by them an entry is found again, and the same fact is not recorded twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from domain.canonical import canonical_json
from domain.events import (
    BatchIngested,
    BatchQuarantined,
    DatasetDerived,
    Event,
    LedgerRestored,
    RecallDeclared,
    ReceiptsRecalled,
    RunGatesDecided,
    RunStarted,
    StatementAdded,
    SubjectErased,
)


def unique_key(event: Event) -> str:
    """The name of the fact itself: a second event with the same name is the same fact again, and is not
    appended.  Empty when an event may repeat."""
    name = _UNIQUE.get(type(event))
    return name(event) if name is not None else ""


def run_name(run_id: str) -> str:
    """The name of a run's start."""
    return f"run/{run_id}"


def decided_name(run_id: str) -> str:
    """The name of a run's decision; its receipt is the next entry."""
    return f"decided/{run_id}"


def recall_name(kind: str, target: str) -> str:
    """The name of a recall, by what it withdraws."""
    return f"recall/{kind}/{target}"


def statement_name(statement: bytes) -> str:
    """The name of a statement: the same bytes are the same statement."""
    return f"statement/{hashlib.sha256(statement).hexdigest()}"


def _batch(event: BatchIngested) -> str:
    name = f"batch/{event.source_id}/{event.kind}/{event.digest}"
    if not event.format_options:
        return name
    return f"{name}/{hashlib.sha256(canonical_json(event.format_options)).hexdigest()}"


def _quarantined(event: BatchQuarantined) -> str:
    return f"quarantined/{event.batch_id}/{event.stage}/{event.procedure}/{event.procedure_version}"


def _restored(event: LedgerRestored) -> str:
    return f"restored/{hashlib.sha256(event.seen.encode()).hexdigest()}"


_UNIQUE: dict[type, Callable[[Any], str]] = {
    BatchIngested: _batch,
    DatasetDerived: lambda event: f"derived/{event.batch_id}",
    BatchQuarantined: _quarantined,
    RunStarted: lambda event: run_name(event.run_id),
    RunGatesDecided: lambda event: decided_name(event.run_id),
    RecallDeclared: lambda event: recall_name(event.kind, event.target),
    ReceiptsRecalled: lambda event: f"recalled/{event.recall_id}/{event.part}",
    StatementAdded: lambda event: statement_name(event.statement),
    SubjectErased: lambda event: f"erased/{event.subject_key_id}",
    LedgerRestored: _restored,
}
