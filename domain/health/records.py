"""Normalised health records: what a night and a day look like, whoever the provider was.

Meaning follows Terra's public data models (``Sleep``, ``Daily``); units stand last in every name.

=================================  ====================================================================
here                               Terra
=================================  ====================================================================
``start_time_local`` + offset      ``metadata.start_time`` (one ISO 8601 text there)
``in_bed_duration_seconds``        ``sleep_durations_data.other.duration_in_bed_seconds``
``asleep_duration_seconds``        ``sleep_durations_data.asleep.duration_asleep_state_seconds``
``awake_duration_seconds``         ``sleep_durations_data.awake.duration_awake_state_seconds``
``efficiency_percent``             ``sleep_durations_data.sleep_efficiency``
``hypnogram.levels``               ``sleep_durations_data.hypnogram_samples[].level`` (the same codes)
``hr_average_bpm``                 ``heart_rate_data.summary.avg_hr_bpm``
``hrv_rmssd_average_ms``           ``heart_rate_data.summary.avg_hrv_rmssd``
``temperature_deviation_celsius``  ``temperature_data.delta``
``readiness_score``                ``readiness_data.readiness``
``distance_meters``                ``distance_data.distance_meters``
``vigorous_duration_seconds``      ``active_durations_data.vigorous_intensity_seconds``
``energy_total_kilocalories``      ``calories_data.total_burned_calories``
=================================  ====================================================================

Time is kept as the person lived it: local clock text, and the offset from UTC at *each* end, because a night
across a change of the clocks has two.  ``calendar_date`` is the provider's own day as text; it is never
computed from an instant. RMSSD and SDNN are different measures of heart rate variability and never share a
field.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

from msgspec import Struct

Number: TypeAlias = int | float
"""A JSON number in the provider's own spelling: 28800 stays 28800, 54.5 stays 54.5."""

RECORDS_FORMAT = "tallystick.records.v1"
RECORDS_ARTIFACT = "records.json"


class RevisionState(enum.StrEnum):
    """How settled the provider says a record is; ``domain.health.revisions`` gives each its rank."""

    TENTATIVE = "tentative"
    FINAL = "final"
    CORRECTED = "corrected"
    DELETED = "deleted"


class OrderingSource(enum.StrEnum):
    """Whose clock orders the revisions: the document's own time of change, the provider's notification, or
    our receipt of the bytes (right for pulled documents, which are the newest state at that moment).
    """

    DOCUMENT = "document"
    EVENT = "event"
    RECEIPT = "receipt"


class TimeZoneSource(enum.StrEnum):
    """Where the UTC offsets come from; ``floating``: the provider gave local times without any."""

    PROVIDER = "provider"
    PROFILE = "profile"
    INFERRED = "inferred"
    ABSENT = "absent"
    FLOATING = "floating"


class DayRule(enum.StrEnum):
    """What ``calendar_date`` means: the day the person woke, the day the record began, or simply what the
    provider filed it under.
    """

    WAKE_DAY = "wake_day"
    START_DAY = "start_day"
    PROVIDER_DATE = "provider_date"


class SleepLevel(enum.IntEnum):
    """Terra's ``SleepLevel`` codes, the digits of ``Hypnogram.levels``."""

    UNKNOWN = 0
    AWAKE = 1
    SLEEPING = 2
    OUT_OF_BED = 3
    LIGHT = 4
    DEEP = 5
    REM = 6


class ActivityLevel(enum.IntEnum):
    """Digits of ``ActivityTrack.levels``."""

    UNKNOWN = 0
    REST = 1
    INACTIVE = 2
    LOW = 3
    MODERATE = 4
    VIGOROUS = 5
    NOT_WORN = 6


class Revision(Struct, frozen=True, kw_only=True, gc=False):
    """Which state of its record this is.  ``ordering_ns`` is Unix nanoseconds; the provider's own version
    number and reason are kept as they were written.
    """

    state: RevisionState
    ordering_ns: int
    ordering_source: OrderingSource
    provider_version: int | None = None
    provider_reason: str | None = None


class SourceDevice(Struct, frozen=True, kw_only=True, gc=False):
    """What recorded it, as far as the provider tells; ``device_id`` is the provider's opaque name for one
    piece of hardware.
    """

    provider: str
    manufacturer: str
    device_id: str | None = None
    algorithm_version: str | None = None


class SampleSeries(Struct, frozen=True, kw_only=True, gc=False):
    """Evenly spaced samples; the unit is in the name of the field that holds the series.  ``None`` where
    nothing was measured.

    The start is ``None`` where the provider's own time could not be read.
    """

    start_time_local: str | None
    start_offset_seconds: int | None
    interval_seconds: Number
    values: tuple[Number | None, ...]


