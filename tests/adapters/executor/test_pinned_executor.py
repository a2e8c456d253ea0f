"""The pinned executor: answers, refusals, and what a procedure that misbehaves does to the next one."""

import ast
import asyncio
import hashlib
import importlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.executor.numeric_environment import environment_of, pinned_variables
from adapters.executor.pinned_executor import PinnedExecutor
from adapters.files.arrow_dataset import dataset_file
from domain.canonical import canonical_json
from domain.dataset import Channel, Dataset
from domain.digests import digest_of
from domain.errors import LimitError, UnknownError
from ledger.ports import Executor, ExecutorAnswer, ExecutorTask

ROOT = Path(__file__).resolve().parents[3]
REGISTRY = "tests.adapters.executor.procedures"


@pytest.fixture(scope="module")
def executor() -> Iterator[PinnedExecutor]:
    made = PinnedExecutor(registry=REGISTRY, memory_bytes_max=2 * 1024**3)
    yield made
    asyncio.run(made.close())


def run(executor: Executor, procedure: str, **given: Any) -> ExecutorAnswer:
    task = ExecutorTask(procedure=procedure, version="1.0.0", options={}, **given)
    return asyncio.run(executor.run(task))


def answered(answer: ExecutorAnswer) -> bytes:
    assert answer.result is not None, answer.refusal
    return answer.result.artifacts[0].data


def dataset() -> bytes:
    channel = Channel(
        name="a",
        unit="counts",
        sample_rate_hz=1.0,
        samples=np.array([1, 2, 6], dtype=np.int32),
        marks=np.array([[0, 0]], dtype=np.int64),
        timing_quality_percent=np.array([np.nan]),
    )
    return dataset_file(Dataset(channels=(channel,)))


def test_a_task_reaches_the_procedure_whole_and_its_result_comes_back(executor: PinnedExecutor) -> None:
    payload = bytes(range(256)) * 10_000
    answer = run(executor, "echo", payload=payload, record_key_secret=b"key", received_at_ns=2**53)
    assert answered(answer) == payload + b"key"
    assert answer.result is not None
    assert answer.result.metrics[0].values == (float(2**53),)
    assert (answer.refusal_kind, answer.refusal) == ("", "")


def test_datasets_are_read_in_the_child(executor: PinnedExecutor) -> None:
    answer = run(executor, "mean", datasets=(dataset(), dataset()))
    assert answer.result is not None, answer.refusal
    assert [track.values for track in answer.result.metrics] == [(3.0,), (3.0,)]


def test_what_is_no_dataset_file_is_malformed(executor: PinnedExecutor) -> None:
    assert run(executor, "mean", datasets=(b"nonsense",)).refusal_kind == "malformed"


def test_a_child_lives_from_task_to_task(executor: PinnedExecutor) -> None:
    first, second = (answered(run(executor, "count")).split() for _ in range(2))
    assert first[0] == second[0] != str(os.getpid()).encode()
    assert int(second[1]) == int(first[1]) + 1


def test_what_a_library_prints_does_not_reach_the_messages(executor: PinnedExecutor) -> None:
    assert answered(run(executor, "print", payload=b"x")) == b"x"


def test_malformed_input_is_said_with_field_and_remedy_and_costs_no_child(executor: PinnedExecutor) -> None:
    before = answered(run(executor, "count")).split()[0]
    answer = run(executor, "malformed")
    assert (answer.result, answer.refusal_kind) == (None, "malformed")
    assert "sleep.start" in answer.refusal
    assert answer.remedy == "Send one."
    assert answered(run(executor, "count")).split()[0] == before


def test_an_option_that_is_refused_is_a_failure_and_no_malformed_input(executor: PinnedExecutor) -> None:
    answer = run(executor, "invalid")
    assert answer.refusal_kind == "failed"
    assert "window_seconds" in answer.refusal


