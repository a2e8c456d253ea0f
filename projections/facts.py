"""The fact tables: what the view keeps of each event.

A *fact table* holds one kind of event and is only ever appended to; every row starts with ``entry_index``
and ``recorded_at_ns`` of the entry that brought it.  That is why rows cannot differ with the way a ledger
was cut into batches, and why folding an entry twice is prevented by one comparison of positions.  What
people ask for (``runs``, ``telemetry``, ``provider_health`` …) are SQL views over facts
(``projections.schema``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import pyarrow as pa
from msgspec import Raw, Struct

from domain import events
from projections import bodies
from projections.bodies import METRICS, NUMBERS, WINDOWS, Nested


class Column(Struct, frozen=True):
    """A stored column: ``expression`` reads it from the staged Arrow column of the same name; ``carry``
    turns what the body holds into what Arrow takes (JSON text into bytes), ``None`` where it is taken as it
    is."""

    name: str
    sql_type: str
    arrow_type: Any
    expression: str
    carry: Callable[[Any], bytes] | None = None


class FactTable:
    """An append-only table.

    ``columns`` and ``schema`` say how its rows are staged in Arrow; ``insert`` appends them from the relation
    ``staged_<name>``; ``derived`` are further columns computed from the stored ones: name to (SQL type,
    expression).  Where rows are staged in another form than they are stored in, ``staged`` are its columns,
    and ``rows`` is the question that gives what is stored.
    """

    def __init__(
        self,
        name: str,
        columns: tuple[Column, ...],
        derived: Mapping[str, tuple[str, str]] | None = None,
        *,
        staged: tuple[Column, ...] = (),
        rows: str = "",
    ) -> None:
        computed = derived or {}
        self.name = name
        self.columns = staged or columns
        self.schema = pa.schema([(each.name, each.arrow_type) for each in self.columns])
        kinds = [
            *((each.name, each.sql_type) for each in columns),
            *((n, k) for n, (k, _) in computed.items()),
        ]
        self.definition = f"CREATE TABLE {name} ({', '.join(f'{_quoted(n)} {kind}' for n, kind in kinds)})"
        read = ", ".join(f"{each.expression} AS {_quoted(each.name)}" for each in columns)
        expressions = "".join(f", {expression}" for _, expression in computed.values())
        self.insert = (
            f"INSERT INTO {name} ({', '.join(_quoted(n) for n, _ in kinds)})"
            f" {rows or f'SELECT *{expressions} FROM (SELECT {read} FROM staged_{name})'}"
        )


def column(name: str, kind: str, nested: Nested | None = None) -> Column:
    """A column of SQL type ``kind``, or JSON text that becomes ``nested``."""
    if nested is not None:
        return Column(
            name,
            nested.sql_type,
            pa.string(),
            f"from_json_strict(\"{name}\", '{nested.structure}')",
            nested.carry,
        )
    required = " NOT NULL" if name in ("entry_index", "recorded_at_ns") else ""
    return Column(name, kind + required, _ARROW_TYPES[kind], f'"{name}"')


def columns_of(body: type[Struct], *names: str) -> tuple[Column, ...]:
    """One column per field of ``body`` (or for the named ones), by the field's annotation."""
    hints = get_type_hints(body, include_extras=True)
    return tuple(_column_of(name, hints[name]) for name in names or hints)


def _column_of(name: str, hint: Any) -> Column:
    if get_origin(hint) is Annotated:
        return column(name, "VARCHAR", get_args(hint)[1])
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    if hint is Raw:
        return _json_text(name)
    return column(name, _SQL_TYPES[hint])


def _json_text(name: str) -> Column:
    # JSON text is long and alike; trying every other compression on it costs more than writing it.
    return Column(name, "VARCHAR USING COMPRESSION zstd", pa.string(), f'"{name}"', bytes)


def _quoted(name: str) -> str:
    return f'"{name}"'


_SQL_TYPES: Final = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"}
_ARROW_TYPES: Final = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
}
_PLACE: Final = (column("entry_index", "BIGINT"), column("recorded_at_ns", "BIGINT"))

