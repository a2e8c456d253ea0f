"""One task inside the child: bytes to inputs, run, result or refusal."""

from __future__ import annotations

import traceback
from pathlib import Path

from adapters.executor.wire import TaskOutcome
from adapters.files.arrow_dataset import read_dataset
from domain.digests import Digest
from domain.errors import MalformedError, TallystickError
from domain.procedures.procedure import Procedure, ProcedureInput
from ledger.ports import ExecutorTask


def run_task(
    procedure: Procedure, task: ExecutorTask, source_digest: Digest, deviations: tuple[str, ...]
) -> TaskOutcome:
    """Run ``task``; a numeric procedure only where nothing deviates from the environment that was asked
    for."""
    if procedure.numeric and deviations:
        return TaskOutcome(
            source_digest=source_digest,
            refusal_kind="environment",
            refusal="the numeric environment is not as asked: " + "; ".join(deviations),
            remedy="Run it on a machine and with a numpy that take the pinned settings.",
        )
    try:
        result = procedure.run(
            ProcedureInput(
                options=task.options,
                datasets=tuple(read_dataset(data) for data in task.datasets),
                payload=task.payload,
                calibration=task.calibration,
                received_at_ns=task.received_at_ns,
                provider_event_time_ns=task.provider_event_time_ns,
                record_key_secret=task.record_key_secret,
            )
        )
    except MalformedError as error:
        return _refused(source_digest, "malformed", str(_without_remedy(error)), error.remedy)
    except TallystickError as error:
        return _refused(source_digest, "failed", str(_without_remedy(error)), error.remedy)
    except MemoryError:
        return _refused(
            source_digest,
            "failed",
            "out of memory",
            "Send shorter recordings, or allow the executor more.",
            is_child_suspect=True,
        )
    except Exception as error:  # A bug in a procedure is an answer, not the end of the child.
        # Its message may quote what a person sent; its type and place cannot.
        place = traceback.extract_tb(error.__traceback__)[-1]
        return _refused(
            source_digest,
            "failed",
            f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}",
            "This is a bug in the procedure; report it with this line.",
            is_child_suspect=True,
        )
    return TaskOutcome(source_digest=source_digest, result=result)


def _refused(
    source_digest: Digest, kind: str, refusal: str, remedy: str, *, is_child_suspect: bool = False
) -> TaskOutcome:
    return TaskOutcome(
        source_digest=source_digest,
        refusal_kind=kind,
        refusal=refusal,
        remedy=remedy,
        is_child_suspect=is_child_suspect,
    )


def _without_remedy(error: TallystickError) -> TallystickError:
    return TallystickError(error.what, field=error.field, expected=error.expected, actual=error.actual)
