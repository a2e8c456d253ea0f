"""Oura daily activity documents (``GET /v2/usercollection/daily_activity``) to ``Daily`` records.

Oura's activity day lasts from 4 a.m. to 4 a.m. on the person's clock (23 to 25 hours) and is filed under
``day``, which is the record's natural key: the same day arrives again and again while it is going on.  A
document whose last change lies before its day can have ended (25 hours after its start) is **tentative**, any
later one **final**.  There is no way to tell a correction or a deletion from a document; a deletion comes as
a notification only.

``equivalent_walking_distance`` is Oura's estimate in metres from movement, not a measured track.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from domain.errors import InvalidError
from domain.health.drift import DriftFinding, compile_shape
from domain.health.instants import (
    DAY_SECONDS,
    SECOND_NS,
    LocalInstant,
    parse_calendar_date,
    parse_local_instant,
    same_clock_next_day,
)
from domain.health.mapped_records import MappedRecord, encode_units, mapping_result
from domain.health.mappers.oura_parts import (
    PROVIDER,
    Codes,
    Identifier,
    Int,
    LevelTable,
    Num,
    OuraMeta,
    OuraSample,
    Text,
    device,
    given,
    ordering,
    read_documents,
    series,
)
from domain.health.plausibility import DAILY_RULES, DAY_LONG_SECONDS
from domain.health.provider_documents import DocumentReader, ProviderDocument
from domain.health.record_keys import record_key
from domain.health.records import (
    ActivityLevel,
    ActivityTrack,
    Daily,
    DayRule,
    Revision,
    RevisionState,
    TimeZoneSource,
    UnitNote,
)
from domain.health.units import unit_note
from domain.procedures.procedure import Procedure, ProcedureInput, ProcedureResult

NAME = "oura.daily_activity"
VERSION = "1.0.0"

CLASS_CODES = "012345"
CLASS_INTERVAL_SECONDS = 300

_LEVELS = LevelTable(
    {
        "0": ActivityLevel.NOT_WORN,
        "1": ActivityLevel.REST,
        "2": ActivityLevel.INACTIVE,
        "3": ActivityLevel.LOW,
        "4": ActivityLevel.MODERATE,
        "5": ActivityLevel.VIGOROUS,
    }
)


class OuraActivityContributors(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Scores of 1 to 100; known so that a new one is noticed, not carried into records."""

    meet_daily_targets: Int | UnsetType | None = UNSET
    move_every_hour: Int | UnsetType | None = UNSET
    recovery_time: Int | UnsetType | None = UNSET
    stay_active: Int | UnsetType | None = UNSET
    training_frequency: Int | UnsetType | None = UNSET
    training_volume: Int | UnsetType | None = UNSET


class OuraDailyActivity(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, gc=False):
    """The daily activity document (``PublicDailyActivity``).  Times in seconds, energies in kcal, distances
    in metres.
    """

    id: Identifier
    day: Text
    timestamp: Text
    meta: OuraMeta | UnsetType | None = UNSET
    active_calories: Num | UnsetType = UNSET
    average_met_minutes: Num | UnsetType = UNSET
    class_5_min: Codes | UnsetType | None = UNSET
    contributors: OuraActivityContributors | UnsetType | None = UNSET
    equivalent_walking_distance: Num | UnsetType = UNSET
    high_activity_met_minutes: Num | UnsetType = UNSET
    high_activity_time: Num | UnsetType = UNSET
    inactivity_alerts: Int | UnsetType = UNSET
    low_activity_met_minutes: Num | UnsetType = UNSET
    low_activity_time: Num | UnsetType = UNSET
    medium_activity_met_minutes: Num | UnsetType = UNSET
    medium_activity_time: Num | UnsetType = UNSET
    met: OuraSample | UnsetType | None = UNSET
    meters_to_target: Num | UnsetType = UNSET
    non_wear_time: Num | UnsetType = UNSET
    resting_time: Num | UnsetType = UNSET
    score: Int | UnsetType | None = UNSET
    sedentary_met_minutes: Num | UnsetType = UNSET
    sedentary_time: Num | UnsetType = UNSET
    steps: Int | UnsetType = UNSET
    target_calories: Num | UnsetType = UNSET
    target_meters: Num | UnsetType = UNSET
    total_calories: Num | UnsetType = UNSET


_READER: DocumentReader[OuraDailyActivity] = DocumentReader(
    OuraDailyActivity,
    compile_shape(
        OuraDailyActivity,
        expected=(
            "active_calories",
            "average_met_minutes",
            "class_5_min",
            "contributors",
            "equivalent_walking_distance",
            "high_activity_met_minutes",
            "high_activity_time",
            "inactivity_alerts",
            "low_activity_met_minutes",
            "low_activity_time",
            "medium_activity_met_minutes",
            "medium_activity_time",
            "met",
            "non_wear_time",
            "resting_time",
            "sedentary_met_minutes",
            "sedentary_time",
            "steps",
            "total_calories",
        ),
        codes={"class_5_min": CLASS_CODES},
    ),
)

