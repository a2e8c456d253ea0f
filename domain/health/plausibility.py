"""Plausibility: values that no person's body or day can have.

The limits are wide on purpose: they tell the impossible from the possible, not the healthy from the ill.
Each stands with the place it comes from.  A record is not changed by a broken rule; its broken rules are
listed beside it and counted, and the contract's gate says what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Generic, TypeVar

from msgspec import Struct

from domain.health.instants import DAY_SECONDS, SECOND_NS, LocalInstant, elapsed_seconds
from domain.health.records import Daily, Number, SampleSeries, Sleep

HOUR_SECONDS = 3_600
# A day on which the clocks go back; no period of sleep and no daily window is longer.
DAY_LONG_SECONDS = DAY_SECONDS + HOUR_SECONDS
# Providers round stages to 30 s or 60 s each; four stages may together be off by this much.
STAGE_SUM_TOLERANCE_SECONDS = 240
# Providers round both ends of the night to their own grid of up to five minutes.
IN_BED_TOLERANCE_SECONDS = 600
# A hypnogram counts whole intervals; the last one may be begun, and both ends are on the provider's grid.
HYPNOGRAM_TOLERANCE_INTERVALS = 2

# How far a provider's clock and ours may disagree before "it has not happened yet" means something.
CLOCK_SKEW_SECONDS = 900

R = TypeVar("R", Sleep, Daily)


class RangeRule(Struct, frozen=True):
    """``field`` lies in ``minimum..maximum`` in the unit of its name; ``source`` says who says so."""

    field: str
    minimum: float
    maximum: float
    source: str

    @property
    def rule_id(self) -> str:
        return f"range.{self.field}"


_DURATION = "no longer than a day with 25 hours (clocks going back)"
_HR = "lowest measured in a healthy adult: 26 beats/min (Guinness World Records 2014); highest: near 220"
_HRV = "Shaffer & Ginsberg 2017: norms 19-75 ms; the limit is more than five times the upper one"
_SCORE = "provider's own scale of 0 to 100"
_MET = "Compendium of Physical Activities 2011: 0.95 (asleep) to 23 (running at 22.5 km/h); 0 when not worn"
_MET_MINUTES = "23 MET for 25 hours"

SLEEP_RANGES = (
    RangeRule("in_bed_duration_seconds", 0, DAY_LONG_SECONDS, _DURATION),
    RangeRule("asleep_duration_seconds", 0, DAY_LONG_SECONDS, _DURATION),
    RangeRule("deep_duration_seconds", 0, DAY_LONG_SECONDS, _DURATION),
    RangeRule("light_duration_seconds", 0, DAY_LONG_SECONDS, _DURATION),
    RangeRule("rem_duration_seconds", 0, DAY_LONG_SECONDS, _DURATION),
    RangeRule("awake_duration_seconds", 0, DAY_LONG_SECONDS, _DURATION),
    RangeRule("latency_duration_seconds", 0, DAY_LONG_SECONDS, _DURATION),
    RangeRule("efficiency_percent", 0, 100, "Terra SleepDurationsData.sleep_efficiency: 0 to 100"),
    RangeRule("restless_period_count", 0, 5_000, "one a 30 s epoch would be 3,000 in 25 hours"),
    RangeRule("hr_average_bpm", 20, 250, _HR),
    RangeRule("hr_minimum_bpm", 20, 250, _HR),
    RangeRule("hrv_rmssd_average_ms", 0, 400, _HRV),
    RangeRule("breath_average_per_minute", 4, 60, "adults 12-20 at rest; newborns reach 60 per minute"),
    RangeRule("temperature_deviation_celsius", -10, 10, "skin temperature against one's own baseline"),
    RangeRule("temperature_trend_deviation_celsius", -10, 10, "skin temperature against one's own baseline"),
    RangeRule("readiness_score", 0, 100, _SCORE),
)
DAILY_RANGES = (
    RangeRule(
        "steps_count",
        0,
        150_000,
        "over 100 km on foot; beyond it a 24-hour race, which a person should confirm",
    ),
    RangeRule("distance_meters", 0, 350_000, "24-hour running record: 319.6 km (IAU, 2022)"),
    RangeRule(
        "energy_total_kilocalories", 0, 20_000, "Tour de France riders burn up to about 8,000 kcal a day"
    ),
    RangeRule(
        "energy_active_kilocalories", 0, 20_000, "Tour de France riders burn up to about 8,000 kcal a day"
    ),
    RangeRule("vigorous_duration_seconds", 0, DAY_LONG_SECONDS, _DURATION),
    RangeRule("moderate_duration_seconds", 0, DAY_LONG_SECONDS, _DURATION),
    RangeRule("low_duration_seconds", 0, DAY_LONG_SECONDS, _DURATION),
    RangeRule("inactive_duration_seconds", 0, DAY_LONG_SECONDS, _DURATION),
    RangeRule("rest_duration_seconds", 0, DAY_LONG_SECONDS, _DURATION),
    RangeRule("not_worn_duration_seconds", 0, DAY_LONG_SECONDS, _DURATION),
    RangeRule("vigorous_met_minutes", 0, 34_500, _MET_MINUTES),
    RangeRule("moderate_met_minutes", 0, 34_500, _MET_MINUTES),
    RangeRule("low_met_minutes", 0, 34_500, _MET_MINUTES),
    RangeRule("inactive_met_minutes", 0, 34_500, _MET_MINUTES),
    RangeRule("met_average", 0, 25, _MET),
    RangeRule("inactivity_alert_count", 0, 100, "one a quarter of an hour would be 100 in 25 hours"),
    RangeRule("activity_score", 0, 100, _SCORE),
    RangeRule("target_energy_kilocalories", 0, 20_000, "no target beyond what is possible"),
    RangeRule("target_distance_meters", 0, 350_000, "no target beyond what is possible"),
)
SLEEP_SERIES = (
    RangeRule("hr_samples_bpm", 20, 250, _HR),
    RangeRule("hrv_rmssd_samples_ms", 0, 400, _HRV),
)
DAILY_SERIES = (RangeRule("met_samples", 0, 25, _MET),)


class PlausibilityRules(Generic[R]):
    """The rules of one record type, compiled so that one pass over a record checks all of them."""

    def __init__(
        self,
        ranges: Sequence[RangeRule],
        series: Sequence[RangeRule],
        relations: Callable[[R, LocalInstant, LocalInstant], Iterator[str]],
    ) -> None:
        self._values: Callable[[R], tuple[Number | None, ...]] = attrgetter(*(rule.field for rule in ranges))
        self._limits = tuple((rule.minimum, rule.maximum, rule.rule_id) for rule in ranges)
        self._series = tuple((attrgetter(rule.field), rule) for rule in series)
        self._relations: Callable[[R, LocalInstant, LocalInstant], Iterator[str]] = relations

    def broken(self, record: R, start: LocalInstant, end: LocalInstant) -> tuple[str, ...]:
        """Ids of the rules this record breaks, one for every implausible value (so a series can repeat its
        rule).
        """
        found = [
            rule_id
            for value, (minimum, maximum, rule_id) in zip(self._values(record), self._limits, strict=True)
            if value is not None and not minimum <= value <= maximum
        ]
        for series_of, rule in self._series:
            found += _broken_in_series(series_of(record), rule)
        found += self._relations(record, start, end)
        return tuple(found)


def ends_in_the_future(end_ns: int | None, received_at_ns: int) -> tuple[str, ...]:
    """The rule that a finished record cannot end after it arrived; broken by wrong clocks and by made-up
    nights.
    """
    if end_ns is None or received_at_ns <= 0 or end_ns - received_at_ns <= CLOCK_SKEW_SECONDS * SECOND_NS:
        return ()
    return ("order.ended_before_it_arrived",)


def _broken_in_series(series: SampleSeries | None, rule: RangeRule) -> list[str]:
    if series is None:
        return []
    broken = [] if series.interval_seconds > 0 else [f"interval.{rule.field}"]
    # A series has few distinct values, so that its extremes are found faster among those; nearly every one
    # is sound.
    distinct = [value for value in set(series.values) if value is not None]
    if distinct and (min(distinct) < rule.minimum or max(distinct) > rule.maximum):
        outside = sum(
            value is not None and not rule.minimum <= value <= rule.maximum for value in series.values
        )
        broken += [rule.rule_id] * outside
    return broken


def _sleep_relations(sleep: Sleep, start: LocalInstant, end: LocalInstant) -> Iterator[str]:
    elapsed = elapsed_seconds(start, end)
    in_bed = sleep.in_bed_duration_seconds
    if elapsed is not None:
        if elapsed <= 0:
            yield "order.end_after_start"
        elif elapsed > DAY_SECONDS + _clocks_went_back_seconds(start, end):
            yield "span.longer_than_a_day"
        if in_bed is not None and abs(in_bed - elapsed) > IN_BED_TOLERANCE_SECONDS:
            yield "sum.in_bed_is_end_minus_start"
    stages = (sleep.deep_duration_seconds, sleep.light_duration_seconds, sleep.rem_duration_seconds)
    asleep = sleep.asleep_duration_seconds
    if asleep is not None:
        known = [stage for stage in stages if stage is not None]
        if len(known) == 3 and abs(sum(known) - asleep) > STAGE_SUM_TOLERANCE_SECONDS:
            yield "sum.stages_are_total"
        if in_bed is not None:
            awake = sleep.awake_duration_seconds
            if asleep - in_bed > STAGE_SUM_TOLERANCE_SECONDS:
                yield "sum.asleep_within_in_bed"
            elif awake is not None and abs(asleep + awake - in_bed) > IN_BED_TOLERANCE_SECONDS:
                yield "sum.asleep_and_awake_are_in_bed"
    hypnogram = sleep.hypnogram
    if hypnogram is not None and in_bed is not None:
        interval = hypnogram.interval_seconds
        if abs(len(hypnogram.levels) * interval - in_bed) > max(
            HYPNOGRAM_TOLERANCE_INTERVALS * interval, IN_BED_TOLERANCE_SECONDS
        ):
            yield "span.hypnogram_is_in_bed"
    low, average = sleep.hr_minimum_bpm, sleep.hr_average_bpm
    if low is not None and average is not None and low > average:
        yield "order.hr_minimum_below_average"


def _daily_relations(daily: Daily, start: LocalInstant, end: LocalInstant) -> Iterator[str]:
    parts: tuple[Any, ...] = (
        daily.vigorous_duration_seconds,
        daily.moderate_duration_seconds,
        daily.low_duration_seconds,
        daily.inactive_duration_seconds,
        daily.rest_duration_seconds,
        daily.not_worn_duration_seconds,
    )
    if sum(part for part in parts if part is not None) > DAY_LONG_SECONDS + STAGE_SUM_TOLERANCE_SECONDS:
        yield "sum.parts_within_day"
    active, total = daily.energy_active_kilocalories, daily.energy_total_kilocalories
    if active is not None and total is not None and active > total:
        yield "order.active_energy_below_total"
    for series_name, span in (
        ("met_samples", _span(daily.met_samples)),
        (
            "activity_track",
            0
            if daily.activity_track is None
            else len(daily.activity_track.levels) * daily.activity_track.interval_seconds,
        ),
    ):
        if span > DAY_LONG_SECONDS:
            yield f"span.{series_name}_longer_than_a_day"


def _span(series: SampleSeries | None) -> Number:
    return 0 if series is None else len(series.values) * series.interval_seconds


def _clocks_went_back_seconds(start: LocalInstant, end: LocalInstant) -> int:
    return max(0, (start.offset_seconds or 0) - (end.offset_seconds or 0))


SLEEP_RULES: PlausibilityRules[Sleep] = PlausibilityRules(SLEEP_RANGES, SLEEP_SERIES, _sleep_relations)
DAILY_RULES: PlausibilityRules[Daily] = PlausibilityRules(DAILY_RANGES, DAILY_SERIES, _daily_relations)
