from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import MalformedError
from domain.health.instants import (
    OFFSET_SECONDS_MAX,
    elapsed_seconds,
    parse_calendar_date,
    parse_local_instant,
    same_clock_next_day,
)


@pytest.mark.parametrize(
    "text, local, offset_seconds, unix_ns",
    [
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00", 0, 0),
        ("2026-03-28T23:04:30+01:00", "2026-03-28T23:04:30", 3_600, 1774735470000000000),
        ("2026-03-28T23:04:30.000+01:00", "2026-03-28T23:04:30", 3_600, 1774735470000000000),
        ("2026-03-28t23:04:30.250+0100", "2026-03-28T23:04:30.25", 3_600, 1774735470250000000),
        ("2026-03-28 23:04:30-09:30", "2026-03-28T23:04:30", -34_200, 1774773270000000000),
        ("2024-02-29T12:00:00+05:45", "2024-02-29T12:00:00", 20_700, 1709187300000000000),
    ],
)
def test_a_time_keeps_its_clock_text_and_its_offset(
    text: str, local: str, offset_seconds: int, unix_ns: int
) -> None:
    instant = parse_local_instant(text, "bedtime_start")
    assert (instant.local, instant.offset_seconds) == (local, offset_seconds)
    assert instant.unix_ns == unix_ns


def test_a_time_without_offset_is_no_instant() -> None:
    instant = parse_local_instant("2026-03-28T23:04:30", "bedtime_start")
    assert (instant.offset_seconds, instant.unix_ns) == (None, None)
    assert elapsed_seconds(instant, parse_local_instant("2026-03-29T07:00:00+02:00", "end")) is None


def test_nine_digits_of_a_fraction_are_nanoseconds() -> None:
    assert parse_local_instant("1970-01-01T00:00:00.000000001Z", "t").unix_ns == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-03-28",
        "2026-03-28T23:04",
        "2026-03-28T24:00:00Z",
        "2026-03-28T23:59:60Z",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-W13-6T00:00:00Z",
        "20260328T230430Z",
        "2026-03-28T23:04:30+99:00",
        "2026-03-28T23:04:30+01:60",
        "2026-03-28T23:04:30 Europe/Vienna",
        "1969-12-31T23:59:59Z",
        "2262-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "٢٠٢٦-03-28T23:04:30Z",
        "2026-03-28T23:04:30Z\n",
        "1774735470",
    ],
)
def test_what_is_not_a_time_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(MalformedError) as refused:
        parse_local_instant(text, "bedtime_start")
    assert refused.value.field == "bedtime_start"
    assert not text or text not in str(refused.value)


@given(
    moment=st.datetimes(datetime(1970, 1, 2), datetime(2261, 12, 30)),
    offset_minutes=st.integers(-OFFSET_SECONDS_MAX // 60, OFFSET_SECONDS_MAX // 60),
)
def test_any_time_with_any_offset_is_the_instant_that_the_calendar_says(
    moment: datetime, offset_minutes: int
) -> None:
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    instant = parse_local_instant(zoned.isoformat(), "t")
    since_epoch = zoned - datetime(1970, 1, 1, tzinfo=UTC)
    assert instant.unix_ns == since_epoch // timedelta(microseconds=1) * 1_000
    assert instant.offset_seconds == offset_minutes * 60


def test_a_night_across_the_change_of_clocks_lasts_as_long_as_it_lasted() -> None:
    start = parse_local_instant("2026-03-28T23:04:30+01:00", "start")
    end = parse_local_instant("2026-03-29T07:54:30+02:00", "end")
    assert elapsed_seconds(start, end) == 28_200


@pytest.mark.parametrize(
    "local, next_day",
    [
        ("2026-03-28T04:00:00", "2026-03-29T04:00:00"),
        ("2024-02-28T04:00:00", "2024-02-29T04:00:00"),
        ("2026-12-31T04:00:00.5", "2027-01-01T04:00:00.5"),
    ],
)
def test_the_next_day_shows_the_same_clock(local: str, next_day: str) -> None:
    assert same_clock_next_day(local) == next_day


@pytest.mark.parametrize(
    "text", ["2026-3-29", "2026-02-30", "29.03.2026", "2026-03-29T00:00:00Z", "0000-01-01", ""]
)
def test_a_calendar_date_is_a_date_that_exists(text: str) -> None:
    assert parse_calendar_date("2026-03-29", "day") == "2026-03-29"
    with pytest.raises(MalformedError):
        parse_calendar_date(text, "day")
