"""What every mapper hands back: records, their metrics and their place among revisions, as one procedure
result.

One record is one window.  Metrics hold counts and coarse ages only; the records themselves go into an
artifact, which the ledger encrypts under the person's key.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from domain.health.drift import Drift, DriftFinding, count, drift_artifact
from domain.health.freshness import AGE_METRIC, age_seconds
from domain.health.records import (
    RECORDS_ARTIFACT,
    RECORDS_FORMAT,
    Daily,
    HealthRecord,
    Provenance,
    Sleep,
    UnitNote,
)
from domain.health.revisions import RANK
from domain.metrics import MetricTrack, Window
from domain.procedures.procedure import Artifact, ProcedureResult, RecordRevision

IMPLAUSIBLE_METRIC = "plausibility.implausible_value_count"
DRIFT_METRICS = {
    Drift.UNKNOWN: "schema.unknown_field_count",
    Drift.MISSING: "schema.missing_field_count",
    Drift.RETYPED: "schema.retyped_field_count",
    Drift.ENUM_GROWTH: "schema.enum_growth_count",
}

_WINDOW = Window(start_ns=None, end_ns=None)
# The same spelling as domain.canonical.  Its search for NaN is left out: these numbers were parsed from
# JSON, which has none, and the search would cost more than the mapping (a test holds the two equal).
_encoder = msgspec.json.Encoder(order="sorted")


class MappedRecord(Struct, frozen=True, kw_only=True):
    """One record on its way out of a mapper.  ``end_ns`` is the instant it ended, ``None`` where nobody
    knows.
    """

    record_key: str
    record: Sleep | Daily
    end_ns: int | None
    findings: tuple[DriftFinding, ...]
    broken_rules: tuple[str, ...]


def mapping_result(
    mapper: str,
    mapper_version: str,
    units: msgspec.Raw,
    mapped: Sequence[MappedRecord],
    received_at_ns: int,
) -> ProcedureResult:
    """The procedure result of a payload whose documents became ``mapped``, in their order in the payload."""
    artifacts = [_records_artifact(mapper, mapper_version, units, mapped)]
    drift = drift_artifact(mapper, mapper_version, [item.findings for item in mapped])
    if drift is not None:
        artifacts.append(drift)
    return ProcedureResult(
        windows=(_WINDOW,) * len(mapped),
        metrics=(*_drift_tracks(mapped), _plausibility_track(mapped), _age_track(mapped, received_at_ns)),
        artifacts=tuple(artifacts),
        revisions=tuple(
            RecordRevision(
                record_key=item.record_key,
                rank=RANK[item.record.revision.state],
                ordering_ns=item.record.revision.ordering_ns,
            )
            for item in mapped
        ),
    )


def encode_units(units: tuple[UnitNote, ...]) -> msgspec.Raw:
    """The notes that every artifact of a mapper repeats, encoded once."""
    return msgspec.Raw(_encoder.encode(units))


def _records_artifact(
    mapper: str, mapper_version: str, units: msgspec.Raw, mapped: Sequence[MappedRecord]
) -> Artifact:
    """``records.json``: a ``RecordSet``."""
    record_set = {
        "format": RECORDS_FORMAT,
        "mapper": mapper,
        "mapper_version": mapper_version,
        "units": units,
        "records": [
            HealthRecord(
                record_key=item.record_key,
                provenance=Provenance(
                    payload_position=position, mapper=mapper, mapper_version=mapper_version
                ),
                record=item.record,
                implausible_rules=item.broken_rules,
            )
            for position, item in enumerate(mapped)
        ],
    }
    return Artifact(name=RECORDS_ARTIFACT, media_type="application/json", data=_encoder.encode(record_set))


def _drift_tracks(mapped: Sequence[MappedRecord]) -> list[MetricTrack]:
    none = (0.0,) * len(mapped)
    has_drift = any(item.findings for item in mapped)
    return [
        MetricTrack(
            name=name,
            unit="1",
            values=tuple([float(count(item.findings, drift)) for item in mapped]) if has_drift else none,
        )
        for drift, name in DRIFT_METRICS.items()
    ]


def _plausibility_track(mapped: Sequence[MappedRecord]) -> MetricTrack:
    values = tuple(float(len(item.broken_rules)) for item in mapped)
    return MetricTrack(name=IMPLAUSIBLE_METRIC, unit="1", values=values)


def _age_track(mapped: Sequence[MappedRecord], received_at_ns: int) -> MetricTrack:
    ages = [age_seconds(item.end_ns, received_at_ns) for item in mapped]
    values = tuple(age for age, _ in ages)
    reasons = tuple(reason for _, reason in ages) if None in values else ()
    return MetricTrack(name=AGE_METRIC, unit="s", values=values, reasons=reasons)
