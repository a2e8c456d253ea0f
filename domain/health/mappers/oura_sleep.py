"""Oura sleep documents (``GET /v2/usercollection/sleep``) to ``Sleep`` records.

Two editions are in service:

- **1.0.0** knows the documents of API 1.27 with ``meta`` and the background analyses of 1.35.  Stages come
  from ``sleep_phase_5_min``, and a long sleep whose document does not have that key at all is not mapped:
  null says "no stages", a missing key says that the provider moved them somewhere this edition does not look.
- **1.1.0** also knows ``sleep_phase_30_sec`` (ten times finer, taken first), ``app_sleep_phase_5_min`` (Oura
  announces its removal) and ``ring_id``.

How settled a document is (Oura has no such flag; ``type`` and ``sleep_analysis_reason`` say it together):

=========================================  ==============================================================
document                                   revision state
=========================================  ==============================================================
``type: deleted``                          deleted: the person removed it
``type: rest``                             deleted: found to be no sleep, the person rejected it when asked
``bedtime_edit``                           corrected: the person moved the ends of the night
``background_sleep_analysis``              tentative: the ring saw sleep, the app has not analysed it yet
``foreground_sleep_analysis``              final
``background_created_foreground_updated``  final: the app's analysis replaced the ring's
no reason (older documents)                final
a reason this edition does not know        tentative: a guess replaces nothing settled; counted as drift
=========================================  ==============================================================

A change of ``sleep_algorithm_version`` is a later revision of the same state; it is ordered by time like any
other.
"""

from __future__ import annotations

from functools import partial

from msgspec import UNSET, Struct, UnsetType

from domain.errors import InvalidError, MalformedError
from domain.health.drift import DriftFinding, compile_shape
from domain.health.instants import LocalInstant, parse_calendar_date, parse_local_instant
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
from domain.health.plausibility import SLEEP_RULES, ends_in_the_future
from domain.health.provider_documents import DocumentReader, ProviderDocument
from domain.health.record_keys import record_key
from domain.health.records import (
    DayRule,
    Hypnogram,
    Revision,
    RevisionState,
    Sleep,
    SleepLevel,
    TimeZoneSource,
    UnitNote,
)
from domain.health.units import unit_note
from domain.procedures.procedure import Procedure, ProcedureInput, ProcedureResult

NAME = "oura.sleep"

TYPES = frozenset({"deleted", "sleep", "long_sleep", "late_nap", "rest"})
REASONS = {
    "bedtime_edit": RevisionState.CORRECTED,
    "background_sleep_analysis": RevisionState.TENTATIVE,
    "foreground_sleep_analysis": RevisionState.FINAL,
    "background_created_foreground_updated": RevisionState.FINAL,
}
ALGORITHM_VERSIONS = frozenset({"v1", "v2"})
STAGE_CODES = "1234"

_LEVELS = LevelTable(
    {"1": SleepLevel.DEEP, "2": SleepLevel.LIGHT, "3": SleepLevel.REM, "4": SleepLevel.AWAKE}
)
_IS_NAP = {"long_sleep": False, "sleep": True, "late_nap": True}
_WITHDRAWN = frozenset({"deleted", "rest"})


