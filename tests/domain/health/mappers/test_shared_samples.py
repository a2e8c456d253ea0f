"""Samples in the shapes of other people's Oura clients, where the shared folder is beside the checkout."""

import json
from pathlib import Path
from typing import Any

import pytest

from domain.errors import MalformedError
from domain.health.records import Daily, Sleep
from tests.domain.health.oura_nights import answer, metrics, records, run

RECEIVED_AT_NS = 1_800_000_000_000_000_000


def documents(path: Path) -> list[Any]:
    content = json.loads(path.read_bytes())
    return content if isinstance(content, list) else [content]


def oura(shared_data: Path) -> Path:
    folder = shared_data / "health" / "oura"
    if not folder.is_dir():
        pytest.skip("no Oura samples beside this checkout")
    return folder


def test_the_sleep_of_a_public_readme_maps_with_its_oddities_counted(shared_data: Path) -> None:
    (path,) = (oura(shared_data) / "oura-ring-readme").glob("*_Get_Sleep_Periods.json")
    for version in ("1.0.0", "1.1.0"):
        result = run(answer(*documents(path)), version=version, received_at_ns=RECEIVED_AT_NS)
        (record,) = records(result)
        assert isinstance(record.record, Sleep)
        assert record.record.start_offset_seconds == -25_200
        assert record.record.asleep_duration_seconds is None
        found = metrics(result)
        assert found["schema.missing_field_count"] == (0.0,)
        assert found["schema.unknown_field_count"] == (0.0,)
        # A placeholder where the stages should be, an average of 4.25 beats/min and two negative HRV samples.
        assert found["schema.enum_growth_count"] == (1.0,)
        assert {"range.hr_average_bpm", "range.hrv_rmssd_samples_ms"} <= set(record.implausible_rules)


def test_the_activity_of_a_public_readme_maps_with_its_placeholder_counted(shared_data: Path) -> None:
    (path,) = (oura(shared_data) / "oura-ring-readme").glob("*_Get_Daily_Activity.json")
    result = run(answer(*documents(path)), "oura.daily_activity", received_at_ns=RECEIVED_AT_NS)
    (record,) = records(result)
    assert isinstance(record.record, Daily)
    assert (record.record.steps_count, record.record.distance_meters) == (18_430, 20_122)
    assert record.implausible_rules == ()
    assert metrics(result)["schema.enum_growth_count"] == (1.0,)


def test_every_partial_sample_maps_or_names_the_field_it_lacks(shared_data: Path) -> None:
    refused = {
        field_refused(answer(*documents(path)), name, version)
        for path in sorted((oura(shared_data) / "open-wearables-tests").glob("*.json"))
        for name, version in (
            ("oura.sleep", "1.0.0"),
            ("oura.sleep", "1.1.0"),
            ("oura.daily_activity", "1.0.0"),
        )
    }
    assert {"", "data[0].bedtime_start", "data[0].sleep_phase_5_min"} <= refused


def field_refused(payload: bytes, name: str, version: str) -> str:
    """Path of the field for which the payload was refused, empty when it maps."""
    try:
        run(payload, name, version, received_at_ns=RECEIVED_AT_NS)
    except MalformedError as error:
        return error.field
    return ""
