"""Runs: start one, carry it out, decide its gates, and close it with a receipt.

``perform`` is shared by the live run and by replay: it turns recorded facts and vault bytes into exactly what
was or will be recorded.  A run that could not be carried out is decided too (it abstains, and its receipt
says why); there is no run without a receipt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from msgspec.structs import replace

from domain.canonical import canonical_json
from domain.errors import InvalidError, LimitError
from domain.events import (
    BatchIngested,
    BatchQuarantined,
    DatasetDerived,
    DatasetReference,
    ProcedureDeployed,
    ReceiptIssued,
    Recorded,
    RunGatesDecided,
    RunStarted,
)
from domain.flow import StartRun
from domain.lookups import decided_name
from domain.procedures.procedure import RecordRevision
from domain.state import Source, State
from ledger.desk import Desk
from ledger.ledger import Ledger, Proposal
from ledger.performance import Performance, conclude, execute, unless_erased
from ledger.ports import ExecutorAnswer
from ledger.receipt import build_receipt
from ledger.recorded import event_of
from ledger.run_facts import RunFacts, gather_facts

# Each time another run of the same records was decided in between; then the order of revisions is judged
# again.
REVISION_RETRIES_MAX = 16


async def start_run(desk: Desk, command: StartRun, actor: str = "worker") -> Recorded:
    """Record that a run starts, with everything it rests on.  The same inputs again are the same run."""
    deployment = event_of((await desk.ledger.get(command.deployment_index))[1], ProcedureDeployed)
    datasets = [(await desk.ledger.get(index))[1] for index in command.dataset_indices]
    references = tuple(
        DatasetReference(
            digest=event_of(dataset, DatasetDerived).digest,
            index=dataset.index,
            batch_index=dataset.causation[0],
        )
        for dataset in datasets
    )
    first = event_of(datasets[0], DatasetDerived)

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
            datasets=references,
            supersedes=command.supersedes,
            withdrawn=f"firmware {source.firmware} was recalled"
            if f"{source.source_id}/{source.firmware}" in state.recalled_firmware
            else "",
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
    answer = await execute(desk, facts)
    for _ in range(REVISION_RETRIES_MAX):
        erased_index = desk.source(event_of(facts.started, RunStarted).source_id).erased_index
        answer = unless_erased(desk, facts, answer)
        known = _known_revisions(desk.ledger.state, facts, answer)
        performance = conclude(desk, facts, answer, known)
        for data in performance.objects:
            await desk.vault.put(data)
        try:
            recorded = await _append_receipt(desk, facts, performance, answer, erased_index)
        except LimitError as error:
            # Too much for one append: the run ends all the same, with a receipt that says so.
            answer = replace(
                answer, result=None, refusal_kind="failed", refusal=str(error), remedy=error.remedy
            )
            continue
        if recorded is not None:
            return recorded
    raise InvalidError(
        "the order of revisions keeps changing",
        field=event_of(facts.started, RunStarted).run_id,
        remedy="Try again.",
    )


async def run_facts(ledger: Ledger, started_index: int) -> RunFacts:
    """The events a run of this ledger rests on."""

    async def at(index: int) -> Recorded:
        return (await ledger.get(index))[1]

    return await gather_facts(at, origin=ledger.origin, tenant=ledger.tenant, started_index=started_index)


async def _append_receipt(
    desk: Desk, facts: RunFacts, performance: Performance, answer: ExecutorAnswer, erased_index: int | None
) -> Recorded | None:
    started = event_of(facts.started, RunStarted)
    decided = performance.decided

    def decide_run(state: State) -> Sequence[Proposal]:
        if started.run_id not in state.open_runs:
            return ()
        if state.sources[started.source_id].erased_index != erased_index:
            # The person was erased since this was concluded: nothing made of their data is recorded any more.
            return ()
        if _known_revisions(state, facts, answer) != decided.known_revisions:
            return ()
        index = state.size
        receipt = build_receipt(facts, decided, index, desk.ledger.signers(state))
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
    decided = await ledger.find(decided_name(run_id))
    return None if decided is None else decided + 1


def _quarantine(facts: RunFacts, performance: Performance, index: int) -> Proposal:
    started = event_of(facts.started, RunStarted)
    batch = event_of(facts.batches[0], BatchIngested)
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
    accepted = state.sources[event_of(facts.started, RunStarted).source_id].revisions
    keys = sorted({revision.record_key for revision in answer.result.revisions})
    return tuple(accepted[key] for key in keys if key in accepted)


async def decided_of(ledger: Ledger, decided_index: int) -> RunGatesDecided:
    """The decision at an index.  Raises: UnknownError, InvalidError when something else stands there."""
    return event_of((await ledger.get(decided_index))[1], RunGatesDecided)
