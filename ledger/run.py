"""Runs: start one, carry it out, decide its gates, and close it with a receipt.

``perform`` is shared by the live run and by replay: it turns recorded facts and vault bytes into exactly what
was or will be recorded.  A run that could not be carried out is decided too (it abstains, and its receipt
says why); there is no run without a receipt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from domain.canonical import canonical_json
from domain.digests import digest_of
from domain.errors import InvalidError
from domain.events import (
    ArtifactReference,
    BatchIngested,
    BatchQuarantined,
    CalibrationSet,
    ContractPublished,
    DatasetDerived,
    DatasetReference,
    GateTrack,
    NumericEnvironment,
    ProcedureDeployed,
    ReceiptIssued,
    Recorded,
    RunGatesDecided,
    RunStarted,
)
from domain.flow import StartRun
from domain.gates import decide
from domain.health.revisions import revision_metric
from domain.outcomes import Outcome, Reason
from domain.procedures.procedure import Artifact, CalibrationInForce, ProcedureResult, RecordRevision
from domain.report.report import ReportInput, render_report
from domain.state import Source, State
from ledger.desk import Desk
from ledger.errors import CorruptObjectError, UnknownObjectError, UnknownSubjectKeyError
from ledger.ingest import BATCH_PURPOSE, SAMPLES
from ledger.ledger import Ledger, Proposal
from ledger.ports import ExecutorAnswer, ExecutorTask
from ledger.receipt import build_receipt
from ledger.run_facts import RunFacts, gather_facts

ARTIFACT_PURPOSE = "artifact"
EXECUTION_GATE = "execution"
# Each time another run of the same records was decided in between; then the order of revisions is judged
# again.
REVISION_RETRIES_MAX = 16


class Performance(Struct, frozen=True, kw_only=True):
    """What carrying out a run gave: the event to record, and the stored form of every artifact in the same
    order.

    ``quarantine`` is the reason when the input could not be processed at all.
    """

    decided: RunGatesDecided
    objects: tuple[bytes, ...]
    quarantine: str = ""
    remedy: str = ""


async def start_run(desk: Desk, command: StartRun, actor: str = "worker") -> Recorded:
    """Record that a run starts, with everything it rests on.  The same inputs again are the same run."""
    deployment = _deployment(await desk.ledger.get(command.deployment_index))
    datasets = [(await desk.ledger.get(index))[1] for index in command.dataset_indices]
    references = []
    for dataset in datasets:
        event = dataset.event
        if not isinstance(event, DatasetDerived):
            raise InvalidError("not a dataset", field="index", actual=str(dataset.index))
        references.append(
            DatasetReference(digest=event.digest, index=dataset.index, batch_index=dataset.causation[0])
        )
    first = datasets[0].event
    assert isinstance(first, DatasetDerived)

    def decide_start(state: State) -> Sequence[Proposal]:
        source = state.sources[first.source_id]
        start_ns = min((channel.start_ns for channel in first.channels), default=0)
        event = RunStarted(
            run_id="",
            source_id=source.source_id,
            procedure=deployment.procedure,
            procedure_version=deployment.version,
            deployment_index=command.deployment_index,
            contract_index=state.contracts[deployment.contract_id, deployment.contract_version],
            source_index=source.index,
            configuration_index=source.configuration_index,
            calibration_index=calibration_in_force(source, start_ns),
            datasets=tuple(references),
            supersedes=command.supersedes,
        )
        event = replace(event, run_id=run_id_of(event))
        causes = sorted({command.deployment_index, *command.dataset_indices})
        return (Proposal(event=event, actor=actor, subject=f"run/{event.run_id}", causation=tuple(causes)),)

    return (await desk.ledger.append(decide_start))[0]


def run_id_of(event: RunStarted) -> str:
    """The id of a run is derived from its inputs: ``run-`` and the first 24 hex digits of their SHA-256."""
    return "run-" + hashlib.sha256(canonical_json(replace(event, run_id=""))).hexdigest()[:24]


def calibration_in_force(source: Source, at_ns: int) -> int | None:
    """Index of the newest calibration that had begun by ``at_ns``; an expired one is still the one in force,
    and its gate says so."""
    begun = [
        (calibration.valid_from_ns, index)
        for index, calibration in source.calibrations
        if calibration.valid_from_ns <= at_ns
    ]
    return max(begun)[1] if begun else None


async def execute_run(desk: Desk, started_index: int) -> Recorded:
    """Carry out a started run and record what came out with its receipt, in one atomic append; returns the
    receipt's entry.

    Artifacts are in the vault before the event that names them.  A crash anywhere before the append leaves a
    run that is started again from the same facts; a crash after it leaves a finished run.
    """
    facts = await run_facts(desk.ledger, started_index)
    answer = await _execute(desk, facts)
    for _ in range(REVISION_RETRIES_MAX):
        known = _known_revisions(desk.ledger.state, facts, answer)
        performance = conclude(desk, facts, answer, known)
        for data in performance.objects:
            await desk.vault.put(data)
        recorded = await _append_receipt(desk, facts, performance, answer)
        if recorded is not None:
            return recorded
    raise InvalidError(
        "the order of revisions keeps changing", field=_started(facts).run_id, remedy="Try again."
    )


async def run_facts(ledger: Ledger, started_index: int) -> RunFacts:
    """The events a run of this ledger rests on."""

    async def at(index: int) -> Recorded:
        return (await ledger.get(index))[1]

    return await gather_facts(at, origin=ledger.origin, tenant=ledger.tenant, started_index=started_index)


async def perform(desk: Desk, facts: RunFacts, known: tuple[RecordRevision, ...]) -> Performance:
    """Carry out a run from its facts, judging revisions against ``known``."""
    return conclude(desk, facts, await _execute(desk, facts), known)


def conclude(
    desk: Desk, facts: RunFacts, answer: ExecutorAnswer, known: tuple[RecordRevision, ...]
) -> Performance:
    """Gates, report and digests from what the executor answered; pure but for the subject's key."""
    contract_event = facts.contract.event
    assert isinstance(contract_event, ContractPublished)
    contract = contract_event.contract
    result = answer.result or ProcedureResult(windows=(), metrics=(), artifacts=())
    metrics = result.metrics
    if result.revisions:
        metrics = (
            *metrics,
            revision_metric({revision.record_key: revision for revision in known}, result.revisions),
        )
    decision = decide(contract, result.windows, metrics)
    gates, verdict, is_presentable = decision.gates, decision.verdict, decision.is_presentable
    if answer.result is None:
        gates = (_execution_gate(answer), *gates)
        verdict, is_presentable = Outcome.ABSTAIN, False
    report_input = ReportInput(
        facts=facts_for_report(facts, answer.environment),
        windows=result.windows,
        window_scores=decision.window_scores,
        metrics=metrics,
        gates=gates,
        verdict=verdict,
        is_presentable=is_presentable,
        artifacts=result.artifacts,
        failure=answer.refusal,
    )
    artifacts = (*result.artifacts, *render_report(report_input))
    references, objects = [], []
    source = desk.source(_started(facts).source_id)
    for artifact in artifacts:
        stored, is_encrypted = desk.guard(source, artifact.data, ARTIFACT_PURPOSE)
        objects.append(stored)
        references.append(_reference(artifact, stored, is_encrypted))
    return Performance(
        decided=RunGatesDecided(
            run_id=_started(facts).run_id,
            windows=result.windows,
            window_scores=decision.window_scores,
            metrics=metrics,
            gates=gates,
            verdict=verdict,
            is_presentable=is_presentable,
            artifacts=tuple(references),
            environment=answer.environment,
            revisions=result.revisions,
            known_revisions=known,
            failure=answer.refusal,
        ),
        objects=tuple(objects),
        quarantine=answer.refusal if answer.refusal_kind == "malformed" else "",
        remedy=answer.remedy,
    )