UNITS: tuple[UnitNote, ...] = (
    unit_note("steps_count", "steps", "count", "count"),
    unit_note("distance_meters", "equivalent_walking_distance", "m", "m"),
    unit_note("energy_total_kilocalories", "total_calories", "kcal", "kcal"),
    unit_note("energy_active_kilocalories", "active_calories", "kcal", "kcal"),
    unit_note("vigorous_duration_seconds", "high_activity_time", "s", "s"),
    unit_note("moderate_duration_seconds", "medium_activity_time", "s", "s"),
    unit_note("low_duration_seconds", "low_activity_time", "s", "s"),
    unit_note("inactive_duration_seconds", "sedentary_time", "s", "s"),
    unit_note("rest_duration_seconds", "resting_time", "s", "s"),
    unit_note("not_worn_duration_seconds", "non_wear_time", "s", "s"),
    unit_note("vigorous_met_minutes", "high_activity_met_minutes", "met-min", "met-min"),
    unit_note("moderate_met_minutes", "medium_activity_met_minutes", "met-min", "met-min"),
    unit_note("low_met_minutes", "low_activity_met_minutes", "met-min", "met-min"),
    unit_note("inactive_met_minutes", "sedentary_met_minutes", "met-min", "met-min"),
    unit_note("met_average", "average_met_minutes", "met", "met"),
    unit_note("met_samples", "met.items", "met", "met"),
    unit_note("target_energy_kilocalories", "target_calories", "kcal", "kcal"),
    unit_note("target_distance_meters", "target_meters", "m", "m"),
)
_ENCODED_UNITS = encode_units(UNITS)


def map_daily_activity(task: ProcedureInput) -> ProcedureResult:
    """Map a payload of kind ``oura.daily_activity``.

    Raises: MalformedError when the payload cannot be mapped, InvalidError on options or a missing secret.
    """
    if task.options:
        raise InvalidError(
            "this mapper has no options", field="options", actual=", ".join(sorted(task.options))
        )
    mapped = [_mapped(document, task) for document in read_documents(_READER, task.payload)]
    return mapping_result(NAME, VERSION, _ENCODED_UNITS, mapped, task.received_at_ns)


def _mapped(document: ProviderDocument[OuraDailyActivity], task: ProcedureInput) -> MappedRecord:
    body = document.body
    findings = list(document.findings)
    start = parse_local_instant(body.timestamp, document.at("timestamp"))
    daily = _daily(document, task, start, findings)
    # The clock at the end is not told; a plain day is exact enough for an age in days.
    end_ns = None if start.unix_ns is None else start.unix_ns + DAY_SECONDS * SECOND_NS
    return MappedRecord(
        record_key=record_key(task.record_key_secret, PROVIDER, "daily_activity", daily.calendar_date),
        record=daily,
        end_ns=end_ns,
        findings=tuple(findings),
        broken_rules=DAILY_RULES.broken(daily, start, start),
    )


def _daily(
    document: ProviderDocument[OuraDailyActivity],
    task: ProcedureInput,
    start: LocalInstant,
    findings: list[DriftFinding],
) -> Daily:
    body = document.body
    ordering_ns, ordering_source = ordering(body.meta, task, findings)
    codes = given(body.class_5_min)
    return Daily(
        provider_record_id=body.id,
        calendar_date=parse_calendar_date(body.day, document.at("day")),
        day_rule=DayRule.PROVIDER_DATE,
        start_time_local=start.local,
        start_offset_seconds=start.offset_seconds,
        end_time_local=same_clock_next_day(start.local),
        end_offset_seconds=None,
        tz_source=TimeZoneSource.FLOATING if start.offset_seconds is None else TimeZoneSource.PROVIDER,
        revision=Revision(
            state=_state(start, ordering_ns),
            ordering_ns=ordering_ns,
            ordering_source=ordering_source,
            provider_version=given(body.meta.version) if isinstance(body.meta, OuraMeta) else None,
        ),
        source=device(),
        steps_count=given(body.steps),
        distance_meters=given(body.equivalent_walking_distance),
        energy_total_kilocalories=given(body.total_calories),
        energy_active_kilocalories=given(body.active_calories),
        vigorous_duration_seconds=given(body.high_activity_time),
        moderate_duration_seconds=given(body.medium_activity_time),
        low_duration_seconds=given(body.low_activity_time),
        inactive_duration_seconds=given(body.sedentary_time),
        rest_duration_seconds=given(body.resting_time),
        not_worn_duration_seconds=given(body.non_wear_time),
        vigorous_met_minutes=given(body.high_activity_met_minutes),
        moderate_met_minutes=given(body.medium_activity_met_minutes),
        low_met_minutes=given(body.low_activity_met_minutes),
        inactive_met_minutes=given(body.sedentary_met_minutes),
        met_average=given(body.average_met_minutes),
        met_samples=series(body.met, "met", findings),
        activity_track=None
        if not codes
        else ActivityTrack(interval_seconds=CLASS_INTERVAL_SECONDS, levels=codes.translate(_LEVELS)),
        inactivity_alert_count=given(body.inactivity_alerts),
        activity_score=given(body.score),
        target_energy_kilocalories=given(body.target_calories),
        target_distance_meters=given(body.target_meters),
    )


def _state(start: LocalInstant, ordering_ns: int) -> RevisionState:
    if start.unix_ns is None:
        # Without an offset nobody can say whether the day was over.
        return RevisionState.TENTATIVE
    is_over = ordering_ns >= start.unix_ns + DAY_LONG_SECONDS * SECOND_NS
    return RevisionState.FINAL if is_over else RevisionState.TENTATIVE


OURA_DAILY_ACTIVITY_1_0 = Procedure(
    name=NAME,
    version=VERSION,
    consumes="oura.daily_activity",
    numeric=False,
    run=map_daily_activity,
)
