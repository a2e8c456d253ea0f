"""Statements over HTTP: ``POST /v1/add`` by many writers, each answered once his is durable and sealed.

The server is ``tally serve`` in a process of its own.  The load is made here, on the same cores: keep-alive
connections that each send the next statement when the last was answered.  Beside it stands a published figure
of another log and not a measurement: Tessera's test of every change wants 2,500 leaves in 60 seconds.  Every
answer is counted, and some proofs are verified afterwards.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapters.api_key_file import ApiKeyFile
from api.bench.places import folder
from api.bench.row import Aim, Row, Scale, alone
from api.settings import settings_from
from domain.errors import InvalidError
from ledger.notes import parse_verifier_key
from ledger.policy import policy_of_log
from ledger.statements import verify_statement
from ledger.tlog_proof import parse_tlog_proof

WRITERS = 256
STATEMENT_BYTES = 200
RATE_MIN = 10_000
VERIFIED = 200
READY_SECONDS_MAX = 60.0
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


def rows(scale: Scale) -> Iterator[Row]:
    """One server, some turns."""
    with folder() as place, _Server(place) as server:
        turns = [asyncio.run(_load(server, turn, scale.of(8, 2))) for turn in range(scale.of(5, 2))]
        server.verify([pair for turn in turns for pair in turn.kept])
    yield alone(
        f"POST /v1/add, {WRITERS} writers",
        "rate",
        [turn.count / turn.seconds for turn in turns],
        aim=Aim("≥", RATE_MIN, "ours", "/s"),
        note=f"load on the same cores; a published floor elsewhere: 2,500 in 60 s; "
        f"{VERIFIED} proofs verified",
    )
    yield alone(
        "processor time of the server for one",
        "seconds",
        [turn.server_seconds / turn.count for turn in turns],
    )
    slowest = [sorted(turn.waits)[len(turn.waits) * 99 // 100] for turn in turns]
    yield alone("the slowest answer in a hundred", "seconds", slowest)


class _Turn:
    """What one turn showed; ``kept`` are some statements with their proofs."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.server_seconds = 0.0
        self.waits: list[float] = []
        self.kept: list[tuple[bytes, bytes]] = []


class _Server:
    """``tally serve`` over an empty home."""

    def __init__(self, place: Path) -> None:
        self._home = place / "home"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        keys = ApiKeyFile(settings_from({}, home=str(self._home)).keys_folder)
        self.key = keys.create("demo", ("ingest", "read"), label="bench", now_ns=time.time_ns())[0]

    def __enter__(self) -> _Server:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "api", "serve", "--port", str(self.port), "--home", str(self._home)],
            env={**kept, "PYTHONPATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < end and self._process.poll() is None:
            try:
                if asyncio.run(self._get("/readyz"))[0] == 200:
                    return self
            except OSError:
                time.sleep(0.05)
        self.__exit__()
        raise InvalidError("the server did not become ready", field=str(self.port))

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)

    def processor_seconds(self) -> float:
        """What the server's processes have computed so far."""
        wanted = {self._process.pid}
        ticks = 0
        for folder_ in sorted(Path("/proc").glob("[0-9]*"), key=lambda one: int(one.name)):
            try:
                parts = (folder_ / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(folder_.name) in wanted or int(parts[1]) in wanted:
                wanted.add(int(folder_.name))
                ticks += int(parts[11]) + int(parts[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def verify(self, kept: list[tuple[bytes, bytes]]) -> None:
        """Check these proofs with the ledger's key.  Raises: InvalidError and what verifying raises."""
        status, body = asyncio.run(self._get("/v1/ledger"))
        found = re.search(rb'"verifier_key":"([^"]+)"', body)
        if status != 200 or found is None:
            raise InvalidError("the server does not say its key", actual=str(status))
        policy = policy_of_log(parse_verifier_key(found[1].decode()))
        for statement, proof in kept[:VERIFIED]:
            verify_statement(statement, parse_tlog_proof(proof), policy)

    async def _get(self, path: str) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = (
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {self.key}\r\n\r\n"
        )
        writer.write(head.encode())
        answer = await reader.read()
        writer.close()
        first, _, body = answer.partition(b"\r\n\r\n")
        return int(first.split()[1]), body


async def _load(server: _Server, turn_number: int, seconds: float) -> _Turn:
    loop = asyncio.get_running_loop()
    turn = _Turn()
    began, computed = time.perf_counter(), server.processor_seconds()
    end = began + seconds
    writers = []
    for number in range(WRITERS):
        _, protocol = await loop.create_connection(
            lambda number=number: _Writer(server, turn, f"{turn_number}/{number}", end),  # type: ignore[misc]
            "127.0.0.1",
            server.port,
        )
        writers.append(protocol.done)
    await asyncio.gather(*writers)
    turn.seconds = time.perf_counter() - began
    turn.server_seconds = server.processor_seconds() - computed
    return turn


class _Writer(asyncio.Protocol):
    """A connection that sends one statement after the other until the time is over."""

    def __init__(self, server: _Server, turn: _Turn, name: str, end: float) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turn = turn
        self._name = name
        self._end = end
        self._number = 0
        self._answer = b""
        self._head = (
            f"POST /v1/add HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {STATEMENT_BYTES}\r\n\r\n"
        ).encode()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, blank, body = self._answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n") if blank else None
        if length is None or len(body) < int(length[1]):
            return
        if not head.startswith(b"HTTP/1.1 201"):
            self._end_with(InvalidError("not taken", expected="201", actual=head[:40].decode("latin-1")))
            return
        now = time.perf_counter()
        self._turn.count += 1
        self._turn.waits.append(now - self._sent)
        if self._number == 1:
            self._turn.kept.append((self._statement, body))
        self._answer = b""
        if now < self._end:
            self._send()
        else:
            self._end_with(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._end_with(InvalidError("the server ended a connection", actual=str(error)))

    def _send(self) -> None:
        self._number += 1
        self._statement = f'{{"writer":"{self._name}","reading":{self._number}}}'.encode().ljust(
            STATEMENT_BYTES
        )
        self._sent = time.perf_counter()
        self._transport.write(self._head + self._statement)

    def _end_with(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error) if error else self.done.set_result(None)
            self._transport.close()
