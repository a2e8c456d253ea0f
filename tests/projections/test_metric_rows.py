"""What a view keeps of a run's metrics: one row each, and reasons only where they say something."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ledger.ports import Record
from projections.errors import ProjectionStoppedError
from projections.fold import Position, fold
from projections.view import View
from tests.projections.opened import opened, rows
from tests.projections.story import LEDGER, tell

STORY = tell(61, rounds=2)
AT = next(record.index for record in STORY.records if record.event_type == "run.gates_decided.v1")


def told(metrics: Any) -> list[Record]:
    """A history whose first decided run has these metrics."""
    record = STORY.records[AT]
    body = json.loads(record.payload) | {"metrics": metrics}
    payload = json.dumps(body, separators=(",", ":"), sort_keys=True).encode()
    changed = Record(
        index=AT,
        event_id=record.event_id,
        event_type=record.event_type,
        entry=record.entry,
        payload=payload,
        seal=record.seal,
    )
    return [*STORY.records[:AT], changed]


def metric(**more: Any) -> dict[str, Any]:
    return {"name": "a.b", "unit": "s", "values": [1, 2.5]} | more


@pytest.mark.parametrize(
    ("reasons", "stored"),
    [
        (None, None),
        ([], None),
        (["none", "none"], None),
        (["none"], None),
        (["none", "gap"], '["none","gap"]'),
        (["gap", "none"], '["gap","none"]'),
        (["nonesuch", "none"], '["nonesuch","none"]'),
    ],
)
def test_reasons_are_kept_where_a_window_has_one(reasons: list[str] | None, stored: str | None) -> None:
    mine = metric() if reasons is None else metric(reasons=reasons)
    others = [metric(name="first"), metric(name="last", values=[None, 7], reasons=["gap", "none"])]
    with opened(None, told([others[0], mine, others[1]])) as view:
        found = rows(
            view, "SELECT position, metric, unit, track, reasons FROM metric_track ORDER BY position"
        )
    assert found == [
        (0, "first", "s", [1.0, 2.5], None),
        (1, "a.b", "s", [1.0, 2.5], stored),
        (2, "last", "s", [None, 7.0], '["gap","none"]'),
    ]


def test_guard_bands_and_what_a_newer_version_adds_are_passed_over() -> None:
    with opened(None, told([metric(guard_bands=[0.1, 0.2], shade="blue")])) as view:
        assert rows(view, "SELECT metric, track FROM metric_track") == [("a.b", [1.0, 2.5])]


def test_a_run_without_metrics_has_no_rows() -> None:
    with opened(None, told([])) as view:
        assert rows(view, "SELECT * FROM metric_track") == []
        assert rows(view, "SELECT count(*) FROM run_decided") == [(1,)]


@pytest.mark.parametrize(
    "metrics",
    [
        None,
        [None],
        {},
        ["a"],
        [{"name": "a", "unit": "s"}],
        [{"name": "a", "values": [1]}],
        [{"unit": "s", "values": [1]}],
        [metric(name=None)],
        [metric(unit=None)],
        [metric(values=None)],
        [metric(values=["one"])],
        [metric(values=[{}])],
        [metric(), metric(values="1")],
    ],
)
def test_metrics_that_cannot_be_read_stop_the_view_before_them(metrics: Any) -> None:
    view = View(None, LEDGER)
    with pytest.raises(ProjectionStoppedError):
        view.advance(told(metrics))
    assert view.position.next_index == AT
    view.close()


def test_metrics_are_staged_as_the_text_they_are() -> None:
    found = fold(told([metric()]), Position(), {}).rows["metric_track"].to_pylist()
    assert [json.loads(row["metrics"]) for row in found] == [[metric()]]
