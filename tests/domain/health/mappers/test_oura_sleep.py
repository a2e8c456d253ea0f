from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.canonical import canonical_json
from domain.errors import InvalidError, MalformedError
from domain.health.mappers import MAPPERS
from domain.health.mappers.oura_sleep import STAGE_CODES
from domain.health.records import (
    DayRule,
    Hypnogram,
    OrderingSource,
    RecordSet,
    Revision,
    RevisionState,
    SampleSeries,
    Sleep,
    SourceDevice,
    TimeZoneSource,
)
from domain.health.revisions import current_after
from domain.metrics import Window
from domain.outcomes import Reason
from domain.procedures.procedure import ProcedureInput
from tests.domain.health.oura_nights import (
    RECEIVED_AT_NS,
    SECRET,
    answer,
    drift,
    mapper,
    metrics,
    night,
    records,
    run,
    sample,
)

FINE = "4" * 60 + "2" * 500 + "1" * 200 + "3" * 200


def sleep_of(version: str = "1.0.0", **change: Any) -> Sleep:
    (record,) = records(run(answer(night(**change)), version=version))
    assert isinstance(record.record, Sleep)
    return record.record


def test_a_night_becomes_this_record() -> None:
    assert sleep_of() == Sleep(
        provider_record_id="11111111-2222-4333-8444-555555555555",
        calendar_date="2026-03-29",
        day_rule=DayRule.WAKE_DAY,
        start_time_local="2026-03-28T22:50:00",
        start_offset_seconds=3_600,
        end_time_local="2026-03-29T07:50:00",
        end_offset_seconds=7_200,
        tz_source=TimeZoneSource.PROVIDER,
        revision=Revision(
            state=RevisionState.FINAL,
            ordering_ns=1_774_764_761_207_000_000,
            ordering_source=OrderingSource.DOCUMENT,
            provider_version=1,
            provider_reason="foreground_sleep_analysis",
        ),
        source=SourceDevice(provider="oura", manufacturer="Oura", device_id=None, algorithm_version="v2"),
        sleep_type="long_sleep",
        is_nap=False,
        in_bed_duration_seconds=28_800,
        asleep_duration_seconds=27_000,
        deep_duration_seconds=6_000,
        light_duration_seconds=15_000,
        rem_duration_seconds=6_000,
        awake_duration_seconds=1_800,
        latency_duration_seconds=600,
        efficiency_percent=94,
        restless_period_count=40,
        hypnogram=Hypnogram(interval_seconds=300, levels="1" * 6 + "4" * 50 + "5" * 20 + "6" * 20),
        hr_average_bpm=54.5,
        hr_minimum_bpm=48,
        hr_samples_bpm=SampleSeries(
            start_time_local="2026-03-28T22:50:00",
            start_offset_seconds=3_600,
            interval_seconds=300,
            values=(None, *(55,) * 95),
        ),
        hrv_rmssd_average_ms=61,
        hrv_rmssd_samples_ms=SampleSeries(
            start_time_local="2026-03-28T22:50:00",
            start_offset_seconds=3_600,
            interval_seconds=300,
            values=(None, *(60,) * 95),
        ),
        breath_average_per_minute=14.25,
        temperature_deviation_celsius=-0.12,
        temperature_trend_deviation_celsius=0.03,
        readiness_score=82,
        is_battery_low=False,
    )


def test_the_artifact_is_canonical_and_says_where_each_record_came_from() -> None:
    (artifact,) = run(answer(night(), night(id="other"))).artifacts
    record_set = msgspec.json.decode(artifact.data, type=RecordSet)
    assert (artifact.name, artifact.media_type, artifact.quantised) == (
        "records.json",
        "application/json",
        None,
    )
    assert artifact.data == canonical_json(record_set)
    assert [
        (item.provenance.payload_position, item.provenance.mapper_version) for item in record_set.records
    ] == [
        (0, "1.0.0"),
        (1, "1.0.0"),
    ]


