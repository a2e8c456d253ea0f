"""The whole flow on one page: from a recorded event to what must happen next.

::

    batch.ingested ─▶ DeriveDataset ─▶ dataset.derived ─▶ StartRun (one per deployment it satisfies)
                          │                                   │
                          ▼                                   ▼
                  batch.quarantined                      run.started ─▶ ExecuteRun
                                                                            │ one atomic append
                                                                            ▼
                                                  run.gates_decided + receipt.issued (+ batch.quarantined)

``next_commands`` is pure, and it is the only place that knows this order.  Workers execute what it says.  A
command stays pending until the event that answers it is recorded, so after a crash the fold over the ledger
knows exactly what is left to do.
"""

from __future__ import annotations

from typing import TypeAlias, assert_never

from msgspec import Struct

from domain.events import (
    BatchIngested,
    BatchQuarantined,
    DatasetDerived,
    Recorded,
    RunGatesDecided,
    RunStarted,
)
from domain.state import Deployment, Source, State


class DeriveDataset(Struct, frozen=True):
    """Turn a batch into its canonical form, or quarantine it."""

    batch_id: str
    batch_index: int


class StartRun(Struct, frozen=True):
    """Start a run of a deployment on these datasets (ledger indices of their ``dataset.derived`` events)."""

    deployment_index: int
    dataset_indices: tuple[int, ...]
    supersedes: str = ""


class ExecuteRun(Struct, frozen=True):
    """Carry out a started run, decide its gates and issue its receipt."""

    run_id: str
    started_index: int


Command: TypeAlias = DeriveDataset | StartRun | ExecuteRun

FLOWING: frozenset[type] = frozenset(
    {BatchIngested, BatchQuarantined, DatasetDerived, RunStarted, RunGatesDecided}
)
"""Events that ask for something or answer it: exactly those that ``next_commands`` and ``answered_key`` have
a case for."""


def next_commands(state: State, recorded: Recorded) -> tuple[Command, ...]:
    """What follows from ``recorded``, given the state after it."""
    match recorded.event:
        case BatchIngested() as event:
            return (DeriveDataset(event.batch_id, recorded.index),)
        case DatasetDerived() as event:
            source = state.sources[event.source_id]
            planned = (
                _plan(deployment, source, recorded.index, event) for deployment in state.deployments.values()
            )
            return tuple(command for command in planned if command)
        case RunStarted() as event:
            return (ExecuteRun(event.run_id, recorded.index),)
        case _:
            return ()


def command_key(command: Command) -> str:
    """The name of a command; ``answered_key`` of the event that carries it out is the same."""
    match command:
        case DeriveDataset():
            return f"derive/{command.batch_id}"
        case StartRun():
            return _start_key(command.deployment_index, command.dataset_indices)
        case ExecuteRun():
            return f"execute/{command.run_id}"
        case _:
            assert_never(command)


def answered_key(recorded: Recorded) -> str:
    """The name of the command that ``recorded`` carries out; empty when it answers none."""
    match recorded.event:
        case DatasetDerived() as event:
            return f"derive/{event.batch_id}"
        case BatchQuarantined(stage="parse") as event:
            return f"derive/{event.batch_id}"
        case RunStarted() as event:
            return _start_key(event.deployment_index, tuple(dataset.index for dataset in event.datasets))
        case RunGatesDecided() as event:
            return f"execute/{event.run_id}"
        case _:
            return ""


def _start_key(deployment_index: int, dataset_indices: tuple[int, ...]) -> str:
    return f"start/{deployment_index}/{','.join(map(str, dataset_indices))}"


def _plan(deployment: Deployment, source: Source, index: int, dataset: DatasetDerived) -> StartRun | None:
    """The run that ``deployment`` starts because of this dataset, if it has all it needs now."""
    if deployment.event.consumes != dataset.kind:
        return None
    if not deployment.event.channels:
        return StartRun(deployment.index, (index,))
    chosen: set[int] = set()
    for channel in deployment.event.channels:
        found = _newest_overlapping(source, channel, dataset)
        if found is None:
            return None
        chosen.add(found)
    return StartRun(deployment.index, tuple(sorted(chosen))) if index in chosen else None


def _newest_overlapping(source: Source, channel: str, dataset: DatasetDerived) -> int | None:
    """Index of the newest dataset of the source that holds ``channel`` over a time that overlaps
    ``dataset``."""
    start_ns = min(part.start_ns for part in dataset.channels)
    end_ns = max(part.end_ns for part in dataset.channels)
    for index, other in reversed(source.datasets):
        for part in other.channels:
            if part.name == channel and part.start_ns < end_ns and start_ns < part.end_ns:
                return index
    return None
