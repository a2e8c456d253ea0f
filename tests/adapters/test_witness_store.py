"""A witness's memory: atomic, durable, never back, and nothing that was shown is forgotten."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters import witness_store
from adapters.witness_store import WitnessAnswer, WitnessStore
from domain.errors import InvalidError, LimitError
from ledger.checkpoint import checkpoint_of, parse_checkpoint
from ledger.cosignature import cosignatures_of
from ledger.notes import format_verifier_key, open_note, parse_note, parse_signature_lines
from ledger.policy import Policy, PolicyLog
from ledger.witness import Decision, Submission, admit, find_forks
from tests.adapters.killed_process import ROOT, needs_strace, run_and_kill
from tests.ledger.signing_key import SigningKey
from tests.ledger.witnessed_log import WitnessedLog

WITNESS = SigningKey("witness.example/w")
VKEY = format_verifier_key(WITNESS.cosigner_key)
HONEST = WitnessedLog(60)
FORKED = WitnessedLog(60, forked_at=5)
ORIGIN = HONEST.key.name
LOGS = Policy(logs=(PolicyLog(key=HONEST.key.verifier_key),))
NOW_S = 1_780_000_000


def open_store(folder: Path) -> WitnessStore:
    store = WitnessStore.open(folder / "witness" / "state.sqlite", is_key_there=False)
    store.bind(VKEY)
    return store


def ask(
    store: WitnessStore, log: WitnessedLog, size_old: int, size: int, now_s: int = NOW_S
) -> WitnessAnswer:
    return store.submit(admit(log.request(size_old, size), LOGS), now_s, WITNESS)


def test_a_cosignature_is_of_the_witness_over_the_checkpoint_and_kept(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    answer = ask(store, HONEST, 0, 7)
    assert answer.decision is Decision.COSIGNED
    (line,) = parse_signature_lines(answer.lines)
    kept = store.newest(ORIGIN)
    assert kept is not None
    opened = open_note(kept, [HONEST.key.verifier_key, WITNESS.cosigner_key])
    assert checkpoint_of(opened) == HONEST.checkpoint(7)
    assert [(one.key.name, one.time_s) for one in cosignatures_of(opened)] == [(WITNESS.name, NOW_S)]
    assert line in parse_note(kept).signatures
    store.close()
    again = open_store(tmp_path)
    assert again.newest(ORIGIN) == kept
    assert (tmp_path / "witness" / "state.sqlite").stat().st_mode & 0o077 == 0


def test_the_answers_along_a_life(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert ask(store, HONEST, 3, 7).decision is Decision.STALE
    assert ask(store, HONEST, 0, 7).decision is Decision.COSIGNED
    stale = ask(store, HONEST, 0, 9)
    assert (stale.decision, stale.size, stale.lines) == (Decision.STALE, 7, "")
    assert ask(store, FORKED, 7, 9).decision is Decision.UNPROVEN
    assert ask(store, FORKED, 7, 7).decision is Decision.ANOTHER_ROOT
    assert ask(store, HONEST, 7, 7).decision is Decision.COSIGNED
    assert ask(store, HONEST, 7, 60).decision is Decision.COSIGNED
    assert ask(store, HONEST, 7, 30).decision is Decision.STALE
    standing = store.standing(ORIGIN)
    assert (standing.size, standing.root_sha256) == (60, HONEST.checkpoint(60).root.hex())
    assert standing.fork_sizes == (7, 9)


def test_every_checkpoint_that_was_shown_is_evidence(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for size_old, size in ((0, 10), (10, 20), (0, 30), (20, 20)):
        ask(store, HONEST, size_old, size)
    for size_old, size in ((20, 20), (20, 40), (0, 10)):
        ask(store, FORKED, size_old, size)
    seen = store.seen(ORIGIN)
    assert [(one.size, one.decision) for one in seen] == [
        (10, "cosigned"),
        (20, "cosigned"),
        (30, "stale"),
        (20, "another-root"),
        (40, "unproven"),
        (10, "stale"),
    ]
    assert store.seen(ORIGIN, after_id=seen[3].seen_id, limit=1) == [seen[4]]
    forks = find_forks([one.note.encode() for one in seen], [HONEST.key.verifier_key])
    assert tuple(fork.size for fork in forks) == store.standing(ORIGIN).fork_sizes == (10, 20)
    assert len(store.seen(ORIGIN, size=20)) == 2
    counts = store.standing(ORIGIN)
    assert (counts.seen_count, counts.refused_count, counts.dropped_count) == (6, 4, 0)


def test_a_flood_of_refused_checkpoints_is_bounded_and_does_not_keep_a_fork_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness_store, "REFUSED_KEPT_MAX", 3)
    monkeypatch.setattr(witness_store, "FORKS_KEPT_MAX", 2)
    store = open_store(tmp_path)
    ask(store, HONEST, 0, 20)
    for size in range(30, 40):
        ask(store, HONEST, 0, size)
    ask(store, FORKED, 20, 20)
    ask(store, FORKED, 0, 30)
    ask(store, FORKED, 0, 31)
    standing = store.standing(ORIGIN)
    assert (standing.seen_count, standing.refused_count, standing.dropped_count) == (6, 5, 8)
    assert standing.fork_sizes == (20, 30)
    assert ask(store, HONEST, 20, 50).decision is Decision.COSIGNED


def test_a_full_store_cosigns_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    ask(store, HONEST, 0, 7)
    monkeypatch.setattr(witness_store, "STORE_BYTES_MAX", 1)
    with pytest.raises(LimitError):
        ask(store, HONEST, 7, 8)
    assert store.standing(ORIGIN).size == 7


def test_a_clock_that_goes_back_never_dates_a_larger_tree_earlier(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ask(store, HONEST, 0, 7)
    ask(store, HONEST, 7, 7, NOW_S + 100)
    (line,) = parse_signature_lines(ask(store, HONEST, 7, 8, NOW_S + 50).lines)
    assert int.from_bytes(line.signature[:8], "big") == NOW_S + 100


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 60)), max_size=12))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_size_ever_gets_two_roots_and_none_comes_back(
    tmp_path: Path, asked: list[tuple[bool, int, int]]
) -> None:
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    store = open_store(folder)
    signed: dict[int, bytes] = {}
    largest = -1
    for is_honest, one, other in asked:
        size_old, size = sorted((one, other))
        log = HONEST if is_honest else FORKED
        if ask(store, log, size_old, size).decision is Decision.COSIGNED:
            root = log.checkpoint(size).root
            assert signed.setdefault(size, root) == root
            assert size >= largest
            largest = size
    store.close()


def test_of_racing_requests_one_is_cosigned(tmp_path: Path) -> None:
    """Twenty forks of one size, on threads and two connections, all from the same old size."""
    stores = [open_store(tmp_path), open_store(tmp_path)]
    ask(stores[0], HONEST, 0, 5)
    rivals = [
        admit(WitnessedLog(60, forked_at=5, fork=f"fork {number}").request(5, 33), LOGS)
        for number in range(20)
    ]
    barrier = threading.Barrier(8)

    def race(number: int) -> Decision:
        if number < 8:
            barrier.wait()
        return stores[number % 2].submit(rivals[number], NOW_S, WITNESS).decision

    with ThreadPoolExecutor(8) as pool:
        decisions = list(pool.map(race, range(20)))
    assert decisions.count(Decision.COSIGNED) == 1
    assert decisions.count(Decision.STALE) == 19
    assert stores[0].standing(ORIGIN).size == 33
    assert len(stores[0].seen(ORIGIN, size=33)) == 20


def _race_in_a_process(folder: str, number: int, results: multiprocessing.Queue[str]) -> None:
    store = open_store(Path(folder))
    log = WitnessedLog(60, forked_at=5, fork=f"fork {number}")
    for size in range(6, 40):
        if ask(store, log, size - 1, size).decision is Decision.COSIGNED:
            results.put(f"{size} {log.checkpoint(size).root.hex()}")
    results.put("")


def test_of_racing_processes_one_history_is_cosigned(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ask(store, HONEST, 0, 5)
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = context.Queue()
    processes = [
        context.Process(target=_race_in_a_process, args=(str(tmp_path), number, results))
        for number in range(3)
    ]
    for process in processes:
        process.start()
    signed: dict[str, str] = {}
    ended = 0
    while ended < len(processes):
        if answer := results.get():
            size, root = answer.split(" ")
            assert signed.setdefault(size, root) == root
        else:
            ended += 1
    for process in processes:
        process.join()
    assert len(signed) >= 1
    assert store.standing(ORIGIN).size == max(map(int, signed))


DIES_WHILE_SIGNING = """
import os, signal, sys
from pathlib import Path
from tests.adapters.test_witness_store import FORKED, HONEST, LOGS, NOW_S, WITNESS, open_store
from ledger.witness import admit

