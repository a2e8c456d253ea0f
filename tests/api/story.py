"""The told story, and a day later a recording on which both sensors were dead: its runs are withheld."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from litestar.testing import TestClient

from adapters.api_key_file import ApiKeyFile
from api.application import create_app
from ledger.ingest import ingest
from ledger.worker import settle
from tests.story.told import CHANNELS, RATE_HZ, START_S, TENANT, at_desk, recording_upload, settings, tell

OTHER_TENANT = "rival"
DAY_S = 86_400


def tell_into(home: Path) -> None:
    """Tell it into an empty folder."""

    async def run() -> None:
        async with at_desk(home) as (_, desk):
            await tell(desk)
            for channel in (0, 1):
                await ingest(desk, recording_upload(desk, channel, dead_recording(channel)), "story")
                assert await settle(desk) == ()

    asyncio.run(run())


def dead_recording(channel: int) -> bytes:
    """Two minutes of one sensor that says the same number all the time."""
    times = (START_S + DAY_S) * 1_000_000_000 + np.arange(120 * RATE_HZ) * (1_000_000_000 // RATE_HZ)
    rows = "\n".join(f"{time},5" for time in times)
    return f"time,{CHANNELS[channel]} [counts]\n{rows}\n".encode()


class Api:
    """The application over a home, with keys to it."""

    def __init__(self, home: Path, client: TestClient[Any]) -> None:
        self.home = home
        self.client = client
        self.keys = ApiKeyFile(settings(home).keys_folder)
        self.admin, self.read, self.audit, self.ingest = (
            self.key(scope) for scope in ("admin", "read", "audit", "ingest")
        )

    def key(self, *scopes: str, tenant: str = TENANT) -> str:
        """A new API key."""
        return self.keys.create(tenant, scopes, label="test", now_ns=time.time_ns())[0]

    def ask(self, method: str, path: str, key: str = "", **options: Any) -> httpx.Response:
        """One request."""
        headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **options.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **options)

    def get(self, path: str, key: str | None = None, **options: Any) -> httpx.Response:
        """A GET, as a reader unless another key is named."""
        return self.ask("GET", path, self.read if key is None else key, **options)

    def post(self, path: str, key: str | None = None, **options: Any) -> httpx.Response:
        """A POST, as an administrator unless another key is named."""
        return self.ask("POST", path, self.admin if key is None else key, **options)

    def items(self, path: str, key: str | None = None) -> list[dict[str, Any]]:
        """The rows of a list's first page."""
        answer = self.get(path, key)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found


@contextmanager
def open_api(told: Path, home: Path) -> Iterator[Api]:
    """The application over a copy of ``told``."""
    shutil.copytree(told, home, dirs_exist_ok=True)
    with TestClient(create_app(settings(home)), raise_server_exceptions=False) as client:
        yield Api(home, client)


def assert_problem(answer: httpx.Response, status: int, name: str = "") -> dict[str, Any]:
    """The answer is a problem of RFC 9457; returns it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["type"].startswith("urn:tallystick:problem:")
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"
    if name:
        assert problem["type"] == f"urn:tallystick:problem:{name}"
    return problem
