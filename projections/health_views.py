"""The views on health: what each provider and each device has sent lately, and what became of it.

They are macros of the earliest time of receipt that counts (Unix nanoseconds), with a view of the same name
over everything.  Both halves share what is counted (``_JUDGED``); only what arrived differs.
"""

from __future__ import annotations

from typing import Final

# Runs and refusals of the batches that count, by ``keys``, with the newest reason why something was not well.
_JUDGED: Final = """
judged AS (
    SELECT {keys}, decided.entry_index, decided.recorded_at_ns, verdict, is_presentable, reason,
        received_at_ns
    FROM run_decided AS decided
    JOIN run_started AS started ON started.entry_index = decided.run_index
    JOIN batch_ingested AS batch ON batch.entry_index = started.batch_index
    WHERE received_at_ns >= since_ns
),
refused AS (
    SELECT {keys}, refusal.entry_index, refusal.recorded_at_ns, refusal.reason, refusal.batch_id
    FROM batch_quarantined AS refusal
    JOIN batch_ingested AS batch USING (batch_id)
    WHERE received_at_ns >= since_ns
),
verdicts AS (
    SELECT {names}, count(*) AS run_count, count_if(verdict = 'pass') AS pass_count,
        count_if(verdict = 'borderline') AS borderline_count, count_if(verdict = 'fail') AS fail_count,
        count_if(verdict = 'abstain') AS abstain_count,
        max(received_at_ns) FILTER (is_presentable) AS last_success_at_ns
    FROM judged GROUP BY ALL
),
refusals AS (
    SELECT {names}, count(DISTINCT batch_id) AS quarantined_count FROM refused GROUP BY ALL
),
reasons AS (
    SELECT {names}, arg_max(reason, entry_index) AS last_reason,
        arg_max(recorded_at_ns, entry_index) AS last_reason_at_ns
    FROM (
        SELECT {names}, reason, entry_index, recorded_at_ns FROM judged WHERE verdict <> 'pass'
        UNION ALL
        SELECT {names}, reason, entry_index, recorded_at_ns FROM refused
    )
    GROUP BY ALL
)"""
_COUNTS: Final = """
    coalesce(quarantined_count, 0) AS quarantined_count, coalesce(run_count, 0) AS run_count,
    coalesce(pass_count, 0) AS pass_count, coalesce(borderline_count, 0) AS borderline_count,
    coalesce(fail_count, 0) AS fail_count, coalesce(abstain_count, 0) AS abstain_count"""

PROVIDER_HEALTH: Final = f"""
CREATE MACRO provider_health_since(since_ns) AS TABLE (
WITH arrived AS (
    SELECT source_id, kind, count(*) AS batch_count, sum(byte_count)::BIGINT AS byte_count,
        max(received_at_ns) AS last_received_at_ns,
        quantile_disc(received_at_ns - provider_event_time_ns, 0.5) / 1e9 AS freshness_p50_seconds,
        quantile_disc(received_at_ns - provider_event_time_ns, 0.95) / 1e9 AS freshness_p95_seconds
    FROM batch_ingested
    SEMI JOIN connection_registered ON connection_id = source_id
    WHERE received_at_ns >= since_ns
    GROUP BY ALL
),{_JUDGED.format(keys="batch.source_id, batch.kind", names="source_id, kind")},
drifts AS (
    SELECT source_id, kind, max(recorded_at_ns) AS last_drift_at_ns
    FROM (
        SELECT source_id, kind, recorded_at_ns FROM refused WHERE reason = 'schema_drift'
        UNION ALL
        SELECT source_id, kind, judged.recorded_at_ns
        FROM judged JOIN concern ON concern.entry_index = judged.entry_index
        WHERE concern.reason = 'schema_drift'
    )
    GROUP BY ALL
)
SELECT source_id, provider, kind, batch_count, byte_count,{_COUNTS},
    last_received_at_ns, last_success_at_ns, last_drift_at_ns,
    freshness_p50_seconds, freshness_p95_seconds, last_reason, last_reason_at_ns, erased_at_ns
FROM arrived
JOIN connections USING (source_id)
LEFT JOIN verdicts USING (source_id, kind)
LEFT JOIN refusals USING (source_id, kind)
LEFT JOIN reasons USING (source_id, kind)
LEFT JOIN drifts USING (source_id, kind)
)
"""

# Availability: samples that came of those that the nominal rate promises between a channel's ends.
DEVICE_HEALTH: Final = f"""
CREATE MACRO device_health_since(since_ns) AS TABLE (
WITH arrived AS (
    SELECT source_id, count(*) AS batch_count, sum(byte_count)::BIGINT AS byte_count,
        max(received_at_ns) AS last_received_at_ns
    FROM batch_ingested
    SEMI JOIN device_registered ON device_id = source_id
    WHERE received_at_ns >= since_ns
    GROUP BY ALL
),
recorded AS (
    SELECT source_id, max(each.end_ns) AS last_sample_at_ns, sum(each.sample_count)::BIGINT AS sample_count,
        sum(each.gap_count)::BIGINT AS gap_count,
        sum(greatest(
            round((each.end_ns - each.start_ns) * each.sample_rate_hz / 1e9)::BIGINT, each.sample_count
        ))::BIGINT AS promised_count
    FROM (
        SELECT derived.source_id, unnest(channels) AS each
        FROM dataset_derived AS derived
        JOIN batch_ingested AS batch USING (batch_id)
        WHERE received_at_ns >= since_ns
    )
    GROUP BY ALL
),{_JUDGED.format(keys="batch.source_id", names="source_id")}
SELECT source_id, manufacturer, model, serial_number, firmware,
    coalesce(batch_count, 0) AS batch_count, coalesce(byte_count, 0) AS byte_count,{_COUNTS},
    greatest(last_received_at_ns, configured_at_ns, devices.recorded_at_ns) AS last_seen_at_ns,
    last_received_at_ns, last_success_at_ns, last_sample_at_ns, sample_count, gap_count,
    sample_count / nullif(promised_count, 0) AS availability,
    calibration_id, valid_until_ns AS calibration_valid_until_ns, last_reason, last_reason_at_ns
FROM devices
LEFT JOIN arrived USING (source_id)
LEFT JOIN recorded USING (source_id)
LEFT JOIN verdicts USING (source_id)
LEFT JOIN refusals USING (source_id)
LEFT JOIN reasons USING (source_id)
)
"""

HEALTH_VIEWS: Final = (
    PROVIDER_HEALTH,
    "CREATE VIEW provider_health AS SELECT * FROM provider_health_since(0)",
    DEVICE_HEALTH,
    "CREATE VIEW device_health AS SELECT * FROM device_health_since(0)",
)