async def _execute(desk: Desk, facts: RunFacts) -> ExecutorAnswer:
    started, deployment = _started(facts), facts.deployment.event
    assert isinstance(deployment, ProcedureDeployed)
    source = desk.source(started.source_id)
    first_batch = facts.batches[0].event
    assert isinstance(first_batch, BatchIngested)
    calibration = facts.calibration.event if facts.calibration else None
    options = dict(deployment.options)
    if deployment.channels:
        options["channels"] = list(deployment.channels)
    try:
        objects = [await desk.vault.get(_dataset(dataset).object_digest) for dataset in facts.datasets]
        is_samples = deployment.consumes == SAMPLES
        payload = b"" if is_samples else desk.reveal(source, objects[0], BATCH_PURPOSE)
        secret = desk.keys.subject_key(source.subject_key_id) if source.subject_key_id else b""
    except (UnknownObjectError, CorruptObjectError, UnknownSubjectKeyError) as error:
        return _refusal("failed", str(error), error.remedy)
    answer = await desk.executor.run(
        ExecutorTask(
            procedure=deployment.procedure,
            version=deployment.version,
            options=options,
            datasets=tuple(objects) if is_samples else (),
            payload=payload,
            calibration=_calibration_in_force(calibration)
            if isinstance(calibration, CalibrationSet)
            else None,
            received_at_ns=first_batch.received_at_ns,
            provider_event_time_ns=first_batch.provider_event_time_ns,
            record_key_secret=secret,
        )
    )
    if answer.result is not None and answer.source_digest != deployment.source_digest:
        return replace(
            answer,
            result=None,
            refusal_kind="environment",
            refusal="the procedure's source is not the one that was deployed",
            remedy="Deploy the procedure version again, or check out the version that was deployed.",
        )
    return answer


