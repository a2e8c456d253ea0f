"""Performing a run: from recorded facts and vault bytes to what its gates decided and what it made.

Live runs and replays share this page, so a replay does exactly what the run did.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from domain.digests import digest_of
from domain.events import (
    ArtifactReference,
    BatchIngested,
    CalibrationSet,
    ConnectionRegistered,
    ContractPublished,
    DatasetDerived,
    DeviceConfigured,
    DeviceRegistered,
    GateTrack,
    NumericEnvironment,
    ProcedureDeployed,
    Recorded,
    RunGatesDecided,
    RunStarted,
)
from domain.gates import decide
from domain.health.revisions import revision_metric
from domain.outcomes import Outcome, Reason
from domain.procedures.procedure import Artifact, CalibrationInForce, ProcedureResult, RecordRevision
from domain.report.model import ReportInput
from domain.report.plots import plots_of
from domain.report.rendering import render_report
from domain.state import Source
from ledger.desk import Desk
from ledger.errors import CorruptObjectError, UnknownObjectError, UnknownSubjectKeyError
from ledger.ingest import BATCH_PURPOSE, SAMPLES
from ledger.ports import ExecutorAnswer, ExecutorTask
from ledger.recorded import event_of
from ledger.run_facts import RunFacts

ARTIFACT_PURPOSE = "artifact"
EXECUTION_GATE = "execution"


class Performance(Struct, frozen=True, kw_only=True):
    """What carrying out a run gave: the event to record, and the stored form of every artifact in the same
    order.

    ``quarantine`` is the reason when the input could not be processed at all.
    """

    decided: RunGatesDecided
    objects: tuple[bytes, ...]
    quarantine: str = ""
    remedy: str = ""


async def perform_again(desk: Desk, facts: RunFacts, known: tuple[RecordRevision, ...]) -> Performance:
    """Carry out a run once more from its facts, judging revisions against those that were known then."""
    return conclude(desk, facts, await execute(desk, facts, is_replay=True), known)


def conclude(
    desk: Desk, facts: RunFacts, answer: ExecutorAnswer, known: tuple[RecordRevision, ...]
) -> Performance:
    """Gates, report and digests from what the executor answered; pure but for the subject's key."""
    contract = event_of(facts.contract, ContractPublished).contract
    result = answer.result or ProcedureResult(windows=(), metrics=(), artifacts=())
    metrics = result.metrics
    if result.revisions:
        metrics = (
            *metrics,
            revision_metric({revision.record_key: revision for revision in known}, result.revisions),
        )
    decision = decide(contract, result.windows, metrics)
    if answer.result is None:
        decision = replace(decision, verdict=Outcome.ABSTAIN, is_presentable=False)
    source = desk.source(event_of(facts.started, RunStarted).source_id)
    stored = [_store(desk, source, artifact) for artifact in result.artifacts]
    report_input = ReportInput(
        tenant=facts.tenant,
        run=event_of(facts.started, RunStarted),
        source=_source_event(facts.source),
        deployment=event_of(facts.deployment, ProcedureDeployed),
        contract=contract,
        windows=result.windows,
        metrics=metrics,
        decision=decision,
        environment=answer.environment,
        configuration=event_of(facts.configuration, DeviceConfigured) if facts.configuration else None,
        calibration=event_of(facts.calibration, CalibrationSet) if facts.calibration else None,
        datasets=tuple(event_of(dataset, DatasetDerived) for dataset in facts.datasets),
        batches=tuple(event_of(batch, BatchIngested) for batch in facts.batches),
        artifacts=tuple(reference for reference, _ in stored),
        plots=plots_of(event_of(facts.started, RunStarted).procedure, result.artifacts),
        failure=answer.refusal,
    )
    stored += [_store(desk, source, report) for report in render_report(report_input)]
    return Performance(
        decided=RunGatesDecided(
            run_id=event_of(facts.started, RunStarted).run_id,
            windows=result.windows,
            window_scores=decision.window_scores,
            metrics=metrics,
            gates=decision.gates if answer.result else (_execution_gate(answer), *decision.gates),
            verdict=decision.verdict,
            is_presentable=decision.is_presentable,
            artifacts=tuple(reference for reference, _ in stored),
            environment=answer.environment,
            revisions=result.revisions,
            known_revisions=known,
            failure=answer.refusal,
        ),
        objects=tuple(data for _, data in stored),
        quarantine=answer.refusal if answer.refusal_kind == "malformed" else "",
        remedy=answer.remedy,
    )


def unless_erased(desk: Desk, facts: RunFacts, answer: ExecutorAnswer) -> ExecutorAnswer:
    """``answer``, or its refusal when the person it is about was erased while it was being made."""
    source = desk.source(event_of(facts.started, RunStarted).source_id)
    return answer if source.erased_index is None else _erased(source)


