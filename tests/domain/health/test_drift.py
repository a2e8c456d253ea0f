import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Struct, UnsetType

from domain.errors import LimitError
from domain.health.drift import (
    DRIFT_PATHS_MAX,
    SEVERITY,
    Drift,
    DriftFinding,
    compile_shape,
    count,
    drift_artifact,
    enum_growth,
    sift,
)
from domain.health.mappers.oura_parts import OuraSample, Text
from domain.outcomes import Outcome


class Document(Struct, forbid_unknown_fields=True, kw_only=True):
    id: Text
    weight: int | float | UnsetType | None = UNSET
    is_worn: bool | UnsetType = UNSET
    series: OuraSample | UnsetType | None = UNSET
    mood: str | UnsetType | None = UNSET


SHAPE = compile_shape(
    Document, expected=("weight", "is_worn"), values={"mood": frozenset({"good"})}, codes={}
)
GOOD = {"id": "x", "weight": 1.5, "is_worn": True}


def found(document: dict[str, Any]) -> set[tuple[Drift, str]]:
    return {(finding.drift, finding.path) for finding in sift(document, SHAPE)[1]}


def test_a_document_of_the_known_shape_drifts_nowhere() -> None:
    assert sift(GOOD, SHAPE) == (GOOD, [])


@pytest.mark.parametrize(
    "change, drift, path",
    [
        ({"height": 2}, Drift.UNKNOWN, "height"),
        ({"weight": "1.5"}, Drift.RETYPED, "weight"),
        ({"weight": True}, Drift.RETYPED, "weight"),
        ({"weight": 2**53}, Drift.RETYPED, "weight"),
        ({"is_worn": None}, Drift.RETYPED, "is_worn"),
        ({"is_worn": 1}, Drift.RETYPED, "is_worn"),
        ({"id": 7}, Drift.RETYPED, "id"),
        ({"series": []}, Drift.RETYPED, "series"),
        ({"series": {"interval": 1, "items": {}, "timestamp": "t"}}, Drift.RETYPED, "series.items"),
        ({"series": {"interval": 1, "items": ["1"], "timestamp": "t"}}, Drift.RETYPED, "series.items[]"),
        ({"series": {"interval": 1, "items": []}}, Drift.MISSING, "series.timestamp"),
        (
            {"series": {"interval": 1, "items": [], "timestamp": "t", "unit": "x"}},
            Drift.UNKNOWN,
            "series.unit",
        ),
    ],
)
def test_each_departure_is_named_by_its_path(change: dict[str, Any], drift: Drift, path: str) -> None:
    assert found({**GOOD, **change}) == {(drift, path)}


@pytest.mark.parametrize("absent", ["weight", "is_worn"])
def test_an_expected_field_that_is_absent_is_missing_and_one_that_is_null_is_not(absent: str) -> None:
    document = {name: value for name, value in GOOD.items() if name != absent}
    assert found(document) == {(Drift.MISSING, absent)}
    assert found({**GOOD, "weight": None}) == set()


def test_a_renamed_field_is_missing_under_its_old_name_and_unknown_under_its_new_one() -> None:
    assert found({"id": "x", "mass": 1.5, "is_worn": True}) == {
        (Drift.MISSING, "weight"),
        (Drift.UNKNOWN, "mass"),
    }


def test_only_what_fits_is_kept() -> None:
    document = {
        **GOOD,
        "weight": "heavy",
        "new": 1,
        "series": {"interval": 1, "items": [1, "2", None], "timestamp": "t"},
    }
    fitting, findings = sift(document, SHAPE)
    assert fitting == {
        "id": "x",
        "is_worn": True,
        "series": {"interval": 1, "items": [1, None, None], "timestamp": "t"},
    }
    assert count(findings, Drift.RETYPED) == 2


def test_a_nested_object_without_an_essential_part_is_left_out() -> None:
    fitting, _ = sift({**GOOD, "series": {"interval": 1}}, SHAPE)
    assert "series" not in fitting


def test_a_value_outside_its_enumeration_is_growth() -> None:
    grown = Document(id="x", mood="elated")
    assert [(item.drift, item.path) for item in enum_growth(grown, SHAPE)] == [(Drift.ENUM_GROWTH, "mood")]
    assert enum_growth(Document(id="x", mood="good"), SHAPE) == []
    assert enum_growth(Document(id="x", mood=None), SHAPE) == []


def test_a_text_beyond_its_limit_is_refused() -> None:
    with pytest.raises(LimitError):
        sift({**GOOD, "id": "x" * 2_000}, SHAPE)


names = st.sampled_from(["id", "weight", "is_worn", "series", "mood", "a b", "2026-03-29", "new"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(names, values))
def test_sifting_any_object_keeps_only_known_fields_and_is_finished_in_one_pass(
    document: dict[str, Any],
) -> None:
    fitting, _ = sift(document, SHAPE)
    assert fitting.keys() <= SHAPE.fields.keys()
    again, findings = sift(fitting, SHAPE)
    assert again == fitting
    assert all(finding.drift in {Drift.MISSING, Drift.RETYPED} for finding in findings)


@given(st.text(min_size=1, max_size=30))
def test_findings_repeat_a_field_name_only_when_it_looks_like_one(name: str) -> None:
    for finding in sift({**GOOD, name: 1}, SHAPE)[1]:
        if finding.drift is Drift.UNKNOWN:
            assert finding.path == "(key)" or (
                finding.path == name and name.isascii() and name.isidentifier()
            )


def test_the_artifact_lists_each_finding_once_with_its_positions() -> None:
    unknown = DriftFinding(drift=Drift.UNKNOWN, path="ring_id", found="text")
    missing = DriftFinding(drift=Drift.MISSING, path="hrv", expected="object or null")
    artifact = drift_artifact("oura.sleep", "1.0.0", [(unknown,), (), (unknown, missing)])
    assert artifact is not None
    assert json.loads(artifact.data) == {
        "format": "tallystick.drift.v1",
        "mapper": "oura.sleep",
        "mapper_version": "1.0.0",
        "omitted_count": 0,
        "findings": [
            {
                "path": "hrv",
                "drift": "missing",
                "severity": "fail",
                "expected": "object or null",
                "found": "",
                "positions": [2],
            },
            {
                "path": "ring_id",
                "drift": "unknown",
                "severity": "borderline",
                "expected": "",
                "found": "text",
                "positions": [0, 2],
            },
        ],
    }


def test_no_drift_makes_no_artifact() -> None:
    assert drift_artifact("oura.sleep", "1.0.0", [(), ()]) is None


def test_the_artifact_stays_readable_when_everything_is_new() -> None:
    findings = [
        DriftFinding(drift=Drift.UNKNOWN, path=f"field_{number}") for number in range(DRIFT_PATHS_MAX + 7)
    ]
    artifact = drift_artifact("oura.sleep", "1.0.0", [findings])
    assert artifact is not None
    body = json.loads(artifact.data)
    assert (len(body["findings"]), body["omitted_count"]) == (DRIFT_PATHS_MAX, 7)


def test_losing_something_known_weighs_more_than_gaining_something_unknown() -> None:
    assert {drift for drift, outcome in SEVERITY.items() if outcome is Outcome.FAIL} == {
        Drift.MISSING,
        Drift.RETYPED,
    }
    assert set(SEVERITY) == set(Drift)
