"""The facts of a run: the recorded events it rests on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from domain.errors import InvalidError
from domain.events import Recorded, RunStarted

ReadAt = Callable[[int], Awaitable[Recorded]]
"""Reads the event at a ledger index; raises UnknownError beyond the end."""


class RunFacts(Struct, frozen=True, kw_only=True):
    """The recorded events a run rests on, each with its index."""

    origin: str
    tenant: str
    started: Recorded
    source: Recorded
    configuration: Recorded | None
    calibration: Recorded | None
    contract: Recorded
    deployment: Recorded
    batches: tuple[Recorded, ...]
    datasets: tuple[Recorded, ...]


async def gather_facts(at: ReadAt, *, origin: str, tenant: str, started_index: int) -> RunFacts:
    """Read everything the run that started at ``started_index`` names.  Raises: UnknownError, InvalidError
    when an index names something else."""
    started = await at(started_index)
    event = started.event
    if not isinstance(event, RunStarted):
        raise InvalidError("an index names no run", field=f"[{started_index}]", actual=event.TYPE)
    return RunFacts(
        origin=origin,
        tenant=tenant,
        started=started,
        source=await at(event.source_index),
        configuration=None if event.configuration_index is None else await at(event.configuration_index),
        calibration=None if event.calibration_index is None else await at(event.calibration_index),
        contract=await at(event.contract_index),
        deployment=await at(event.deployment_index),
        batches=tuple([await at(reference.batch_index) for reference in event.datasets]),
        datasets=tuple([await at(reference.index) for reference in event.datasets]),
    )
