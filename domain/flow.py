"""The whole flow on one page: from a recorded event to what must happen next.

::

    batch.ingested ─▶ DeriveDataset ─▶ dataset.derived ─▶ StartRun (one per deployment it satisfies)
                          │                                   │
                          ▼                                   ▼
                  batch.quarantined                      run.started ─▶ ExecuteRun
                                                                            │ one atomic append
                                                                            ▼
                                                  run.gates_decided + receipt.issued (+ batch.quarantined)

``next_commands`` is pure, and it is the only place that knows this order.  Workers execute what it says; after a crash they read the
ledger again, fold ``pending`` over it, and go on where it stopped, because a command that was carried out is answered by its event.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from domain.events import BatchIngested, BatchQuarantined, DatasetDerived, Recorded, RunGatesDecided, RunStarted
from domain.state import Deployment, Source, State, deployment_key


class DeriveDataset(Struct, frozen=True):
    """Turn the batch recorded at ``batch_index`` into its canonical form, or quarantine it."""

    batch_id: str
    batch_index: int


class StartRun(Struct, frozen=True):
    """Start a run of the deployment on these datasets (ledger indices of their ``dataset.derived`` events)."""

    deployment: str
    source_id: str
    dataset_indices: tuple[int, ...]
    supersedes: str = ""


class ExecuteRun(Struct, frozen=True):
    """Carry out a started run, decide its gates and issue its receipt."""

    run_id: str


Command: TypeAlias = DeriveDataset | StartRun | ExecuteRun


def next_commands(state: State, recorded: Recorded) -> tuple[Command, ...]:
    """What follows from ``recorded``, given the state after it."""
    match recorded.event:
        case BatchIngested() as event:
            return (DeriveDataset(event.batch_id, recorded.index),)
        case DatasetDerived() as event:
            source = state.sources[event.source_id]
            planned = (_plan(deployment, source, recorded.index, event) for deployment in state.deployments.values())
            return tuple(sorted((command for command in planned if command), key=lambda command: command.deployment))
        case RunStarted() as event:
            return (ExecuteRun(event.run_id),)
        case _:
            return ()


def answers(recorded: Recorded, command: Command) -> bool:
    """Whether ``recorded`` is the fact that ``command`` asked for."""
    match command, recorded.event:
        case DeriveDataset(), DatasetDerived() | BatchQuarantined() as event:
            return event.batch_id == command.batch_id
        case StartRun(), RunStarted() as event:
            return tuple(sorted(dataset.index for dataset in event.datasets)) == tuple(
                sorted(command.dataset_indices)
            ) and command.deployment.split(",")[0] == event.procedure
        case ExecuteRun(), RunGatesDecided() as event:
            return event.run_id == command.run_id
        case _:
            return False


def _plan(deployment: Deployment, source: Source, index: int, dataset: DatasetDerived) -> StartRun | None:
    """The run that ``deployment`` starts because of this dataset, if it has all it needs now."""
    if deployment.event.consumes != dataset.kind:
        return None
    name = deployment_key(deployment.event)
    wanted = deployment.event.channels
    if not wanted:
        return StartRun(name, source.source_id, (index,))
    chosen: set[int] = set()
    for channel in wanted:
        found = _newest_overlapping(source, channel, dataset)
        if found is None:
            return None
        chosen.add(found)
    return StartRun(name, source.source_id, tuple(sorted(chosen))) if index in chosen else None


def _newest_overlapping(source: Source, channel: str, dataset: DatasetDerived) -> int | None:
    """Index of the newest dataset of the source that holds ``channel`` over a time that overlaps ``dataset``."""
    start_ns = min(part.start_ns for part in dataset.channels)
    end_ns = max(part.end_ns for part in dataset.channels)
    for index, other in reversed(source.datasets):
        for part in other.channels:
            if part.name == channel and part.start_ns < end_ns and start_ns < part.end_ns:
                return index
    return None
