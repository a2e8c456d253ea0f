"""Real witnesses: `tally witness` as a process of its own on a free port of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from api.witness_application import WitnessSettings, open_key
from ledger.notes import format_verifier_key

ROOT = Path(__file__).resolve().parent.parent
# Another process can take a free port between looking and listening.
ATTEMPTS = 5


class WitnessProcess:
    """A witness with a home of its own that knows these logs (vkeys); ``keys`` is its setting for keys."""

    def __init__(self, home: Path, name: str, logs: Sequence[str] = (), keys: str = "") -> None:
        self.home = home
        self.name = name
        self._environment = {**os.environ, "TALLY_KEYS": keys}
        (home / "witness").mkdir(parents=True, exist_ok=True)
        self.logs_path = home / "witness" / "logs.policy"
        self.know(logs)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        store, _, key = open_key(WitnessSettings(folder=home / "witness", name=name, keys=keys))
        store.close()
        self.vkey = format_verifier_key(key)

    def know(self, logs: Sequence[str]) -> None:
        """Write the list of logs that it reads when it starts."""
        self.logs_path.write_text("".join(f"log {vkey}\n" for vkey in logs) + "quorum none\n")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> WitnessProcess:
        """Listen, on the port it had before if nobody has taken it."""
        for _ in range(ATTEMPTS):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "api", "witness", "--home", str(self.home), "--port", str(self.port)],
                cwd=ROOT,
                env=self._environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            while self._process.poll() is None:
                try:
                    self.get("/healthz")
                    return self
                except OSError:
                    time.sleep(0.05)
            self.port = free_port()
        raise AssertionError("the witness did not start")

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as answer:
            body: bytes = answer.read()
        return body

    def post(self, body: bytes) -> tuple[int, str, bytes]:
        """Status, media type and body of the answer to a request for a cosignature."""
        request = urllib.request.Request(f"{self.url}/add-checkpoint", data=body, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"], error.read()

    def kill(self) -> None:
        """End server and worker at once, as a power failure would."""
        if self._process is not None:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
