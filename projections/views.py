"""The views that people read, in SQL over the fact tables; ``projections.health_views`` has those on health.

One row of ``telemetry`` is a run x window x metric, one of ``gate_outcomes`` a run x window x gate: facts
keep a run's values as one list per metric, and the views unfold them.  Times are Unix nanoseconds, UTC;
outcomes are ``pass``, ``borderline``, ``fail`` and ``abstain``.
"""

from __future__ import annotations

from typing import Final

from projections.health_views import HEALTH_VIEWS

_OUTCOME: Final = """CASE letter
    WHEN 'p' THEN 'pass' WHEN 'b' THEN 'borderline' WHEN 'f' THEN 'fail' WHEN 'a' THEN 'abstain' END"""
_NEWEST: Final = "QUALIFY row_number() OVER (PARTITION BY {} ORDER BY entry_index DESC) = 1"
_GATE: Final = (
    '[{"gate_id":"VARCHAR","metric":"VARCHAR","unit":"VARCHAR","outcome":"VARCHAR","reason":"VARCHAR",'
    '"value":"DOUBLE","margin":"DOUBLE","window":"BIGINT","required":"BOOLEAN","outcomes":"VARCHAR",'
    '"margins":["DOUBLE"],"reasons":["VARCHAR"]}]'
)

DEVICES: Final = f"""
CREATE VIEW devices AS
SELECT registered.device_id AS source_id, registered.entry_index, registered.recorded_at_ns,
    manufacturer, model, serial_number, registered.channels,
    configured.entry_index AS configuration_index, configured.recorded_at_ns AS configured_at_ns,
    firmware, configuration,
    calibrated.entry_index AS calibration_index, calibration_id, certificate_id, laboratory,
    issued_at_ns, valid_from_ns, valid_until_ns
FROM (SELECT * FROM device_registered {_NEWEST.format("device_id")}) AS registered
LEFT JOIN (SELECT * FROM device_configured {_NEWEST.format("device_id")}) AS configured USING (device_id)
LEFT JOIN (
    SELECT * FROM calibration_set
    WHERE NOT EXISTS (
        SELECT 1 FROM recall_declared
        WHERE kind = 'calibration' AND target IN (calibration_id, device_id || '/' || calibration_id)
    )
    {_NEWEST.format("device_id")}
) AS calibrated USING (device_id)
"""

CONNECTIONS: Final = f"""
CREATE VIEW connections AS
SELECT connection_id AS source_id, registered.entry_index, registered.recorded_at_ns, provider,
    subject_key_id, erased.entry_index AS erased_index, erased.recorded_at_ns AS erased_at_ns,
    reason AS erasure_reason
FROM (SELECT * FROM connection_registered {_NEWEST.format("connection_id")}) AS registered
LEFT JOIN (SELECT * FROM subject_erased {_NEWEST.format("connection_id")}) AS erased USING (connection_id)
"""

SOURCES: Final = """
CREATE VIEW sources AS
SELECT source_id, 'device' AS kind, entry_index, recorded_at_ns, manufacturer || ' ' || model AS title,
    NULL::BIGINT AS erased_index, NULL::BIGINT AS erased_at_ns, NULL::VARCHAR AS erasure_reason
FROM devices
UNION ALL
SELECT source_id, 'connection' AS kind, entry_index, recorded_at_ns, provider AS title,
    erased_index, erased_at_ns, erasure_reason
FROM connections
"""

CONTRACTS: Final = """
CREATE VIEW contracts AS
SELECT entry_index, recorded_at_ns, digest, contract ->> '$.contract_id' AS contract_id,
    CAST(contract ->> '$.version' AS BIGINT) AS version, contract ->> '$.title' AS title, contract
FROM contract_published
"""

# A quarantine is over once a later fact shows that the batch could be used after all.
QUARANTINES: Final = """
CREATE VIEW quarantines AS
SELECT refused.entry_index, refused.recorded_at_ns, refused.batch_id, refused.source_id,
    stage, reason, detail, remedy, procedure, procedure_version,
    ingested.entry_index AS batch_index, kind, byte_count, digest, received_at_ns,
    EXISTS (
        SELECT 1 FROM dataset_derived AS derived
        WHERE derived.batch_id = refused.batch_id AND derived.entry_index > refused.entry_index
    ) OR EXISTS (
        SELECT 1 FROM run_started AS started
        JOIN run_decided AS decided ON decided.run_index = started.entry_index
        WHERE started.batch_index = ingested.entry_index AND decided.is_presentable
            AND decided.entry_index > refused.entry_index
    ) AS is_resolved
FROM batch_quarantined AS refused
JOIN batch_ingested AS ingested USING (batch_id)
"""

