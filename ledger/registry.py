"""Registering: sources, configuration, calibrations, contracts and deployments.

Each function decides against the current state and appends one event, or returns the one that already says
the same.  Doing it twice is therefore harmless; saying something else about the same thing is a conflict
where the thing is immutable and a new fact where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from domain.contract import Contract
from domain.digests import Digest
from domain.errors import ConflictError, InvalidError, UnknownError
from domain.events import (
    CalibrationSet,
    ConnectionRegistered,
    ContractPublished,
    DeviceConfigured,
    DeviceRegistered,
    Event,
    ProcedureDeployed,
    Recorded,
)
from domain.identifiers import parse_identifier
from domain.state import State, deployment_key
from ledger.desk import Desk
from ledger.errors import ErasedSubjectError
from ledger.ledger import Ledger, Proposal


async def register_device(desk: Desk, event: DeviceRegistered, actor: str) -> Recorded:
    """Register a device once.  Raises: MalformedError, ConflictError when the id means another device."""
    parse_identifier(event.device_id, "device_id")
    return await _once(
        desk.ledger, event, actor, f"device/{event.device_id}", lambda s: _source_index(s, event.device_id)
    )


async def register_connection(desk: Desk, connection_id: str, provider: str, actor: str) -> Recorded:
    """Register a person's link to a provider and make the key that will encrypt everything from it.

    The key is made before the event is appended: a crash between leaves an unused key, never a connection
    without one.  Raises: MalformedError, ErasedSubjectError for a connection whose person was erased,
    ConflictError when the id is taken.
    """
    parse_identifier(connection_id, "connection_id")
    parse_identifier(provider, "provider")
    known = desk.ledger.state.sources.get(connection_id)
    if known is not None and known.erased_index is not None:
        raise ErasedSubjectError(connection_id, known.subject_key_id, known.erased_index)
    subject_key_id = f"{desk.ledger.tenant}.{connection_id}"
    desk.keys.create_subject_key(subject_key_id)
    event = ConnectionRegistered(
        connection_id=connection_id, provider=provider, subject_key_id=subject_key_id
    )
    return await _once(
        desk.ledger, event, actor, f"connection/{connection_id}", lambda s: _source_index(s, connection_id)
    )


async def configure_device(desk: Desk, event: DeviceConfigured, actor: str) -> Recorded:
    """Record firmware and settings; unchanged settings are not recorded again."""
    desk.source(event.device_id)
    return await _when_changed(
        desk.ledger,
        event,
        actor,
        f"device/{event.device_id}",
        lambda s: s.sources[event.device_id].configuration_index,
    )


async def set_calibration(desk: Desk, event: CalibrationSet, actor: str) -> Recorded:
    """Record a calibration.  Raises: InvalidError for an empty span, ConflictError when the id has other
    constants."""
    parse_identifier(event.calibration_id, "calibration_id")
    source = desk.source(event.device_id)
    if source.kind != "device":
        raise InvalidError("only devices are calibrated", field="device_id", actual=event.device_id)
    if not event.valid_from_ns < event.valid_until_ns:
        raise InvalidError(
            "a calibration is valid for a span of time",
            field="valid_until_ns",
            actual=str(event.valid_until_ns),
        )
    if not event.channels:
        raise InvalidError("a calibration names channels", field="channels")
    return await _once(
        desk.ledger,
        event,
        actor,
        f"calibration/{event.calibration_id}",
        lambda s: next(
            (
                i
                for i, c in s.sources[event.device_id].calibrations
                if c.calibration_id == event.calibration_id
            ),
            None,
        ),
    )


async def publish_contract(desk: Desk, contract: Contract, actor: str) -> Recorded:
    """Publish a version of a contract; a published version is never edited.  Raises: ConflictError."""
    event = ContractPublished(digest=contract.digest, contract=contract)
    key = (contract.contract_id, contract.version)
    return await _once(
        desk.ledger, event, actor, f"contract/{contract.contract_id}", lambda s: s.contracts.get(key)
    )


async def deploy_procedure(
    desk: Desk,
    *,
    procedure: str,
    version: str,
    consumes: str,
    contract_id: str,
    contract_version: int,
    actor: str,
    options: dict[str, Any] | None = None,
    channels: Sequence[str] = (),
) -> Recorded:
    """Put a procedure version in force.  Raises: UnknownError for a procedure or contract that is not
    there."""
    source_digest: Digest = await desk.executor.source_digest(procedure, version)
    if (contract_id, contract_version) not in desk.ledger.state.contracts:
        raise UnknownError(
            "no such contract", field="contract", actual=f"{contract_id} version {contract_version}"
        )
    event = ProcedureDeployed(
        procedure=procedure,
        version=version,
        consumes=consumes,
        source_digest=source_digest,
        options=options or {},
        contract_id=contract_id,
        contract_version=contract_version,
        channels=tuple(channels),
    )

    def current(state: State) -> int | None:
        deployment = state.deployments.get(deployment_key(event))
        return None if deployment is None else deployment.index

    return await _when_changed(desk.ledger, event, actor, f"procedure/{procedure}", current)


async def _once(
    ledger: Ledger, event: Event, actor: str, subject: str, find: Callable[[State], int | None]
) -> Recorded:
    """Append ``event`` unless the thing exists; if it does, it must be the same."""
    recorded, is_new = await _append_unless(ledger, event, actor, subject, find, replaces=False)
    if not is_new and recorded.event != event:
        raise ConflictError(
            "already registered differently",
            field=subject,
            expected=f"what entry {recorded.index} says",
            remedy="Use a new id; what was recorded is never changed.",
        )
    return recorded


async def _when_changed(
    ledger: Ledger, event: Event, actor: str, subject: str, find: Callable[[State], int | None]
) -> Recorded:
    """Append ``event`` unless the newest of its kind says the same."""
    recorded, _ = await _append_unless(ledger, event, actor, subject, find, replaces=True)
    return recorded


async def _append_unless(
    ledger: Ledger,
    event: Event,
    actor: str,
    subject: str,
    find: Callable[[State], int | None],
    *,
    replaces: bool,
) -> tuple[Recorded, bool]:
    while True:
        known = find(ledger.state)
        existing = None if known is None else (await ledger.get(known))[1]
        if existing is not None and (not replaces or existing.event == event):
            return existing, False

        def decide(state: State, known: int | None = known) -> Sequence[Proposal]:
            # Somebody else may have registered it since we looked; then we look again.
            return (Proposal(event=event, actor=actor, subject=subject),) if find(state) == known else ()

        appended = await ledger.append(decide)
        if appended:
            return appended[0], True


def _source_index(state: State, source_id: str) -> int | None:
    source = state.sources.get(source_id)
    return None if source is None else source.index
