"""Runs: what was run, what the gates said of every window, and the measurements over time."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import get
from litestar.params import FromQuery, QueryParameter

from api.authentication import READ
from api.history import HistoryEntry, history_of_run
from api.openapi import documented
from api.parameters import AtTime, OfProcedure, OfRun, OfSource, RunId
from api.routes.paging import Page, PageSize, PageToken, size_of, start_of, token_of
from api.telemetry import PARTS_DEFAULT, PARTS_MAX, Telemetry, read_telemetry
from api.tenancy import Caller
from domain.errors import InvalidError
from domain.outcomes import Outcome
from projections.reading import runs as reading
from projections.reading.runs import RunDetail, RunSummary


@get("/runs", opt=READ, summary="Runs", tags=["runs"], responses=documented("view"))
async def list_runs(
    caller: Caller,
    source: OfSource = None,
    procedure: OfProcedure = None,
    verdict: FromQuery[Outcome | None] = None,
    is_presentable: FromQuery[bool | None] = None,
    status: FromQuery[Literal["started", "decided", "receipted"] | None] = None,
    started_from_ns: AtTime = None,
    started_until_ns: AtTime = None,
    page_size: PageSize = 0,
    page_token: PageToken = "",
) -> Page[RunSummary]:
    """Runs, newest first, with their verdicts; one with ``is_presentable`` false is withheld."""
    asked = ("runs", source, procedure, verdict, is_presentable, status, started_from_ns, started_until_ns)
    page = await caller.query(
        reading.list_runs,
        source_id=source,
        procedure=procedure,
        verdict=verdict,
        is_presentable=is_presentable,
        status=status,
        started_from_ns=started_from_ns,
        started_until_ns=started_until_ns,
        before=start_of(page_token, caller.page_secret, *asked),
        limit=size_of(page_size),
    )
    return Page(items=page.items, next_page_token=token_of(page.next_before, caller.page_secret, *asked))


@get(
    "/runs/{run_id:str}",
    opt=READ,
    summary="One run",
    tags=["runs"],
    responses=documented("unknown", "view"),
)
async def get_run(caller: Caller, run_id: RunId) -> RunDetail:
    """A run with everything it rests on, its windows, and what each gate said.

    A gate's figures are evidence, and are shown of withheld runs, too; results are in the artifacts.
    """
    return await caller.query(reading.get_run, run_id)


@get(
    "/runs/{run_id:str}/history",
    opt=READ,
    summary="What led to a run and what came of it",
    tags=["runs"],
    responses=documented("unknown"),
)
async def get_run_history(caller: Caller, run_id: RunId) -> list[HistoryEntry]:
    """The ledger's entries of a run in order, each with those that caused it."""
    return await history_of_run(caller.desk, run_id)


@get(
    "/telemetry",
    opt=READ,
    summary="A metric over time",
    tags=["runs"],
    responses=documented("unknown", "invalid", "view"),
)
async def get_telemetry(
    caller: Caller,
    metric: Annotated[
        str, QueryParameter(min_length=1, max_length=128, description="Such as sampling.gap_ratio")
    ],
    source: OfSource = None,
    run_id: OfRun = None,
    procedure: OfProcedure = None,
    from_ns: AtTime = None,
    until_ns: AtTime = None,
    parts: Annotated[
        int,
        QueryParameter(
            ge=2, le=PARTS_MAX, description="At most so many parts; more windows are put together"
        ),
    ] = PARTS_DEFAULT,
) -> Telemetry:
    """A metric of a source or of one run, window by window, or in parts of one width when there are more.

    Of withheld runs only metrics that their gates looked at are shown; an auditor sees all.
    """
    if source is None and run_id is None:
        raise InvalidError("telemetry is of a source or of a run", expected="source or run_id")
    if source is not None:
        caller.desk.source(source)
    if run_id is not None:
        await caller.query(reading.get_run, run_id)
    return await caller.query(
        read_telemetry,
        metric=metric,
        source_id=source,
        run_id=run_id,
        procedure=procedure,
        from_ns=from_ns,
        until_ns=until_ns,
        parts_max=parts,
        is_auditor=caller.is_auditor,
    )
