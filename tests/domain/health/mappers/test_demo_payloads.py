"""The invented payloads that the demo ingests show what their README says."""

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from adapters.contract_files import parse_contract
from domain.errors import MalformedError
from domain.gates import decide
from domain.health.instants import parse_local_instant
from domain.health.mappers import MAPPERS
from domain.health.records import Daily, Sleep
from domain.health.revisions import current_after, revision_metric
from domain.outcomes import Outcome
from domain.procedures.procedure import ProcedureResult, RecordRevision
from tests.domain.health.oura_nights import drift, records, run

DEMO = Path(__file__).resolve().parents[4] / "api" / "demo_data"


def mapped(file_name: str, received_at: str, version: str = "1.0.0") -> ProcedureResult:
    name = "oura.sleep" if file_name.startswith("sleep") else "oura.daily_activity"
    received_at_ns = parse_local_instant(received_at, "received_at").unix_ns
    assert received_at_ns is not None
    return run((DEMO / "oura" / file_name).read_bytes(), name, version, received_at_ns)


def verdict(result: ProcedureResult, contract: str, known: Sequence[RecordRevision] = ()) -> Outcome:
    path = DEMO / "contracts" / f"{contract}.yaml"
    track = revision_metric(current_after({}, known), result.revisions)
    return decide(
        parse_contract(path.read_bytes(), path.name), result.windows, (*result.metrics, track)
    ).verdict


def test_the_night_of_the_change_of_clocks_passes_with_two_offsets() -> None:
    result = mapped("sleep_2026-03-28.json", "2026-03-29T06:13:15Z")
    (record,) = records(result)
    assert isinstance(record.record, Sleep)
    assert (record.record.start_offset_seconds, record.record.end_offset_seconds) == (3_600, 7_200)
    assert record.record.in_bed_duration_seconds == 28_200
    assert verdict(result, "oura-sleep") is Outcome.PASS


def test_the_final_night_is_marked_by_the_older_mapper_and_passes_with_the_newer_one() -> None:
    older, newer = (
        mapped("sleep_2026-03-29_final.json", "2026-03-30T05:03:51Z", version)
        for version in ("1.0.0", "1.1.0")
    )
    assert verdict(older, "oura-sleep") is Outcome.BORDERLINE
    assert [item["path"] for item in drift(older)] == ["sleep_phase_30_sec"]
    assert verdict(newer, "oura-sleep", older.revisions) is Outcome.PASS


def test_the_late_tentative_night_is_withheld_after_the_final_one_and_would_have_passed_before() -> None:
    final = mapped("sleep_2026-03-29_final.json", "2026-03-30T05:03:51Z")
    late = mapped("sleep_2026-03-29_late_tentative.json", "2026-03-30T05:41:07Z")
    assert late.revisions[0].record_key == final.revisions[0].record_key
    assert verdict(late, "oura-sleep", final.revisions) is Outcome.FAIL
    assert verdict(late, "oura-sleep") is Outcome.PASS
    assert verdict(final, "oura-sleep", late.revisions) is Outcome.BORDERLINE


def test_the_unmappable_night_is_refused_by_the_older_mapper_and_passes_with_the_newer_one() -> None:
    with pytest.raises(MalformedError) as refused:
        mapped("sleep_unmappable.json", "2026-03-31T05:02:40Z")
    assert refused.value.field == "data[0].sleep_phase_5_min"
    assert (
        verdict(mapped("sleep_unmappable.json", "2026-03-31T05:02:40Z", "1.1.0"), "oura-sleep")
        is Outcome.PASS
    )


@pytest.mark.parametrize("day, minutes", [("2026-03-28", 1_380), ("2026-03-29", 1_440)])
def test_an_activity_day_has_as_many_minutes_as_it_had(day: str, minutes: int) -> None:
    result = mapped(f"daily_activity_{day}.json", "2026-03-30T05:03:52Z")
    (record,) = records(result)
    assert isinstance(record.record, Daily)
    assert record.record.met_samples is not None
    assert len(record.record.met_samples.values) == minutes
    assert verdict(result, "oura-daily-activity") is Outcome.PASS


@pytest.mark.parametrize(
    "contract, kind", [("oura-sleep", "oura.sleep"), ("oura-daily-activity", "oura.daily_activity")]
)
def test_the_contract_looks_at_every_metric_that_the_mapper_measures(contract: str, kind: str) -> None:
    path = DEMO / "contracts" / f"{contract}.yaml"
    gates = parse_contract(path.read_bytes(), path.name).gates
    (mapper, *_) = (found for found in MAPPERS if found.consumes == kind)
    empty = run(b'{"data": []}', mapper.name, mapper.version)
    measured = {(track.name, track.unit) for track in (*empty.metrics, revision_metric({}, ()))}
    assert {(gate.metric, gate.unit) for gate in gates} == measured


def test_the_deliveries_name_every_payload_once() -> None:
    listed = [
        line.removeprefix("  - file: ")
        for line in (DEMO / "oura" / "deliveries.yaml").read_text().splitlines()
        if line.startswith("  - file: ")
    ]
    assert sorted(listed) == sorted(path.name for path in (DEMO / "oura").glob("*.json"))


def test_the_payloads_are_one_answer_each_with_one_document() -> None:
    for path in (DEMO / "oura").glob("*.json"):
        answer = json.loads(path.read_bytes())
        assert set(answer) == {"data", "next_token"}
        assert len(answer["data"]) == 1
        assert msgspec.json.decode(path.read_bytes()) == answer