BATCHES: Final = f"""
CREATE VIEW batches AS
SELECT ingested.*, derived.entry_index AS dataset_index, derived.digest AS dataset_digest,
    refused.reason AS quarantine_reason, refused.entry_index AS quarantine_index,
    CASE WHEN refused.entry_index IS NOT NULL THEN 'quarantined'
        WHEN derived.entry_index IS NOT NULL THEN 'derived'
        ELSE 'ingested' END AS status
FROM batch_ingested AS ingested
LEFT JOIN dataset_derived AS derived USING (batch_id)
LEFT JOIN (
    SELECT batch_id, reason, entry_index FROM quarantines WHERE NOT is_resolved {_NEWEST.format("batch_id")}
) AS refused USING (batch_id)
"""

DATASETS: Final = """
CREATE VIEW datasets AS
SELECT derived.*, ingested.entry_index AS batch_index,
    list_sum(list_transform(channels, lambda each: each.sample_count)) AS sample_count,
    list_sum(list_transform(channels, lambda each: each.gap_count)) AS gap_count,
    list_min(list_transform(channels, lambda each: each.start_ns)) AS start_ns,
    list_max(list_transform(channels, lambda each: each.end_ns)) AS end_ns
FROM dataset_derived AS derived
JOIN batch_ingested AS ingested USING (batch_id)
"""

# The receipt that replaces another one: the newest issued for a run that was started to supersede it.
SUPERSESSIONS: Final = """
CREATE VIEW supersessions AS
SELECT supersedes AS superseded, arg_max(receipt.receipt_id, receipt.entry_index) AS receipt_id
FROM run_started AS started
JOIN run_decided AS decided ON decided.run_index = started.entry_index
JOIN receipt_issued AS receipt ON receipt.decision_index = decided.entry_index
WHERE supersedes <> ''
GROUP BY supersedes
"""

# A receipt that rests on something that was withdrawn, with the newest recall that says so.
RECALLS: Final = """
CREATE VIEW recalls AS
SELECT receipt.receipt_id, arg_max(recall_id, entry_index) AS recall_id,
    arg_max(recall_index, entry_index) AS recall_index
FROM (SELECT entry_index, recall_id, recall_index, unnest(receipts) AS receipt FROM receipts_recalled)
GROUP BY ALL
"""

# What a receipt is worth now; what was recalled or replaced says so first, whatever its verdict was.
_STATUS: Final = """CASE WHEN recalls.recall_id IS NOT NULL THEN 'recalled'
    WHEN newer.receipt_id IS NOT NULL THEN 'superseded'
    WHEN receipt.receipt_id IS NULL THEN NULL
    WHEN is_presentable THEN 'valid' ELSE 'withheld' END"""

RUNS: Final = f"""
CREATE VIEW runs AS
SELECT started.entry_index AS run_index, started.run_id,
    CASE WHEN receipt.entry_index IS NOT NULL THEN 'receipted'
        WHEN decided.entry_index IS NOT NULL THEN 'decided'
        ELSE 'started' END AS status,
    started.source_id, started.procedure, started.procedure_version, started.batch_index,
    started.recorded_at_ns AS started_at_ns, decided.recorded_at_ns AS decided_at_ns,
    verdict, is_presentable, reason, failure, start_ns, end_ns, len(windows) AS window_count,
    list_min(scores) AS score_min, list_median(scores) AS score_median,
    decided.entry_index AS decision_index, receipt.entry_index AS receipt_index, receipt.receipt_id,
    {_STATUS} AS receipt_status,
    started.supersedes, newer.receipt_id AS superseded_by
FROM run_started AS started
LEFT JOIN run_decided AS decided ON decided.run_index = started.entry_index
LEFT JOIN receipt_issued AS receipt ON receipt.decision_index = decided.entry_index
LEFT JOIN supersessions AS newer ON newer.superseded = receipt.receipt_id
LEFT JOIN recalls ON recalls.receipt_id = receipt.receipt_id
"""

