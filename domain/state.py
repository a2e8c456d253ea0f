"""State: what decisions need to know, folded from events.

Only registries live here (sources, calibrations, contracts, deployments, the newest datasets of a source, the
newest revision of a record), never runs.  ``evolve`` is pure: it returns a new state and shares what did not
change.
"""

from __future__ import annotations

from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from domain.events import (
    CalibrationSet,
    ConnectionRegistered,
    ContractPublished,
    DatasetDerived,
    DeviceConfigured,
    DeviceRegistered,
    KeyCompromised,
    KeyCreated,
    KeyRevoked,
    KeyRotated,
    LedgerOpened,
    LedgerRestored,
    ProcedureDeployed,
    RecallDeclared,
    Recorded,
    RunGatesDecided,
    RunStarted,
    SubjectErased,
)
from domain.health.revisions import current_after
from domain.key_history import KeyHistory, history_after
from domain.procedures.procedure import RecordRevision

K = TypeVar("K")
V = TypeVar("V")

# Newest datasets kept per source, enough to pair channels that were uploaded separately.
DATASETS_PER_SOURCE_MAX = 32


class Source(Struct, frozen=True, kw_only=True):
    """A device or connection with what is in force for it; ``*_index`` are ledger indices of the events that
    said so."""

    source_id: str
    index: int
    kind: str
    provider: str = ""
    subject_key_id: str = ""
    configuration_index: int | None = None
    firmware: str = ""
    calibrations: tuple[tuple[int, CalibrationSet], ...] = ()
    datasets: tuple[tuple[int, DatasetDerived], ...] = ()
    revisions: dict[str, RecordRevision] = {}
    erased_index: int | None = None
    """Index of the event that erased the person behind this connection; nothing of it can be read again."""


class Deployment(Struct, frozen=True, kw_only=True):
    index: int
    event: ProcedureDeployed


class OpenRun(Struct, frozen=True, kw_only=True):
    """A run that was started and not yet decided."""

    index: int
    event: RunStarted


class State(Struct, frozen=True, kw_only=True):
    """Everything a decision may look at; ``size`` is the index the next event will get."""

    size: int = 0
    tenant: str = ""
    keys: KeyHistory = KeyHistory()
    sources: dict[str, Source] = {}
    contracts: dict[tuple[str, int], int] = {}
    deployments: dict[str, Deployment] = {}
    """Key: procedure name and the channels it is restricted to, joined by commas."""
    open_runs: dict[str, OpenRun] = {}
    recalled_firmware: frozenset[str] = frozenset()
    """``<device>/<firmware>`` of firmware that is not believed any more."""
    forgone: frozenset[str] = frozenset()
    """Checkpoints (signed notes) that were seen before an older state was put back, and given up."""


CHANGING: frozenset[type] = frozenset(
    {
        LedgerOpened,
        KeyCreated,
        KeyRotated,
        KeyRevoked,
        KeyCompromised,
        DeviceRegistered,
        ConnectionRegistered,
        DeviceConfigured,
        CalibrationSet,
        ContractPublished,
        ProcedureDeployed,
        RecallDeclared,
        SubjectErased,
        LedgerRestored,
        DatasetDerived,
        RunStarted,
        RunGatesDecided,
    }
)
"""Events that change more of the state than its size: exactly those that ``evolve`` has a case for."""


def deployment_key(event: ProcedureDeployed) -> str:
    """Deployments of the same procedure for the same channels replace one another."""
    return ",".join((event.procedure, *event.channels))


def evolve(state: State, recorded: Recorded) -> State:
    """The state after ``recorded``, which must be the next event."""
    index, event = recorded.index, recorded.event
    state = replace(state, size=index + 1)
    if type(event) not in CHANGING:
        return state
    match event:
        case LedgerOpened():
            return replace(state, tenant=event.tenant)
        case KeyCreated() | KeyRotated() | KeyRevoked() | KeyCompromised():
            return replace(state, keys=history_after(state.keys, index, event))
        case DeviceRegistered():
            return _with_source(state, Source(source_id=event.device_id, index=index, kind="device"))
        case ConnectionRegistered():
            source = Source(
                source_id=event.connection_id,
                index=index,
                kind="connection",
                provider=event.provider,
                subject_key_id=event.subject_key_id,
            )
            return _with_source(state, source)
        case DeviceConfigured():
            return _with_source(
                state,
                replace(state.sources[event.device_id], configuration_index=index, firmware=event.firmware),
            )
        case CalibrationSet():
            source = state.sources[event.device_id]
            return _with_source(state, replace(source, calibrations=(*source.calibrations, (index, event))))
        case ContractPublished():
            key = (event.contract.contract_id, event.contract.version)
            return replace(state, contracts=_put(state.contracts, key, index))
        case ProcedureDeployed():
            deployment = Deployment(index=index, event=event)
            return replace(state, deployments=_put(state.deployments, deployment_key(event), deployment))
        case RecallDeclared():
            return _recalled(state, event)
        case SubjectErased():
            return _erased(state, index, event)
        case LedgerRestored():
            return replace(state, forgone=state.forgone | {event.seen})
        case DatasetDerived():
            source = state.sources[event.source_id]
            datasets = (*source.datasets, (index, event))[-DATASETS_PER_SOURCE_MAX:]
            return _with_source(state, replace(source, datasets=datasets))
        case RunStarted():
            return replace(
                state, open_runs=_put(state.open_runs, event.run_id, OpenRun(index=index, event=event))
            )
        case RunGatesDecided():
            return _decided(state, event)
        case _:
            return state


def _recalled(state: State, event: RecallDeclared) -> State:
    """What was recalled is in force no longer; receipts that rest on it are another event's business."""
    first, _, second = event.target.partition("/")
    match event.kind:
        case "calibration" if first in state.sources:
            source = state.sources[first]
            kept = tuple(one for one in source.calibrations if one[1].calibration_id != second)
            return _with_source(state, replace(source, calibrations=kept))
        case "procedure":
            kept_deployments = {
                key: deployment
                for key, deployment in state.deployments.items()
                if (deployment.event.procedure, deployment.event.version) != (first, second)
            }
            return replace(state, deployments=kept_deployments)
        case "firmware":
            return replace(state, recalled_firmware=state.recalled_firmware | {event.target})
        case _:
            return state


def _erased(state: State, index: int, event: SubjectErased) -> State:
    """Every connection that this key stands for is erased, once and for ever; what was known of its records
    goes too."""
    for source in state.sources.values():
        if source.subject_key_id == event.subject_key_id and source.erased_index is None:
            state = _with_source(state, replace(source, erased_index=index, revisions={}))
    return state


def _decided(state: State, event: RunGatesDecided) -> State:
    run = state.open_runs.get(event.run_id)
    open_runs = {run_id: other for run_id, other in state.open_runs.items() if run_id != event.run_id}
    state = replace(state, open_runs=open_runs)
    if run is None or not event.revisions or not event.is_presentable:
        return state
    source = state.sources[run.event.source_id]
    revisions = source.revisions | current_after(source.revisions, event.revisions)
    return _with_source(state, replace(source, revisions=revisions))


def _with_source(state: State, source: Source) -> State:
    return replace(state, sources=_put(state.sources, source.source_id, source))


def _put(registry: dict[K, V], key: K, value: V) -> dict[K, V]:
    return {**registry, key: value}
