"""Reports to look at in tests: a small run of a device and one of a health payload, with every part there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
from msgspec.structs import replace

from domain.contract import Contract, Gate
from domain.digests import digest_of
from domain.events import (
    ArtifactReference,
    BatchIngested,
    CalibrationSet,
    ChannelDeclaration,
    ConnectionRegistered,
    DatasetChannel,
    DatasetDerived,
    DatasetReference,
    DeviceConfigured,
    DeviceRegistered,
    NumericEnvironment,
    ProcedureDeployed,
    RunStarted,
)
from domain.gates import decide
from domain.metrics import MetricTrack, Window
from domain.outcomes import Reason
from domain.procedures.procedure import ChannelCalibration
from domain.report.model import Axis, Level, Plot, ReportInput, Series

START_NS = 1_297_765_260_000_000_000  # 2011-02-15 10:21:00 UTC
MINUTE_NS = 60_000_000_000

GAPS = Gate(
    gate_id="gaps",
    metric="sampling.gap_ratio",
    rule="at_most",
    pass_limit=0.001,
    fail_limit=0.01,
    unit="1",
    rule_id="own: availability",
    reason=Reason.GAP,
    title="Missing samples",
)
STUCK = Gate(
    gate_id="flat-line",
    metric="flatline.run_seconds_max",
    rule="at_most",
    pass_limit=0.25,
    fail_limit=1.0,
    unit="s",
    rule_id="QARTOD flat line",
    reason=Reason.STUCK_VALUE,
    title="Longest time without change",
)
CLOCK = Gate(
    gate_id="timing-quality",
    metric="clock.timing_quality_percent",
    rule="at_least",
    pass_limit=90.0,
    fail_limit=60.0,
    unit="%",
    rule_id="miniSEED 1001",
    required=False,
    title="Timing quality",
)


def a_contract(*gates: Gate) -> Contract:
    return Contract(contract_id="example", version=3, title="An example", gates=gates or (GAPS, STUCK, CLOCK))


def a_plot(title: str = "Coherence by frequency", is_result: bool = True) -> Plot:
    x = np.linspace(0.0, 100.0, 513)
    y = 1.0 / (1.0 + (x / 40.0) ** 4)
    return Plot(
        title=title,
        note="Median over the windows.",
        source="coherence.columns",
        x=Axis(label="Frequency", unit="Hz", scale="log"),
        y=Axis(label="Coherence", unit="1", low=0.0, high=1.0),
        series=(
            Series(name="median", x=x, y=y, low=y - 0.1, high=y + 0.1),
            Series(name="10th percentile", x=x, y=y * 0.9),
        ),
        levels=(Level(name="noise", value=0.207),),
        is_result=is_result,
    )


def a_report(
    gaps: Sequence[float | None] = (0.0, 0.0, 0.0),
    stuck: Sequence[float | None] = (0.01, 0.02, 0.01),
    contract: Contract | None = None,
    plots: tuple[Plot, ...] | None = None,
    text: str = "",
) -> ReportInput:
    """A device run over one-minute windows; ``text`` is put wherever text comes from outside."""
    contract = contract or a_contract()
    count = len(gaps)
    windows = tuple(
        Window(start_ns=START_NS + at * MINUTE_NS, end_ns=START_NS + (at + 1) * MINUTE_NS)
        for at in range(count)
    )
    missing = tuple(Reason.LACK_OF_DATA_SAMPLES for _ in range(count))
    metrics = (
        MetricTrack(name="sampling.gap_ratio", unit="1", values=tuple(gaps), reasons=missing),
        MetricTrack(name="flatline.run_seconds_max", unit="s", values=tuple(stuck), reasons=missing),
        MetricTrack(name="delay.seconds", unit="s", values=(0.009876,) * count),
    )
    dataset = DatasetDerived(
        batch_id="batch-1",
        source_id="logger-1",
        kind="samples",
        digest=digest_of(b"dataset"),
        object_digest=digest_of(b"object"),
        parser="miniseed" + text,
        channels=(
            DatasetChannel(
                name="Z" + text,
                unit="counts" + text,
                dtype="int32",
                sample_count=36_000,
                sample_rate_hz=200.0,
                start_ns=START_NS,
                end_ns=START_NS + count * MINUTE_NS,
                gap_count=1,
            ),
        ),
    )
    return ReportInput(
        tenant="demo",
        run=RunStarted(
            run_id="run-1",
            source_id="logger-1" + text,
            procedure="coherence",
            procedure_version="1.0.0" + text,
            deployment_index=9,
            contract_index=7,
            source_index=2,
            configuration_index=3,
            calibration_index=5,
            datasets=(DatasetReference(digest=digest_of(b"dataset"), index=14, batch_index=12),),
        ),
        source=DeviceRegistered(
            device_id="logger-1" + text,
            manufacturer="Maker" + text,
            model="Model" + text,
            serial_number="0001" + text,
            channels=(ChannelDeclaration(name="Z" + text, unit="counts", sensor_serial=None),),
        ),
        deployment=ProcedureDeployed(
            procedure="coherence",
            version="1.0.0",
            consumes="samples",
            source_digest=digest_of(b"source"),
            options={"band_hz": [1.0, 10.0], "note": text},
            contract_id=contract.contract_id,
            contract_version=contract.version,
            channels=("Z" + text,),
        ),
        contract=contract,
        windows=windows,
        metrics=metrics,
        decision=decide(contract, windows, metrics),
        environment=NumericEnvironment(
            class_digest=digest_of(b"environment"), facts={"numpy" + text: "2.4.6" + text}
        ),
        configuration=DeviceConfigured(
            device_id="logger-1", firmware="3.1.4" + text, configuration={"gain" + text: "1" + text}
        ),
        calibration=CalibrationSet(
            calibration_id="cal-1",
            device_id="logger-1",
            certificate_id="DEMO-1" + text,
            certificate_digest=None,
            laboratory="Laboratory" + text,
            issued_at_ns=START_NS - 1,
            valid_from_ns=START_NS - 1,
            valid_until_ns=START_NS + 10**17,
            channels=(
                ChannelCalibration(
                    channel="Z" + text,
                    sensor_serial=None,
                    sensitivity=6e8,
                    sensitivity_unit="counts/(m/s)" + text,
                    uncertainty_relative=0.012,
                ),
            ),
        ),
        datasets=(dataset,),
        batches=(
            BatchIngested(
                batch_id="batch-1",
                source_id="logger-1",
                kind="samples",
                media_type="application/vnd.fdsn.mseed" + text,
                byte_count=806_912,
                digest=digest_of(b"batch"),
                is_encrypted=False,
                received_at_ns=START_NS,
                file_name="data.mseed" + text,
            ),
        ),
        artifacts=(
            ArtifactReference(
                name="coherence.columns",
                media_type="application/vnd.tallystick.columns",
                byte_count=4_096,
                digest=digest_of(b"exact"),
                quantised_digest=digest_of(b"rounded"),
            ),
        ),
        plots=(a_plot(), a_plot("Segments per window", is_result=False)) if plots is None else plots,
    )


def a_health_report() -> ReportInput:
    """A run of a mapper: two records whose times are personal."""
    gate = replace(
        GAPS, gate_id="drift", metric="schema.unknown_field_count", title="Unknown fields", pass_limit=0.0
    )
    contract = a_contract(gate)
    windows = (Window(start_ns=None, end_ns=None),) * 2
    metrics = (MetricTrack(name="schema.unknown_field_count", unit="1", values=(0.0, 0.005)),)
    device = a_report()
    return replace(
        device,
        run=replace(
            device.run,
            source_id="wearer-1",
            procedure="oura.sleep",
            configuration_index=None,
            calibration_index=None,
        ),
        source=ConnectionRegistered(connection_id="wearer-1", provider="oura", subject_key_id="key-1"),
        deployment=replace(
            device.deployment, procedure="oura.sleep", consumes="oura.sleep", channels=(), options={}
        ),
        contract=contract,
        windows=windows,
        metrics=metrics,
        decision=decide(contract, windows, metrics),
        environment=NumericEnvironment(class_digest=digest_of(b""), facts={}),
        configuration=None,
        calibration=None,
        datasets=(replace(device.datasets[0], channels=(), kind="oura.sleep", parser="payload"),),
        batches=(replace(device.batches[0], is_encrypted=True, file_name=""),),
        plots=(),
    )


def parsed(page: bytes) -> ElementTree.Element:
    """The page as a tree; fails unless it is well-formed."""
    return ElementTree.fromstring(page)


def text_of(page: bytes) -> str:
    """What a person reads, white space folded."""
    body = parsed(page).find("body")
    assert body is not None
    return re.sub(r"\s+", " ", "".join(body.itertext()))
