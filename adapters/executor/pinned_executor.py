"""``ledger.ports.Executor`` over child processes with a pinned numeric environment.

A child lives from task to task, because importing numpy and scipy costs a thousand times what a small task
costs.  It is ended, and a fresh one started for the next task, when it crashed, ran out of time or memory, or
a procedure broke in it: nobody knows what state that left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, cast

import msgspec

from adapters.executor.numeric_environment import environment_of, pinned_variables
from adapters.executor.sources import REGISTRY, Registry
from adapters.executor.wire import (
    OUTCOME,
    OUTCOME_BYTES_MAX,
    READY,
    TASK_BYTES_MAX,
    TaskOutcome,
    receive,
    send,
)
from adapters.executor.worker import STARTUP_SECONDS_MAX
from domain.digests import Digest
from domain.errors import MalformedError
from ledger.ports import ExecutorAnswer, ExecutorTask

# A day of six channels at 1 kHz in doubles, its spectra, and what numpy, scipy and Arrow map without touching
# it.
MEMORY_BYTES_MAX = 12 * 1024 * 1024 * 1024
# The longest run that is sent as one task, a day's recording, takes seconds; ten minutes are for a machine
# under load.
TASK_SECONDS_MAX = 600.0
# The child ends itself; this much later its parent does it, in case the child cannot.
KILL_GRACE_SECONDS = 5.0
# Of a crashed child's last words.
DIAGNOSTIC_BYTES_MAX = 500


class PinnedExecutor:
    """Runs up to ``children_max`` tasks at a time, each in its own child; more of them wait.

    Children start with the first tasks.  ``variables`` replaces the pinned environment, and ``registry`` the
    procedures; both are for tests.
    """

    def __init__(
        self,
        *,
        children_max: int = 1,
        task_seconds_max: float = TASK_SECONDS_MAX,
        memory_bytes_max: int = MEMORY_BYTES_MAX,
        registry: str = REGISTRY,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        if variables is None:
            variables = pinned_variables(os.environ, sys.path)
        self._registry_name = registry
        self._registry: Registry | None = None
        self._command = [
            sys.executable,
            # No user site, nothing before PYTHONPATH.
            *("-s", "-P", "-m", "adapters.executor.worker"),
            *(str(memory_bytes_max), str(task_seconds_max), registry),
        ]
        self._variables = dict(variables)
        self._task_seconds_max = task_seconds_max
        self._threads = ThreadPoolExecutor(children_max, thread_name_prefix="executor")
        # The child used last is used next, so that a quiet executor keeps one warm.
        self._idle: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(children_max):
            self._idle.put(None)

    async def run(self, task: ExecutorTask) -> ExecutorAnswer:
        """Run one task.  Never raises for what the procedure does; that is in the answer.

        Raises: UnknownError for a procedure version that there is not, LimitError for inputs above
        TASK_BYTES_MAX.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, task)

    async def source_digest(self, procedure: str, version: str) -> Digest:
        """Digest over the source files that decide this procedure version's results.  Raises:
        UnknownError."""
        return await asyncio.to_thread(self._source_digest, procedure, version)

    async def close(self) -> None:
        """End the child processes, once the tasks under way are done."""
        await asyncio.to_thread(self._close)

    def _run(self, task: ExecutorTask) -> ExecutorAnswer:
        source_digest = self._source_digest(task.procedure, task.version)
        environment = environment_of({})
        child = self._idle.get()
        try:
            if child is not None and child.is_gone:
                # It fell while nobody used it, so no task of ours is to blame.
                child.end()
                child = None
            child = child or _Child(self._command, self._variables, self._task_seconds_max)
            environment = child.environment
            outcome = child.run(task)
            if outcome.is_child_suspect:
                child.end()
                child = None
        except _ChildEndedError as error:
            outcome = TaskOutcome(
                source_digest=source_digest,
                refusal_kind="environment" if child is None else "failed",
                refusal=error.sentence,
                remedy=error.remedy,
            )
            child = None
        finally:
            # Also when we raise: a place that is not given back is lost for ever.
            self._idle.put(child)
        return ExecutorAnswer(
            environment=environment,
            source_digest=outcome.source_digest,
            result=outcome.result,
            refusal_kind=outcome.refusal_kind,
            refusal=outcome.refusal,
            remedy=outcome.remedy,
        )

    def _source_digest(self, procedure: str, version: str) -> Digest:
        if self._registry is None:
            self._registry = Registry(self._registry_name)
        return self._registry.source_digest(procedure, version)

    def _close(self) -> None:
        self._threads.shutdown(wait=True)
        while not self._idle.empty():
            child = self._idle.get()
            if child is not None:
                child.end()