async def _append_receipt(
    desk: Desk, facts: RunFacts, performance: Performance, answer: ExecutorAnswer
) -> Recorded | None:
    started = _started(facts)
    decided = performance.decided
    signer = desk.keys.signer(desk.ledger.origin)

    def decide_run(state: State) -> Sequence[Proposal]:
        if started.run_id not in state.open_runs:
            return ()
        if _known_revisions(state, facts, answer) != decided.known_revisions:
            return ()
        index = state.size
        receipt = build_receipt(facts, decided, index, signer)
        proposals = [
            Proposal(
                event=decided,
                actor="worker",
                subject=f"run/{started.run_id}",
                causation=(facts.started.index,),
            ),
            Proposal(
                event=ReceiptIssued(envelope=receipt.envelope),
                actor="worker",
                subject=f"receipt/{receipt.receipt_id}",
                causation=(facts.started.index, index),
            ),
        ]
        if performance.quarantine:
            proposals.append(_quarantine(facts, performance, index))
        return proposals

    appended = await desk.ledger.append(decide_run)
    if appended:
        return appended[1]
    receipt_index = await receipt_index_of(desk.ledger, started.run_id)
    return None if receipt_index is None else (await desk.ledger.get(receipt_index))[1]


async def receipt_index_of(ledger: Ledger, run_id: str) -> int | None:
    """Where the receipt that closed a run stands; it follows the decision."""
    decided = ledger.index.find(f"decided/{run_id}")
    return None if decided is None else decided + 1


def _quarantine(facts: RunFacts, performance: Performance, index: int) -> Proposal:
    started = _started(facts)
    batch = facts.batches[0].event
    assert isinstance(batch, BatchIngested)
    event = BatchQuarantined(
        batch_id=batch.batch_id,
        source_id=batch.source_id,
        stage="map",
        reason="MalformedError",
        detail=performance.quarantine,
        remedy=performance.remedy,
        procedure=started.procedure,
        procedure_version=started.procedure_version,
    )
    return Proposal(
        event=event, actor="worker", subject=f"batch/{batch.batch_id}", causation=(facts.started.index, index)
    )


def _known_revisions(state: State, facts: RunFacts, answer: ExecutorAnswer) -> tuple[RecordRevision, ...]:
    """The newest accepted revision of each record this run maps, sorted by key."""
    if answer.result is None:
        return ()
    accepted = state.sources[_started(facts).source_id].revisions
    keys = sorted({revision.record_key for revision in answer.result.revisions})
    return tuple(accepted[key] for key in keys if key in accepted)


def _execution_gate(answer: ExecutorAnswer) -> GateTrack:
    reason = Reason.ENVIRONMENT_MISMATCH if answer.refusal_kind == "environment" else Reason.PROCEDURE_FAILED
    return GateTrack(
        gate_id=EXECUTION_GATE,
        metric="",
        unit="",
        outcomes="",
        margins=(),
        reasons=(),
        outcome=Outcome.ABSTAIN,
        reason=reason,
        value=None,
        margin=None,
        window=None,
        required=True,
    )


def _reference(artifact: Artifact, stored: bytes, is_encrypted: bool) -> ArtifactReference:
    return ArtifactReference(
        name=artifact.name,
        media_type=artifact.media_type,
        byte_count=len(artifact.data),
        digest=digest_of(stored),
        quantised_digest=None
        if artifact.quantised is None or is_encrypted
        else digest_of(artifact.quantised),
        is_encrypted=is_encrypted,
    )


def _calibration_in_force(event: CalibrationSet) -> CalibrationInForce:
    return CalibrationInForce(
        calibration_id=event.calibration_id,
        certificate_id=event.certificate_id,
        issued_at_ns=event.issued_at_ns,
        valid_from_ns=event.valid_from_ns,
        valid_until_ns=event.valid_until_ns,
        channels=event.channels,
    )


def _started(facts: RunFacts) -> RunStarted:
    event = facts.started.event
    assert isinstance(event, RunStarted)
    return event


def _dataset(recorded: Recorded) -> DatasetDerived:
    event = recorded.event
    if not isinstance(event, DatasetDerived):
        raise InvalidError("not a dataset", field=f"[{recorded.index}]", actual=event.TYPE)
    return event


def _deployment(found: tuple[object, Recorded]) -> ProcedureDeployed:
    event = found[1].event
    if not isinstance(event, ProcedureDeployed):
        raise InvalidError("not a deployment", field=f"[{found[1].index}]", actual=event.TYPE)
    return event


def _refusal(kind: str, refusal: str, remedy: str) -> ExecutorAnswer:
    nowhere = NumericEnvironment(class_digest=digest_of(b"not executed"), facts={})
    return ExecutorAnswer(
        environment=nowhere, source_digest=digest_of(b""), refusal_kind=kind, refusal=refusal, remedy=remedy
    )