WINDOWS: Final = f"""
CREATE VIEW windows AS
SELECT run_id, run_index, "window", each.start_ns, each.end_ns, score, {_OUTCOME} AS outcome
FROM (
    SELECT run_id, run_index, generate_subscripts(windows, 1) - 1 AS "window", unnest(windows) AS each,
        unnest(scores) AS score, unnest(string_split(window_outcomes, '')) AS letter
    FROM run_decided
)
"""

TELEMETRY: Final = """
CREATE VIEW telemetry AS
SELECT run_id, run_index, source_id, procedure, metric, unit, "window", each.start_ns, each.end_ns,
    "value", coalesce(reason, 'none') AS reason
FROM (
    SELECT decided.run_id, decided.run_index, source_id, procedure, metric, unit,
        generate_subscripts(track, 1) - 1 AS "window", unnest(windows) AS each,
        unnest(track) AS "value", unnest(from_json(reasons, '["VARCHAR"]')) AS reason
    FROM metric_track
    JOIN run_decided AS decided ON decided.entry_index = metric_track.entry_index
    JOIN run_started AS started ON started.entry_index = decided.run_index
)
"""

GATES: Final = f"""
CREATE VIEW gates AS
SELECT run_id, run_index, position, gate.gate_id, gate.metric, gate.unit, gate.outcome, gate.reason,
    gate."value", gate.margin, gate."window", gate.required, gate.outcomes, gate.margins, gate.reasons
FROM (
    SELECT run_id, run_index, generate_subscripts(every, 1) - 1 AS position, unnest(every) AS gate
    FROM (SELECT run_id, run_index, from_json(gates, '{_GATE}') AS every FROM run_decided)
)
"""

GATE_OUTCOMES: Final = f"""
CREATE VIEW gate_outcomes AS
SELECT run_id, run_index, gate_id, "window", {_OUTCOME} AS outcome, margin, reason
FROM (
    SELECT run_id, run_index, gate_id, generate_subscripts(margins, 1) - 1 AS "window",
        unnest(string_split(outcomes, '')) AS letter, unnest(margins) AS margin, unnest(reasons) AS reason
    FROM gates
)
"""

REPLAYS: Final = """
CREATE VIEW replays AS
SELECT receipt_index, count(*) AS replay_count, count_if(result = 'diverged') AS diverged_count,
    arg_max(result, entry_index) AS last_result, max(entry_index) AS last_index,
    arg_max(recorded_at_ns, entry_index) AS last_at_ns
FROM receipt_replayed
GROUP BY receipt_index
"""

RECEIPTS: Final = f"""
CREATE VIEW receipts AS
SELECT receipt.entry_index AS receipt_index, receipt.receipt_id, receipt.recorded_at_ns,
    receipt.decision_index, decided.run_id, decided.run_index, source_id, procedure, procedure_version,
    verdict, is_presentable, {_STATUS} AS status,
    supersedes, newer.receipt_id AS superseded_by, recalls.recall_id,
    coalesce(replay_count, 0) AS replay_count, coalesce(diverged_count, 0) AS diverged_count,
    last_result AS last_replay_result, last_index AS last_replay_index, last_at_ns AS last_replay_at_ns
FROM receipt_issued AS receipt
LEFT JOIN run_decided AS decided ON decided.entry_index = receipt.decision_index
LEFT JOIN run_started AS started ON started.entry_index = decided.run_index
LEFT JOIN supersessions AS newer ON newer.superseded = receipt.receipt_id
LEFT JOIN recalls ON recalls.receipt_id = receipt.receipt_id
LEFT JOIN replays ON replays.receipt_index = receipt.entry_index
"""

# In the order of their creation: a view names only what stands before it.
VIEWS: Final = (
    DEVICES,
    CONNECTIONS,
    SOURCES,
    CONTRACTS,
    QUARANTINES,
    BATCHES,
    DATASETS,
    SUPERSESSIONS,
    RECALLS,
    RUNS,
    WINDOWS,
    TELEMETRY,
    GATES,
    GATE_OUTCOMES,
    REPLAYS,
    RECEIPTS,
    *HEALTH_VIEWS,
)
