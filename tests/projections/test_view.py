"""A view is folded in any number of steps, delivered anything twice, and comes out the same."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import events
from domain.errors import InvalidError
from domain.event_codec import EVENT_TYPES
from domain.events import ConnectionRegistered, DeviceConfigured, DeviceRegistered, RunStarted
from ledger.ports import Record
from projections.errors import (
    MalformedViewError,
    ProjectionStoppedError,
    ViewInUseError,
    ViewMismatchError,
)
from projections.facts import UNDERSTOOD
from projections.fold import SLICE_EVENTS, Position
from projections.rebuild import TableDigest
from projections.schema import COMPARED_TABLES, VIEW_VERSION, view_path
from projections.view import View, connect, read_stop
from tests.projections.opened import contents, opened, rows
from tests.projections.story import LEDGER, Story, tell

STORY = tell(11, rounds=12)
WHOLE = STORY.records


@cache
def whole() -> tuple[dict[str, TableDigest], Position, dict[str, int]]:
    """Contents, position and open runs of the view that was folded in one go."""
    with opened(None, WHOLE) as view:
        return contents(view), view.position, view.open_runs


def test_every_event_type_is_understood_by_the_view() -> None:
    """One that the codec knows and the view does not would stop every projection: decide what it shows."""
    assert UNDERSTOOD == EVENT_TYPES
    said = {kind.TYPE for kind in vars(events).values() if isinstance(kind, type) and hasattr(kind, "TYPE")}
    assert said == EVENT_TYPES


def test_a_story_fills_every_table() -> None:
    found, _, _ = whole()
    assert [name for name in COMPARED_TABLES if not found[name].row_count] == []


@settings(max_examples=20)
@given(
    cuts=st.lists(st.integers(0, len(WHOLE)), max_size=8).map(sorted),
    repeats=st.lists(st.integers(0, 40), min_size=9, max_size=9),
)
def test_any_split_into_batches_with_any_repetition_gives_the_same_view(
    cuts: list[int], repeats: list[int]
) -> None:
    with opened(None) as view:
        for start, end, again in zip([0, *cuts], [*cuts, len(WHOLE)], repeats, strict=False):
            view.advance(WHOLE[max(0, start - again) : end])
        assert (contents(view), view.position, view.open_runs) == whole()


def test_one_entry_at_a_time_gives_the_same_view(tmp_path: Path) -> None:
    records = WHOLE[:120]
    with opened(None, records) as expected, opened(tmp_path / "acme.duckdb") as view:
        for record in records:
            view.advance([record])
        assert contents(view) == contents(expected)


def test_entries_repeated_and_out_of_step_within_one_delivery_are_taken_once() -> None:
    delivered = [*WHOLE[:30], *WHOLE[10:40], *WHOLE[39:60], WHOLE[5], *WHOLE[60:80]]
    with opened(None, WHOLE[:80]) as expected, opened(None, delivered) as view:
        assert contents(view) == contents(expected)


def test_a_fold_of_more_than_one_slice_is_the_fold_of_its_parts() -> None:
    long = tell(4, rounds=70, window_count=2).records
    assert len(long) > SLICE_EVENTS
    with opened(None, long) as whole, opened(None) as parts:
        for start in range(0, len(long), 333):
            parts.advance(long[start : start + 333])
        assert contents(parts) == contents(whole)


def test_a_view_goes_on_where_it_was_closed(tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    middle = next(record.index for record in WHOLE if record.event_type == RunStarted.TYPE) + 1
    with opened(path, WHOLE[:middle]) as view:
        assert view.open_runs
    with opened(path, WHOLE) as view:
        assert contents(view) == whole()[0]


def test_a_gap_in_what_is_delivered_is_refused() -> None:
    with opened(None, WHOLE[:10]) as view:
        with pytest.raises(InvalidError, match="gap"):
            view.advance(WHOLE[11:20])
        assert view.position.next_index == 10


def test_entries_of_another_history_are_refused() -> None:
    other = tell(12, rounds=2).records
    with opened(None, WHOLE[:10]) as view:
        with pytest.raises(ViewMismatchError):
            view.advance(other[10:20])
        assert view.position.next_index == 10
        assert view.stop is None, "no entry is at fault"


def test_a_write_behind_the_views_back_is_noticed() -> None:
    with opened(None, WHOLE[:10]) as view:
        rows(view, "UPDATE position SET next_index = 9")
        with pytest.raises(ViewMismatchError):
            view.advance(WHOLE[10:20])


HOSTILE = [
    "'; DROP TABLE run_started; --",
    '"},{"x":"y',
    "\\u0000\x00nul",
    "\u202e\U0001f4a3\ufeff",
    "a" * 5_000,
    "%s {0} $1 ? :name",
    "NULL",
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_kept_as_it_is(text: str) -> None:
    story = Story(1)
    story.opening()
    story.add(
        DeviceRegistered(device_id="d-1", manufacturer=text, model=text, serial_number=text, channels=()),
        "device/d-1",
    )
    story.add(DeviceConfigured(device_id="d-1", firmware=text, configuration={"k": text}), "device/d-1")
    story.add(ConnectionRegistered(connection_id="c-1", provider=text, subject_key_id="k"), "connection/c-1")
    with opened(None, story.records) as view:
        (device,) = rows(view, "SELECT manufacturer, model, serial_number, firmware FROM devices")
        assert device == (text, text, text, text)
        assert rows(view, "SELECT configuration ->> '$.k' FROM devices") == [(text,)]
        assert rows(view, "SELECT count(*) FROM connections WHERE provider = ?", text) == [(1,)]


POISONS = {
    "not JSON": ("run.started.v1", b"{"),
    "not UTF-8": (
        "connection.registered.v1",
        b'{"connection_id":"\xff","provider":"p","subject_key_id":"k"}',
    ),
    "half a surrogate": (
        "connection.registered.v1",
        b'{"connection_id":"\\ud800","provider":"p","subject_key_id":"k"}',
    ),
    "a field of another type": (
        "connection.registered.v1",
        b'{"connection_id":5,"provider":"p","subject_key_id":"k"}',
    ),
    "a missing field": ("connection.registered.v1", b'{"connection_id":"c"}'),
    "a number beyond 64 bits": (
        "receipt.replayed.v1",
        b'{"receipt_id":"t","receipt_index":18446744073709551615,"result":"x","first_difference":""}',
    ),
    "a decision without a start": (
        "run.gates_decided.v1",
        b'{"run_id":"r","verdict":"pass","is_presentable":true,"windows":[],"window_scores":[],"gates":[],'
        b'"artifacts":[],"metrics":[]}',
    ),
    "deep nesting": (
        "contract.published.v1",
        b'{"digest":"d","contract":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    ),
    "an event of a newer version": ("run.started.v2", b"{}"),
    "a receipt about nothing": ("receipt.issued.v1", b"{}"),
}


@pytest.mark.parametrize("name", POISONS)
def test_a_poison_stops_the_view_after_everything_before_it(name: str, tmp_path: Path) -> None:
    event_type, payload = POISONS[name]
    story = tell(5, rounds=2)
    before = list(story.records)
    index = story.add_bytes(event_type, payload, "thing/x")
    story.connection("c-after")
    path = tmp_path / "acme.duckdb"
    with opened(path) as view, opened(None, before) as expected:
        with pytest.raises(ProjectionStoppedError) as caught:
            view.advance(story.records)
        assert caught.value.index == index
        assert caught.value.event_type == event_type
        assert view.position.next_index == index
        assert contents(view) == contents(expected)
    with connect(path) as connection:
        stop = read_stop(connection)
    assert stop is not None
    assert (stop.index, stop.event_type) == (index, event_type)
    assert stop.cause


POISONED_NUMBERS = {
    "a metric's values": ("metrics", b'[{"name":"m","unit":"1","values":["x"]}]'),
    "nested values": ("metrics", b'[{"name":"m","unit":"1","values":[[1]]}]'),
    "windows": ("windows", b'[{"start_ns":"soon","end_ns":1}]'),
    "windows without an end": ("windows", b'[{"start_ns":1}]'),
    "scores": ("window_scores", b'{"a":1}'),
}


@pytest.mark.parametrize("name", POISONED_NUMBERS)
def test_a_poison_that_only_the_database_finds_stops_the_view_too(name: str) -> None:
    field, text = POISONED_NUMBERS[name]
    story = tell(5, rounds=1)
    for record in list(story.records):
        if record.event_type == RunStarted.TYPE:
            run_id = record.payload.split(b'"run_id":"')[1].split(b'"')[0].decode()
            started = record.index
    before = len(story.records)
    body = {"windows": b"[]", "window_scores": b"[]", "metrics": b"[]", "gates": b"[]", "artifacts": b"[]"}
    body[field] = text
    fresh, restarted = (
        story.name("r"),
        story.add_bytes(
            RunStarted.TYPE,
            story.records[started].payload.replace(run_id.encode(), b"r-fresh"),
            "run/r-fresh",
        ),
    )
    assert (fresh, restarted) == (fresh, before)
    parts = b",".join(b'"%s":%s' % (name.encode(), value) for name, value in body.items())
    payload = b'{"run_id":"r-fresh","verdict":"pass","is_presentable":true,' + parts + b"}"
    index = story.add_bytes("run.gates_decided.v1", payload, "run/r-fresh")
    with opened(None) as view:
        with pytest.raises(ProjectionStoppedError) as caught:
            view.advance(story.records)
        assert caught.value.index == index
        assert view.open_runs["r-fresh"] == before


def test_a_view_that_stopped_goes_on_once_the_entry_can_be_folded(tmp_path: Path) -> None:
    """As after an upgrade: the same index, now of a type that is understood."""
    story = tell(5, rounds=1)
    good = list(story.records)
    path = tmp_path / "acme.duckdb"
    poison = Record(
        index=good[9].index,
        event_id=good[9].event_id,
        event_type="device.registered.v9",
        entry=good[9].entry,
        payload=good[9].payload,
    )
    with opened(path) as view, pytest.raises(ProjectionStoppedError):
        view.advance([*good[:9], poison])
    with opened(path) as view:
        assert view.stop is not None
        view.advance(good)
        assert view.stop is None
        assert rows(view, "SELECT count(*) FROM projection_error") == [(0,)]


def test_a_second_view_of_one_file_is_refused_and_the_holder_named(tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    with opened(path, WHOLE[:5]):
        with pytest.raises(ViewInUseError) as caught:
            View(path, LEDGER)
        assert "process" in caught.value.holder
    with opened(path) as view:
        assert view.position.next_index == 5


def test_a_view_of_another_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    with opened(path, WHOLE[:5]):
        pass
    with pytest.raises(MalformedViewError):
        View(path, "ledger-other")
    with opened(path) as view:
        assert view.position.next_index == 5, "and can still be opened as what it is"


@pytest.mark.parametrize("change", ["view_version = view_version + 1", "digest = 'sha256:other'"])
def test_a_view_that_other_code_laid_out_is_refused(change: str, tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    with opened(path) as view:
        rows(view, f"UPDATE layout SET {change}")
    with pytest.raises(MalformedViewError):
        View(path, LEDGER)


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty directory"])
def test_a_file_that_is_no_view_is_refused_in_our_words(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    if damage == "garbage":
        path.write_bytes(b"not a database" * 1_000)
    elif damage == "truncated":
        with opened(path, WHOLE):
            pass
        path.write_bytes(path.read_bytes()[:5_000])
    else:
        path.mkdir()
    with pytest.raises(MalformedViewError):
        View(path, LEDGER)


@pytest.mark.parametrize("tenant", ["temp", "system", "main", "memory", "information_schema", "a-b.c_d", "1"])
def test_a_tenant_may_be_called_what_the_database_calls_its_own(tenant: str, tmp_path: Path) -> None:
    with opened(view_path(tmp_path, tenant), WHOLE[:40]) as view:
        assert rows(view, "SELECT count(*) FROM sources") == [(5,)]


def test_the_name_of_a_view_file_says_tenant_and_version(tmp_path: Path) -> None:
    assert view_path(tmp_path, "acme").name == f"acme.views.v{VIEW_VERSION}.duckdb"
    with pytest.raises(Exception, match="identifier"):
        view_path(tmp_path, "../other")


def test_a_query_cannot_reach_other_files_or_change_settings(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with opened(tmp_path / "acme.duckdb", WHOLE[:5]) as view:
        for query in (
            f"SELECT * FROM read_csv('{secret}')",
            f"ATTACH '{tmp_path / 'x.duckdb'}'",
            "SET enable_external_access = true",
            f"COPY position TO '{tmp_path / 'out.csv'}'",
        ):
            with pytest.raises(Exception, match=r"disabled|locked|cannot"):
                rows(view, query)