class Dying:
    name, public_key, algorithm, is_remote = WITNESS.name, WITNESS.public_key, "Ed25519", False
    def sign(self, message):
        if sys.argv[2] == "signing":
            os.kill(os.getpid(), signal.SIGKILL)
        return WITNESS.sign(message)

store = open_store(Path(sys.argv[1]))
store.submit(admit(HONEST.request(7, 20), LOGS), NOW_S, Dying())
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("moment", "size"), [("signing", 7), ("answering", 20)])
def test_a_kill_between_check_and_answer_leaves_one_truth(tmp_path: Path, moment: str, size: int) -> None:
    store = open_store(tmp_path)
    ask(store, HONEST, 0, 7)
    store.close()
    killed = subprocess.run(
        [sys.executable, "-c", DIES_WHILE_SIGNING, str(tmp_path), moment],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    store = open_store(tmp_path)
    assert store.standing(ORIGIN).size == size
    # Nobody has the cosignature, and the log gets one from where the witness now is.
    assert ask(store, HONEST, size, 20).decision is Decision.COSIGNED
    # Once the larger tree counts, no fork of it does.
    assert ask(store, FORKED, 20, 20).decision is Decision.ANOTHER_ROOT


SUBMITS = """
import sys
from pathlib import Path
from tests.adapters.test_witness_store import HONEST, ask, open_store
store = open_store(Path(sys.argv[1]))
print(ask(store, HONEST, 7, 20).lines, flush=True)
"""


@needs_strace
@pytest.mark.parametrize(("system_call", "nth"), [("pwrite64", 1), ("pwrite64", 2), ("fdatasync", 1)])
def test_a_kill_at_any_write_leaves_a_memory_that_opens(tmp_path: Path, system_call: str, nth: int) -> None:
    store = open_store(tmp_path)
    ask(store, HONEST, 0, 7)
    killed = run_and_kill(SUBMITS, [str(tmp_path)], system_call=system_call, nth=nth)
    assert killed.stdout == b""
    store.close()
    store = open_store(tmp_path)
    assert store.standing(ORIGIN).size in (7, 20)
    assert ask(store, HONEST, store.standing(ORIGIN).size, 20).decision is Decision.COSIGNED


def test_a_key_without_its_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="not known any more"):
        WitnessStore.open(tmp_path / "state.sqlite", is_key_there=True)
    assert not (tmp_path / "state.sqlite").exists()