class _ChildEndedError(Exception):
    """A child is gone; says why, and what a person can do."""

    def __init__(self, sentence: str, remedy: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.remedy = remedy


class _Child:
    """One child process, from its start to its end.  Raises: _ChildEndedError when it does not get ready."""

    def __init__(self, command: list[str], variables: Mapping[str, str], task_seconds_max: float) -> None:
        self._task_seconds_max = task_seconds_max
        self._is_overdue = False
        # A file and not a pipe: nobody reads along, and a full pipe would hold the child up.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as the child lives.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=dict(variables),
            # Away from the caller's folder, which is none of a procedure's business.
            cwd=os.sep,
        )
        self._down = cast(BinaryIO, self._process.stdin)
        self._up = cast(BinaryIO, self._process.stdout)
        try:
            with self._watched(STARTUP_SECONDS_MAX):
                data = receive(self._up, OUTCOME_BYTES_MAX)
            ready = READY.decode(data) if data is not None else None
        except (MalformedError, msgspec.DecodeError):
            ready = None
        if ready is None or not ready.facts:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_GRACE_SECONDS)
            said = "; ".join(ready.deviations) if ready is not None else self._last_words()
            how = self.end()
            raise _ChildEndedError(
                f"the numeric environment cannot be had: {said or how}",
                "Check that numpy and scipy are whole, and that the memory limit leaves room for them.",
            )
        self.environment = environment_of(ready.facts)

    @property
    def is_gone(self) -> bool:
        """Whether the process ended by itself."""
        return self._process.poll() is not None

    def run(self, task: ExecutorTask) -> TaskOutcome:
        """Raises: _ChildEndedError; LimitError when the task is too large to be sent."""
        try:
            with self._watched(self._task_seconds_max):
                send(self._down, task, TASK_BYTES_MAX)
                data = receive(self._up, OUTCOME_BYTES_MAX)
            if data is not None:
                return OUTCOME.decode(data)
        except (OSError, MalformedError, msgspec.DecodeError):
            pass
        raise _ChildEndedError(
            f"the process that ran the procedure ended: {self.end()}",
            "Send shorter recordings, or allow the executor more time and memory.",
        )

    def end(self) -> str:
        """End the process, and say how it ended.  A sound child ends by itself when its pipe is closed."""
        with contextlib.suppress(OSError):
            self._down.close()
        try:
            code = self._process.wait(KILL_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._up.close()
        self._errors.close()
        if code == -signal.SIGALRM or self._is_overdue:
            return f"out of time after {self._task_seconds_max:g} s"
        if code < 0:
            name = signal.Signals(-code).name
            return f"signal {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
        return f"status {code}"

    @contextlib.contextmanager
    def _watched(self, seconds: float) -> Iterator[None]:
        timer = threading.Timer(seconds + KILL_GRACE_SECONDS, self._kill_overdue)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _kill_overdue(self) -> None:
        self._is_overdue = True
        self._process.kill()

    def _last_words(self) -> str:
        """The end of standard error.  Only before the first task: later it might quote what a person sent."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - DIAGNOSTIC_BYTES_MAX))
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
