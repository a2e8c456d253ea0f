"""A registry of procedures that do what procedures must not, for tests of the executor."""

from __future__ import annotations

import ctypes
import os
import sys
import time

import numpy as np

from domain.errors import InvalidError, MalformedError, UnknownError
from domain.metrics import MetricTrack, Window
from domain.procedures.procedure import Artifact, Procedure, ProcedureInput, ProcedureResult

_CALLS = {"count": 0}


def _result(data: bytes, *values: float) -> ProcedureResult:
    return ProcedureResult(
        windows=(Window(start_ns=0, end_ns=1),),
        metrics=tuple(MetricTrack(name=f"m{i}", unit="1", values=(v,)) for i, v in enumerate(values)),
        artifacts=(Artifact(name="answer", media_type="application/octet-stream", data=data),),
    )


def _echo(given: ProcedureInput) -> ProcedureResult:
    return _result(given.payload + given.record_key_secret, float(given.received_at_ns))


def _count(given: ProcedureInput) -> ProcedureResult:
    _CALLS["count"] += 1
    return _result(f"{os.getpid()} {_CALLS['count']}".encode())


def _mean(given: ProcedureInput) -> ProcedureResult:
    samples = [channel.samples for dataset in given.datasets for channel in dataset.channels]
    return _result(b"", *(float(np.mean(s)) for s in samples))


def _print(given: ProcedureInput) -> ProcedureResult:
    print("a library that talks")
    os.write(1, b"to standard output" * 1_000)
    sys.stderr.write("and to standard error")
    return _result(given.payload)


def _malformed(given: ProcedureInput) -> ProcedureResult:
    raise MalformedError("no such field", field="sleep.start", expected="a time", remedy="Send one.")


def _invalid(given: ProcedureInput) -> ProcedureResult:
    raise InvalidError("not an option's value", field="options.window_seconds", actual="-1")


def _bug(given: ProcedureInput) -> ProcedureResult:
    raise KeyError(f"secret {given.payload!r}")


def _crash(given: ProcedureInput) -> ProcedureResult:
    ctypes.string_at(0)
    raise AssertionError


def _exit(given: ProcedureInput) -> ProcedureResult:
    os._exit(3)


def _forever(given: ProcedureInput) -> ProcedureResult:
    while True:
        time.sleep(0.01)


def _memory(given: ProcedureInput) -> ProcedureResult:
    return _result(np.ones(1 << 40, dtype=np.uint8).tobytes())


def _environment(given: ProcedureInput) -> ProcedureResult:
    return _result(repr(sorted(os.environ.items())).encode())


_RUN = {
    "echo": _echo,
    "count": _count,
    "mean": _mean,
    "print": _print,
    "malformed": _malformed,
    "invalid": _invalid,
    "bug": _bug,
    "crash": _crash,
    "exit": _exit,
    "forever": _forever,
    "memory": _memory,
    "environment": _environment,
}
PROCEDURES = tuple(
    Procedure(name=name, version="1.0.0", consumes="test", numeric=name == "mean", run=run)
    for name, run in _RUN.items()
)
SOURCES = {(name, "1.0.0"): ("tests.adapters.executor.procedures", "domain.dataset") for name in _RUN}


def find_procedure(name: str, version: str) -> Procedure:
    for procedure in PROCEDURES:
        if (procedure.name, procedure.version) == (name, version):
            return procedure
    raise UnknownError("no such procedure", actual=f"{name} {version}")
