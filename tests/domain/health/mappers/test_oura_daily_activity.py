from typing import Any

import pytest

from domain.errors import InvalidError, MalformedError
from domain.health.records import (
    ActivityTrack,
    Daily,
    DayRule,
    OrderingSource,
    Revision,
    RevisionState,
    SampleSeries,
    SourceDevice,
    TimeZoneSource,
)
from domain.procedures.procedure import ProcedureInput
from tests.domain.health.oura_nights import SECRET, activity_day, answer, drift, mapper, metrics, records, run

NAME = "oura.daily_activity"


def daily_of(**change: Any) -> Daily:
    (record,) = records(run(answer(activity_day(**change)), NAME))
    assert isinstance(record.record, Daily)
    return record.record


def test_an_activity_day_becomes_this_record() -> None:
    assert daily_of() == Daily(
        provider_record_id="66666666-7777-4888-8999-000000000000",
        calendar_date="2026-03-28",
        day_rule=DayRule.PROVIDER_DATE,
        start_time_local="2026-03-28T04:00:00",
        start_offset_seconds=3_600,
        end_time_local="2026-03-29T04:00:00",
        end_offset_seconds=None,
        tz_source=TimeZoneSource.PROVIDER,
        revision=Revision(
            state=RevisionState.FINAL,
            ordering_ns=1_774_764_762_019_000_000,
            ordering_source=OrderingSource.DOCUMENT,
            provider_version=4,
        ),
        source=SourceDevice(provider="oura", manufacturer="Oura"),
        steps_count=10_000,
        distance_meters=8_000,
        energy_total_kilocalories=2_300,
        energy_active_kilocalories=350,
        vigorous_duration_seconds=1_800,
        moderate_duration_seconds=6_000,
        low_duration_seconds=9_000,
        inactive_duration_seconds=30_000,
        rest_duration_seconds=30_000,
        not_worn_duration_seconds=6_000,
        vigorous_met_minutes=210,
        moderate_met_minutes=200,
        low_met_minutes=300,
        inactive_met_minutes=60,
        met_average=1.3,
        met_samples=SampleSeries(
            start_time_local="2026-03-28T04:00:00",
            start_offset_seconds=3_600,
            interval_seconds=60,
            values=(0.9,) * 1_380,
        ),
        activity_track=ActivityTrack(
            interval_seconds=300, levels="6" * 20 + "1" * 100 + "2" * 100 + "3" * 30 + "4" * 20 + "5" * 6
        ),
        inactivity_alert_count=1,
        activity_score=84,
        target_energy_kilocalories=450,
        target_distance_meters=9_000,
    )


@pytest.mark.parametrize(
    "updated_at, state",
    [
        ("2026-03-28T20:00:00Z", RevisionState.TENTATIVE),
        ("2026-03-29T03:59:59Z", RevisionState.TENTATIVE),
        ("2026-03-29T04:00:00Z", RevisionState.FINAL),
        ("2026-04-02T12:00:00Z", RevisionState.FINAL),
    ],
)
def test_a_day_is_settled_once_it_must_be_over(updated_at: str, state: RevisionState) -> None:
    assert daily_of(meta={"version": 1, "updated_at": updated_at}).revision.state is state


def test_a_day_without_an_offset_is_never_known_to_be_over() -> None:
    daily = daily_of(timestamp="2026-03-28T04:00:00")
    assert daily.revision.state is RevisionState.TENTATIVE
    assert daily.tz_source is TimeZoneSource.FLOATING


def test_a_day_is_the_same_record_whatever_its_document_is_called() -> None:
    one, other = (run(answer(activity_day(id=name)), NAME).revisions[0].record_key for name in ("a", "b"))
    assert one == other


def test_a_renamed_field_is_noticed_twice_and_its_value_is_not_guessed() -> None:
    result = run(answer(activity_day(steps=..., step_count=10_000)), NAME)
    (record,) = records(result)
    assert isinstance(record.record, Daily)
    assert record.record.steps_count is None
    assert {(item["path"], item["drift"]) for item in drift(result)} == {
        ("steps", "missing"),
        ("step_count", "unknown"),
    }


@pytest.mark.parametrize("field", ["id", "day", "timestamp"])
def test_a_day_without_an_essential_field_refuses_the_payload(field: str) -> None:
    with pytest.raises(MalformedError) as refused:
        run(answer(activity_day(**{field: ...})), NAME)
    assert refused.value.field == f"data[0].{field}"


def test_an_unknown_class_keeps_its_place_in_the_day() -> None:
    track = daily_of(class_5_min="0123459").activity_track
    assert track is not None
    assert track.levels == "6123450"


def test_a_good_day_has_nothing_to_report_but_its_age() -> None:
    found = metrics(run(answer(activity_day()), NAME))
    assert found.pop("freshness.age_seconds") == (86_400.0,)
    assert set(found.values()) == {(0.0,)}


def test_options_are_refused() -> None:
    with pytest.raises(InvalidError):
        mapper(NAME, "1.0.0").run(
            ProcedureInput(options={"a": 1}, payload=answer(activity_day()), record_key_secret=SECRET)
        )
