"""The child process: ``python -m adapters.executor.worker MEMORY_BYTES_MAX TASK_SECONDS_MAX REGISTRY``.

1. Limit its own memory and file size, and set an alarm that ends it even when its parent is gone.
2. Take standard output for messages; whatever a library prints goes to standard error.
3. Import numpy, and listen to its warnings about settings.  Nothing that this module imports at its top may
import it first.
4. Import the procedures, digest their sources, read back what they compute with.
5. Say ``Ready``, then answer task after task until the parent closes the pipe.

A procedure's own error becomes a refusal.  Running out of memory is one too; running out of time, or a crash
in native code, ends the process, which the parent sees.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import warnings
from typing import BinaryIO

# A child writes nothing but its standard error, which a looping library must not fill the disk with.
FILE_BYTES_MAX = 16 * 1024 * 1024
# Importing numpy, scipy and Arrow takes a second; two minutes are for a cold disk under load.
STARTUP_SECONDS_MAX = 120.0


def main(arguments: list[str]) -> None:
    """Serve tasks; see the module."""
    memory_bytes_max, task_seconds_max, registry_name = int(arguments[0]), float(arguments[1]), arguments[2]
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes_max, memory_bytes_max))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, FILE_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Ctrl-C in a terminal goes to the whole group; the parent decides when a child ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, STARTUP_SECONDS_MAX)
    tasks = os.fdopen(os.dup(0), "rb")
    outcomes = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    _serve(tasks, outcomes, registry_name, task_seconds_max, _import_numpy())


def _import_numpy() -> tuple[str, ...]:
    """Deviations that only the import shows: names of CPU features that this numpy does not know.

    Names of its baseline end the import, and with it the child.
    """
    # Recorded and not raised: a numpy whose import failed half way cannot be imported again.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ImportWarning)
        import numpy  # noqa: F401
    said = [" ".join(str(warning.message).split()) for warning in caught]
    return tuple(f"numpy does not take its settings: {sentence}" for sentence in said)


def _serve(
    tasks: BinaryIO,
    outcomes: BinaryIO,
    registry_name: str,
    task_seconds_max: float,
    deviations: tuple[str, ...],
) -> None:
    from adapters.executor.numeric_environment import find_deviations, read_facts
    from adapters.executor.sources import Registry
    from adapters.executor.task import run_task
    from adapters.executor.wire import OUTCOME_BYTES_MAX, TASK, TASK_BYTES_MAX, Ready, receive, send

    registry = Registry(registry_name)
    known = [(procedure.name, procedure.version) for procedure in registry.procedures]
    digests = {key: registry.source_digest(*key) for key in known}
    ready = Ready(facts=read_facts(), deviations=(*deviations, *find_deviations()))
    send(outcomes, ready, OUTCOME_BYTES_MAX)
    while True:
        # Waiting costs nothing and may last; only work is timed.
        signal.setitimer(signal.ITIMER_REAL, 0)
        data = receive(tasks, TASK_BYTES_MAX)
        if data is None:
            # Nothing to tidy up, and taking an interpreter down in order takes longer than a small task.
            os._exit(0)
        signal.setitimer(signal.ITIMER_REAL, task_seconds_max)
        task = TASK.decode(data)
        del data
        procedure = registry.find(task.procedure, task.version)
        outcome = run_task(procedure, task, digests[task.procedure, task.version], ready.deviations)
        del task
        send(outcomes, outcome, OUTCOME_BYTES_MAX)


if __name__ == "__main__":
    main(sys.argv[1:])