class Hypnogram(Struct, frozen=True, kw_only=True, gc=False):
    """Sleep stages: one ``SleepLevel`` digit per interval, beginning when the record begins."""

    interval_seconds: int
    levels: str


class ActivityTrack(Struct, frozen=True, kw_only=True, gc=False):
    """Activity classes: one ``ActivityLevel`` digit per interval, beginning when the record begins."""

    interval_seconds: int
    levels: str


class Sleep(Struct, frozen=True, kw_only=True, gc=False, tag_field="record_type", tag="sleep"):
    """One period of sleep.  ``is_nap`` is ``None`` where the provider does not say what kind of period it
    was.
    """

    provider_record_id: str
    calendar_date: str
    day_rule: DayRule
    start_time_local: str
    start_offset_seconds: int | None
    end_time_local: str
    end_offset_seconds: int | None
    tz_source: TimeZoneSource
    revision: Revision
    source: SourceDevice
    sleep_type: str | None
    is_nap: bool | None
    in_bed_duration_seconds: Number | None = None
    asleep_duration_seconds: Number | None = None
    deep_duration_seconds: Number | None = None
    light_duration_seconds: Number | None = None
    rem_duration_seconds: Number | None = None
    awake_duration_seconds: Number | None = None
    latency_duration_seconds: Number | None = None
    efficiency_percent: Number | None = None
    restless_period_count: int | None = None
    hypnogram: Hypnogram | None = None
    hr_average_bpm: Number | None = None
    hr_minimum_bpm: Number | None = None
    hr_samples_bpm: SampleSeries | None = None
    hrv_rmssd_average_ms: Number | None = None
    hrv_rmssd_samples_ms: SampleSeries | None = None
    breath_average_per_minute: Number | None = None
    temperature_deviation_celsius: Number | None = None
    temperature_trend_deviation_celsius: Number | None = None
    readiness_score: Number | None = None
    is_battery_low: bool | None = None


class Daily(Struct, frozen=True, kw_only=True, gc=False, tag_field="record_type", tag="daily"):
    """One day of activity.  A day lasts 23 to 25 hours; ``end_time_local`` shows the same clock as
    ``start_time_local`` one date later unless the provider says otherwise, and ``end_offset_seconds`` is
    ``None`` where the provider does not tell it.
    """

    provider_record_id: str
    calendar_date: str
    day_rule: DayRule
    start_time_local: str
    start_offset_seconds: int | None
    end_time_local: str
    end_offset_seconds: int | None
    tz_source: TimeZoneSource
    revision: Revision
    source: SourceDevice
    steps_count: int | None = None
    distance_meters: Number | None = None
    energy_total_kilocalories: Number | None = None
    energy_active_kilocalories: Number | None = None
    vigorous_duration_seconds: Number | None = None
    moderate_duration_seconds: Number | None = None
    low_duration_seconds: Number | None = None
    inactive_duration_seconds: Number | None = None
    rest_duration_seconds: Number | None = None
    not_worn_duration_seconds: Number | None = None
    vigorous_met_minutes: Number | None = None
    moderate_met_minutes: Number | None = None
    low_met_minutes: Number | None = None
    inactive_met_minutes: Number | None = None
    met_average: Number | None = None
    met_samples: SampleSeries | None = None
    activity_track: ActivityTrack | None = None
    inactivity_alert_count: int | None = None
    activity_score: Number | None = None
    target_energy_kilocalories: Number | None = None
    target_distance_meters: Number | None = None


class Provenance(Struct, frozen=True, kw_only=True, gc=False):
    """Where in which payload a record stood, and what turned it into a record; the payload itself is named by
    the receipt.
    """

    payload_position: int
    mapper: str
    mapper_version: str


class UnitNote(Struct, frozen=True, kw_only=True, gc=False):
    """How a field's number came about: provider field and unit, our unit, and the factor between them (1
    where nothing changed).
    """

    record_field: str
    provider_field: str
    provider_unit: str
    unit: str
    factor: float


class HealthRecord(Struct, frozen=True, kw_only=True, gc=False):
    """A record with its keyed name, its provenance and the plausibility rules that it broke."""

    record_key: str
    provenance: Provenance
    record: Sleep | Daily
    implausible_rules: tuple[str, ...] = ()


class RecordSet(Struct, frozen=True, kw_only=True, gc=False):
    """The whole ``records.json`` artifact of one run."""

    mapper: str
    mapper_version: str
    units: tuple[UnitNote, ...]
    records: tuple[HealthRecord, ...]
    format: str = RECORDS_FORMAT
