"""Reprocessing: run what older versions of a procedure saw through the version that is in force now.

A payload that an older mapper could not read is mapped at last; a bug that was fixed is fixed for the past
too.  Nothing old is changed: each new receipt names the one it supersedes, and both stay provable.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from domain.errors import InvalidError, UnknownError
from domain.events import ProcedureDeployed, ReceiptIssued, Recorded, RunGatesDecided, RunStarted
from domain.flow import StartRun
from domain.state import Deployment
from ledger.desk import Desk
from ledger.performance import ARTIFACT_PURPOSE
from ledger.receipt import parse_receipt
from ledger.recorded import recorded_of
from ledger.run import execute_run, receipt_index_of, start_run

READ_BATCH = 2_048
RECORDS_ARTIFACT = "records.json"


class Reprocessed(Struct, frozen=True, kw_only=True):
    """One run that was done again; artifacts are decrypted, ``None`` where the run made none."""

    source_id: str
    dataset_indices: tuple[int, ...]
    procedure: str
    version_before: str
    version_after: str
    receipt_before: str
    receipt_after: str
    verdict_before: str
    verdict_after: str
    records_before: bytes | None
    records_after: bytes | None


async def reprocess(
    desk: Desk,
    procedure: str,
    *,
    on_done: Callable[[Reprocessed], None] = lambda done: None,
) -> tuple[Reprocessed, ...]:
    """Run everything that older versions of ``procedure`` ran through the version in force.  Running it twice
    changes nothing.

    Raises: UnknownError when the procedure is not deployed, InvalidError when its source has changed since.
    """
    deployments = {
        d.index: d for d in desk.ledger.state.deployments.values() if d.event.procedure == procedure
    }
    if not deployments:
        raise UnknownError(
            "not deployed", field="procedure", actual=procedure, remedy="Deploy the new version first."
        )
    for deployment in deployments.values():
        if (
            await desk.executor.source_digest(procedure, deployment.event.version)
            != deployment.event.source_digest
        ):
            raise InvalidError(
                "the source of this version is not the one that was deployed",
                field=f"{procedure} {deployment.event.version}",
                remedy="Deploy it again (tally apply), so that new receipts do not just abstain.",
            )
    done = []
    for started in await _latest_runs(desk, procedure):
        event = started.event
        assert isinstance(event, RunStarted)
        successor = await _successor(desk, event, deployments)
        if successor is None or desk.source(event.source_id).erased_index is not None:
            # What was shredded stays as it was; a run that says so would only supersede a good receipt.
            continue
        done.append(await _again(desk, started, event, successor))
        on_done(done[-1])
    return tuple(done)


async def _latest_runs(desk: Desk, procedure: str) -> list[Recorded]:
    """The newest run of the procedure over each set of datasets, in ledger order."""
    latest: dict[tuple[int, ...], Recorded] = {}
    position = 0
    while records := await desk.ledger.read(position, READ_BATCH):
        for record in records:
            if record.event_type == RunStarted.TYPE:
                recorded = recorded_of(record)
                event = recorded.event
                if isinstance(event, RunStarted) and event.procedure == procedure:
                    latest[tuple(dataset.index for dataset in event.datasets)] = recorded
        position = records[-1].index + 1
    return sorted(latest.values(), key=lambda recorded: recorded.index)


async def _successor(desk: Desk, event: RunStarted, deployments: dict[int, Deployment]) -> Deployment | None:
    """The deployment that replaces the one a run was made with; ``None`` when that one is still in force."""
    if event.deployment_index in deployments:
        return None
    before = (await desk.ledger.get(event.deployment_index))[1].event
    assert isinstance(before, ProcedureDeployed)
    for deployment in deployments.values():
        if deployment.event.channels == before.channels:
            return deployment
    return None


async def _again(desk: Desk, started: Recorded, event: RunStarted, deployment: Deployment) -> Reprocessed:
    before_id, before = await _receipt_of(desk, event.run_id)
    command = StartRun(deployment.index, tuple(dataset.index for dataset in event.datasets), before_id)
    run = await start_run(desk, command, actor="reprocess")
    assert isinstance(run.event, RunStarted)
    await execute_run(desk, run.index)
    after_id, after = await _receipt_of(desk, run.event.run_id)
    return Reprocessed(
        source_id=event.source_id,
        dataset_indices=command.dataset_indices,
        procedure=event.procedure,
        version_before=event.procedure_version,
        version_after=deployment.event.version,
        receipt_before=before_id,
        receipt_after=after_id,
        verdict_before=before.verdict if before else "",
        verdict_after=after.verdict if after else "",
        records_before=await artifact_of(desk, event.source_id, before, RECORDS_ARTIFACT),
        records_after=await artifact_of(desk, event.source_id, after, RECORDS_ARTIFACT),
    )


async def _receipt_of(desk: Desk, run_id: str) -> tuple[str, RunGatesDecided | None]:
    index = await receipt_index_of(desk.ledger, run_id)
    if index is None:
        return "", None
    receipt = (await desk.ledger.get(index))[1].event
    decided = (await desk.ledger.get(index - 1))[1].event
    assert isinstance(receipt, ReceiptIssued)
    assert isinstance(decided, RunGatesDecided)
    return parse_receipt(receipt.envelope)[0], decided


async def artifact_of(desk: Desk, source_id: str, decided: RunGatesDecided | None, name: str) -> bytes | None:
    """A run's artifact as it was made, decrypted; ``None`` when it made none of that name.

    Raises: UnknownSubjectKeyError when it was shredded, UnknownObjectError, CorruptObjectError.
    """
    for artifact in decided.artifacts if decided else ():
        if artifact.name == name:
            return desk.reveal(
                desk.source(source_id), await desk.vault.get(artifact.digest), ARTIFACT_PURPOSE
            )
    return None