class OuraReadinessContributors(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Scores of 1 to 100; known so that a new one is noticed, not carried into records."""

    activity_balance: Int | UnsetType | None = UNSET
    body_temperature: Int | UnsetType | None = UNSET
    hrv_balance: Int | UnsetType | None = UNSET
    previous_day_activity: Int | UnsetType | None = UNSET
    previous_night: Int | UnsetType | None = UNSET
    recovery_index: Int | UnsetType | None = UNSET
    resting_heart_rate: Int | UnsetType | None = UNSET
    sleep_balance: Int | UnsetType | None = UNSET
    sleep_regularity: Int | UnsetType | None = UNSET


class OuraReadiness(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """``PublicReadiness``; temperatures are differences from the person's baseline in degrees Celsius."""

    contributors: OuraReadinessContributors | UnsetType | None = UNSET
    score: Int | UnsetType | None = UNSET
    temperature_deviation: Num | UnsetType | None = UNSET
    temperature_trend_deviation: Num | UnsetType | None = UNSET


class OuraSleep(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, gc=False):
    """The sleep document as edition 1.0.0 knows it.  Durations in seconds, heart rate in beats/min, HRV as
    RMSSD in ms.
    """

    id: Identifier
    day: Text
    bedtime_start: Text
    bedtime_end: Text
    meta: OuraMeta | UnsetType | None = UNSET
    average_breath: Num | UnsetType | None = UNSET
    average_heart_rate: Num | UnsetType | None = UNSET
    average_hrv: Num | UnsetType | None = UNSET
    awake_time: Num | UnsetType | None = UNSET
    deep_sleep_duration: Num | UnsetType | None = UNSET
    efficiency: Num | UnsetType | None = UNSET
    heart_rate: OuraSample | UnsetType | None = UNSET
    hrv: OuraSample | UnsetType | None = UNSET
    latency: Num | UnsetType | None = UNSET
    light_sleep_duration: Num | UnsetType | None = UNSET
    low_battery_alert: bool | UnsetType = UNSET
    lowest_heart_rate: Num | UnsetType | None = UNSET
    movement_30_sec: Codes | UnsetType | None = UNSET
    period: Int | UnsetType = UNSET
    readiness: OuraReadiness | UnsetType | None = UNSET
    readiness_score_delta: Num | UnsetType | None = UNSET
    rem_sleep_duration: Num | UnsetType | None = UNSET
    restless_periods: Int | UnsetType | None = UNSET
    sleep_algorithm_version: Text | UnsetType | None = UNSET
    sleep_analysis_reason: Text | UnsetType | None = UNSET
    sleep_phase_5_min: Codes | UnsetType | None = UNSET
    sleep_score_delta: Num | UnsetType | None = UNSET
    time_in_bed: Num | UnsetType = UNSET
    total_sleep_duration: Num | UnsetType | None = UNSET
    type: Text | UnsetType | None = UNSET


class OuraSleepFiner(OuraSleep, frozen=True, forbid_unknown_fields=True, kw_only=True, gc=False):
    """The sleep document as edition 1.1.0 knows it."""

    app_sleep_phase_5_min: Codes | UnsetType | None = UNSET
    ring_id: Text | UnsetType | None = UNSET
    sleep_phase_30_sec: Codes | UnsetType | None = UNSET


# Sent with every document, null or not; each carries a value into the record or is required by Oura's own
# schema.
_EXPECTED = (
    "average_breath",
    "average_heart_rate",
    "average_hrv",
    "awake_time",
    "deep_sleep_duration",
    "efficiency",
    "heart_rate",
    "hrv",
    "latency",
    "light_sleep_duration",
    "low_battery_alert",
    "lowest_heart_rate",
    "period",
    "rem_sleep_duration",
    "time_in_bed",
    "total_sleep_duration",
    "type",
)
_VALUES = {
    "type": TYPES,
    "sleep_analysis_reason": frozenset(REASONS),
    "sleep_algorithm_version": ALGORITHM_VERSIONS,
}

UNITS: tuple[UnitNote, ...] = (
    unit_note("in_bed_duration_seconds", "time_in_bed", "s", "s"),
    unit_note("asleep_duration_seconds", "total_sleep_duration", "s", "s"),
    unit_note("deep_duration_seconds", "deep_sleep_duration", "s", "s"),
    unit_note("light_duration_seconds", "light_sleep_duration", "s", "s"),
    unit_note("rem_duration_seconds", "rem_sleep_duration", "s", "s"),
    unit_note("awake_duration_seconds", "awake_time", "s", "s"),
    unit_note("latency_duration_seconds", "latency", "s", "s"),
    unit_note("efficiency_percent", "efficiency", "%", "%"),
    unit_note("hr_average_bpm", "average_heart_rate", "bpm", "bpm"),
    unit_note("hr_minimum_bpm", "lowest_heart_rate", "bpm", "bpm"),
    unit_note("hr_samples_bpm", "heart_rate.items", "bpm", "bpm"),
    unit_note("hrv_rmssd_average_ms", "average_hrv", "ms", "ms"),
    unit_note("hrv_rmssd_samples_ms", "hrv.items", "ms", "ms"),
    unit_note("breath_average_per_minute", "average_breath", "/min", "/min"),
    unit_note(
        "temperature_deviation_celsius", "readiness.temperature_deviation", "Cel-difference", "Cel-difference"
    ),
    unit_note(
        "temperature_trend_deviation_celsius",
        "readiness.temperature_trend_deviation",
        "Cel-difference",
        "Cel-difference",
    ),
)
_ENCODED_UNITS = encode_units(UNITS)


class Edition(Struct, frozen=True, eq=False):
    """One version of this mapper: what it can read, and where it looks for stages, finest first, as (field,
    seconds per code).
    """

    version: str
    reader: DocumentReader[OuraSleep]
    stage_fields: tuple[tuple[str, int], ...]


EDITION_1_0 = Edition(
    version="1.0.0",
    reader=DocumentReader(
        OuraSleep,
        compile_shape(
            OuraSleep,
            expected=(*_EXPECTED, "sleep_phase_5_min"),
            values=_VALUES,
            codes={"sleep_phase_5_min": STAGE_CODES},
        ),
    ),
    stage_fields=(("sleep_phase_5_min", 300),),
)
EDITION_1_1 = Edition(
    version="1.1.0",
    reader=DocumentReader(
        OuraSleepFiner,
        compile_shape(
            OuraSleepFiner,
            expected=_EXPECTED,
            values=_VALUES,
            codes={
                "sleep_phase_5_min": STAGE_CODES,
                "sleep_phase_30_sec": STAGE_CODES,
                "app_sleep_phase_5_min": STAGE_CODES,
            },
        ),
    ),
    stage_fields=(("sleep_phase_30_sec", 30), ("sleep_phase_5_min", 300), ("app_sleep_phase_5_min", 300)),
)


def map_sleep(edition: Edition, task: ProcedureInput) -> ProcedureResult:
    """Map a payload of kind ``oura.sleep``.

    Raises: MalformedError when the payload cannot be mapped, InvalidError on options or a missing secret.
    """
    if task.options:
        raise InvalidError(
            "this mapper has no options", field="options", actual=", ".join(sorted(task.options))
        )
    return mapping_result(
        NAME, edition.version, _ENCODED_UNITS, mapped_sleep(edition, task), task.received_at_ns
    )


def mapped_sleep(edition: Edition, task: ProcedureInput) -> list[MappedRecord]:
    """The records of a payload, not yet a procedure result.  Raises: MalformedError."""
    return [_mapped(edition, document, task) for document in read_documents(edition.reader, task.payload)]


def _mapped(edition: Edition, document: ProviderDocument[OuraSleep], task: ProcedureInput) -> MappedRecord:
    body = document.body
    findings = list(document.findings)
    start = parse_local_instant(body.bedtime_start, document.at("bedtime_start"))
    end = parse_local_instant(body.bedtime_end, document.at("bedtime_end"))
    sleep = _sleep(edition, document, task, start, end, findings)
    return MappedRecord(
        record_key=record_key(task.record_key_secret, PROVIDER, "sleep", body.id),
        record=sleep,
        end_ns=end.unix_ns,
        findings=tuple(findings),
        broken_rules=SLEEP_RULES.broken(sleep, start, end)
        + ends_in_the_future(end.unix_ns, task.received_at_ns),
    )


def _sleep(
    edition: Edition,
    document: ProviderDocument[OuraSleep],
    task: ProcedureInput,
    start: LocalInstant,
    end: LocalInstant,
    findings: list[DriftFinding],
) -> Sleep:
    body = document.body
    ordering_ns, ordering_source = ordering(body.meta, task, findings)
    readiness = body.readiness if isinstance(body.readiness, OuraReadiness) else None
    sleep_type = given(body.type)
    heart_rate = series(body.heart_rate, "heart_rate", findings)
    is_floating = start.offset_seconds is None or end.offset_seconds is None
    return Sleep(
        provider_record_id=body.id,
        calendar_date=parse_calendar_date(body.day, document.at("day")),
        day_rule=DayRule.WAKE_DAY,
        start_time_local=start.local,
        start_offset_seconds=start.offset_seconds,
        end_time_local=end.local,
        end_offset_seconds=end.offset_seconds,
        tz_source=TimeZoneSource.FLOATING if is_floating else TimeZoneSource.PROVIDER,
        revision=Revision(
            state=_state(sleep_type, given(body.sleep_analysis_reason)),
            ordering_ns=ordering_ns,
            ordering_source=ordering_source,
            provider_version=given(body.meta.version) if isinstance(body.meta, OuraMeta) else None,
            provider_reason=given(body.sleep_analysis_reason),
        ),
        source=device(
            device_id=given(body.ring_id) if isinstance(body, OuraSleepFiner) else None,
            algorithm_version=given(body.sleep_algorithm_version),
        ),
        sleep_type=sleep_type,
        is_nap=_IS_NAP.get(sleep_type) if sleep_type is not None else None,
        in_bed_duration_seconds=given(body.time_in_bed),
        asleep_duration_seconds=given(body.total_sleep_duration),
        deep_duration_seconds=given(body.deep_sleep_duration),
        light_duration_seconds=given(body.light_sleep_duration),
        rem_duration_seconds=given(body.rem_sleep_duration),
        awake_duration_seconds=given(body.awake_time),
        latency_duration_seconds=given(body.latency),
        efficiency_percent=given(body.efficiency),
        restless_period_count=given(body.restless_periods),
        hypnogram=_hypnogram(edition, document, sleep_type),
        hr_average_bpm=given(body.average_heart_rate),
        hr_minimum_bpm=given(body.lowest_heart_rate),
        hr_samples_bpm=heart_rate,
        hrv_rmssd_average_ms=given(body.average_hrv),
        hrv_rmssd_samples_ms=series(body.hrv, "hrv", findings, (body.heart_rate, heart_rate)),
        breath_average_per_minute=given(body.average_breath),
        temperature_deviation_celsius=given(readiness.temperature_deviation) if readiness else None,
        temperature_trend_deviation_celsius=given(readiness.temperature_trend_deviation)
        if readiness
        else None,
        readiness_score=given(readiness.score) if readiness else None,
        is_battery_low=given(body.low_battery_alert),
    )


def _state(sleep_type: str | None, reason: str | None) -> RevisionState:
    if sleep_type in _WITHDRAWN:
        return RevisionState.DELETED
    if reason is None:
        return RevisionState.FINAL
    return REASONS.get(reason, RevisionState.TENTATIVE)


def _hypnogram(
    edition: Edition, document: ProviderDocument[OuraSleep], sleep_type: str | None
) -> Hypnogram | None:
    """Stages from the first field that has any.

    Raises: MalformedError when a long sleep has none of the fields, not even empty.
    """
    is_sent = False
    for field, interval_seconds in edition.stage_fields:
        codes = getattr(document.body, field)
        if isinstance(codes, str) and codes:
            return Hypnogram(interval_seconds=interval_seconds, levels=codes.translate(_LEVELS))
        is_sent = is_sent or codes is not UNSET
    if sleep_type == "long_sleep" and not is_sent:
        fields = " or ".join(field for field, _ in edition.stage_fields)
        raise MalformedError(
            "a long sleep has its stages in a field that this mapper version does not know",
            field=document.at(edition.stage_fields[0][0]),
            expected=fields,
            actual="nothing",
            remedy="The bytes are kept; reprocess them with a mapper version that knows this shape.",
        )
    return None


OURA_SLEEP_1_0 = Procedure(
    name=NAME, version="1.0.0", consumes="oura.sleep", numeric=False, run=partial(map_sleep, EDITION_1_0)
)
OURA_SLEEP_1_1 = Procedure(
    name=NAME, version="1.1.0", consumes="oura.sleep", numeric=False, run=partial(map_sleep, EDITION_1_1)
)
