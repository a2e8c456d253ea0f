"""How tests run a signal procedure on channels."""

from typing import Any

from domain.dataset import Channel, dataset_of
from domain.metrics import MetricTrack
from domain.procedures.procedure import Procedure, ProcedureInput, ProcedureResult


def run(procedure: Procedure, *channels: Channel, **options: Any) -> ProcedureResult:
    """The result of a procedure on one dataset of these channels."""
    return procedure.run(ProcedureInput(options=options, datasets=(dataset_of(channels),)))


def tracks(result: ProcedureResult) -> dict[str, MetricTrack]:
    """Metrics by name."""
    return {track.name: track for track in result.metrics}
