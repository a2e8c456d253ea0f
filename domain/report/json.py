"""The report as canonical JSON, for machines: the same statements as the page, with every window and every
metric.
"""

from __future__ import annotations

from msgspec import Struct

from domain.canonical import canonical_json
from domain.contract import Contract
from domain.crosswalk import Crosswalk, crosswalk
from domain.digests import Digest
from domain.events import (
    ArtifactReference,
    BatchIngested,
    CalibrationSet,
    ConnectionRegistered,
    DatasetDerived,
    DeviceConfigured,
    DeviceRegistered,
    GateTrack,
    NumericEnvironment,
    ProcedureDeployed,
    RunStarted,
)
from domain.metrics import MetricTrack, Window
from domain.outcomes import Outcome
from domain.report.model import ReportInput
from domain.report.statements import headline, reasons_of_verdict
from domain.report.tables import plot_table

FORMAT = "tallystick.report.v1"


class PlotTable(Struct, frozen=True, kw_only=True):
    """A plot as its table: text, because every number there is rounded for reading; the artifact holds the
    numbers.
    """

    title: str
    note: str
    source: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class JsonReport(Struct, frozen=True, kw_only=True):
    """The document.

    ``withheld_results`` names the plots that a withheld run does not show; then ``results``
    has none of them.
    """

    format: str
    tenant: str
    run: RunStarted
    verdict: Outcome
    is_presentable: bool
    is_withheld: bool
    headline: str
    reasons: tuple[str, ...]
    failure: str
    windows: tuple[Window, ...]
    window_scores: tuple[float | None, ...]
    gates: tuple[GateTrack, ...]
    crosswalk: dict[str, Crosswalk]
    metrics: tuple[MetricTrack, ...]
    source_kind: str
    source: DeviceRegistered | ConnectionRegistered
    configuration: DeviceConfigured | None
    calibration: CalibrationSet | None
    deployment: ProcedureDeployed
    contract: Contract
    contract_digest: Digest
    batches: tuple[BatchIngested, ...]
    datasets: tuple[DatasetDerived, ...]
    artifacts: tuple[ArtifactReference, ...]
    environment: NumericEnvironment
    results: tuple[PlotTable, ...]
    withheld_results: tuple[str, ...]


def json_document(report: ReportInput) -> bytes:
    """The whole document."""
    decision = report.decision
    tables = []
    for plot in report.results:
        table = plot_table(plot)
        tables.append(
            PlotTable(title=plot.title, note=plot.note, source=plot.source, head=table.head, rows=table.rows)
        )
    return canonical_json(
        JsonReport(
            format=FORMAT,
            tenant=report.tenant,
            run=report.run,
            verdict=decision.verdict,
            is_presentable=decision.is_presentable,
            is_withheld=report.is_withheld,
            headline=headline(report),
            reasons=reasons_of_verdict(report),
            failure=report.failure,
            windows=report.windows,
            window_scores=decision.window_scores,
            gates=decision.gates,
            crosswalk={gate.gate_id: crosswalk(gate.outcome, gate.reason) for gate in decision.gates},
            metrics=report.shown_metrics,
            source_kind="device" if isinstance(report.source, DeviceRegistered) else "connection",
            source=report.source,
            configuration=report.configuration,
            calibration=report.calibration,
            deployment=report.deployment,
            contract=report.contract,
            contract_digest=report.contract.digest,
            batches=report.batches,
            datasets=report.datasets,
            artifacts=report.artifacts,
            environment=report.environment,
            results=tuple(tables),
            withheld_results=tuple(plot.title for plot in report.withheld_results),
        )
    )
