"""A real server: a real process, a real socket, another process beside it, and an end that loses nothing."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.errors import TallystickError
from ledger.notes import parse_verifier_key
from ledger.policy import policy_of_log
from ledger.ports import BATCH_BYTES_MAX
from ledger.verify import verify_bundle
from tests.api.served import ROOT, Server, serving
from tests.story.told import RATE_HZ, recording

DEVICE = "colocated-seismometers"
OPTIONS = f'{{"time_unit":"ns","sample_rate_hz":{RATE_HZ}}}'
WAIT_SECONDS = 60.0


@pytest.fixture(scope="module")
def server(told: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`tally serve` over a copy of the story."""
    home = tmp_path_factory.mktemp("serving") / "home"
    shutil.copytree(told, home)
    with serving(home) as started:
        yield started


def tally(home: Path, *words: str, status: int = 0) -> str:
    """The command line in a process of its own; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    done = subprocess.run(
        [sys.executable, "-m", "api", *words, "--home", str(home)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stderr.decode()
    return done.stdout.decode()


def until(server: Server, path: str, key: str, is_so: str) -> object:
    """Ask until something is in the answer."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        found = server.get(path, key)
        if is_so in found.body.decode():
            return found.json
        time.sleep(0.05)
    raise AssertionError(f"{path} never said {is_so}: {found.body.decode()[:500]}")


