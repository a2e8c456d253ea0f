"""Runs: what was started, what became of it, and everything the gates said."""

from __future__ import annotations

from typing import Final

import msgspec
from duckdb import DuckDBPyConnection
from msgspec import Struct

from domain.events import ArtifactReference, DatasetReference, GateTrack
from domain.outcomes import Outcome
from projections.reading.rows import PAGE_ROWS, Conditions, Listing, Page


class RunSummary(Struct, frozen=True, kw_only=True):
    """A run in a list.  ``status`` is ``started``, ``decided`` or ``receipted``; what is not known yet is
    ``None``.

    ``score_min`` and ``score_median`` are over the windows' validity in 0..1; ``start_ns`` and ``end_ns``
    bound its windows (``None`` where instants are personal).  ``receipt_status`` is ``valid``, ``withheld``,
    ``superseded`` or ``recalled``; ``supersedes`` and ``superseded_by`` are receipt ids.
    """

    run_index: int
    run_id: str
    status: str
    source_id: str
    procedure: str
    procedure_version: str
    started_at_ns: int
    decided_at_ns: int | None
    verdict: str | None
    is_presentable: bool | None
    reason: str | None
    failure: str | None
    start_ns: int | None
    end_ns: int | None
    window_count: int | None
    score_min: float | None
    score_median: float | None
    decision_index: int | None
    receipt_index: int | None
    receipt_id: str | None
    receipt_status: str | None
    supersedes: str
    superseded_by: str | None


class RunWindow(Struct, frozen=True, kw_only=True):
    """A window of a run: ``[start_ns, end_ns)`` in Unix nanoseconds, its validity in 0..1 and the worst its
    gates said of it."""

    start_ns: int | None
    end_ns: int | None
    score: float | None
    outcome: Outcome


class RunDetail(Struct, frozen=True, kw_only=True):
    """A run with what it rests on (ledger indices), its windows, gates and artifacts."""

    run: RunSummary
    deployment_index: int
    contract_index: int
    source_index: int
    configuration_index: int | None
    calibration_index: int | None
    datasets: tuple[DatasetReference, ...]
    windows: tuple[RunWindow, ...]
    gates: tuple[GateTrack, ...]
    artifacts: tuple[ArtifactReference, ...]


RUNS: Final = Listing("run", RunSummary, "runs", "run_index", "run_started")
_OUTCOMES: Final = {"p": Outcome.PASS, "b": Outcome.BORDERLINE, "f": Outcome.FAIL, "a": Outcome.ABSTAIN}


def list_runs(
    connection: DuckDBPyConnection,
    *,
    source_id: str | None = None,
    procedure: str | None = None,
    status: str | None = None,
    verdict: str | None = None,
    is_presentable: bool | None = None,
    dataset_digest: str | None = None,
    started_from_ns: int | None = None,
    started_until_ns: int | None = None,
    data_from_ns: int | None = None,
    data_until_ns: int | None = None,
    before: int | None = None,
    limit: int = PAGE_ROWS,
) -> Page[RunSummary]:
    """Runs by descending index of their start, those before index ``before``.

    ``started_*`` bound the time the run was started, ``data_*`` the time its windows cover; both are half
    open. Raises: InvalidError for a limit below 1.
    """
    started = Conditions()
    started.add("source_id = ?", source_id)
    started.add("procedure = ?", procedure)
    started.add("recorded_at_ns >= ?", started_from_ns)
    started.add("recorded_at_ns < ?", started_until_ns)
    started.add("list_contains(list_transform(datasets, lambda each: each.digest), ?)", dataset_digest)
    decided = Conditions()
    decided.add("verdict = ?", verdict)
    decided.add("is_presentable = ?", is_presentable)
    decided.add("end_ns > ?", data_from_ns)
    decided.add("start_ns < ?", data_until_ns)
    if decided:
        started.add(
            f"entry_index IN (SELECT run_index FROM run_decided WHERE {decided})", *decided.parameters
        )
    if status is not None:
        started.add(_STATUS.get(status, "false"))
    return RUNS.page(connection, started, before=before, limit=limit)


_STATUS: Final = {
    "started": "entry_index IN (SELECT run_index FROM open_run)",
    "decided": "entry_index IN (SELECT run_index FROM run_decided ANTI JOIN receipt_issued"
    " ON decision_index = run_decided.entry_index)",
    "receipted": "entry_index IN (SELECT run_index FROM run_decided SEMI JOIN receipt_issued"
    " ON decision_index = run_decided.entry_index)",
}


def get_run(connection: DuckDBPyConnection, run_id: str) -> RunDetail:
    """A run with its windows, gates and artifacts.  Raises: UnknownRowError."""
    run = RUNS.one(connection, "run_id", run_id)
    started = connection.execute(
        "SELECT deployment_index, contract_index, source_index, configuration_index, calibration_index,"
        " datasets FROM run_started WHERE entry_index = ?",
        [run.run_index],
    ).fetchall()[0]
    decided = connection.execute(
        "SELECT windows, scores, window_outcomes, gates, artifacts FROM run_decided WHERE run_index = ?",
        [run.run_index],
    ).fetchall()
    windows, scores, outcomes, gates, artifacts = decided[0] if decided else ((), (), "", "[]", "[]")
    return RunDetail(
        run=run,
        deployment_index=started[0],
        contract_index=started[1],
        source_index=started[2],
        configuration_index=started[3],
        calibration_index=started[4],
        datasets=tuple(DatasetReference(**dataset) for dataset in started[5]),
        windows=tuple(
            RunWindow(**window, score=score, outcome=_OUTCOMES[letter])
            for window, score, letter in zip(windows, scores, outcomes, strict=True)
        ),
        gates=msgspec.json.decode(gates, type=tuple[GateTrack, ...]),
        artifacts=msgspec.json.decode(artifacts, type=tuple[ArtifactReference, ...]),
    )