async def execute(desk: Desk, facts: RunFacts, *, is_replay: bool = False) -> ExecutorAnswer:
    """Hand the run to the executor.  What goes wrong is in the answer: the run still gets its receipt."""
    deployment = event_of(facts.deployment, ProcedureDeployed)
    if withdrawn := event_of(facts.started, RunStarted).withdrawn:
        return _refusal("recalled", withdrawn, "Update the device, or run again with what replaced it.")
    source = desk.source(event_of(facts.started, RunStarted).source_id)
    if source.erased_index is not None:
        return _erased(source)
    first_batch = event_of(facts.batches[0], BatchIngested)
    options = dict(deployment.options)
    if deployment.channels:
        options["channels"] = list(deployment.channels)
    try:
        objects = [
            await desk.vault.get(event_of(dataset, DatasetDerived).object_digest)
            for dataset in facts.datasets
        ]
        is_samples = deployment.consumes == SAMPLES
        payload = b"" if is_samples else desk.reveal(source, objects[0], BATCH_PURPOSE)
        secret = desk.record_key_secret(source)
    except (UnknownObjectError, CorruptObjectError, UnknownSubjectKeyError) as error:
        return _refusal("failed", str(error), error.remedy)
    answer = await desk.executor.run(
        ExecutorTask(
            procedure=deployment.procedure,
            version=deployment.version,
            options=options,
            datasets=tuple(objects) if is_samples else (),
            payload=payload,
            calibration=_calibration_in_force(event_of(facts.calibration, CalibrationSet))
            if facts.calibration
            else None,
            received_at_ns=first_batch.received_at_ns,
            provider_event_time_ns=first_batch.provider_event_time_ns,
            record_key_secret=secret,
        )
    )
    # A replay goes on with changed sources: whether they still give the same bytes is what it is there to
    # find out.
    if not is_replay and answer.result is not None and answer.source_digest != deployment.source_digest:
        return replace(
            answer,
            result=None,
            refusal_kind="environment",
            refusal="the procedure's source is not the one that was deployed",
            remedy="Deploy the procedure version again, or check out the version that was deployed.",
        )
    return answer


def _execution_gate(answer: ExecutorAnswer) -> GateTrack:
    reasons = {
        "environment": Reason.ENVIRONMENT_MISMATCH,
        "recalled": Reason.RECALLED,
        "erased": Reason.ERASED,
    }
    return GateTrack(
        gate_id=EXECUTION_GATE,
        metric="",
        unit="",
        outcomes="",
        margins=(),
        reasons=(),
        outcome=Outcome.ABSTAIN,
        reason=reasons.get(answer.refusal_kind, Reason.PROCEDURE_FAILED),
        value=None,
        margin=None,
        window=None,
        required=True,
    )


def _store(desk: Desk, source: Source, artifact: Artifact) -> tuple[ArtifactReference, bytes]:
    """An artifact as it is named in the ledger, and as it lies in the vault.

    All that a run makes after its person was erased is a report that says so, from what the ledger holds in
    clear; there is no key any more to encrypt it with.
    """
    data, is_encrypted = artifact.data, False
    if source.erased_index is None:
        data, is_encrypted = desk.guard(source, artifact.data, ARTIFACT_PURPOSE)
    reference = ArtifactReference(
        name=artifact.name,
        media_type=artifact.media_type,
        byte_count=len(artifact.data),
        digest=digest_of(data),
        quantised_digest=None
        if artifact.quantised is None or is_encrypted
        else digest_of(artifact.quantised),
        is_encrypted=is_encrypted,
    )
    return reference, data


def _calibration_in_force(event: CalibrationSet) -> CalibrationInForce:
    return CalibrationInForce(
        calibration_id=event.calibration_id,
        certificate_id=event.certificate_id,
        issued_at_ns=event.issued_at_ns,
        valid_from_ns=event.valid_from_ns,
        valid_until_ns=event.valid_until_ns,
        channels=event.channels,
    )


def _source_event(recorded: Recorded) -> DeviceRegistered | ConnectionRegistered:
    event = recorded.event
    return event if isinstance(event, ConnectionRegistered) else event_of(recorded, DeviceRegistered)


def _erased(source: Source) -> ExecutorAnswer:
    refusal = f"the person's data was erased by entry {source.erased_index}"
    return _refusal("erased", refusal, "Nothing can be made of it again.")


def _refusal(kind: str, refusal: str, remedy: str) -> ExecutorAnswer:
    nowhere = NumericEnvironment(class_digest=digest_of(b"not executed"), facts={})
    return ExecutorAnswer(
        environment=nowhere, source_digest=digest_of(b""), refusal_kind=kind, refusal=refusal, remedy=remedy
    )
