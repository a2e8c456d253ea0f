"""Made-up Oura documents for tests: complete, in order, and easy to break in one place."""

import json
from typing import Any

import msgspec

from domain.health.mappers import MAPPERS
from domain.health.records import HealthRecord, RecordSet
from domain.procedures.procedure import Procedure, ProcedureInput, ProcedureResult

SECRET = bytes(range(32))
RECEIVED_AT_NS = 1_774_764_794_000_000_000
"""2026-03-29T06:13:14Z, some twenty minutes after the night below was over."""


def night(**changed: Any) -> dict[str, Any]:
    """A night of eight hours across the change of Europe's clocks, exactly as mapper 1.0.0 knows it."""
    document: dict[str, Any] = {
        "id": "11111111-2222-4333-8444-555555555555",
        "meta": {"version": 1, "updated_at": "2026-03-29T06:12:41.207Z"},
        "average_breath": 14.25,
        "average_heart_rate": 54.5,
        "average_hrv": 61,
        "awake_time": 1_800,
        "bedtime_start": "2026-03-28T22:50:00+01:00",
        "bedtime_end": "2026-03-29T07:50:00+02:00",
        "day": "2026-03-29",
        "deep_sleep_duration": 6_000,
        "efficiency": 94,
        "heart_rate": sample([None, *[55] * 95], "2026-03-28T22:50:00.000+01:00"),
        "hrv": sample([None, *[60] * 95], "2026-03-28T22:50:00.000+01:00"),
        "latency": 600,
        "light_sleep_duration": 15_000,
        "low_battery_alert": False,
        "lowest_heart_rate": 48,
        "movement_30_sec": "1" * 960,
        "period": 0,
        "readiness": {
            "contributors": {"hrv_balance": 80, "previous_night": 85},
            "score": 82,
            "temperature_deviation": -0.12,
            "temperature_trend_deviation": 0.03,
        },
        "readiness_score_delta": 0,
        "rem_sleep_duration": 6_000,
        "restless_periods": 40,
        "sleep_algorithm_version": "v2",
        "sleep_analysis_reason": "foreground_sleep_analysis",
        "sleep_phase_5_min": "4" * 6 + "2" * 50 + "1" * 20 + "3" * 20,
        "sleep_score_delta": 0,
        "time_in_bed": 28_800,
        "total_sleep_duration": 27_000,
        "type": "long_sleep",
    }
    return _changed(document, changed)


def activity_day(**changed: Any) -> dict[str, Any]:
    """The activity day of 23 hours before that morning, settled."""
    document: dict[str, Any] = {
        "id": "66666666-7777-4888-8999-000000000000",
        "meta": {"version": 4, "updated_at": "2026-03-29T06:12:42.019Z"},
        "active_calories": 350,
        "average_met_minutes": 1.3,
        "class_5_min": "0" * 20 + "1" * 100 + "2" * 100 + "3" * 30 + "4" * 20 + "5" * 6,
        "contributors": {"stay_active": 80},
        "day": "2026-03-28",
        "equivalent_walking_distance": 8_000,
        "high_activity_met_minutes": 210,
        "high_activity_time": 1_800,
        "inactivity_alerts": 1,
        "low_activity_met_minutes": 300,
        "low_activity_time": 9_000,
        "medium_activity_met_minutes": 200,
        "medium_activity_time": 6_000,
        "met": sample([0.9] * 1_380, "2026-03-28T04:00:00.000+01:00", interval=60),
        "meters_to_target": 1_000,
        "non_wear_time": 6_000,
        "resting_time": 30_000,
        "score": 84,
        "sedentary_met_minutes": 60,
        "sedentary_time": 30_000,
        "steps": 10_000,
        "target_calories": 450,
        "target_meters": 9_000,
        "timestamp": "2026-03-28T04:00:00+01:00",
        "total_calories": 2_300,
    }
    return _changed(document, changed)


def sample(items: list[Any], timestamp: str, interval: float = 300) -> dict[str, Any]:
    return {"interval": interval, "items": items, "timestamp": timestamp}


def answer(*documents: Any) -> bytes:
    return json.dumps({"data": documents, "next_token": None}).encode()


def mapper(name: str, version: str) -> Procedure:
    return next(found for found in MAPPERS if (found.name, found.version) == (name, version))


def run(
    payload: bytes,
    name: str = "oura.sleep",
    version: str = "1.0.0",
    received_at_ns: int = RECEIVED_AT_NS,
    provider_event_time_ns: int | None = None,
) -> ProcedureResult:
    return mapper(name, version).run(
        ProcedureInput(
            options={},
            payload=payload,
            received_at_ns=received_at_ns,
            provider_event_time_ns=provider_event_time_ns,
            record_key_secret=SECRET,
        )
    )


def records(result: ProcedureResult) -> tuple[HealthRecord, ...]:
    return msgspec.json.decode(result.artifacts[0].data, type=RecordSet).records


def metrics(result: ProcedureResult) -> dict[str, tuple[float | None, ...]]:
    return {track.name: track.values for track in result.metrics}


def drift(result: ProcedureResult) -> list[dict[str, Any]]:
    """The findings of ``drift.json``, none when there is no such artifact."""
    found = [artifact for artifact in result.artifacts if artifact.name == "drift.json"]
    if not found:
        return []
    findings: list[dict[str, Any]] = json.loads(found[0].data)["findings"]
    return findings


def _changed(document: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """The document with fields replaced; ``...`` takes one out."""
    merged = {**document, **changed}
    return {name: value for name, value in merged.items() if value is not ...}
