"""A serving process of its own in a home of its own, and plain HTTP to talk to it."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from adapters.api_key_file import ApiKeyFile
from api.settings import settings_from

READY_SECONDS_MAX = 60.0
ROOT = Path(__file__).resolve().parent.parent.parent


class Answer(NamedTuple):
    """A response, its header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Server:
    """Where a server listens, and keys to it."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.port = port
        self.keys = ApiKeyFile(settings_from({}, home=str(home)).keys_folder)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def key(self, *scopes: str, tenant: str = "demo") -> str:
        """A new API key."""
        return self.keys.create(tenant, scopes, label="test", now_ns=time.time_ns())[0]

    def ask(
        self,
        method: str,
        path: str,
        *,
        key: str = "",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            given = {**({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
            # A body that is refused early is not read to its end; the answer is there all the same.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body=body, headers=given)
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, response.read())
        finally:
            connection.close()

    def get(self, path: str, key: str = "", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("GET", path, key=key, headers=named)


@contextmanager
def serving(home: Path, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """`tally serve` on a free port, ended at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "api", "serve", "--port", str(port), "--home", str(home)],
        cwd=ROOT,
        env={**settings, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    server = Server(home, port)
    try:
        _wait_until_ready(server, process)
        yield server
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < end:
        if process.poll() is not None:
            said, _ = process.communicate()
            raise AssertionError(f"the server ended: {said.decode(errors='replace')[-3000:]}")
        try:
            if server.get("/readyz").status == 200:
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server did not become ready")
