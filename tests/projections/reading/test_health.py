"""Health of providers and devices, batches and quarantines, sources."""

from __future__ import annotations

import pytest
from duckdb import DuckDBPyConnection

from projections.errors import UnknownRowError
from projections.reading.batches import find_datasets, get_batch, list_batches, list_quarantines
from projections.reading.health import device_health, provider_health
from projections.reading.sources import get_connection, get_device, list_sources
from tests.projections.reading.known import Known


def test_a_provider_is_as_well_as_its_payloads(connection: DuckDBPyConnection, told: Known) -> None:
    (health,) = provider_health(connection)
    assert (health.source_id, health.provider, health.kind) == ("link-1", "oura", "oura.sleep")
    assert (health.batch_count, health.quarantined_count, health.run_count) == (3, 1, 3)
    assert (health.pass_count, health.fail_count, health.borderline_count, health.abstain_count) == (
        2,
        1,
        0,
        0,
    )
    assert (health.freshness_p50_seconds, health.freshness_p95_seconds) == (600.0, 3_600.0)
    assert health.last_received_at_ns == get_batch(connection, told.batches["waiting"]).received_at_ns
    assert health.last_success_at_ns == get_batch(connection, told.batches["drifted"]).received_at_ns
    assert health.last_reason == "schema_drift"
    ((refused_at,),) = connection.execute(
        "SELECT recorded_at_ns FROM batch_quarantined WHERE batch_id = ?", [told.batches["drifted"]]
    ).fetchall()
    assert health.last_drift_at_ns == health.last_reason_at_ns == refused_at


def test_only_what_was_received_since_counts(connection: DuckDBPyConnection, told: Known) -> None:
    since_ns = get_batch(connection, told.batches["waiting"]).received_at_ns
    (health,) = provider_health(connection, since_ns=since_ns)
    assert (health.batch_count, health.run_count, health.quarantined_count) == (1, 0, 0)
    assert (health.last_success_at_ns, health.last_drift_at_ns, health.last_reason) == (None, None, None)
    assert provider_health(connection, since_ns=since_ns + 1) == ()
    assert provider_health(connection, source_id="link-silent") == ()


def test_a_device_is_as_well_as_its_uploads(connection: DuckDBPyConnection, told: Known) -> None:
    health, idle = device_health(connection)
    assert (health.source_id, health.firmware) == ("logger-1", "1.1.0")
    assert (health.batch_count, health.quarantined_count, health.run_count) == (2, 1, 2)
    assert (health.pass_count, health.borderline_count) == (1, 1)
    dataset = find_datasets(connection, told.dataset_digest)[0]
    assert (health.sample_count, health.gap_count) == (dataset.sample_count, dataset.gap_count)
    assert health.sample_count is not None
    assert health.availability == health.sample_count / 1_440_000
    assert health.last_sample_at_ns == dataset.end_ns
    assert health.last_reason == "limit_exceeded"
    assert health.last_seen_at_ns > (health.last_received_at_ns or 0), "it reported its firmware last"
    assert health.calibration_id == "cal-logger-1"
    assert (idle.source_id, idle.batch_count, idle.availability) == ("logger-idle", 0, None)
    assert idle.last_received_at_ns is None
    assert device_health(connection, source_id="logger-1") == (health,)


def test_batches_have_a_status_until_a_later_fact_changes_it(
    connection: DuckDBPyConnection, told: Known
) -> None:
    status = {name: get_batch(connection, batch_id).status for name, batch_id in told.batches.items()}
    assert status == {
        "refused": "quarantined",
        "upload": "derived",
        "mapped": "derived",
        "drifted": "derived",
        "waiting": "ingested",
    }
    for wanted in ("quarantined", "derived", "ingested"):
        found = {batch.batch_id for batch in list_batches(connection, status=wanted).items}
        assert found == {told.batches[name] for name, now in status.items() if now == wanted}
    assert list_batches(connection, status="no such").items == ()
    assert len(list_batches(connection, source_id="link-1", kind="oura.sleep").items) == 3
    page = list_batches(connection, limit=3)
    assert len(list_batches(connection, before=page.next_before).items) == 2


def test_a_quarantine_is_resolved_by_a_better_run(connection: DuckDBPyConnection, told: Known) -> None:
    quarantines = list_quarantines(connection).items
    assert [(found.batch_id, found.is_resolved) for found in quarantines] == [
        (told.batches["drifted"], True),
        (told.batches["refused"], False),
    ]
    assert [found.batch_id for found in list_quarantines(connection, is_resolved=False).items] == [
        told.batches["refused"]
    ]
    assert [found.stage for found in list_quarantines(connection, reason="schema_drift").items] == ["map"]


def test_sources_are_listed_and_known_by_id(connection: DuckDBPyConnection) -> None:
    assert {(source.source_id, source.kind) for source in list_sources(connection).items} == {
        ("logger-1", "device"),
        ("logger-idle", "device"),
        ("link-1", "connection"),
        ("link-silent", "connection"),
    }
    assert len(list_sources(connection, kind="device").items) == 2
    device = get_device(connection, "logger-1")
    assert (device.firmware, device.configuration) == ("1.1.0", '{"gain":"1","rate":"200"}')
    assert device.calibration_id == "cal-logger-1"
    assert get_connection(connection, "link-1").provider == "oura"
    for ask in (get_device, get_connection):
        with pytest.raises(UnknownRowError):
            ask(connection, "nobody")


def test_a_person_who_was_erased_is_shown_as_erased(connection: DuckDBPyConnection, told: Known) -> None:
    erased = {source.source_id: source for source in list_sources(connection).items if source.erased_index}
    assert [*erased] == ["link-1"]
    link = get_connection(connection, "link-1")
    assert (link.erased_index, link.erasure_reason) == (told.erased, "consent-withdrawn")
    assert link.erased_at_ns is not None
    assert erased["link-1"].erased_at_ns == link.erased_at_ns > link.recorded_at_ns
    assert provider_health(connection)[0].erased_at_ns == link.erased_at_ns
    assert get_connection(connection, "link-silent").erased_at_ns is None


def test_an_unknown_batch_or_digest_is_unknown(connection: DuckDBPyConnection) -> None:
    with pytest.raises(UnknownRowError):
        get_batch(connection, "b-nobody")
    assert find_datasets(connection, "sha256:" + "0" * 64) == ()