def test_a_crash_between_memory_and_key_is_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    WitnessStore.open(path, is_key_there=False).close()
    store = WitnessStore.open(path, is_key_there=True)
    assert store.verifier_key() == ""
    store.bind(VKEY)
    assert store.verifier_key() == VKEY


def test_the_memory_of_another_witness_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    store = WitnessStore.open(tmp_path / "witness" / "state.sqlite", is_key_there=True)
    with pytest.raises(InvalidError, match="another witness"):
        store.bind(format_verifier_key(SigningKey("witness.example/other").cosigner_key))


def test_a_file_that_is_no_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(InvalidError, match="not a witness's memory"):
        WitnessStore.open(path, is_key_there=True)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cosigned SET root = zeroblob(32)",
        "DELETE FROM cosigned",
        "UPDATE seen SET root = zeroblob(32)",
        "DELETE FROM seen",
        "INSERT INTO cosigned VALUES ('log.example/one', 6, zeroblob(32), x'00', 1)",
        "INSERT INTO cosigned VALUES ('log.example/one', 7, zeroblob(32), x'00', 1)",
    ],
)
def test_the_schema_itself_refuses_to_forget_or_to_go_back(tmp_path: Path, statement: str) -> None:
    store = open_store(tmp_path)
    ask(store, HONEST, 0, 7)
    with sqlite3.connect(store.path) as db, pytest.raises(sqlite3.IntegrityError):
        db.execute(statement)


def test_what_is_stored_is_what_was_shown(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    submission: Submission = admit(HONEST.request(0, 9), LOGS)
    store.submit(submission, NOW_S, WITNESS)
    (seen,) = store.seen(ORIGIN)
    assert seen.note.encode() == submission.note
    assert parse_checkpoint(parse_note(seen.note.encode()).text) == HONEST.checkpoint(9)
