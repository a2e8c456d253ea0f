from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.health.plausibility import (
    DAILY_RANGES,
    DAILY_SERIES,
    SLEEP_RANGES,
    SLEEP_SERIES,
    ends_in_the_future,
)
from domain.health.records import Daily, Sleep
from tests.domain.health.oura_nights import (
    RECEIVED_AT_NS,
    activity_day,
    answer,
    metrics,
    night,
    records,
    run,
    sample,
)

START = "2026-03-28T22:50:00+01:00"


def broken(**change: Any) -> tuple[str, ...]:
    (record,) = records(run(answer(night(**change))))
    return record.implausible_rules


def broken_day(**change: Any) -> tuple[str, ...]:
    (record,) = records(run(answer(activity_day(**change)), "oura.daily_activity"))
    return record.implausible_rules


def test_a_plain_night_and_a_plain_day_break_no_rule() -> None:
    assert broken() == ()
    assert broken_day() == ()


@pytest.mark.parametrize(
    "change, rules",
    [
        ({"latency": -30}, ("range.latency_duration_seconds",)),
        ({"efficiency": 101}, ("range.efficiency_percent",)),
        ({"restless_periods": -1}, ("range.restless_period_count",)),
        ({"lowest_heart_rate": 19}, ("range.hr_minimum_bpm",)),
        ({"average_heart_rate": 251}, ("range.hr_average_bpm",)),
        ({"average_heart_rate": 40}, ("order.hr_minimum_below_average",)),
        ({"average_hrv": -102}, ("range.hrv_rmssd_average_ms",)),
        ({"average_breath": 0}, ("range.breath_average_per_minute",)),
        ({"readiness": {"temperature_deviation": 36.6}}, ("range.temperature_deviation_celsius",)),
        ({"hrv": sample([None, -102, -122, 60], START)}, ("range.hrv_rmssd_samples_ms",) * 2),
        ({"heart_rate": sample([0, 55, 300], START)}, ("range.hr_samples_bpm",) * 2),
        ({"heart_rate": sample([55], START, interval=0)}, ("interval.hr_samples_bpm",)),
        ({"heart_rate": sample([], START)}, ()),
        ({"heart_rate": sample([None, None], START)}, ()),
        ({"deep_sleep_duration": 12_000}, ("sum.stages_are_total",)),
        ({"deep_sleep_duration": None}, ()),
        ({"awake_time": 9_000}, ("sum.asleep_and_awake_are_in_bed",)),
        ({"sleep_phase_5_min": "2" * 10}, ("span.hypnogram_is_in_bed",)),
        ({"sleep_phase_5_min": "2" * 95}, ()),
        ({"average_hrv": 10**15}, ("range.hrv_rmssd_average_ms",)),
    ],
)
def test_each_impossible_value_breaks_its_rule(change: dict[str, Any], rules: tuple[str, ...]) -> None:
    assert broken(**change) == rules


def test_an_hour_lost_to_the_clocks_is_not_an_error_and_an_hour_too_many_is() -> None:
    assert broken(time_in_bed=28_800) == ()
    assert "sum.in_bed_is_end_minus_start" in broken(time_in_bed=32_400, awake_time=5_400)


def test_a_night_that_ends_before_it_begins_breaks_the_order() -> None:
    assert "order.end_after_start" in broken(bedtime_end="2026-03-28T22:49:00+01:00")


@pytest.mark.parametrize(
    "end, is_too_long",
    [
        ("2026-10-26T00:59:00+01:00", False),
        ("2026-10-26T01:01:00+01:00", True),
        ("2026-10-26T01:01:00+02:00", True),
    ],
)
def test_a_period_may_last_25_hours_only_when_the_clocks_went_back(end: str, is_too_long: bool) -> None:
    rules = broken(bedtime_start="2026-10-25T01:00:00+02:00", bedtime_end=end)
    assert ("span.longer_than_a_day" in rules) is is_too_long


@pytest.mark.parametrize(
    "change, rules",
    [
        ({"steps": -1}, ("range.steps_count",)),
        ({"steps": 150_000}, ()),
        ({"steps": 150_001}, ("range.steps_count",)),
        ({"equivalent_walking_distance": -5}, ("range.distance_meters",)),
        ({"active_calories": 2_301}, ("order.active_energy_below_total",)),
        (
            {"met": sample([0.9, 26, -0.1], "2026-03-28T04:00:00+01:00", interval=60)},
            ("range.met_samples",) * 2,
        ),
        (
            {"met": sample([0.9] * 1_501, "2026-03-28T04:00:00+01:00", interval=60)},
            ("span.met_samples_longer_than_a_day",),
        ),
        ({"met": sample([0.9] * 1_500, "2026-03-28T04:00:00+01:00", interval=60)}, ()),
        ({"class_5_min": "1" * 301}, ("span.activity_track_longer_than_a_day",)),
        ({"sedentary_time": 60_000}, ("sum.parts_within_day",)),
        ({"score": 300}, ("range.activity_score",)),
    ],
)
def test_each_impossible_value_of_a_day_breaks_its_rule(
    change: dict[str, Any], rules: tuple[str, ...]
) -> None:
    assert broken_day(**change) == rules


def test_the_metric_counts_every_implausible_value_of_its_record_only() -> None:
    result = run(answer(night(), night(hrv=sample([-1, -2], START), latency=-30), night()))
    assert metrics(result)["plausibility.implausible_value_count"] == (0.0, 3.0, 0.0)


def test_a_night_cannot_end_after_it_arrived() -> None:
    longer = {"time_in_bed": 31_140, "awake_time": 4_140, "sleep_phase_5_min": "2" * 104}
    assert broken(bedtime_end="2026-03-29T08:29:00+02:00", **longer) == ("order.ended_before_it_arrived",)
    assert ends_in_the_future(RECEIVED_AT_NS + 900_000_000_000, RECEIVED_AT_NS) == ()


@pytest.mark.parametrize(
    "record_type, rules", [(Sleep, (*SLEEP_RANGES, *SLEEP_SERIES)), (Daily, (*DAILY_RANGES, *DAILY_SERIES))]
)
def test_every_rule_has_a_source_and_a_field_and_no_measured_field_is_without_a_rule(
    record_type: Any, rules: tuple[Any, ...]
) -> None:
    assert all(rule.source and rule.minimum < rule.maximum for rule in rules)
    measured = {
        name
        for name, kind in record_type.__annotations__.items()
        if kind in {"Number | None", "int | None", "SampleSeries | None"}
        and not name.endswith("offset_seconds")
    }
    assert {rule.field for rule in rules} == measured


@given(
    st.dictionaries(
        st.sampled_from(
            ["latency", "awake_time", "efficiency", "average_hrv", "average_heart_rate", "time_in_bed"]
        ),
        st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.none(),
        min_size=1,
    )
)
def test_no_number_upsets_the_rules(change: dict[str, Any]) -> None:
    if change.get("time_in_bed", 0) is None:
        return
    count = metrics(run(answer(night(**change))))["plausibility.implausible_value_count"][0]
    assert count == len(broken(**change))