def test_a_run_holds_one_window_without_instants_per_record() -> None:
    result = run(answer(night(), night(id="other")))
    assert result.windows == (Window(start_ns=None, end_ns=None),) * 2
    assert [len(track.values) for track in result.metrics] == [2] * 6
    assert [revision.rank for revision in result.revisions] == [1, 1]
    assert len({revision.record_key for revision in result.revisions}) == 2


def test_a_good_night_has_nothing_to_report_but_its_age() -> None:
    assert metrics(run(answer(night()))) == {
        "schema.unknown_field_count": (0.0,),
        "schema.missing_field_count": (0.0,),
        "schema.retyped_field_count": (0.0,),
        "schema.enum_growth_count": (0.0,),
        "plausibility.implausible_value_count": (0.0,),
        "freshness.age_seconds": (86_400.0,),
    }


def test_an_empty_answer_is_a_run_without_windows() -> None:
    result = run(b'{"data": [], "next_token": null}')
    assert (result.windows, result.revisions, records(result)) == ((), (), ())


def test_the_same_payload_gives_the_same_bytes() -> None:
    payload = answer(night(average_hrv="61", extra=1))
    assert run(payload) == run(payload)


@pytest.mark.parametrize(
    "reason, sleep_type, state",
    [
        ("foreground_sleep_analysis", "long_sleep", RevisionState.FINAL),
        ("background_created_foreground_updated", "long_sleep", RevisionState.FINAL),
        ("background_sleep_analysis", "long_sleep", RevisionState.TENTATIVE),
        ("bedtime_edit", "long_sleep", RevisionState.CORRECTED),
        ("bedtime_edit", "deleted", RevisionState.DELETED),
        ("background_sleep_analysis", "rest", RevisionState.DELETED),
        (None, "sleep", RevisionState.FINAL),
        ("moonlight_analysis", "long_sleep", RevisionState.TENTATIVE),
    ],
)
def test_how_settled_a_document_is_follows_from_its_reason_and_type(
    reason: str | None, sleep_type: str, state: RevisionState
) -> None:
    assert sleep_of(sleep_analysis_reason=reason, type=sleep_type).revision.state is state


def test_an_older_document_without_a_reason_is_final() -> None:
    assert sleep_of(sleep_analysis_reason=...).revision.state is RevisionState.FINAL


@pytest.mark.parametrize(
    "sleep_type, is_nap",
    [
        ("long_sleep", False),
        ("sleep", True),
        ("late_nap", True),
        ("rest", None),
        (None, None),
        ("siesta", None),
    ],
)
def test_a_nap_is_what_oura_says_it_is(sleep_type: str | None, is_nap: bool | None) -> None:
    assert sleep_of(type=sleep_type).is_nap is is_nap


def test_revisions_are_ordered_by_the_document_then_the_event_then_the_receipt() -> None:
    without = answer(night(meta=...))
    event_ns = RECEIVED_AT_NS - 30_000_000_000
    cases = [
        (answer(night()), event_ns, (1_774_764_761_207_000_000, OrderingSource.DOCUMENT)),
        (without, event_ns, (event_ns, OrderingSource.EVENT)),
        (without, None, (RECEIVED_AT_NS, OrderingSource.RECEIPT)),
    ]
    for payload, provider_event_time_ns, expected in cases:
        result = run(payload, provider_event_time_ns=provider_event_time_ns)
        (record,) = records(result)
        revision = record.record.revision
        assert (revision.ordering_ns, revision.ordering_source) == expected
        assert result.revisions[0].ordering_ns == expected[0]


def test_a_late_tentative_night_does_not_become_current() -> None:
    final = run(answer(night()))
    late = run(
        answer(
            night(
                sleep_analysis_reason="background_sleep_analysis",
                meta={"version": 9, "updated_at": "2026-03-29T09:00:00Z"},
                bedtime_end="2026-03-29T06:00:00+02:00",
            )
        )
    )
    assert final.revisions[0].record_key == late.revisions[0].record_key
    known = current_after({}, final.revisions)
    assert current_after(known, late.revisions) == known