def raw(server: Server, request: bytes) -> bytes:
    """Bytes as they are on the wire; returns what comes back until the server closes or is silent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request)
        connection.settimeout(5)
        received = b""
        try:
            while chunk := connection.recv(65_536):
                received += chunk
        except TimeoutError:
            pass
        return received


def test_a_batch_becomes_a_receipt_that_verifies_offline(server: Server) -> None:
    key = server.key("ingest", "read")
    url = f"/v1/batches?source={DEVICE}&file_name=a.csv&format_options={OPTIONS}".replace('"', "%22")
    accepted = server.ask("POST", url, key=key, body=recording(0, 60), headers={"Content-Type": "text/csv"})
    assert accepted.status == 201, accepted.body
    batch_id = accepted.json["batch_id"]
    until(server, f"/v1/batches/{batch_id}", key, '"status":"derived"')
    index = accepted.json["index"]
    found = until(server, f"/v1/entries?start={index}&event_type=receipt.issued.v1", key, "receipt/")
    receipt_id = found["items"][0]["subject"].removeprefix("receipt/")  # type: ignore[index]
    bundle = server.get(f"/v1/receipts/{receipt_id}/bundle", key)
    assert bundle.headers["content-disposition"] == f'attachment; filename="{receipt_id}.tally.json"'
    vkey = parse_verifier_key(server.get("/v1/ledger", key).json["verifier_key"])
    verified = verify_bundle(bundle.body, policy_of_log(vkey))
    assert verified.receipt_id == receipt_id
    assert batch_id in {batch.batch_id for batch in verified.predicate.batches}
    changed = bundle.body.replace(b'"proof":"', b'"proof":"A', 1)
    with pytest.raises(TallystickError):
        verify_bundle(changed, policy_of_log(vkey))


def test_what_another_process_keeps_is_worked_off_by_the_server(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "b.csv"
    file.write_bytes(recording(1, 60))
    words = ("--source", DEVICE, "--option", "time_unit=ns", "--option", f"sample_rate_hz={RATE_HZ}")
    kept = json.loads(tally(server.home, "ingest", str(file), *words, "--no-run", "--json"))
    batch_id = kept["batches"][0]["batch_id"]
    until(server, f"/v1/batches/{batch_id}", server.key("read"), '"status":"derived"')


def test_a_second_process_waits_for_the_server_to_work_it_off(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    text = (ROOT / "api/demo_data/oura/sleep_2026-03-28.json").read_bytes()
    file.write_bytes(text)
    told = json.loads(
        tally(server.home, "ingest", str(file), "--source", "wearer-1-oura", "--kind", "oura.sleep", "--json")
    )
    assert [outcome["procedure"] for outcome in told["outcomes"]] == ["oura.sleep 1.0.0"]
    assert told["stuck"] == []


def test_lists_can_be_read_beside_the_server(server: Server) -> None:
    assert json.loads(tally(server.home, "runs", "--json"))
    assert json.loads(tally(server.home, "receipts", "--json", "--limit", "3"))


@pytest.mark.parametrize("length", [str(BATCH_BYTES_MAX + 1), "10000000000", str(10**18)])
def test_a_huge_claim_is_refused_before_anything_is_read(server: Server, length: str) -> None:
    key = server.key("ingest")
    head = (
        f"POST /v1/batches?source={DEVICE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    answer = raw(server, head.encode())
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"urn:tallystick:problem:limit" in answer


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /v1/runs\x00 HTTP/1.1",
        b"GET /v1/runs?a=\xff HTTP/1.1",
        b"GET /\xc3\x28 HTTP/1.1",
        b"GET http://[:: HTTP/1.1",
        b"BREW /v1/runs HTTP/1.1",
        b"GET /v1/batches/%ff%fe HTTP/1.1",
        b"GET /" + b"x" * 10_000 + b" HTTP/1.1",
        b"GET /../../etc/passwd HTTP/1.1",
        b"GET /console/..%2f..%2fsettings.py HTTP/1.1",
    ],
)
def test_hostile_request_lines_get_an_answer_that_is_no_500(server: Server, request_line: bytes) -> None:
    answer = raw(server, request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer[:300]
    assert b"root:" not in answer
    assert server.get("/healthz").status == 200


def test_a_header_cannot_be_smuggled_into_an_answer(server: Server) -> None:
    key = server.key("read")
    answer = server.get("/v1/receipts/r0%0d%0aX-Evil:%201/bundle", key)
    assert answer.status in (400, 404)
    assert "x-evil" not in answer.headers


def test_a_body_that_breaks_off_leaves_nothing(server: Server) -> None:
    key = server.key("ingest", "read")
    size = server.get("/v1/ledger", key).json["size"]
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            f"POST /v1/batches?source={DEVICE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            "Content-Length: 1000\r\n\r\nonly this".encode()
        )
    time.sleep(0.3)
    assert server.get("/v1/ledger", key).json["size"] == size
    assert server.get("/healthz").status == 200


def test_the_first_key_is_shown_once(tmp_path: Path) -> None:
    shown = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "api", "serve", "--json", "--port", str(port), "--home", str(tmp_path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdout
            line = b""
            while not line.endswith(b"}\n"):
                line += process.stdout.readline()
            shown.append(json.loads(line)["first_key"])
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert shown[0].startswith("tl_")
    assert shown[1] == ""


def test_a_port_that_is_taken_is_one_line(server: Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "api", "serve", "--port", str(server.port), "--home", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"--port" in done.stderr


def test_stopping_finishes_what_was_acknowledged_and_nothing_is_lost(told: Path, tmp_path: Path) -> None:
    """Callers ingest while the server is told to stop: whatever was answered with 201 is there afterwards."""
    home = tmp_path / "home"
    shutil.copytree(told, home)
    accepted: list[str] = []
    with serving(home) as server:
        key = server.key("ingest")
        is_over = threading.Event()

        def send(number: int) -> None:
            while not is_over.is_set():
                try:
                    answer = server.ask(
                        "POST",
                        f"/v1/batches?source={DEVICE}&file_name=x",
                        key=key,
                        body=f"{number} {time.monotonic_ns()}".encode(),
                    )
                except (OSError, http.client.HTTPException):
                    return
                if answer.status == 201:
                    accepted.append(answer.json["batch_id"])

        senders = [threading.Thread(target=send, args=(number,)) for number in range(3)]
        for sender in senders:
            sender.start()
        while len(accepted) < 20:
            time.sleep(0.01)
        parent = server_process(server)
        os.kill(parent, signal.SIGTERM)
        for sender in senders:
            sender.join(WAIT_SECONDS)
        is_over.set()
    with serving(home) as server:
        key = server.key("read")
        for batch_id in accepted:
            assert server.get(f"/v1/batches/{batch_id}", key).status == 200
    assert json.loads(tally(home, "audit", "--json"))["findings"] == []


def server_process(server: Server) -> int:
    """Id of the process that listens: the parent that `tally serve` is."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"serve" in command and str(server.port).encode() in command:
                return int(entry.name)
    raise AssertionError("no such process")
