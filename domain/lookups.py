"""Names by which an entry can be found again, and which of them may occur only once."""

from __future__ import annotations

import hashlib

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
    match event:
        case BatchIngested():
            return f"batch/{event.source_id}/{event.kind}/{event.digest}"
        case DatasetDerived():
            return f"derived/{event.batch_id}"
        case BatchQuarantined():
            return f"quarantined/{event.batch_id}/{event.stage}/{event.procedure}/{event.procedure_version}"
        case RunStarted():
            return f"run/{event.run_id}"
        case RunGatesDecided():
            return f"decided/{event.run_id}"
        case RecallDeclared():
            return recall_name(event.kind, event.target)
        case ReceiptsRecalled():
            return f"recalled/{event.recall_id}/{event.part}"
        case StatementAdded():
            return statement_name(event.statement)
        case SubjectErased():
            return f"erased/{event.subject_key_id}"
        case LedgerRestored():
            return f"restored/{hashlib.sha256(event.seen.encode()).hexdigest()}"
        case _:
            return ""


def batch_name(batch_id: str) -> str:
    """Lookup name of a batch by its id."""
    return f"batch-id/{batch_id}"


def recall_name(kind: str, target: str) -> str:
    """Lookup name of a recall by what it withdraws."""
    return f"recall/{kind}/{target}"


def statement_name(statement: bytes) -> str:
    """Lookup name of a statement: the same bytes are the same statement."""
    return f"statement/{hashlib.sha256(statement).hexdigest()}"


def dataset_name(digest: str) -> str:
    """Lookup name of the first event that brought a dataset digest."""
    return f"dataset/{digest}"


def lookup_names(event: Event, subject: str) -> tuple[str, ...]:
    """Every name under which the entry of ``event`` can be found; the first entry with a name keeps it."""
    names = [name for name in (unique_key(event),) if name]
    match event:
        case BatchIngested():
            names.append(batch_name(event.batch_id))
        case DatasetDerived():
            names.append(dataset_name(event.digest))
        case BatchQuarantined():
            names.append(f"quarantined/{event.batch_id}")
        case _:
            if subject.startswith("receipt/"):
                names.append(subject)
    return tuple(names)
