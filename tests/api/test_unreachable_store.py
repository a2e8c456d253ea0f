"""A server on EventStoreDB: the store shares out its work; when it goes away, that is told, and all goes on
afterwards."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from litestar.testing import TestClient

from adapters.esdb_log import EventStoreDBLog
from adapters.esdb_node.node import NodeOptions, node_in_thread
from adapters.esdb_subscriptions import EventStoreDBWorkQueue
from api.application import create_app
from api.settings import settings_from
from ledger.shared_work import FLOW
from tests.api.story import Api, assert_problem
from tests.story.told import TENANT


@pytest.fixture
def node_options(tmp_path: Path) -> NodeOptions:
    return NodeOptions(port=0, path=tmp_path / "node.db")


def test_a_store_that_went_away_is_a_503_until_it_is_back(node_options: NodeOptions, tmp_path: Path) -> None:
    with node_in_thread(node_options) as node:
        port = node.port
        store = f"esdb://127.0.0.1:{port}?tls=false&defaultDeadline=2"
        app = create_app(settings_from({}, home=str(tmp_path / "home"), store=store, tenant=TENANT))
        client = TestClient(app, raise_server_exceptions=False)
        client.__enter__()
        api = Api(tmp_path / "home", client)
        assert api.get("/v1/ledger").status_code == 200
        setup = {"connections": [{"connection_id": "wearer-1-oura", "provider": "oura"}]}
        assert api.post("/v1/setup", json=setup).status_code == 200
        take_in_and_wait(api, b'{"data": [1]}')
        assert asyncio.run(place_of_workers(store)) > 0
    try:
        gone = api.get("/v1/entries/0")
        problem = assert_problem(gone, 503, "unreachable")
        assert gone.headers["retry-after"]
        assert str(port) not in problem["detail"] + problem["remedy"]
        with node_in_thread(NodeOptions(port=port, path=node_options.path)):
            until = time.monotonic() + 30
            while (again := api.get("/v1/entries/0")).status_code == 503 and time.monotonic() < until:
                time.sleep(0.2)
            assert again.status_code == 200, again.text
            take_in_and_wait(api, b'{"data": [2]}')
    finally:
        client.__exit__(None, None, None)


def take_in_and_wait(api: Api, payload: bytes) -> None:
    """A batch is taken in, and a worker makes its dataset."""
    taken = api.post("/v1/batches?source=wearer-1-oura&kind=oura.sleep", content=payload)
    assert taken.status_code == 201, taken.text
    until = time.monotonic() + 30
    while True:
        answer = api.get(taken.headers["location"])
        if answer.status_code == 200 and answer.json()["batch"]["status"] == "derived":
            return
        assert time.monotonic() < until, answer.text
        time.sleep(0.05)


async def place_of_workers(store: str) -> int:
    """How far the work that the store shares out has come."""
    log = EventStoreDBLog(store)
    queue = EventStoreDBWorkQueue(log.connection)
    try:
        async with asyncio.timeout(30):
            while not (place := await queue.position(f"ledger-{TENANT}", FLOW)):  # noqa: ASYNC110 - the store's
                await asyncio.sleep(0.1)
        return place
    finally:
        await log.close()


def test_a_store_that_never_answered_is_a_503_too(node_options: NodeOptions, tmp_path: Path) -> None:
    with node_in_thread(node_options) as node:
        store = f"esdb://127.0.0.1:{node.port}?tls=false&defaultDeadline=2&maxDiscoverAttempts=1"
    settings = settings_from({}, home=str(tmp_path / "home"), store=store, tenant=TENANT)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        assert_problem(Api(tmp_path / "home", client).get("/v1/ledger"), 503, "unreachable")
