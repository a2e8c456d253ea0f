"""A server that is killed while statements come in has lost none that it acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from adapters.sqlite_log import SQLiteLog
from api.settings import settings_from
from api.workplace import open_workplace
from ledger.audit import audit
from ledger.ledger import ledger_name
from ledger.policy import policy_of_log
from ledger.statements import verify_statement
from ledger.tlog_proof import parse_tlog_proof
from tests.api.served import Server, serving

WRITERS = 12
BEFORE_THE_KILL = 400


class Said:
    """What was acknowledged: each statement with its proof."""

    def __init__(self) -> None:
        self.proofs: dict[bytes, bytes] = {}
        self.enough = threading.Event()
        self._lock = threading.Lock()

    def add(self, statement: bytes, proof: bytes) -> None:
        with self._lock:
            self.proofs[statement] = proof
            if len(self.proofs) >= BEFORE_THE_KILL:
                self.enough.set()


def write_until_it_is_gone(server: Server, key: str, writer: int, said: Said) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "text/plain"}
    for number in range(1_000_000):
        statement = b"writer %d says %d" % (writer, number)
        try:
            connection.request("POST", "/v1/add", statement, headers)
            answer = connection.getresponse()
            proof = answer.read()
        except (OSError, http.client.HTTPException):
            return
        assert answer.status == 201
        said.add(statement, proof)


def kill(port: int) -> None:
    """Kill the serving processes of this test, which are those with its port, at once and without warning."""
    found = subprocess.run(
        [sys.executable, "-c", _CHILDREN, str(os.getpid()), str(port)], capture_output=True, text=True
    )
    for pid in found.stdout.split():
        os.kill(int(pid), signal.SIGKILL)


# Descendants of a process, youngest first, that were started for this port.
_CHILDREN = """
import pathlib, sys
root, port = int(sys.argv[1]), sys.argv[2]
parents = {}
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        pass
def below(pid):
    for child in sorted(one for one, parent in parents.items() if parent == pid):
        yield from below(child)
        yield child
for pid in below(root):
    try:
        words = (pathlib.Path("/proc") / str(pid) / "cmdline").read_bytes().split(bytes(1))
    except OSError:
        continue
    if b"serve" in words and port.encode() in words:
        print(pid)
"""


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    said = Said()
    with serving(home) as server:
        key = server.key("ingest")
        writers = [
            threading.Thread(target=write_until_it_is_gone, args=(server, key, number, said))
            for number in range(WRITERS)
        ]
        for writer in writers:
            writer.start()
        assert said.enough.wait(120)
        kill(server.port)
        for writer in writers:
            writer.join(60)
            assert not writer.is_alive()

    async def look() -> None:
        settings = settings_from({}, home=str(home))
        log = SQLiteLog(Path(settings.store))
        report = await audit(log, ledger_name("demo"))
        assert report.findings == ()
        await log.close()
        async with open_workplace(settings) as workplace:
            ledger = (await workplace.desk()).ledger
            policy = policy_of_log(ledger.verifier_key)
            for statement, data in said.proofs.items():
                proof = parse_tlog_proof(data)
                entry, _ = verify_statement(statement, proof, policy)
                record, _ = await ledger.get(proof.index)
                assert record.entry == proof.extra
                assert record.payload == statement
                assert entry.payload_sha256 == hashlib.sha256(statement).hexdigest()

    asyncio.run(look())
    assert len(said.proofs) >= BEFORE_THE_KILL
