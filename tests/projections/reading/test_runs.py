"""Runs: filters, pages, and everything about one."""

from __future__ import annotations

from typing import TypeVar

import pytest
from duckdb import DuckDBPyConnection

from domain.errors import InvalidError
from domain.event_codec import decode_event
from domain.events import RunGatesDecided, RunStarted
from domain.outcomes import Outcome
from projections.errors import UnknownRowError
from projections.reading.rows import PAGE_ROWS_MAX
from projections.reading.runs import RunSummary, get_run, list_runs
from tests.projections.opened import opened
from tests.projections.reading.known import Known
from tests.projections.story import tell

T = TypeVar("T")


def ids(items: tuple[RunSummary, ...]) -> list[str]:
    return [run.run_id for run in items]


def test_runs_are_listed_newest_first(connection: DuckDBPyConnection) -> None:
    runs = list_runs(connection).items
    assert len(runs) == 6
    assert [run.run_index for run in runs] == sorted((run.run_index for run in runs), reverse=True)


def test_runs_are_found_by_what_is_asked(connection: DuckDBPyConnection, told: Known) -> None:
    assert ids(list_runs(connection, verdict="fail").items) == [told.failed_run]
    assert ids(list_runs(connection, verdict="borderline").items) == [told.borderline_run]
    assert ids(list_runs(connection, status="started").items) == [told.open_run]
    assert ids(list_runs(connection, status="decided").items) == []
    assert len(list_runs(connection, status="receipted").items) == 5
    assert list_runs(connection, status="no such").items == ()
    assert len(list_runs(connection, source_id="logger-1").items) == 3
    assert len(list_runs(connection, procedure="oura.sleep").items) == 3
    assert ids(list_runs(connection, is_presentable=False).items) == [told.failed_run]
    assert len(list_runs(connection, dataset_digest=told.dataset_digest).items) == 3
    both = list_runs(connection, source_id="logger-1", verdict="pass").items
    assert ids(both) == [told.passed_run]
    assert list_runs(connection, source_id="'; DROP TABLE run_started; --").items == ()


def test_runs_are_found_by_time(connection: DuckDBPyConnection, told: Known) -> None:
    run = get_run(connection, told.borderline_run).run
    assert run.start_ns is not None
    assert run.end_ns is not None
    at = list_runs(
        connection, started_from_ns=run.started_at_ns, started_until_ns=run.started_at_ns + 1
    ).items
    assert ids(at) == [told.borderline_run]
    data = list_runs(connection, data_from_ns=run.end_ns - 1, data_until_ns=run.end_ns).items
    assert told.borderline_run in ids(data)
    assert told.borderline_run not in ids(list_runs(connection, data_from_ns=run.end_ns).items)
    assert told.borderline_run not in ids(list_runs(connection, data_until_ns=run.start_ns).items)


def test_pages_together_are_the_whole_list(connection: DuckDBPyConnection) -> None:
    whole = list_runs(connection).items
    found: tuple[RunSummary, ...] = ()
    before = None
    while True:
        page = list_runs(connection, before=before, limit=2)
        assert len(page.items) <= 2
        found += page.items
        if page.next_before is None:
            break
        before = page.next_before
    assert found == whole


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_without_rows_is_refused(connection: DuckDBPyConnection, limit: int) -> None:
    with pytest.raises(InvalidError):
        list_runs(connection, limit=limit)


def test_a_page_is_never_larger_than_its_bound(connection: DuckDBPyConnection) -> None:
    assert list_runs(connection, limit=10**9).next_before is None
    assert PAGE_ROWS_MAX <= 1_000


def test_a_run_has_all_that_its_events_say(connection: DuckDBPyConnection, told: Known) -> None:
    detail = get_run(connection, told.borderline_run)
    run = detail.run
    started = decoded(told, run.run_index, RunStarted)
    assert run.decision_index is not None
    decided = decoded(told, run.decision_index, RunGatesDecided)
    assert detail.gates == decided.gates
    assert detail.artifacts == decided.artifacts
    assert detail.datasets == started.datasets
    assert detail.deployment_index == started.deployment_index
    assert (detail.configuration_index, detail.calibration_index) == (
        started.configuration_index,
        started.calibration_index,
    )
    assert [(window.start_ns, window.end_ns) for window in detail.windows] == [
        (window.start_ns, window.end_ns) for window in decided.windows
    ]
    assert [window.score for window in detail.windows] == list(decided.window_scores)
    assert run.score_min == min(score for score in decided.window_scores if score is not None)
    assert (run.status, run.verdict, run.reason) == ("receipted", "borderline", "limit_exceeded")
    assert run.window_count == 2
    assert run.receipt_id == told.borderline_receipt


def test_a_window_says_the_worst_that_its_gates_said(connection: DuckDBPyConnection, told: Known) -> None:
    assert {window.outcome for window in get_run(connection, told.borderline_run).windows} == {
        Outcome.BORDERLINE
    }
    assert {window.outcome for window in get_run(connection, told.failed_run).windows} == {Outcome.FAIL}


def test_a_run_that_still_runs_has_no_verdict(connection: DuckDBPyConnection, told: Known) -> None:
    detail = get_run(connection, told.open_run)
    assert (detail.run.status, detail.run.verdict, detail.run.receipt_id) == ("started", None, None)
    assert (detail.windows, detail.gates, detail.artifacts) == ((), (), ())


def test_a_replaced_and_a_recalled_receipt_say_so(connection: DuckDBPyConnection, told: Known) -> None:
    failed = get_run(connection, told.failed_run).run
    assert (failed.receipt_status, failed.superseded_by) == ("superseded", told.better_receipt)
    better = get_run(connection, told.better_run).run
    assert (better.receipt_status, better.supersedes) == ("valid", told.failed_receipt)
    assert get_run(connection, told.borderline_run).run.receipt_status == "recalled"


def test_an_unknown_run_is_unknown(connection: DuckDBPyConnection) -> None:
    with pytest.raises(UnknownRowError) as caught:
        get_run(connection, "r-nobody")
    assert caught.value.identifier == "r-nobody"


def test_every_window_of_a_long_story_agrees_with_the_decision(connection: DuckDBPyConnection) -> None:
    """The views against the events, over everything chance made."""
    story = tell(77, rounds=10, window_count=5)
    decisions = {
        event.run_id: event
        for record in story.records
        if isinstance(event := decode_event(record.event_type, record.payload), RunGatesDecided)
    }
    with opened(None, story.records) as view, view.cursor() as cursor:
        for run_id, decided in decisions.items():
            detail = get_run(cursor, run_id)
            assert detail.gates == decided.gates
            assert detail.run.verdict == decided.verdict
            expected = [
                max((gate.outcomes[i] for gate in decided.gates if gate.required), key="pbaf".index)
                for i in range(len(decided.windows))
            ]
            for window, letter in zip(detail.windows, expected, strict=True):
                assert "pbaf".index(window.outcome[0]) >= "pbaf".index(letter)
        summed = cursor.execute("SELECT count(*), count(value) FROM telemetry").fetchall()
        values = [value for each in decisions.values() for track in each.metrics for value in track.values]
        assert summed == [(len(values), sum(value is not None for value in values))]


def decoded(told: Known, index: int, kind: type[T]) -> T:
    record = told.story.records[index]
    event = decode_event(record.event_type, record.payload)
    assert isinstance(event, kind)
    return event