def test_a_correction_that_shortens_a_night_is_the_newer_version_of_the_same_record() -> None:
    corrected = night(
        sleep_analysis_reason="bedtime_edit",
        meta={"version": 2, "updated_at": "2026-03-29T07:30:00Z"},
        bedtime_end="2026-03-29T06:50:00+02:00",
    )
    first, second = run(answer(night())), run(answer(corrected))
    assert current_after(current_after({}, first.revisions), second.revisions) == {
        second.revisions[0].record_key: second.revisions[0]
    }


def test_a_night_without_offsets_floats_and_has_no_age() -> None:
    result = run(answer(night(bedtime_start="2026-03-28T22:50:00", bedtime_end="2026-03-29T07:50:00")))
    (record,) = records(result)
    assert record.record.tz_source is TimeZoneSource.FLOATING
    assert record.record.start_offset_seconds is None
    age = result.metrics[-1]
    assert (age.values, age.reasons) == ((None,), (Reason.NOT_MEASURED,))


def test_a_calendar_date_is_passed_on_as_the_provider_wrote_it() -> None:
    west = night(
        bedtime_start="2026-03-28T22:50:00-10:00", bedtime_end="2026-03-29T06:50:00-10:00", day="2026-03-28"
    )
    (record,) = records(run(answer(west)))
    assert record.record.calendar_date == "2026-03-28"


def test_an_unreadable_time_of_a_series_costs_the_time_and_not_the_series() -> None:
    result = run(answer(night(hrv=sample([60], "once upon a time"))))
    (record,) = records(result)
    assert isinstance(record.record, Sleep)
    assert record.record.hrv_rmssd_samples_ms == SampleSeries(
        start_time_local=None, start_offset_seconds=None, interval_seconds=300, values=(60,)
    )
    assert [(item["path"], item["drift"]) for item in drift(result)] == [("hrv.timestamp", "retyped")]


def test_an_unreadable_time_of_change_leaves_the_order_to_the_receipt() -> None:
    result = run(answer(night(meta={"version": 1, "updated_at": "soon"})))
    assert result.revisions[0].ordering_ns == RECEIVED_AT_NS
    assert metrics(result)["schema.retyped_field_count"] == (1.0,)


@pytest.mark.parametrize(
    "change, metric",
    [
        ({"sleep_phase_30_sec": FINE}, "schema.unknown_field_count"),
        ({"average_hrv": "61"}, "schema.retyped_field_count"),
        ({"hrv": ...}, "schema.missing_field_count"),
        ({"sleep_algorithm_version": "v3"}, "schema.enum_growth_count"),
        ({"sleep_phase_5_min": "12345" * 19}, "schema.enum_growth_count"),
    ],
)
def test_drift_is_counted_in_its_own_window(change: dict[str, Any], metric: str) -> None:
    result = run(answer(night(), night(**change), night()))
    assert metrics(result)[metric] == (0.0, 1.0, 0.0)
    assert [item["positions"] for item in drift(result)] == [[1]]
    others = {name for name in metrics(result) if name.startswith("schema.")} - {metric}
    assert all(metrics(result)[name] == (0.0, 0.0, 0.0) for name in others)


def test_an_unknown_stage_keeps_its_place_in_the_night() -> None:
    hypnogram = sleep_of(sleep_phase_5_min="1234" + "7" + "2" * 91).hypnogram
    assert hypnogram is not None
    assert hypnogram.levels == "5461" + "0" + "4" * 91


@given(st.text(STAGE_CODES + "059x", min_size=1, max_size=60))
def test_every_stage_code_becomes_one_level(codes: str) -> None:
    hypnogram = sleep_of(sleep_phase_5_min=codes).hypnogram
    assert hypnogram is not None
    assert hypnogram.levels == "".join(
        {"1": "5", "2": "4", "3": "6", "4": "1"}.get(code, "0") for code in codes
    )