# Events whose rows are their bodies.
FLAT: Final[Mapping[str, tuple[type[Struct], FactTable]]] = {
    event_type: (body, FactTable(name, (*_PLACE, *columns_of(body)), derived))
    for event_type, body, name, derived in (
        (events.DeviceRegistered.TYPE, bodies.DeviceRegistered, "device_registered", {}),
        (events.DeviceConfigured.TYPE, bodies.DeviceConfigured, "device_configured", {}),
        (events.ConnectionRegistered.TYPE, bodies.ConnectionRegistered, "connection_registered", {}),
        (events.SubjectErased.TYPE, bodies.SubjectErased, "subject_erased", {}),
        (events.CalibrationSet.TYPE, bodies.CalibrationSet, "calibration_set", {}),
        (events.ContractPublished.TYPE, bodies.ContractPublished, "contract_published", {}),
        (events.ProcedureDeployed.TYPE, bodies.ProcedureDeployed, "procedure_deployed", {}),
        (events.BatchIngested.TYPE, bodies.BatchIngested, "batch_ingested", {}),
        (events.DatasetDerived.TYPE, bodies.DatasetDerived, "dataset_derived", {}),
        (events.BatchQuarantined.TYPE, bodies.BatchQuarantined, "batch_quarantined", {}),
        (
            events.RunStarted.TYPE,
            bodies.RunStarted,
            "run_started",
            {"batch_index": ("BIGINT", "datasets[1].batch_index")},
        ),
        (events.ReceiptReplayed.TYPE, bodies.ReceiptReplayed, "receipt_replayed", {}),
        (events.RecallDeclared.TYPE, bodies.RecallDeclared, "recall_declared", {}),
        (events.ReceiptsRecalled.TYPE, bodies.ReceiptsRecalled, "receipts_recalled", {}),
    )
}
# Known, and nothing of them is shown: they are the ledger's own business, or not about measurements.
WITHOUT_ROWS: Final = frozenset(
    {
        events.LedgerOpened.TYPE,
        events.KeyCreated.TYPE,
        events.KeyRotated.TYPE,
        events.KeyRevoked.TYPE,
        events.KeyCompromised.TYPE,
        events.TopicsCommitted.TYPE,
        events.TenantCheckpointed.TYPE,
        events.StatementAdded.TYPE,
        events.LedgerRestored.TYPE,
        events.CheckpointTimestamped.TYPE,
    }
)

RUN_DECIDED: Final = FactTable(
    "run_decided",
    (
        *_PLACE,
        column("run_index", "BIGINT"),
        column("reason", "VARCHAR"),
        column("window_outcomes", "VARCHAR"),
        *columns_of(bodies.RunGatesDecided, "run_id", "verdict", "is_presentable", "failure"),
        column("windows", "VARCHAR", WINDOWS),
        column("scores", "VARCHAR", NUMBERS),
        *columns_of(bodies.RunGatesDecided, "gates", "artifacts"),
    ),
    {
        "start_ns": ("BIGINT", "list_min(list_transform(windows, lambda each: each.start_ns))"),
        "end_ns": ("BIGINT", "list_max(list_transform(windows, lambda each: each.end_ns))"),
    },
)
# The metrics of a run are staged as the JSON text that they are: the database takes apart what has eighteen
# parts quicker than Python does, and does it beside Python.  Reasons that say nothing are left out, because
# most do, and they are long.
METRIC_TRACK: Final = FactTable(
    "metric_track",
    (
        *_PLACE,
        column("run_index", "BIGINT"),
        column("position", "BIGINT"),
        column("metric", "VARCHAR"),
        column("unit", "VARCHAR"),
        column("track", "VARCHAR", NUMBERS),
        _json_text("reasons"),
    ),
    staged=(
        *_PLACE,
        column("run_index", "BIGINT"),
        *columns_of(bodies.RunGatesDecided, "metrics"),
    ),
    rows=f"""
SELECT entry_index, recorded_at_ns, run_index, position,
    coalesce(each.name, error('a metric has no name')), coalesce(each.unit, error('a metric has no unit')),
    coalesce(each."values", error('a metric has no values')),
    CASE WHEN NOT regexp_full_match(said.reasons, '\\[("none"(,"none")*)?\\]') THEN said.reasons END
FROM (
    SELECT *, generate_subscripts(tracks, 1) - 1 AS position, unnest(tracks) AS each, unnest(reasons) AS said
    FROM (
        SELECT *, coalesce(from_json_strict(metrics, '{METRICS}'), error('no metrics')) AS tracks,
            CASE WHEN contains(metrics, '"reasons"') THEN from_json(metrics, '[{{"reasons":"VARCHAR"}}]') END
            AS reasons
        FROM staged_metric_track
    )
)""",
)
# Gates that did not simply pass; all of them, window by window, are JSON text in ``run_decided``, because
# people look at the gates of one run at a time and at the concerns of many.
CONCERN: Final = FactTable(
    "concern",
    (
        *_PLACE,
        column("run_index", "BIGINT"),
        column("position", "BIGINT"),
        *columns_of(bodies.Gate, "gate_id", "outcome", "reason", "required"),
    ),
)
RECEIPT_ISSUED: Final = FactTable(
    "receipt_issued", (*_PLACE, column("receipt_id", "VARCHAR"), column("decision_index", "BIGINT"))
)

FACT_TABLES: Final = (
    *(table for _, table in FLAT.values()),
    RUN_DECIDED,
    METRIC_TRACK,
    CONCERN,
    RECEIPT_ISSUED,
)
# Every event type that this version of the view understands; any other stops it.
UNDERSTOOD: Final = frozenset(FLAT) | WITHOUT_ROWS | {events.RunGatesDecided.TYPE, events.ReceiptIssued.TYPE}
