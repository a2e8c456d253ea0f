"""Applying a setup: register, calibrate, publish and deploy what a setup file declares."""

from __future__ import annotations

from collections.abc import Callable

from adapters.contract_files import parse_contract
from adapters.setup_files import Setup, calibration_of, configuration_of, device_of
from domain.events import Recorded
from ledger.desk import Desk
from ledger.registry import (
    configure_device,
    deploy_procedure,
    publish_contract,
    register_connection,
    register_device,
    set_calibration,
)

ReadContract = Callable[[str], bytes]
"""Reads a contract file by the path that stands in the setup."""


async def apply_setup(
    desk: Desk, setup: Setup, read_contract: ReadContract, actor: str
) -> list[tuple[Recorded, bool]]:
    """Apply ``setup`` in the order things depend on each other; returns every event with whether it is new.

    Nothing is recorded before every contract file has been read and understood.  What the ledger refuses
    stops it at that point; what came before stays, and applying again goes on from there.
    """
    contracts = [parse_contract(read_contract(path), path) for path in setup.contracts]
    applied: list[tuple[Recorded, bool]] = []

    def note(recorded: Recorded, size_before: int) -> None:
        applied.append((recorded, recorded.index >= size_before))

    for device in setup.devices:
        size = desk.ledger.size
        note(await register_device(desk, device_of(device), actor), size)
        if device.firmware or device.configuration:
            size = desk.ledger.size
            note(await configure_device(desk, configuration_of(device), actor), size)
    for connection in setup.connections:
        size = desk.ledger.size
        note(await register_connection(desk, connection.connection_id, connection.provider, actor), size)
    for calibration in setup.calibrations:
        size = desk.ledger.size
        note(await set_calibration(desk, calibration_of(calibration), actor), size)
    for contract in contracts:
        size = desk.ledger.size
        note(await publish_contract(desk, contract, actor), size)
    for deployment in setup.deployments:
        size = desk.ledger.size
        recorded = await deploy_procedure(
            desk,
            procedure=deployment.procedure,
            version=deployment.version,
            consumes=deployment.consumes,
            contract_id=deployment.contract,
            contract_version=deployment.contract_version,
            channels=deployment.channels,
            options=deployment.options,
            actor=actor,
        )
        note(recorded, size)
    return applied