@pytest.mark.parametrize("phases", [None, ""])
def test_a_night_that_has_no_stages_says_so_with_null(phases: str | None) -> None:
    assert sleep_of(sleep_phase_5_min=phases).hypnogram is None


def test_stages_that_moved_elsewhere_are_quarantined_and_mapped_by_the_next_version() -> None:
    payload = answer(night(), night(sleep_phase_5_min=..., sleep_phase_30_sec=FINE, ring_id="ring"))
    with pytest.raises(MalformedError) as refused:
        run(payload, version="1.0.0")
    assert refused.value.field == "data[1].sleep_phase_5_min"
    _, mapped = records(run(payload, version="1.1.0"))
    assert isinstance(mapped.record, Sleep)
    assert mapped.record.hypnogram == Hypnogram(
        interval_seconds=30, levels="1" * 60 + "4" * 500 + "5" * 200 + "6" * 200
    )
    assert mapped.record.source.device_id == "ring"


def test_a_long_sleep_with_stages_in_no_known_field_is_quarantined_by_both() -> None:
    for version in ("1.0.0", "1.1.0"):
        with pytest.raises(MalformedError):
            run(answer(night(sleep_phase_5_min=...)), version=version)


@pytest.mark.parametrize("sleep_type", ["sleep", "late_nap", "rest", "deleted"])
def test_a_short_period_may_come_without_stages(sleep_type: str) -> None:
    assert sleep_of(type=sleep_type, sleep_phase_5_min=...).hypnogram is None


@pytest.mark.parametrize(
    "phases, interval_seconds",
    [
        ({"sleep_phase_30_sec": FINE}, 30),
        ({"sleep_phase_30_sec": None}, 300),
        ({"sleep_phase_30_sec": ...}, 300),
        ({"sleep_phase_5_min": None, "app_sleep_phase_5_min": "2" * 96}, 300),
    ],
)
def test_the_finest_stages_are_taken_first(phases: dict[str, Any], interval_seconds: int) -> None:
    hypnogram = sleep_of("1.1.0", **phases).hypnogram
    assert hypnogram is not None
    assert hypnogram.interval_seconds == interval_seconds


def test_both_versions_agree_on_what_both_know() -> None:
    assert sleep_of("1.0.0") == sleep_of("1.1.0")


@pytest.mark.parametrize("field", ["bedtime_start", "bedtime_end", "day"])
def test_a_text_that_is_no_time_where_one_is_needed_refuses_the_payload(field: str) -> None:
    with pytest.raises(MalformedError) as refused:
        run(answer(night(), night(**{field: "soon"})))
    assert refused.value.field == f"data[1].{field}"


def test_options_and_a_missing_secret_are_refused() -> None:
    for options, secret in (({"tz": "Europe/Vienna"}, SECRET), ({}, b"")):
        with pytest.raises(InvalidError):
            mapper("oura.sleep", "1.0.0").run(
                ProcedureInput(options=options, payload=answer(night()), record_key_secret=secret)
            )


def test_each_mapper_version_is_there_once() -> None:
    names = [(found.name, found.version, found.consumes) for found in MAPPERS]
    assert names == [
        ("oura.sleep", "1.0.0", "oura.sleep"),
        ("oura.sleep", "1.1.0", "oura.sleep"),
        ("oura.daily_activity", "1.0.0", "oura.daily_activity"),
    ]
    assert not any(found.numeric for found in MAPPERS)


def test_nothing_that_goes_into_the_ledger_holds_a_measurement() -> None:
    """Windows, metrics and revisions stand in events in clear; only artifacts are encrypted."""
    telling = {"average_hrv": 77.123, "average_heart_rate": 51.987, "latency": 431, "efficiency": 83.25}
    result = run(answer(night(**telling)))
    public = msgspec.json.encode((result.windows, result.metrics, result.revisions)).decode()
    assert all(str(value) not in public for value in telling.values())
    assert "2026" not in public
    assert "11111111-2222" not in public
