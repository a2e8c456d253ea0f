import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import MalformedError
from domain.health.record_diff import RENDERED_LENGTH_MAX, Change, FieldChange, diff_record_sets
from tests.domain.health.oura_nights import answer, night, run

FINE = "4" * 60 + "2" * 500 + "1" * 200 + "3" * 200


def record_set(*nights: object, version: str = "1.0.0") -> bytes:
    return run(answer(*nights), version=version).artifacts[0].data


def test_a_newer_mapper_changes_what_it_reads_better_and_nothing_else() -> None:
    document = night(sleep_phase_30_sec=FINE, ring_id="ring")
    diff = diff_record_sets(record_set(document), record_set(document, version="1.1.0"))
    assert (diff.mapper_before, diff.mapper_after) == ("oura.sleep 1.0.0", "oura.sleep 1.1.0")
    (change,) = diff.changes
    assert change.change is Change.CHANGED
    assert change.fields == (
        FieldChange(path="hypnogram.interval_seconds", before="300", after="30"),
        FieldChange(path="hypnogram.levels", before="96 characters", after="960 characters"),
        FieldChange(path="source.device_id", before="null", after='"ring"'),
    )


def test_the_same_records_from_two_versions_differ_nowhere() -> None:
    diff = diff_record_sets(record_set(night()), record_set(night(), version="1.1.0"))
    assert (diff.changes, diff.unchanged_count) == ((), 1)


def test_records_that_came_or_went_are_named() -> None:
    one, other = night(id="one"), night(id="other")
    diff = diff_record_sets(record_set(one), record_set(other))
    assert sorted(change.change for change in diff.changes) == [Change.ADDED, Change.REMOVED]
    assert diff.unchanged_count == 0


def test_a_record_that_stands_twice_is_compared_place_by_place() -> None:
    before = record_set(night(average_hrv=60), night(average_hrv=70))
    after = record_set(night(average_hrv=60), night(average_hrv=71))
    (change,) = diff_record_sets(before, after).changes
    assert change.fields == (FieldChange(path="hrv_rmssd_average_ms", before="70", after="71"),)


def test_a_series_is_summed_up() -> None:
    changed = night()
    changed["hrv"]["items"][3] = 99
    (change,) = diff_record_sets(record_set(night()), record_set(changed)).changes
    assert change.fields == (
        FieldChange(
            path="hrv_rmssd_samples_ms.values", before="96 values", after="96 values, 1 of them different"
        ),
    )


def test_broken_rules_are_compared_too() -> None:
    (change,) = diff_record_sets(record_set(night()), record_set(night(latency=-1))).changes
    assert (
        FieldChange(path="implausible_rules", before="[]", after='["range.latency_duration_seconds"]')
        in change.fields
    )


@given(st.integers(0, 10**6), st.text(max_size=80))
def test_whatever_changed_is_short_enough_for_a_line(latency: int, reason: str) -> None:
    diff = diff_record_sets(
        record_set(night()), record_set(night(latency=latency, sleep_analysis_reason=reason))
    )
    for change in diff.changes:
        assert all(max(len(item.before), len(item.after)) <= RENDERED_LENGTH_MAX for item in change.fields)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format":"other"}', b"\xff"])
def test_what_is_no_record_set_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        diff_record_sets(record_set(night()), data)


def test_another_format_is_refused() -> None:
    other = json.loads(record_set(night()))
    other["format"] = "tallystick.records.v2"
    with pytest.raises(MalformedError) as refused:
        diff_record_sets(json.dumps(other).encode(), record_set(night()))
    assert refused.value.field == "before.format"