def test_a_bug_is_named_by_type_and_place_and_never_by_what_a_person_sent(executor: PinnedExecutor) -> None:
    answer = run(executor, "bug", payload=b"61 beats")
    assert answer.refusal_kind == "failed"
    assert answer.refusal.startswith("KeyError in procedures.py, line ")
    assert "61 beats" not in answer.refusal


@pytest.mark.parametrize(
    ("procedure", "said"), [("crash", "SIGSEGV"), ("exit", "status 3"), ("memory", "out of memory")]
)
def test_what_breaks_a_child_fails_the_task_and_the_next_one_gets_a_fresh_child(
    executor: PinnedExecutor, procedure: str, said: str
) -> None:
    before = answered(run(executor, "count")).split()[0]
    answer = run(executor, procedure)
    assert (answer.result, answer.refusal_kind) == (None, "failed")
    assert said in answer.refusal
    after = answered(run(executor, "count")).split()
    assert after[0] != before
    assert after[1] == b"1"


def test_a_child_that_fell_while_idle_fails_nobody(executor: PinnedExecutor) -> None:
    pid = int(answered(run(executor, "count")).split()[0])
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert answered(run(executor, "count")).split()[1] == b"1"


def test_a_procedure_without_end_is_ended() -> None:
    async def scenario() -> ExecutorAnswer:
        executor = PinnedExecutor(registry=REGISTRY, task_seconds_max=0.2)
        try:
            return await executor.run(ExecutorTask(procedure="forever", version="1.0.0", options={}))
        finally:
            await executor.close()

    answer = asyncio.run(scenario())
    assert answer.refusal_kind == "failed"
    assert "out of time after 0.2 s" in answer.refusal


def test_several_children_work_at_once_and_all_tasks_are_answered() -> None:
    async def scenario() -> list[ExecutorAnswer]:
        executor = PinnedExecutor(registry=REGISTRY, children_max=2)
        try:
            tasks = [
                ExecutorTask(procedure="echo", version="1.0.0", options={}, payload=str(i).encode())
                for i in range(20)
            ]
            return await asyncio.gather(*map(executor.run, tasks))
        finally:
            await executor.close()

    assert [answered(answer) for answer in asyncio.run(scenario())] == [str(i).encode() for i in range(20)]


def test_a_procedure_that_is_not_there_is_unknown(executor: PinnedExecutor) -> None:
    with pytest.raises(UnknownError):
        run(executor, "no-such-procedure")
    with pytest.raises(UnknownError):
        asyncio.run(executor.source_digest("echo", "9.9.9"))


