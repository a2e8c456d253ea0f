"""Receipts: status, replays, and what rests on a dataset."""

from __future__ import annotations

import pytest
from duckdb import DuckDBPyConnection

from projections.errors import UnknownRowError
from projections.reading.receipts import get_receipt, list_receipts, list_replays
from tests.projections.reading.known import Known


def test_receipts_are_listed_with_their_runs(connection: DuckDBPyConnection, told: Known) -> None:
    receipts = list_receipts(connection).items
    assert len(receipts) == 5
    assert {receipt.receipt_id: receipt.status for receipt in receipts}.items() >= {
        told.passed_receipt: "valid",
        told.failed_receipt: "superseded",
        told.borderline_receipt: "recalled",
        told.better_receipt: "valid",
    }.items()
    for receipt in receipts:
        assert told.story.records[receipt.receipt_index].event_type == "receipt.issued.v1"
        assert told.story.records[receipt.decision_index].event_type == "run.gates_decided.v1"


def test_receipts_are_found_by_what_is_asked(connection: DuckDBPyConnection, told: Known) -> None:
    def found(**asked: object) -> set[str]:
        return {receipt.receipt_id for receipt in list_receipts(connection, **asked).items}  # type: ignore[arg-type]

    assert found(source_id="logger-1") == {told.passed_receipt, told.borderline_receipt}
    assert found(dataset_digest=told.dataset_digest) == {told.passed_receipt, told.borderline_receipt}
    assert found(verdict="fail") == {told.failed_receipt}
    assert found(is_presentable=False) == {told.failed_receipt}
    assert found(procedure="coherence", verdict="pass") == {told.passed_receipt}
    at = get_receipt(connection, told.better_receipt).recorded_at_ns
    assert found(recorded_from_ns=at, recorded_until_ns=at + 1) == {told.better_receipt}
    page = list_receipts(connection, limit=2)
    assert page.next_before == page.items[-1].receipt_index
    assert len(list_receipts(connection, before=page.next_before).items) == 3


def test_a_receipt_tells_of_its_replays(connection: DuckDBPyConnection, told: Known) -> None:
    receipt = get_receipt(connection, told.passed_receipt)
    assert (receipt.replay_count, receipt.diverged_count) == (2, 1)
    assert receipt.last_replay_result == "diverged"
    replays = list_replays(connection, told.passed_receipt).items
    assert [replay.result for replay in replays] == ["diverged", "reproduced"]
    assert replays[0].first_difference
    untouched = get_receipt(connection, told.better_receipt)
    assert (untouched.replay_count, untouched.last_replay_result) == (0, None)


def test_a_recalled_receipt_names_its_recall(connection: DuckDBPyConnection, told: Known) -> None:
    assert get_receipt(connection, told.borderline_receipt).recall_id == told.recall


def test_an_unknown_receipt_is_unknown(connection: DuckDBPyConnection) -> None:
    with pytest.raises(UnknownRowError):
        get_receipt(connection, "t-nobody")
    assert list_replays(connection, "t-nobody").items == ()