def test_a_task_that_is_too_large_is_refused_before_it_is_sent(
    executor: PinnedExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.executor.pinned_executor.TASK_BYTES_MAX", 1_000)
    with pytest.raises(LimitError):
        run(executor, "echo", payload=bytes(2_000))
    assert answered(run(executor, "echo", payload=b"small")) == b"small"


def test_the_source_digest_is_that_of_the_files(executor: PinnedExecutor) -> None:
    expected = hashlib.sha256()
    for name in ("domain.dataset", "tests.adapters.executor.procedures"):
        data = (ROOT / (name.replace(".", "/") + ".py")).read_bytes()
        expected.update(name.encode() + b"\0" + str(len(data)).encode() + b"\0" + data)
    digest = asyncio.run(executor.source_digest("echo", "1.0.0"))
    assert digest == "sha256:" + expected.hexdigest()
    assert run(executor, "echo").source_digest == digest


def test_the_child_sees_the_pinned_variables_and_nothing_else(
    executor: PinnedExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLYSTICK_SECRET", "hunter2")
    monkeypatch.setenv("LD_PRELOAD", "")
    fresh = PinnedExecutor(registry=REGISTRY)
    seen = dict(ast.literal_eval(answered(run(fresh, "environment")).decode()))
    asyncio.run(fresh.close())
    allowed = {"LD_LIBRARY_PATH", "PYTHONPATH", *pinned_variables({}, [])}
    assert set(seen) <= allowed
    assert seen["OPENBLAS_NUM_THREADS"] == "1"


def test_the_environment_is_what_the_libraries_say_of_themselves(executor: PinnedExecutor) -> None:
    environment = run(executor, "echo").environment
    assert environment.class_digest == digest_of(canonical_json(environment.facts))
    assert environment.facts["numpy_cpu_dispatched"] == "none"
    assert environment.facts["numpy"] == np.__version__
    assert " 1 threads" in environment.facts["blas"]
    assert not any(
        "model name" in fact or "EPYC" in fact or "Xeon" in fact for fact in environment.facts.values()
    )


def test_two_children_have_the_same_environment(executor: PinnedExecutor) -> None:
    other = PinnedExecutor(registry=REGISTRY)
    assert run(other, "echo").environment == run(executor, "echo").environment
    asyncio.run(other.close())


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("NPY_DISABLE_CPU_FEATURES", None, "numpy dispatches to"),
        ("OPENBLAS_NUM_THREADS", "2", "2 threads"),
        ("OPENBLAS_CORETYPE", "Prescott", "kernels of"),
        ("PYTHONHASHSEED", "random", "hashes of strings"),
        ("TZ", "Asia/Kathmandu", "time zone"),
        ("NPY_DISABLE_CPU_FEATURES", "NO_SUCH_FEATURE", "NO_SUCH_FEATURE"),
    ],
)
def test_an_environment_that_is_not_as_asked_refuses_numbers(
    variable: str, value: str | None, said: str
) -> None:
    variables = pinned_variables(os.environ, [str(ROOT)])
    if variable == "OPENBLAS_NUM_THREADS":
        if os.cpu_count() == 1:
            pytest.skip("OpenBLAS takes no more threads than there are cores")
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            variables[name] = "2"
    elif value is None:
        del variables[variable]
    else:
        variables[variable] = value
    executor = PinnedExecutor(registry=REGISTRY, variables=variables)
    answer = run(executor, "mean", datasets=(dataset(),))
    asyncio.run(executor.close())
    assert (answer.result, answer.refusal_kind) == (None, "environment")
    assert said in answer.refusal


def test_a_mapper_runs_where_numbers_are_refused() -> None:
    """It computes nothing whose bits depend on them."""
    variables = {**pinned_variables(os.environ, [str(ROOT)]), "TZ": "Asia/Kathmandu"}
    executor = PinnedExecutor(registry=REGISTRY, variables=variables)
    assert answered(run(executor, "echo", payload=b"x")) == b"x"
    asyncio.run(executor.close())


def test_a_child_that_cannot_start_is_an_environment_that_cannot_be_had() -> None:
    executor = PinnedExecutor(registry="tests.no_such_registry_for_the_child", memory_bytes_max=2 * 1024**3)
    executor._registry_name = REGISTRY  # The parent finds its own.
    answer = run(executor, "echo")
    asyncio.run(executor.close())
    assert answer.refusal_kind == "environment"
    assert "no_such_registry" in answer.refusal
    assert answer.environment == environment_of({})


def test_a_numpy_that_refuses_its_settings_is_an_environment_that_cannot_be_had() -> None:
    """Names of the baseline cannot be disabled; numpy then raises RuntimeError."""
    core = importlib.import_module("numpy._core._multiarray_umath")
    variables = pinned_variables(os.environ, [str(ROOT)])
    executor = PinnedExecutor(
        registry=REGISTRY, variables={**variables, "NPY_DISABLE_CPU_FEATURES": core.__cpu_baseline__[0]}
    )
    answer = run(executor, "echo")
    asyncio.run(executor.close())
    assert answer.refusal_kind == "environment"
    assert core.__cpu_baseline__[0] in answer.refusal


def test_the_facts_decide_the_class_and_their_order_does_not() -> None:
    one = environment_of({"a": "1", "b": "2"})
    assert one == environment_of({"b": "2", "a": "1"})
    assert one.class_digest != environment_of({"a": "1", "b": "3"}).class_digest
